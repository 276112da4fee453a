"""The partitions: a day (UTC), a site, and the two together; and how a run says which site-days it is about.

A partition's first day comes from the plant files. Dagster wants it when the definitions load, so this module reads
them then; a wrong plant file is what the code location's error shows.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import TypedDict

import dagster as dg

from resources.home import plant_folder
from resources.plant_files import earliest_day

LOOK_BACK_DAYS = 7  # an incident is followed back this far; see ml.incidents
HEALTH_FALLS_WITHIN_DAYS = 3  # a prediction asks whether its machine's health has fallen since so many days ago
# A day's readings bear on this day and the 16 after it: its features say for 7 days more what is usual for a sensor, the grades that
# rest on that are evidence on incidents for 6 days more, and a fall of the health that rests on these is looked for 3 days later.
REACH_DAYS = 17
SITE_TAG = "smart_maintenance/site"  # the run queue runs one at a time of each value: days of a site rest on the days before

site = dg.DynamicPartitionsDefinition(name="site")
day = dg.DailyPartitionsDefinition(start_date=datetime.combine(earliest_day(plant_folder()), time()), end_offset=1)
site_days = dg.MultiPartitionsDefinition({"day": day, "site": site})


class Where(TypedDict):
    """A site-day as keyword arguments."""

    site: str
    day: date


@dataclass(frozen=True, order=True)
class SiteDay:
    """One partition: what one site did on one UTC day."""

    day: date
    site: str

    @property
    def key(self) -> dg.MultiPartitionKey:
        return dg.MultiPartitionKey({"day": self.day.isoformat(), "site": self.site})

    @property
    def where(self) -> Where:
        return {"site": self.site, "day": self.day}

    @property
    def start(self) -> datetime:
        return datetime.combine(self.day, time(), tzinfo=UTC)

    @property
    def end(self) -> datetime:
        return self.start + timedelta(days=1)

    def looking_back(self, days: int) -> date:
        """The first of so many days that end with this one."""
        return self.day - timedelta(days=days - 1)

    @classmethod
    def of(cls, key: str) -> "SiteDay":
        parts = site_days.get_partition_key_from_str(key).keys_by_dimension
        return cls(date.fromisoformat(parts["day"]), parts["site"])


def site_days_of(context: dg.AssetExecutionContext) -> list[SiteDay]:
    """The run's site-days, in order of time: one of them, or a range."""
    return sorted(SiteDay.of(key) for key in context.partition_keys)


def looking_back(asset: str, *, days: int) -> dg.AssetDep:
    """A dependency on the same site's day and the days before it that are within reach."""
    return dg.AssetDep(
        asset,
        partition_mapping=dg.MultiPartitionMapping(
            {
                "day": dg.DimensionPartitionMapping(
                    "day", dg.TimeWindowPartitionMapping(start_offset=1 - days, allow_nonexistent_upstream_partitions=True)
                ),
                "site": dg.DimensionPartitionMapping("site", dg.IdentityPartitionMapping()),
            }
        ),
    )


def across_site(asset: str) -> dg.AssetDep:
    """A dependency between a table per site-day and one per site, whichever of the two depends on the other."""
    return dg.AssetDep(asset, partition_mapping=dg.MultiToSingleDimensionPartitionMapping("site"))


def range_tags(chosen: Iterable[SiteDay]) -> dict[str, str]:
    """Run tags for a range of days of one site. Raises ValueError for several sites, or none."""
    ordered = sorted(chosen)
    if len({s.site for s in ordered}) != 1:
        raise ValueError("a range run is about the days of one site")
    return {
        "dagster/asset_partition_range_start": ordered[0].key,
        "dagster/asset_partition_range_end": ordered[-1].key,
        SITE_TAG: ordered[0].site,
        "smart_maintenance/days": f"{ordered[0].site} {ordered[0].day} to {ordered[-1].day}",  # what the list of runs shows
    }
