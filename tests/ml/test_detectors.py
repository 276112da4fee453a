import json
from datetime import date

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from expectations.contracts import ANOMALY_SCORES, MEMBERS
from ml.detectors.fleet import NotTrainable, SiteDetector
from ml.detectors.look_back import remembered_days
from ml.detectors.windows import roles
from ml.incidents import alarms
from ml.plant import Machine, Policy, RunningWhen, Sensor, Site

START = pd.Timestamp("2026-03-02", tz="UTC")
HELD_OUT = START + pd.Timedelta(days=10)
TYPES = ("temperature", "vibration", "flow", "current")


def _machine(machine_id: str, *, machine_class: str = "pump", types: tuple[str, ...] = TYPES) -> Machine:
    sensors = tuple(Sensor(sensor_id=f"{machine_id}-{t}-{i}", type=t, unit="u") for i, t in enumerate(types))  # type: ignore[arg-type]
    return Machine(machine_id=machine_id, machine_class=machine_class, sensors=sensors)


def _site(*machines: Machine) -> Site:
    return Site(site="plant", name="Plant", time_zone="Europe/Berlin", first_day=date(2026, 1, 1), machines=machines)


SITE = _site(_machine("P1"), _machine("P2"))


def _features(machine: Machine, *, days: int, seed: int, shift: dict[str, np.ndarray] | None = None, stops: bool = True) -> pd.DataFrame:
    """Windows of a machine whose sensors follow a load that wanders, with noise of their own and a stop every fifth day."""
    rng = np.random.default_rng(seed)
    n = days * 144
    load = np.zeros(n)
    for i in range(1, n):
        load[i] = 0.95 * load[i - 1] + 0.3 * rng.standard_normal()
    load = load + np.cos(2 * np.pi * np.arange(n) / 144)
    running = np.ones(n)
    if stops:
        for day in range(2, days, 5):
            running[day * 144 + 60 : day * 144 + 72] = 0.0
    starts = START + pd.to_timedelta(np.arange(n) * 10, unit="min")
    parts = []
    for place, sensor in enumerate(machine.sensors):
        level = (50.0, 2.0, 100.0, 40.0)[place] + (3.0, 0.1, 8.0, 5.0)[place] * load + (0.5, 0.03, 1.5, 0.8)[place] * rng.standard_normal(n)
        level = level + (shift or {}).get(sensor.sensor_id, 0.0)
        parts.append(
            pd.DataFrame(
                {
                    "machine_id": machine.machine_id,
                    "window_start": starts.as_unit("us"),
                    "sensor_id": sensor.sensor_id,
                    "coverage": 1.0,
                    "mean": np.where(running > 0, level, 0.0),
                    "std": np.where(running > 0, (0.5, 0.03, 1.5, 0.8)[place] * np.sqrt(rng.chisquare(9, n) / 9), 0.0),
                    "slope_per_h": rng.standard_normal(n),
                    "running_share": running,
                }
            )
        )
    return pd.concat(parts).sort_values(["machine_id", "window_start", "sensor_id"], ignore_index=True)


HEALTHY = pd.concat([_features(SITE.machines[0], days=14, seed=1), _features(SITE.machines[1], days=14, seed=2)], ignore_index=True)


@pytest.fixture(scope="module")
def detector() -> SiteDetector:
    return SiteDetector.fit(HEALTHY, site=SITE, held_out_from=HELD_OUT, seed=7)


def test_the_scores_are_the_stored_table(detector: SiteDetector) -> None:
    scores = detector.score(HEALTHY, site=SITE, model_version=3)
    assert list(scores.columns) == ANOMALY_SCORES.names
    table = pa.Table.from_pandas(scores, schema=ANOMALY_SCORES.schema, preserve_index=False)
    assert table.num_rows == 2 * 14 * 144
    assert not scores.duplicated(["machine_id", "window_start"]).any()
    assert scores[["machine_id", "window_start"]].equals(scores[["machine_id", "window_start"]].sort_values(["machine_id", "window_start"]))
    assert scores["score"].between(0, 1).sum() == (scores["state"] == "scored").sum()
    assert scores.loc[scores["state"] != "scored", ["score", "robust_z", "top_sensor_id"]].isna().all(axis=None)
    assert (scores["model_version"] == 3).all()


