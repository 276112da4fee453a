import json
from datetime import date

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ml.incidents import COLUMNS, Run, alarms, find_incidents, merged_runs, movements
from ml.modes import Movement, failure_mode_of, failure_mode_of_incident
from ml.plant import DetectionPolicy, Machine, Policy, Sensor, Site

DAY = date(2026, 3, 8)
MIDNIGHT = pd.Timestamp(DAY, tz="UTC")
POLICY = DetectionPolicy(on_threshold=0.6, off_threshold=0.4, on_delay_windows=3, off_delay_windows=2, merge_gap_windows=4)
TYPES = ("temperature", "vibration", "flow", "pressure", "current")


def _machine(machine_id: str) -> Machine:
    return Machine(
        machine_id=machine_id, machine_class="pump", sensors=tuple(Sensor(sensor_id=f"{machine_id}-{t}", type=t, unit="u") for t in TYPES)
    )


SITE = Site(
    site="plant",
    name="Plant",
    first_day=date(2026, 1, 1),
    machines=tuple(_machine(m) for m in ("A", "B", "C", "D")),
    policy=Policy(detection=POLICY),
)
NOTHING_KNOWN = pd.DataFrame(
    {
        "incident_id": pd.Series(dtype="str"),
        "machine_id": pd.Series(dtype="str"),
        "onset_at": pd.Series(dtype="datetime64[us, UTC]"),
        "last_window_at": pd.Series(dtype="datetime64[us, UTC]"),
    }
)
SAID = json.dumps(
    {"A-vibration": {"share": 0.8, "z": 6.0, "feature": "mean"}, "A-temperature": {"share": 0.2, "z": 1.0, "feature": "mean"}}
)


def _scores(values: list[float | None], *, machine_id: str = "A", start: pd.Timestamp = MIDNIGHT) -> pd.DataFrame:
    """None is a window without a score."""
    n = len(values)
    score = np.array([np.nan if v is None else v for v in values], dtype=float)
    return pd.DataFrame(
        {
            "machine_id": pd.Series([machine_id] * n, dtype="str"),
            "window_start": (start + pd.to_timedelta(np.arange(n) * 10, unit="min")).as_unit("us"),
            "state": np.where(np.isnan(score), "stopped", "scored"),
            "score": score,
            "n_members_agreeing": np.int32(2),
            "n_sensors_moved": np.int32(1),
            "top_sensor_id": f"{machine_id}-vibration",
            "moved_sensors": SAID.replace("A-", f"{machine_id}-"),
        }
    )


def _runs(values: list[float], policy: DetectionPolicy = POLICY) -> list[tuple[int, int, bool]]:
    runs = merged_runs(np.arange(len(values)), np.array(values), policy=policy, newest=len(values) - 1)
    return [(r.first, r.last, r.is_over) for r in runs]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.7, 0.7, 0.1, 0.7, 0.7, 0.1], []),  # never three in a row
        ([0.1, 0.7, 0.7, 0.7, 0.1, 0.1, 0.1], [(1, 3, True)]),
        ([0.7, 0.7, 0.7], [(0, 2, False)]),  # still open
        ([0.7, 0.7, 0.7, 0.1], [(0, 2, False)]),  # one window below is not yet the end
        ([0.5, 0.7, 0.7, 0.7, 0.5, 0.5, 0.1, 0.5, 0.1, 0.1], [(1, 7, True)]),  # between the thresholds it stays open
        ([0.7, 0.7, 0.7, 0.1, 0.1, 0.1, 0.7, 0.7, 0.7], [(0, 8, False)]),  # three windows between: one incident
        ([0.7] * 3 + [0.1] * 4 + [0.7] * 3, [(0, 9, False)]),  # exactly the merge gap
        ([0.7] * 3 + [0.1] * 5 + [0.7] * 3, [(0, 2, True), (8, 10, False)]),
        ([0.6, 0.6, 0.6, 0.4, 0.39, 0.39], [(0, 3, True)]),  # at a threshold counts as above
        ([], []),
    ],
)
def test_hysteresis(values: list[float], expected: list[tuple[int, int, bool]]) -> None:
    assert _runs(values) == expected


