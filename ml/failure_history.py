"""A site's telemetry, errors, replacements and failures on one grid of time: what the learned failure model learns from and looks at.

A row of the grid is a machine and an instant, and holds what had been known by then: the windows that ended in the step before it. Events
take the first instant at or after their own time, so that a failure within a step belongs to the row that ends it. The step is an hour,
or the site's window where that is longer.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from ml.failure_figures import Labelled
from ml.failure_windows import KEY, Tables, fails_within, hours_in_order, hours_to_failure, is_in_repair, window_features
from ml.frames import UTC_TIME, typed_frame
from ml.plant import Site

TELEMETRY_COLUMNS = ("machine_id", "window_start", "sensor_id", "mean", "running_share")
LOOK_BACK_DAYS = 4  # days of telemetry that end with the day asked about: the longest window is of 72 hours before its last row
RUNNING = "running_share"
REPAIRED_WITHIN = pd.Timedelta(days=7)
SECONDS_PER_YEAR = 365.25 * 86_400


@dataclass(frozen=True)
class Events:
    """What happened to machines: failures [machine_id, at, mode], replacements [machine_id, at, component], errors [machine_id, at, error].

    `known_until` is the latest entry of any kind: whether a machine failed after it, nobody has said; None where there is no entry.
    """

    failures: pd.DataFrame
    replacements: pd.DataFrame
    errors: pd.DataFrame
    known_until: pd.Timestamp | None

    def on_grid(self, step: pd.Timedelta) -> "Events":
        def binned(rows: pd.DataFrame) -> pd.DataFrame:
            return rows.astype({"machine_id": "str"}).assign(at=rows["at"].dt.ceil(step)).sort_values(KEY, ignore_index=True)

        def once(rows: pd.DataFrame) -> pd.DataFrame:
            return binned(rows).drop_duplicates(ignore_index=True)

        return Events(once(self.failures), once(self.replacements), binned(self.errors), self.known_until)  # two errors of a kind are two


def step_of(site: Site) -> pd.Timedelta:
    return pd.Timedelta(minutes=max(60, site.window_minutes))


def telemetry_of(features: pd.DataFrame, *, site: Site) -> pd.DataFrame:
    """[machine_id, at, a column per sensor type of the site, running_share]: means of `machine_features` (TELEMETRY_COLUMNS) by step."""
    kinds = {sensor.sensor_id: sensor.type for sensor in site.sensors}
    rows = features.assign(kind=features["sensor_id"].map(kinds)).dropna(subset="kind")
    end = rows["window_start"] + pd.Timedelta(minutes=site.window_minutes)
    rows = rows.assign(at=end.dt.ceil(step_of(site)))
    by_step = rows.groupby([*KEY, "kind"])["mean"].mean().unstack("kind")
    by_step = by_step.reindex(columns=sorted(set(kinds.values()))).assign(**{RUNNING: rows.groupby(KEY)[RUNNING].mean()})
    return by_step.rename_axis(columns=None).reset_index()


def on_grid(telemetry: pd.DataFrame, *, site: Site, start: pd.Timestamp, end: pd.Timestamp) -> pd.DataFrame:
    """Every machine of the site at every step after `start` and until `end`, in order; without a value where nothing was delivered."""
    instants = pd.date_range(start, end, freq=step_of(site), inclusive="right", unit="us")
    rows = pd.MultiIndex.from_product([sorted(m.machine_id for m in site.machines), instants], names=KEY)
    return hours_in_order(telemetry.set_index(KEY).reindex(rows).reset_index())


def is_reported(hours: pd.DataFrame) -> "pd.Series[bool]":
    """Whether anything was delivered in the step."""
    return hours.drop(columns=[*KEY, RUNNING]).notna().any(axis=1)


def tables_of(hours: pd.DataFrame, events: Events, *, site: Site, classes: Sequence[str]) -> dict[str, pd.DataFrame]:
    """What `features_of` takes; hours and events on the grid. A machine of a class that is not among `classes` has none."""
    numbers = {name: float(n) for n, name in enumerate(classes)}
    rows = [
        {
            "machine_id": m.machine_id,
            "machine_class": numbers.get(m.machine_class, np.nan),
            "in_service_since": None if m.in_service_since is None else pd.Timestamp(m.in_service_since, tz="UTC"),
        }
        for m in site.machines
    ]
    machines = typed_frame(rows, {"machine_id": "str", "machine_class": "float64", "in_service_since": UTC_TIME})
    return {"telemetry": hours, "errors": events.errors, "replacements": events.replacements, "machines": machines}


def features_of(tables: Tables, *, errors: Sequence[str], components: Sequence[str], step: pd.Timedelta) -> pd.DataFrame:
    """The window features, and the machine's age in years where the plant file says since when it is in service."""
    since = tables["machines"].set_index("machine_id")["in_service_since"]
    machines = tables["machines"].drop(columns="in_service_since")
    found = window_features({**tables, "machines": machines}, errors=errors, components=components, step_h=step / pd.Timedelta(hours=1))
    hours = hours_in_order(tables["telemetry"])
    age = (hours["at"] - hours["machine_id"].map(since)).dt.total_seconds() / SECONDS_PER_YEAR
    return found.assign(age_years=age.to_numpy(dtype=np.float64))


def labelled(hours: pd.DataFrame, events: Events, *, horizon_h: int, step: pd.Timedelta) -> tuple[Labelled, int]:
    """(labels of the rows, failures whose repair is presumed); hours and events on the grid.

    Rows count where telemetry was delivered, the machine was not failed or in repair, and it is known whether it failed within the
    horizon. A failure that no replacement follows within REPAIRED_WITHIN is taken to be repaired a horizon later.
    """
    failures = events.failures[KEY].drop_duplicates()
    following = pd.merge_asof(
        failures.sort_values("at"),
        events.replacements[KEY].assign(repaired_at=events.replacements["at"]).sort_values("at"),
        on="at", by="machine_id", direction="forward", tolerance=REPAIRED_WITHIN,
    )  # fmt: skip
    presumed = following.loc[following["repaired_at"].isna(), KEY]
    repairs = pd.concat([events.replacements[KEY], presumed.assign(at=presumed["at"] + pd.Timedelta(hours=horizon_h))], ignore_index=True)
    ahead = hours_to_failure(hours, failures)
    fails = fails_within(ahead, horizon_h=horizon_h)
    is_known = np.zeros(len(hours), dtype=np.bool_)
    if events.known_until is not None:
        is_known = (hours["at"] + pd.Timedelta(hours=horizon_h) <= events.known_until).to_numpy() | fails
    usable = is_known & is_reported(hours).to_numpy() & ~is_in_repair(hours, failures, replacements=repairs)
    return Labelled(hours[KEY], ahead, fails, usable, step_h=step / pd.Timedelta(hours=1)), len(presumed)
