"""What a report covers: the sites, the range of days, and where its data is read."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import cached_property
from typing import Any, Protocol

import pandas as pd
from sqlalchemy import Connection

from ml.plant import Machine, Sensor, Site

GRADE_ORDER = ("F", "C", "B", "A")


class Lake(Protocol):
    """As much of the lake as reports need."""

    def read_days(self, table: str, *, site: str, start: date, end: date, columns: Sequence[str] | None = None) -> pd.DataFrame: ...


@dataclass(frozen=True)
class Scope:
    """`sites` are those covered; `site` is the one asked for, or None for all."""

    connection: Connection
    lake: Lake
    sites: tuple[Site, ...]
    site: str | None
    start: date
    end: date

    @property
    def name(self) -> str:
        return "all sites" if self.site is None else self.sites[0].name

    @property
    def range(self) -> dict[str, Any]:
        return {"site": self.site, "start": self.start, "end": self.end}

    @property
    def days(self) -> list[date]:
        return [self.start + timedelta(days=n) for n in range((self.end - self.start).days + 1)]

    @property
    def is_one_day(self) -> bool:
        return self.start == self.end

    @cached_property
    def machines(self) -> dict[tuple[str, str], Machine]:
        return {(s.site, m.machine_id): m for s in self.sites for m in s.machines}

    @cached_property
    def sensors(self) -> dict[tuple[str, str], Sensor]:
        return {(s.site, sensor.sensor_id): sensor for s in self.sites for sensor in s.sensors}

    def currency(self, site: str) -> str:
        return next((s.currency for s in self.sites if s.site == site), "")

    @property
    def risk_columns(self) -> dict[str, str]:
        """Headings for `risk` and `currency`: one column where all covered sites share a currency."""
        shared = {s.currency for s in self.sites}
        return {"risk": f"risk ({shared.pop()})"} if len(shared) == 1 else {"risk": "risk", "currency": "currency"}

    def read(self, table: str, columns: Sequence[str]) -> pd.DataFrame:
        """The range's rows of a table of the lake, of all covered sites, with the site as a column."""
        days = {"start": self.start, "end": self.end}
        parts = [self.lake.read_days(table, site=s.site, columns=columns, **days).assign(site=s.site) for s in self.sites]
        return pd.concat(parts, ignore_index=True)

    def columns(self, columns: dict[str, str]) -> dict[str, str]:
        """Headings, with the site as the first where the report covers several."""
        return columns if self.site else {"site": "site", **columns}

    def named(self, machine_ids: pd.Series, sites: pd.Series) -> pd.Series:
        """What to call machines in a chart: the site in front where the report covers several."""
        return machine_ids if self.site else sites + " " + machine_ids