def _by_hand(values: list[float], policy: DetectionPolicy) -> list[tuple[int, int]]:
    """The state machine as one would say it aloud."""
    found, is_open, streak, quiet, first, last = [], False, 0, 0, 0, 0
    for i, v in enumerate(values):
        streak = streak + 1 if v >= policy.on_threshold else 0
        quiet = quiet + 1 if v < policy.off_threshold else 0
        if not is_open and streak >= policy.on_delay_windows:
            is_open, first, last = True, i - policy.on_delay_windows + 1, i
        if is_open:
            if v >= policy.off_threshold:
                last = i
            if quiet >= policy.off_delay_windows:
                found.append((first, last))
                is_open, streak = False, 0
    if is_open:
        found.append((first, last))
    merged: list[tuple[int, int]] = []
    for first, last in found:
        if merged and first - merged[-1][1] - 1 <= policy.merge_gap_windows:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return merged


@settings(max_examples=300)
@given(st.lists(st.sampled_from([0.1, 0.4, 0.5, 0.6, 0.9]), max_size=80), st.integers(1, 4), st.integers(1, 6), st.integers(0, 8))
def test_runs_are_those_of_the_state_machine_said_aloud(values: list[float], on: int, off: int, gap: int) -> None:
    policy = POLICY.model_copy(update={"on_delay_windows": on, "off_delay_windows": off, "merge_gap_windows": gap})
    assert [(first, last) for first, last, _ in _runs(values, policy)] == _by_hand(values, policy)


def test_unscored_windows_neither_extend_nor_break_a_run() -> None:
    found = find_incidents(_scores([0.7, None, 0.7, None, 0.7, 0.1, None]), site=SITE, day=DAY, known=NOTHING_KNOWN)
    assert found["onset_at"].tolist() == [MIDNIGHT]
    assert found["last_window_at"].tolist() == [MIDNIGHT + pd.Timedelta(minutes=40)]
    assert found["n_windows"].tolist() == [3]
    assert found["ended_at"].isna().all()


def test_a_machine_that_stops_for_longer_than_the_merge_gap_ends_its_incident() -> None:
    found = find_incidents(_scores([0.7] * 3 + [None] * 5), site=SITE, day=DAY, known=NOTHING_KNOWN)
    assert found["ended_at"].tolist() == [MIDNIGHT + pd.Timedelta(minutes=30)]


def test_windows_on_both_sides_of_a_long_stop_are_not_consecutive() -> None:
    found = find_incidents(_scores([0.7, 0.7] + [None] * 5 + [0.7, 0.7]), site=SITE, day=DAY, known=NOTHING_KNOWN)
    assert len(found) == 0
    assert found.dtypes.astype(str).to_dict() == COLUMNS


def test_an_incident_says_what_it_is() -> None:
    found = find_incidents(_scores([0.1, 0.7, 0.8, 0.9, 0.1, 0.1]), site=SITE, day=DAY, known=NOTHING_KNOWN)
    row = found.iloc[0]
    assert row["incident_id"] == "A@2026-03-08T00:10Z"
    assert (row["n_windows"], row["duration_s"], row["peak_score"]) == (3, 1800.0, 0.9)
    assert row["mean_score"] == pytest.approx(0.8)
    assert (row["top_sensor_id"], row["direction"], row["failure_mode"]) == ("A-vibration", 1, "VIB")
    assert row["ended_at"] == MIDNIGHT + pd.Timedelta(minutes=40)
    assert found.dtypes.astype(str).to_dict() == COLUMNS


def _machine_of_many_sensors() -> Site:
    sensors = tuple(Sensor(sensor_id=f"A-{n:02}", type="temperature", unit="u") for n in range(60))
    machine = Machine(machine_id="A", machine_class="press", sensors=sensors)
    return SITE.model_copy(update={"machines": (machine,)})


def test_an_incident_that_many_sensors_share_evenly_names_the_one_that_most_often_leads() -> None:
    scores = _scores([0.1, 0.7, 0.8, 0.9, 0.5, 0.1])
    scores["moved_sensors"] = "{}"
    scores["top_sensor_id"] = ["A-09", "A-03", "A-11", "A-11", "A-03", "A-09"]
    row = find_incidents(scores, site=_machine_of_many_sensors(), day=DAY, known=NOTHING_KNOWN).iloc[0]
    assert (row["top_sensor_id"], row["direction"], row["moved_sensors"], row["failure_mode"]) == ("A-11", 0, "{}", "PDE")