def test_fresh_healthy_days_raise_hardly_any_alarm(detector: SiteDetector) -> None:
    fresh = pd.concat([_features(m, days=30, seed=50 + i) for i, m in enumerate(SITE.machines)])
    scores = detector.score(fresh, site=SITE, model_version=1)
    assert (scores["score"] >= 0.6).mean() < 0.003
    assert len(alarms(scores, site=SITE)) <= 2  # in two machine-months


def test_a_growing_fault_raises_the_score_and_names_its_sensor(detector: SiteDetector) -> None:
    growth = np.zeros(6 * 144)
    growth[2 * 144 :] = np.linspace(0, 1, 4 * 144) ** 2 * 2.0
    machine = SITE.machines[0]
    sick = _features(machine, days=6, seed=90, shift={"P1-vibration-1": growth})
    scores = detector.score(sick, site=SITE, model_version=1)
    last_day, before = scores.iloc[-144:], scores.iloc[: 2 * 144]
    assert last_day["score"].median() == 1.0
    assert before["score"].median() < 0.2
    assert (last_day["top_sensor_id"] == "P1-vibration-1").mean() > 0.99
    moved = json.loads(last_day["moved_sensors"].iloc[-1])
    leading = next(iter(moved))
    assert leading == "P1-vibration-1"
    assert moved[leading]["z"] > 4
    assert moved[leading]["feature"] == "mean"
    assert last_day["n_members_agreeing"].median() >= 2
    assert (last_day["n_sensors_moved"] >= 1).all()


def test_a_broken_correlation_is_found_while_each_sensor_is_within_its_own_range(detector: SiteDetector) -> None:
    features = _features(SITE.machines[0], days=6, seed=91, stops=False)
    healthy = detector.score(features, site=SITE, model_version=1)
    is_flow = (features["sensor_id"] == "P1-flow-2").to_numpy()
    flow = features.loc[is_flow, "mean"].to_numpy()
    # the flow answers the load the wrong way round: mirrored about its centre it stays within what it always was
    features.loc[is_flow, "mean"] = 200 - flow
    broken = detector.score(features, site=SITE, model_version=1)
    is_far = np.abs(flow - 100) > 15  # two spreads; near the centre nothing tells the two apart
    assert is_far.sum() > 20
    assert broken.loc[is_far, "pca_q"].median() > 1 / 3  # p below 1 %
    assert healthy.loc[is_far, "pca_q"].median() < 1 / 12
    assert broken.loc[is_far, "robust_z"].median() < 1 / 3


def test_a_stuck_sensor_is_named_by_its_spread(detector: SiteDetector) -> None:
    features = _features(SITE.machines[0], days=2, seed=92, stops=False)
    stuck = (features["sensor_id"] == "P1-temperature-0") & (features["window_start"] >= START + pd.Timedelta(days=1))
    features.loc[stuck, ["mean", "std", "slope_per_h"]] = [50.0, 0.0, 0.0]
    scores = detector.score(features, site=SITE, model_version=1).iloc[-100:]
    moved = json.loads(scores["moved_sensors"].iloc[-1])["P1-temperature-0"]
    assert scores["score"].min() > 0.6
    assert (moved["feature"], moved["z"] < -8) == ("std", True)


@pytest.mark.parametrize(
    ("policy", "named_from"),
    [
        ({}, 0.3),
        ({"off_threshold": 0.2}, 0.2),
        ({"on_threshold": 1.0, "off_threshold": 1.0}, 0.5),
    ],  # below the last one a sensor moved, once
)
def test_sensors_are_named_in_unusual_windows_and_where_one_moved(
    detector: SiteDetector, policy: dict[str, float], named_from: float
) -> None:
    site = SITE.model_copy(update={"policy": Policy.model_validate({"detection": policy})})
    jump = np.where(np.arange(4 * 144) >= 3 * 144, 0.3, 0.0)
    scores = detector.score(_features(SITE.machines[0], days=4, seed=94, shift={"P1-vibration-1": jump}), site=site, model_version=1)
    is_scored = scores["state"] == "scored"
    is_ordinary = is_scored & (scores["score"] < named_from) & (scores["n_sensors_moved"] == 0)
    assert is_ordinary.sum() > 200
    assert (is_scored & ~is_ordinary).sum() > 100
    assert (scores.loc[is_ordinary | ~is_scored, "moved_sensors"] == "{}").all()
    assert (scores.loc[is_scored & ~is_ordinary, "moved_sensors"] != "{}").all()
    assert scores.loc[is_scored, "top_sensor_id"].notna().all()


