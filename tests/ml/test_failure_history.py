"""Telemetry and events on one grid: what a row may know, what counts as a failure ahead, and which rows say nothing."""

import numpy as np
import pandas as pd
import pytest

from ml.failure_history import Events, features_of, labelled, on_grid, step_of, tables_of, telemetry_of
from ml.failure_windows import window_features
from ml.plant import Site

DAY = pd.Timestamp("2026-03-02", tz="UTC")


def site_of(window_minutes: int, **policy: object) -> Site:
    def machine(machine_id: str, **more: object) -> dict[str, object]:
        sensors = [
            {"sensor_id": f"{machine_id}-T1", "type": "temperature", "unit": "°C"},
            {"sensor_id": f"{machine_id}-T2", "type": "temperature", "unit": "°C"},
            {"sensor_id": f"{machine_id}-V", "type": "vibration", "unit": "mm/s"},
        ]
        return {"machine_id": machine_id, "machine_class": "pump", "sensors": sensors, **more}

    return Site.model_validate(
        {
            "site": "s",
            "name": "S",
            "first_day": "2026-01-01",
            "window_minutes": window_minutes,
            "policy": policy,
            "machines": [machine("A", in_service_since="2024-03-01"), machine("B", machine_class="fan")],
        }
    )


def rows(*entries: tuple[str, str, str, float]) -> pd.DataFrame:
    """[machine, start of the window, sensor, mean] as machine_features has them."""
    frame = pd.DataFrame(entries, columns=["machine_id", "window_start", "sensor_id", "mean"])
    starts = pd.to_datetime(frame["window_start"]).dt.tz_localize("UTC").astype("datetime64[us, UTC]")
    return frame.assign(window_start=starts, running_share=1.0)


def events(*, failures=(), replacements=(), errors=(), known_until: str | None = "2026-03-05T00:00Z") -> Events:
    def table(entries: tuple, name: str) -> pd.DataFrame:
        frame = pd.DataFrame(list(entries), columns=["machine_id", "at", name])
        return frame.assign(at=pd.to_datetime(frame["at"], utc=True).astype("datetime64[us, UTC]"))

    until = None if known_until is None else pd.Timestamp(known_until)
    return Events(table(failures, "mode"), table(replacements, "component"), table(errors, "error"), until)


def test_a_row_holds_the_windows_that_ended_in_the_hour_before_it() -> None:
    site = site_of(10)
    found = telemetry_of(
        rows(
            ("A", "2026-03-02T00:00", "A-T1", 10.0),
            ("A", "2026-03-02T00:50", "A-T1", 20.0),  # ends at 01:00
            ("A", "2026-03-02T00:50", "A-T2", 60.0),
            ("A", "2026-03-02T01:00", "A-T1", 99.0),  # ends at 01:10
            ("A", "2026-03-02T00:10", "gone", 7.0),  # no sensor of the plant any more
            ("A", "2026-03-02T00:20", "A-V", 3.0),
        ),
        site=site,
    )
    assert found["at"].tolist() == [DAY + pd.Timedelta(hours=1), DAY + pd.Timedelta(hours=2)]
    assert found["temperature"].tolist() == [30.0, 99.0]  # (10 + 20 + 60) / 3
    assert found["vibration"].fillna(-1).tolist() == [3.0, -1.0]
    grid = on_grid(found, site=site, start=DAY, end=DAY + pd.Timedelta(hours=3))
    assert grid["machine_id"].tolist() == ["A"] * 3 + ["B"] * 3
    assert grid["at"].iloc[0] == DAY + pd.Timedelta(hours=1)
    assert grid["temperature"].fillna(-1).tolist() == [30.0, 99.0, -1.0, -1.0, -1.0, -1.0]


def test_windows_longer_than_an_hour_are_the_steps_and_hours_become_steps() -> None:
    site = site_of(180)
    assert step_of(site) == pd.Timedelta(hours=3)
    at = pd.date_range(DAY, periods=9, freq="3h", inclusive="right", unit="us")
    telemetry = pd.DataFrame({"machine_id": "A", "at": at, "volt": np.arange(1.0, 9.0)})
    none = events()
    tables = {
        "telemetry": telemetry,
        "errors": none.errors,
        "replacements": none.replacements,
        "machines": pd.DataFrame({"machine_id": ["A"]}),
    }
    found = window_features(tables, errors=(), components=(), step_h=3)
    assert found["volt_mean_3h"].tolist() == telemetry["volt"].tolist()
    assert found["volt_mean_12h"].tolist() == [1, 1.5, 2, 2.5, 3.5, 4.5, 5.5, 6.5]  # of the last four
    assert found["volt_std_24h"].iloc[-1] == pytest.approx(np.std(np.arange(1, 9), ddof=1))
    with pytest.raises(ValueError, match="horizon_h must be a whole number of windows of 180 minutes"):
        site_of(180, failure_model={"horizon_h": 25})