def test_a_detector_of_many_sensors_that_all_move_a_little_gives_incidents_with_every_value() -> None:
    from ml.detectors.fleet import SiteDetector

    site = _machine_of_many_sensors()
    rng = np.random.default_rng(4)
    starts = pd.date_range(MIDNIGHT - pd.Timedelta(days=8), periods=9 * 144, freq="10min", unit="us")
    shift = np.where(np.arange(len(starts)) >= 8 * 144 + 30, 4.0, 0.0)
    features = pd.concat(
        pd.DataFrame(
            {
                "machine_id": "A",
                "window_start": starts,
                "sensor_id": sensor.sensor_id,
                "coverage": 1.0,
                "mean": 50 + shift * rng.choice([-1, 1]) + rng.standard_normal(len(starts)),
                "std": np.sqrt(rng.chisquare(9, len(starts)) / 9),
                "slope_per_h": rng.standard_normal(len(starts)),
                "running_share": 1.0,
            }
        )
        for sensor in site.sensors
    )
    healthy = features[features["window_start"] < MIDNIGHT]
    detector = SiteDetector.fit(healthy, site=site, held_out_from=MIDNIGHT - pd.Timedelta(days=3), seed=7)
    scores = detector.score(features, site=site, model_version=1)
    assert (scores.loc[scores["window_start"] >= MIDNIGHT + pd.Timedelta(hours=6), "moved_sensors"] == "{}").mean() > 0.5
    found = find_incidents(scores, site=site, day=DAY, known=NOTHING_KNOWN)
    assert len(found) == 1
    assert found.drop(columns="ended_at").notna().all(axis=None)


def test_alarms_are_the_runs_of_each_machine() -> None:
    both = pd.concat([_scores([0.1, 0.7, 0.7, 0.7, 0.1, 0.1]), _scores([0.7] * 3 + [0.1] * 5 + [0.7] * 3, machine_id="B")])
    times = [
        (m, MIDNIGHT + pd.Timedelta(minutes=10 * a), MIDNIGHT + pd.Timedelta(minutes=10 * b))
        for m, a, b in (("A", 1, 3), ("B", 0, 2), ("B", 8, 10))
    ]
    found = alarms(both, site=SITE)
    assert list(found.itertuples(index=False, name=None)) == times
    assert alarms(both.iloc[:0], site=SITE).dtypes.equals(found.dtypes)


def test_only_incidents_with_an_anomalous_window_on_the_day_are_returned() -> None:
    yesterday = _scores([0.7] * 3 + [0.1] * 141, start=MIDNIGHT - pd.Timedelta(days=1))
    tomorrow = _scores([0.7] * 144, start=MIDNIGHT + pd.Timedelta(days=1))
    today = _scores([0.1] * 100 + [0.7] * 44)
    found = find_incidents(pd.concat([yesterday, today, tomorrow]), site=SITE, day=DAY, known=NOTHING_KNOWN)
    assert found["incident_id"].tolist() == ["A@2026-03-08T16:40Z"]
    assert found["last_window_at"].tolist() == [MIDNIGHT + pd.Timedelta(hours=23, minutes=50)]


def test_an_incident_over_midnight_has_one_name_on_both_days() -> None:
    before = _scores([0.1] * 138 + [0.7] * 6, start=MIDNIGHT - pd.Timedelta(days=1))
    after = _scores([0.7] * 6 + [0.1] * 138)
    first = find_incidents(before, site=SITE, day=date(2026, 3, 7), known=NOTHING_KNOWN)
    second = find_incidents(pd.concat([before, after]), site=SITE, day=DAY, known=NOTHING_KNOWN)
    assert first["incident_id"].tolist() == second["incident_id"].tolist() == ["A@2026-03-07T23:00Z"]
    assert first["ended_at"].isna().all()
    assert second["ended_at"].tolist() == [MIDNIGHT + pd.Timedelta(hours=1)]


def _known(onset: pd.Timestamp, last: pd.Timestamp, *, machine_id: str = "A") -> pd.DataFrame:
    row = {"incident_id": f"{machine_id}@{onset:%Y-%m-%dT%H:%M}Z", "machine_id": machine_id, "onset_at": onset, "last_window_at": last}
    return pd.DataFrame([row]).astype({"onset_at": "datetime64[us, UTC]", "last_window_at": "datetime64[us, UTC]"})


def test_an_incident_older_than_the_look_back_keeps_its_name_and_onset() -> None:
    onset = MIDNIGHT - pd.Timedelta(days=9)
    # between the thresholds: without what is known, nothing would open
    scores = _scores([0.5] * 100 + [0.1] * 44)
    known = _known(onset, MIDNIGHT - pd.Timedelta(minutes=10))
    found = find_incidents(scores, site=SITE, day=DAY, known=known)
    assert found["incident_id"].tolist() == known["incident_id"].tolist()
    assert found["onset_at"].tolist() == [onset]
    assert found["duration_s"].tolist() == [(9 * 144 + 100) * 600.0]
    assert found["n_windows"].tolist() == [100]
    assert len(find_incidents(scores, site=SITE, day=DAY, known=NOTHING_KNOWN)) == 0