def test_stops_are_not_scored_and_the_machine_settles_after_them(detector: SiteDetector) -> None:
    scores = detector.score(_features(SITE.machines[0], days=4, seed=93), site=SITE, model_version=1)
    stop = 2 * 144 + 60
    settle = SITE.policy.detection.settle_windows
    expected = ["scored"] + ["stopped"] * 12 + ["settling"] * settle + ["scored"]
    assert scores["state"].iloc[stop - 1 : stop + 13 + settle].tolist() == expected
    assert (scores["score"] < 0.6).sum() == (scores["state"] == "scored").sum()


def test_a_missing_sensor_does_not_alarm_and_half_of_them_are_too_few(detector: SiteDetector) -> None:
    features = _features(SITE.machines[0], days=2, seed=94, stops=False)
    without_one = detector.score(features[features["sensor_id"] != "P1-current-3"], site=SITE, model_version=1)
    assert (without_one["state"] == "scored").all()
    assert (without_one["score"] >= 0.6).mean() < 0.02
    assert not without_one["moved_sensors"].str.contains("current").any()
    one_left = features[features["sensor_id"] == "P1-current-3"]
    assert (detector.score(one_left, site=SITE, model_version=1)["state"] == "too_few_readings").all()


def test_machines_with_fewer_sensors_and_none_scored_are_told_as_if_each_stood_alone() -> None:
    small = _machine("P0", machine_class="fan", types=TYPES[:2])
    site = _site(SITE.machines[1], small, SITE.machines[0])
    learned = pd.concat([HEALTHY, _features(small, days=14, seed=3)])
    detector = SiteDetector.fit(learned, site=site, held_out_from=HELD_OUT, seed=7)
    fresh = [_features(machine, days=3, seed=20 + i, stops=False) for i, machine in enumerate(site.machines)]
    fresh[2] = fresh[2].assign(running_share=0.0)
    together = detector.score(pd.concat(fresh), site=site, model_version=1)
    alone = [detector.score(features, site=site, model_version=1) for features in fresh]
    assert together["machine_id"].unique().tolist() == ["P0", "P1", "P2"]
    assert set(together.loc[together["machine_id"] == "P1", "state"]) == {"stopped"}
    pd.testing.assert_frame_equal(together, pd.concat([alone[1], alone[2], alone[0]], ignore_index=True), rtol=1e-9)


def test_a_pool_of_one_machine_and_one_of_all_tell_the_same(detector: SiteDetector, monkeypatch: pytest.MonkeyPatch) -> None:
    together = detector.score(HEALTHY, site=SITE, model_version=1)
    monkeypatch.setattr("ml.detectors.scored.POOLED_WINDOWS", 1)
    pd.testing.assert_frame_equal(detector.score(HEALTHY, site=SITE, model_version=1), together, rtol=1e-9)


def test_the_same_data_and_seed_give_the_same_bytes_whatever_the_row_order(detector: SiteDetector) -> None:
    shuffled = HEALTHY.sample(frac=1, random_state=0)
    again = SiteDetector.fit(shuffled, site=SITE, held_out_from=HELD_OUT, seed=7)
    assert again.to_bytes() == detector.to_bytes()
    assert SiteDetector.fit(HEALTHY, site=SITE, held_out_from=HELD_OUT, seed=8).to_bytes() != detector.to_bytes()


def test_the_bytes_are_an_arrow_table_of_numbers_and_texts_a_row_per_machine(detector: SiteDetector) -> None:
    stored = pa.ipc.open_file(detector.to_bytes()).read_all()
    assert stored.column("machine_id").to_pylist() == [m.machine_id for m in SITE.machines]
    kinds = {kind.value_type if pa.types.is_list(kind) or pa.types.is_fixed_size_list(kind) else kind for kind in stored.schema.types}
    assert kinds == {pa.string(), pa.bool_(), pa.int16(), pa.int32(), pa.int64(), pa.float32(), pa.float64()}
    assert {len(stored.column("forest.feature").chunk(0)[i].values) for i in range(stored.num_rows)} == {100 * 255}