def test_an_event_within_a_step_belongs_to_the_row_that_ends_it() -> None:
    """A failure at 10:20 is ahead of the row of 10:00, by an hour of the grid, and no longer of that of 11:00."""
    site = site_of(60)
    step = step_of(site)
    on = events(
        failures=[("A", "2026-03-03T10:20Z", "VIB"), ("A", "2026-03-03T10:20Z", "OHE")],
        replacements=[("A", "2026-03-03T12:30Z", "bearing")],
        errors=[("A", "2026-03-03T09:30Z", "e1"), ("A", "2026-03-03T09:40Z", "e1"), ("A", "2026-03-03T13:00Z", "e1")],
    ).on_grid(step)
    telemetry = pd.DataFrame({"machine_id": "A", "at": pd.date_range(DAY, periods=49, freq="h", inclusive="right", unit="us")})
    hours = on_grid(
        telemetry.assign(temperature=1.0, vibration=1.0, running_share=1.0), site=site, start=DAY, end=DAY + pd.Timedelta(days=2)
    )
    labels, n_presumed = labelled(hours, on, horizon_h=24, step=step)
    a = (hours["machine_id"] == "A").to_numpy()
    fails = hours.loc[labels.fails, "at"]
    assert (fails.min(), fails.max(), len(fails)) == (pd.Timestamp("2026-03-02T11:00Z"), pd.Timestamp("2026-03-03T10:00Z"), 24)
    out = hours.loc[a & ~labels.is_usable, "at"]
    assert out.tolist() == [pd.Timestamp(f"2026-03-03T{h}:00Z") for h in (11, 12, 13)], "failed at 10:20, repaired at 12:30"
    assert not labels.is_usable[~a].any(), "B delivered nothing"
    assert n_presumed == 0
    features = features_of(tables_of(hours, on, site=site, classes=("fan", "pump")), errors=("e1",), components=("bearing",), step=step)[a]
    by_hour = features.set_index(hours.loc[a, "at"])
    assert by_hour.loc["2026-03-03T09:00Z", "e1_count_24h"] == 0
    assert by_hour.loc["2026-03-03T10:00Z", "e1_count_24h"] == 2
    assert by_hour.loc["2026-03-03T13:00Z", "e1_count_24h"] == 3
    assert np.isnan(by_hour.loc["2026-03-03T13:00Z", "hours_since_bearing"]), "the repair is of this hour"
    assert by_hour.loc["2026-03-03T14:00Z", "hours_since_bearing"] == 1
    assert by_hour["machine_class"].unique().tolist() == [1.0]
    assert by_hour.loc["2026-03-02T12:00Z", "age_years"] == pytest.approx((365 + 365 + 1.5) / 365.25)  # since 1 March 2024


def test_what_nobody_has_said_is_no_health_and_a_repair_that_nobody_wrote_down_is_presumed() -> None:
    site = site_of(60)
    step = step_of(site)
    telemetry = pd.DataFrame({"machine_id": "A", "at": pd.date_range(DAY, periods=97, freq="h", inclusive="right", unit="us")})
    hours = on_grid(
        telemetry.assign(temperature=1.0, vibration=1.0, running_share=1.0), site=site, start=DAY, end=DAY + pd.Timedelta(days=4)
    )
    failed = [("A", "2026-03-03T10:00Z", "VIB")]
    told = events(failures=failed, known_until="2026-03-05T20:00Z").on_grid(step)
    labels, n_presumed = labelled(hours, told, horizon_h=24, step=step)
    assert n_presumed == 1
    usable = hours.loc[labels.is_usable, "at"]
    assert usable.max() == pd.Timestamp("2026-03-04T20:00Z"), "a day later the record ends"
    out = usable[(usable > pd.Timestamp("2026-03-03T09:00Z")) & (usable <= pd.Timestamp("2026-03-04T10:00Z"))]
    assert out.empty, "repaired a day later, it is presumed"
    assert not labelled(hours, events(known_until=None).on_grid(step), horizon_h=24, step=step)[0].is_usable.any()