def test_a_repeat_joins_what_an_earlier_run_stored_of_the_same_incident() -> None:
    scores = _scores([0.7] * 50 + [0.1] * 94)
    stored_later = _known(MIDNIGHT - pd.Timedelta(days=9), MIDNIGHT + pd.Timedelta(hours=8))
    found = find_incidents(scores, site=SITE, day=DAY, known=stored_later)
    assert found["incident_id"].tolist() == stored_later["incident_id"].tolist()


def test_a_merge_gap_below_the_off_delay_does_not_rename_an_incident_that_pauses_where_the_look_back_begins() -> None:
    policy = DetectionPolicy(on_threshold=0.6, off_threshold=0.4, on_delay_windows=3, off_delay_windows=6, merge_gap_windows=0)
    site = SITE.model_copy(update={"policy": Policy(detection=policy)})
    for quiet, is_same in ((5, True), (6, False)):
        known = _known(MIDNIGHT - pd.Timedelta(days=9), MIDNIGHT - pd.Timedelta(minutes=10))
        found = find_incidents(_scores([0.1] * quiet + [0.7] * 50), site=site, day=DAY, known=known)
        assert (found["incident_id"].tolist() == known["incident_id"].tolist()) is is_same
        assert len(found) == 1


@pytest.mark.parametrize(("minutes_before", "is_joined"), [(10, True), (50, True), (60, False)])
def test_a_known_incident_is_joined_within_the_merge_gap_only(minutes_before: int, *, is_joined: bool) -> None:
    known = _known(MIDNIGHT - pd.Timedelta(days=9), MIDNIGHT - pd.Timedelta(minutes=minutes_before))
    found = find_incidents(_scores([0.7] * 9 + [0.1] * 9), site=SITE, day=DAY, known=known)
    assert (found["incident_id"].iloc[0] == known["incident_id"].iloc[0]) == is_joined


def test_a_known_incident_of_another_machine_or_within_the_look_back_changes_nothing() -> None:
    scores = _scores([0.5] * 4 + [0.1] * 10 + [0.7] * 9)
    alone = find_incidents(scores, site=SITE, day=DAY, known=NOTHING_KNOWN)
    for known in (
        _known(MIDNIGHT - pd.Timedelta(days=9), MIDNIGHT, machine_id="B"),
        _known(MIDNIGHT + pd.Timedelta(minutes=90), MIDNIGHT + pd.Timedelta(minutes=110)),
    ):
        pd.testing.assert_frame_equal(find_incidents(scores, site=SITE, day=DAY, known=known), alone)


def test_days_may_be_processed_in_any_order_and_again() -> None:
    rng = np.random.default_rng(8)
    values = np.where(rng.random(5 * 144) < 0.5, 0.1, 0.2)
    for start in (100, 250, 280, 600):
        values[start : start + 60] = 0.7
    start = MIDNIGHT - pd.Timedelta(days=4)
    scores = pd.concat([_scores(values.tolist(), start=start), _scores(values[::-1].tolist(), machine_id="B", start=start)])
    days = [(start + pd.Timedelta(days=i)).date() for i in range(5)]

    def processed(order: list[int]) -> dict[object, pd.DataFrame]:
        known, by_day = NOTHING_KNOWN, {}
        for i in order:
            by_day[days[i]] = find_incidents(scores.sample(frac=1, random_state=i), site=SITE, day=days[i], known=known)
            known = pd.concat([known, by_day[days[i]][NOTHING_KNOWN.columns]]).drop_duplicates("incident_id", keep="last")
        return by_day

    forward, backward = processed([0, 1, 2, 3, 4]), processed([4, 2, 0, 1, 3, 4])
    assert sum(map(len, forward.values())) > 6
    for day in days:
        pd.testing.assert_frame_equal(forward[day], backward[day])


def test_machines_and_sensors_that_left_the_plant_file_are_no_stumbling_block() -> None:
    scores = _scores([0.7] * 4)
    gone = scores.assign(machine_id="Z")
    strange = scores.assign(moved_sensors='{"A-gone": {"share": 1.0, "z": 9.0, "feature": "mean"}}')
    assert len(find_incidents(gone, site=SITE, day=DAY, known=NOTHING_KNOWN)) == 0
    assert find_incidents(strange, site=SITE, day=DAY, known=NOTHING_KNOWN)["failure_mode"].tolist() == ["PDE"]