def test_a_detector_of_another_format_is_refused(detector: SiteDetector) -> None:
    stored = pa.ipc.open_file(detector.to_bytes()).read_all()
    said = json.loads(stored.schema.metadata[b"detector"]) | {"format": 3}
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, stored.schema.with_metadata({b"detector": json.dumps(said)})) as file:
        file.write_table(stored)
    with pytest.raises(ValueError, match=r"has format 3, this version reads \d; train it again"):
        SiteDetector.from_bytes(sink.getvalue().to_pybytes())
    with pytest.raises(ValueError, match="not a stored detector"):
        SiteDetector.from_bytes(detector.to_bytes()[:1000])


def test_a_stored_detector_scores_the_same(detector: SiteDetector) -> None:
    stored = SiteDetector.from_bytes(detector.to_bytes())
    pd.testing.assert_frame_equal(
        stored.score(HEALTHY, site=SITE, model_version=1), detector.score(HEALTHY, site=SITE, model_version=1), check_exact=True
    )
    assert stored.to_bytes() == detector.to_bytes()


def test_bytes_that_are_no_detector_are_refused() -> None:
    with pytest.raises(ValueError, match="not a stored detector"):
        SiteDetector.from_bytes(b"something else")


def test_a_new_machine_takes_the_model_of_its_class() -> None:
    site = _site(*SITE.machines, _machine("P3"), _machine("F1", machine_class="fan"))
    few = [_features(site.machine(m), days=1, seed=5, stops=False) for m in ("P3", "F1")]
    detector = SiteDetector.fit(pd.concat([HEALTHY, *few]), site=site, held_out_from=HELD_OUT, seed=7)
    assert {m: model.source for m, model in detector.models.items()} == {"P1": "own", "P2": "own", "P3": "class"}
    assert list(detector.untrained) == ["F1"]
    assert "no other fan" in detector.untrained["F1"]
    scores = detector.score(pd.concat(few), site=site, model_version=1)
    assert set(scores["machine_id"]) == {"P3"}
    assert (scores["score"] >= 0.6).mean() < 0.02


def test_without_enough_healthy_windows_there_is_no_detector() -> None:
    with pytest.raises(NotTrainable, match="144 healthy running windows to fit on and 0 held out"):
        SiteDetector.fit(_features(SITE.machines[0], days=1, seed=1), site=SITE, held_out_from=HELD_OUT, seed=7)


def test_a_machine_of_a_class_that_nothing_can_be_learned_from_is_refused_too() -> None:
    still = _features(SITE.machines[0], days=14, seed=1, stops=False).assign(mean=3.0, std=0.0, slope_per_h=0.0)
    young = _features(SITE.machines[1], days=14, seed=2, stops=False)
    young = young[young["window_start"] >= HELD_OUT - pd.Timedelta(hours=6)]
    with pytest.raises(NotTrainable, match="P1: no sensor has any spread in the healthy windows"):
        SiteDetector.fit(pd.concat([still, young]), site=SITE, held_out_from=HELD_OUT, seed=7)


def test_features_of_another_shape_are_refused(detector: SiteDetector) -> None:
    with pytest.raises(ValueError, match="lack the columns running_share"):
        detector.score(HEALTHY.drop(columns="running_share"), site=SITE, model_version=1)


def test_no_features_give_an_empty_table_of_the_right_shape(detector: SiteDetector) -> None:
    scores = detector.score(HEALTHY.iloc[:0], site=SITE, model_version=1)
    assert list(scores.columns) == ANOMALY_SCORES.names
    assert len(scores) == 0


def test_a_role_is_the_type_and_its_place() -> None:
    assert roles(_machine("M", types=("temperature", "vibration", "temperature"))) == ("temperature#0", "vibration#0", "temperature#1")