def test_scores_that_lack_a_column_are_refused() -> None:
    with pytest.raises(ValueError, match="scores lack the columns state"):
        find_incidents(_scores([0.1]).drop(columns="state"), site=SITE, day=DAY, known=NOTHING_KNOWN)


def test_the_level_tells_if_it_moved_in_a_quarter_of_the_windows() -> None:
    windows = _scores([0.7] * 4)
    rough = json.dumps({"A-flow": {"share": 1.0, "z": 30.0, "feature": "std"}})
    fallen = json.dumps({"A-flow": {"share": 0.5, "z": -5.0, "feature": "mean"}})
    windows["moved_sensors"] = [rough, rough, rough, fallen]
    assert movements(windows, on=0.6) == {"A-flow": Movement(share=0.875, z=-5.0, feature="mean")}
    windows["moved_sensors"] = [rough] * 4
    assert movements(windows, on=0.6)["A-flow"].feature == "std"


def test_where_no_window_reaches_the_on_threshold_those_speak_that_name_a_sensor() -> None:
    windows = _scores([0.5, 0.2, 0.2, 0.5])
    fallen = json.dumps({"A-flow": {"share": 0.5, "z": -5.0, "feature": "mean"}})
    windows["moved_sensors"] = [fallen, "{}", "{}", fallen]
    assert movements(windows, on=0.6) == {"A-flow": Movement(share=0.5, z=-5.0, feature="mean")}
    assert movements(windows, on=0.5) == movements(windows, on=0.6)
    assert movements(windows.assign(moved_sensors="{}"), on=0.6) == {}


@pytest.mark.parametrize(
    ("sensor_type", "direction", "feature", "mode"),
    [
        ("vibration", 1, "mean", "VIB"), ("vibration", 1, "std", "VIB"), ("vibration", -1, "mean", "PDE"),
        ("temperature", 1, "mean", "OHE"), ("temperature", -1, "mean", "PDE"), ("temperature", -1, "std", "AIR"),
        ("temperature", 1, "std", "AIR"), ("pressure", -1, "mean", "ELP"), ("pressure", 1, "mean", "PLU"),
        ("flow", -1, "mean", "PLU"), ("flow", 1, "mean", "PDE"), ("current", 1, "mean", "ELE"), ("voltage", -1, "slope", "ELE"),
        ("vibration", -1, "std", "AIR"), ("level", 1, "mean", "PDE"),
    ],
)  # fmt: skip
def test_the_rule_of_a_single_sensor(sensor_type: str, direction: int, feature: str, mode: str) -> None:
    assert failure_mode_of(sensor_type, direction=direction, feature=feature) == mode


@pytest.mark.parametrize(
    ("moved", "mode"),
    [
        ({"A-temperature": (0.6, 9, "mean"), "A-vibration": (0.3, 5, "mean")}, "VIB"),
        ({"A-temperature": (0.9, 9, "mean")}, "AIR"),  # nothing that should follow did
        ({"A-temperature": (0.5, 9, "mean"), "A-current": (0.4, 6, "mean")}, "OHE"),
        ({"A-pressure": (0.6, -9, "mean"), "A-flow": (0.4, -5, "mean")}, "ELP"),
        ({"A-flow": (0.6, -9, "mean"), "A-pressure": (0.4, -5, "mean")}, "ELP"),
        ({"A-flow": (0.6, -9, "mean"), "A-pressure": (0.4, 5, "mean")}, "PLU"),
        ({"A-pressure": (0.9, -9, "mean")}, "ELP"),
        ({"A-pressure": (0.9, 9, "mean")}, "AIR"),  # a plugged filter would show in the flow
        ({"A-pressure": (0.9, -12, "std")}, "AIR"),
        ({"A-flow": (0.9, -4.5, "std")}, "PDE"),
        ({}, "PDE"),
    ],
)
def test_the_rule_of_the_whole_incident(moved: dict[str, tuple[float, float, str]], mode: str) -> None:
    found = {s: Movement(share=share, z=z, feature=feature) for s, (share, z, feature) in moved.items()}
    assert failure_mode_of_incident(found, machine=SITE.machine("A")) == mode


def test_a_run_knows_nothing_but_its_windows() -> None:
    assert merged_runs(np.array([], dtype=np.int64), np.array([]), policy=POLICY, newest=0, open_until=-3) == [Run(-3, -3, is_over=False)]