def test_a_sensor_that_never_moved_is_refused_by_name_and_the_others_are_trained() -> None:
    features = HEALTHY.copy()
    is_flow = features["sensor_id"] == "P1-flow-2"
    features.loc[is_flow, ["mean", "std", "slope_per_h"]] = [12.5, 0.0, 0.0]
    detector = SiteDetector.fit(features, site=SITE, held_out_from=HELD_OUT, seed=7)
    assert list(detector.refused_sensors) == ["P1-flow-2"]
    assert "reads 12.5 in every one of the" in detector.refused_sensors["P1-flow-2"]
    assert SiteDetector.from_bytes(detector.to_bytes()).refused_sensors == detector.refused_sensors
    assert set(detector.models) == {"P1", "P2"}


def _stretched(at: pd.Series, *, minutes: int) -> pd.Series:
    return (START + (at - START) * (minutes / 10)).dt.as_unit("us")


def _gone(features: pd.DataFrame, *, share: float) -> pd.DataFrame:
    """Without windows at random, and with two days of readings that are too few."""
    starts = np.sort(features["window_start"].unique())
    at = np.searchsorted(starts, features["window_start"])
    is_kept = np.random.default_rng(4).random(len(starts)) >= share
    is_thin = (at > len(starts) // 2 + 100) & (at < len(starts) // 2 + 400)
    return features.assign(coverage=np.where(is_thin, 0.2, 1.0))[is_kept[at]]


_AT_EACH_WINDOW = [(5, 5, 0.0), (10, 10, 0.0), (20, 20, 0.0), (60, 60, 0.0), (120, 120, 0.0), (180, 180, 0.0)]
_RARER = [(5, 8, 0.0), (10, 30, 0.0), (10, 60, 0.0), (10, 120, 0.0)]
_WITH_HOLES = [(10, 10, 0.4), (10, 60, 0.4), (60, 60, 0.4)]


@pytest.mark.parametrize(("window_minutes", "minutes", "share_gone"), [*_AT_EACH_WINDOW, *_RARER, *_WITH_HOLES])
def test_a_day_scored_with_the_days_it_remembers_and_within_all_of_them_come_to_the_same(
    window_minutes: int, minutes: int, share_gone: float
) -> None:
    site = _site(
        *(
            m.model_copy(update={"sensors": tuple(s.model_copy(update={"interval_s": 60 * minutes}) for s in m.sensors)})
            for m in SITE.machines
        )
    )
    site = site.model_copy(update={"window_minutes": window_minutes})
    features = _gone(HEALTHY, share=share_gone) if share_gone else HEALTHY
    features = features.assign(window_start=_stretched(features["window_start"], minutes=minutes).dt.floor(f"{window_minutes}min"))
    held_out_from = _stretched(pd.Series([HELD_OUT]), minutes=minutes)[0]
    detector = SiteDetector.fit(features, site=site, held_out_from=held_out_from, seed=7)
    whole, starts = detector.score(features, site=site, model_version=1), features["window_start"]
    one, numbers = pd.Timedelta(days=1), [c for c in whole.columns if whole[c].dtype == np.float64]
    days, remembered = pd.date_range(START, starts.max(), freq="D"), remembered_days(site)
    apart: dict[int, list[float]] = {1: [], remembered: []}
    for day in days[len(days) // 2 : -1 : max(1, len(days) // 12)]:
        within = whole[(whole["window_start"] >= day) & (whole["window_start"] < day + one)].reset_index(drop=True)
        for back, differences in apart.items():
            of_days = features[(starts >= day - back * one) & (starts < day + one)]
            alone = detector.score(of_days, site=site, model_version=1, since=day)
            if back == remembered:
                pd.testing.assert_frame_equal(
                    alone[["machine_id", "window_start", "state"]], within[["machine_id", "window_start", "state"]]
                )
            if len(within) and within["score"].notna().any():
                differences.append(np.nanmax(np.abs((alone[numbers] - within[numbers]).to_numpy())))
    assert len(apart[1]) > 2
    assert max(apart[remembered]) < 0.01
    assert max(apart[1]) > 0.1 or minutes < 60, "the day before is not enough"


def test_a_machine_that_settles_for_two_days_does_so_in_a_day_scored_alone_too(detector: SiteDetector) -> None:
    detection = Policy().detection.model_copy(update={"settle_windows": 300})
    site = SITE.model_copy(update={"policy": Policy(detection=detection)})
    assert (remembered_days(SITE), remembered_days(site)) == (2, 4)
    whole, day = detector.score(HEALTHY, site=site, model_version=1), START + pd.Timedelta(days=9)
    within = whole[(whole["window_start"] >= day) & (whole["window_start"] < day + pd.Timedelta(days=1))]
    starts = HEALTHY["window_start"]
    known = HEALTHY[(starts >= day - pd.Timedelta(days=remembered_days(site))) & (starts < day + pd.Timedelta(days=1))]
    alone = detector.score(known, site=site, model_version=1, since=day)
    assert alone["state"].tolist() == within["state"].tolist()
    assert set(alone["state"]) == {"settling", "scored"}


_SLOW = SITE.machines[0].sensors[:3]
MIXED = _site(
    SITE.machines[0].model_copy(
        update={"sensors": (*(s.model_copy(update={"interval_s": 3600}) for s in _SLOW), SITE.machines[0].sensors[3])}
    )
)


def _mixed(features: pd.DataFrame) -> pd.DataFrame:
    """The first three sensors of P1 are read hourly, the fourth in each window."""
    is_slow = features["sensor_id"].isin([s.sensor_id for s in _SLOW])
    return features[(features["machine_id"] == "P1") & (~is_slow | (features["window_start"].dt.minute == 0))]


@pytest.fixture(scope="module")
def mixed_detector() -> SiteDetector:
    return SiteDetector.fit(_mixed(HEALTHY), site=MIXED, held_out_from=HELD_OUT, seed=7)


def test_a_machine_of_a_fast_sensor_and_three_hourly_ones_is_scored_in_each_window(mixed_detector: SiteDetector) -> None:
    features = _mixed(HEALTHY)
    assert set(mixed_detector.score(features, site=MIXED, model_version=1)["state"]) == {"scored", "stopped", "settling"}
    without = features[features["sensor_id"] != "P1-current-3"]
    assert "too_few_readings" not in set(mixed_detector.score(without, site=MIXED, model_version=1)["state"])
    assert "too_few_readings" in set(mixed_detector.score(features, site=_site(SITE.machines[0]), model_version=1)["state"])


def test_what_an_hourly_sensor_beside_a_fast_one_says_for_hours_opens_an_incident(mixed_detector: SiteDetector) -> None:
    step = np.zeros(6 * 144)
    step[500:536] = 20.0  # six hours, read six times
    stepped = _mixed(_features(SITE.machines[0], days=6, seed=98, shift={"P1-temperature-0": step}, stops=False))
    raised = alarms(mixed_detector.score(stepped, site=MIXED, model_version=1), site=MIXED)
    begins, ends = (START + pd.Timedelta(minutes=10 * n) for n in (500, 536))
    [onset] = raised["onset_at"]
    assert begins <= onset <= begins + pd.Timedelta(hours=1)
    assert raised["last_window_at"].item() <= ends + pd.Timedelta(hours=2)


def test_a_day_of_a_machine_of_two_paces_comes_to_the_same_alone(mixed_detector: SiteDetector) -> None:
    features = _mixed(HEALTHY)
    whole, starts = mixed_detector.score(features, site=MIXED, model_version=1), features["window_start"]
    for n in range(6, 14):
        day, one = START + pd.Timedelta(days=n), pd.Timedelta(days=1)
        known = features[(starts >= day - remembered_days(MIXED) * one) & (starts < day + one)]
        alone = mixed_detector.score(known, site=MIXED, model_version=1, since=day)
        within = whole[(whole["window_start"] >= day) & (whole["window_start"] < day + one)].reset_index(drop=True)
        assert alone["state"].tolist() == within["state"].tolist()
        assert (alone["score"] - within["score"]).abs().max() < 0.01


def test_a_sensor_read_a_few_times_is_not_looked_at_before_it_has_been_read_twenty_times() -> None:
    machine = SITE.machines[0]
    daily = machine.model_copy(update={"sensors": (machine.sensors[0].model_copy(update={"interval_s": 86400}), *machine.sensors[1:])})
    features = _features(machine, days=35, seed=5, stops=False)
    is_read = (features["sensor_id"] != "P1-temperature-0") | (features["window_start"].dt.strftime("%H:%M") == "09:00")
    site, features = _site(daily), features[is_read]
    young = features[features["window_start"] < START + pd.Timedelta(days=14)]
    detector = SiteDetector.fit(young, site=site, held_out_from=HELD_OUT, seed=7)
    assert detector.refused_sensors == {"P1-temperature-0": "is read every 24 h: some 10 healthy readings to learn from, 20 are needed"}
    detector = SiteDetector.fit(features, site=site, held_out_from=START + pd.Timedelta(days=25), seed=7)
    assert detector.refused_sensors == {}
    assert set(detector.models["P1"].members.baseline.sensor_of) == {0, 1, 2, 3}


def test_a_machine_read_too_rarely_for_an_incident_to_open_is_not_trained_and_told_so() -> None:
    slow = SITE.machines[0].model_copy(
        update={"sensors": tuple(s.model_copy(update={"interval_s": 38 * 600}) for s in SITE.machines[0].sensors)}
    )
    policy = Policy().detection
    assert policy.merge_gap_windows == 36
    detector = SiteDetector.fit(HEALTHY, site=_site(slow, SITE.machines[1]), held_out_from=HELD_OUT, seed=7)
    assert set(detector.models) == {"P2"}
    assert "every 38 windows of 10 minutes, too far apart for an incident's 3 in a row" in detector.untrained["P1"]


def test_a_stopped_machine_whose_running_sensor_is_dead_is_not_taken_for_a_running_one() -> None:
    declared = SITE.machines[0].model_copy(update={"running_when": RunningWhen(sensor_id="P1-current-3", above=5)})
    detector = SiteDetector.fit(HEALTHY, site=_site(declared), held_out_from=HELD_OUT, seed=7)
    features = _features(SITE.machines[0], days=3, seed=8, stops=False)
    stops = features["window_start"] >= START + pd.Timedelta(hours=12)
    still = features.assign(mean=features["mean"].mask(stops, 0.0), std=features["std"].mask(stops, 0.0))
    is_dead = (features["sensor_id"] == "P1-current-3") & (features["window_start"] >= START + pd.Timedelta(hours=18))
    # what the features say without a reading: as before on that day, and running on the next ones
    still["running_share"] = np.where(stops & (features["window_start"] < START + pd.Timedelta(days=1)), 0.0, 1.0)
    states = detector.score(still[~is_dead], site=_site(declared), model_version=1).set_index("window_start")["state"]
    told_until = START + pd.Timedelta(hours=17, minutes=50) + pd.Timedelta(days=1)
    assert set(states[START + pd.Timedelta(hours=12) : told_until]) == {"stopped"}
    assert set(states[told_until + pd.Timedelta(minutes=10) :]) == {"settling", "too_few_readings"}


def test_a_slow_drift_is_seen_by_the_cusum_and_the_forecast_while_hardly_a_single_window_is_odd(detector: SiteDetector) -> None:
    drift = np.linspace(0, 8.0, 6 * 144)  # of a temperature that the load moves by three degrees
    drifting = _features(SITE.machines[0], days=6, seed=99, shift={"P1-temperature-0": drift}, stops=False)
    scores = detector.score(drifting, site=SITE, model_version=1)
    at_the_end = (scores.iloc[-144:][list(MEMBERS)] >= SITE.policy.detection.on_threshold).mean()
    assert at_the_end["cusum"] > 0.8
    assert at_the_end["forecast"] > 0.8
    assert at_the_end["robust_z"] < 0.2
    assert at_the_end["isolation_forest"] < 0.1


def test_until_a_week_was_seen_only_the_forecast_may_raise_an_alarm() -> None:
    young = SiteDetector.fit(
        HEALTHY[HEALTHY["window_start"] < START + pd.Timedelta(days=6)], site=SITE, held_out_from=START + pd.Timedelta(days=4), seed=7
    )
    level = np.full(4 * 144, 30.0)  # from the first window on, so that nothing changes
    scores = young.score(
        _features(SITE.machines[0], days=4, seed=98, shift={"P1-temperature-0": level}, stops=False), site=SITE, model_version=1
    )
    settled = scores[(scores["window_start"] >= START + pd.Timedelta(days=2))]
    assert (settled[["robust_z", "ewma", "cusum", "pca_t2", "pca_q", "isolation_forest"]] < SITE.policy.detection.on_threshold).all(
        axis=None
    )
