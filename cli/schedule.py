"""`maintenance schedule`: the plans in force, as a table or as a technician's calendar."""

import pandas as pd
from rich.table import Column, Table

from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import demand_site, ledger_of
from ml.plant import Site
from resources.ledger.plans import assignments_in_force


def plan_table(environment: Environment, *, site: str | None, technician: str | None) -> Table:
    """A row per assignment, readable from 80 columns on: under the work's title its order, priority and what is unusual about it.

    Raises CommandError for a site or a technician that the plant does not have."""
    whole = (Column(name, no_wrap=True) for name in ("from", "to", "technician"))
    table = Table(*whole, Column("what", overflow="fold", ratio=1), box=None, padding=(0, 1), expand=True)
    for found in _sites(environment, site=site, technician=technician):
        names = {t.technician_id: t.name for t in found.technicians}
        for row in in_force(environment, found, technician=technician).to_dict("records"):
            begins, ends = (row[name].tz_convert(found.zone) for name in ("start_at", "end_at"))
            marks = [word for word, is_so in (("overtime", row["is_overtime"]), ("late", row["is_late"])) if is_so]
            table.add_row(
                f"{begins:%a %m-%d %H:%M}",
                f"{ends:%H:%M}",
                names.get(row["technician_id"], row["technician_id"]),
                f"{row['title']}\n{', '.join([row['order_id'], row['priority'], *marks])}",
            )
    return table


def technician_calendar(environment: Environment, *, site: str | None, technician: str | None) -> str:
    """iCalendar text. Raises CommandError unless the technician is one that the plant has once."""
    from assets.reporting.icalendar_text import calendar_text

    if technician is None:
        raise CommandError("A calendar is that of one technician; name one with --technician.")
    found = _sites(environment, site=site, technician=technician)
    if len(found) > 1:
        raise CommandError(f"There is a technician {technician!r} at {', '.join(s.site for s in found)}; name the site with --site.")
    name = next(t.name for t in found[0].technicians if t.technician_id == technician)
    return calendar_text(in_force(environment, found[0], technician=technician), name=f"{name}, {found[0].name}")


def in_force(environment: Environment, site: Site, *, technician: str | None) -> pd.DataFrame:
    with ledger_of(environment).begin() as connection:
        return assignments_in_force(connection, site=site.site, technician_id=technician)


def _sites(environment: Environment, *, site: str | None, technician: str | None) -> list[Site]:
    demand_site(environment, site)
    sites = [s for s in environment.sites if site is None or s.site == site]
    if technician is None:
        return sites
    found = [s for s in sites if any(t.technician_id == technician for t in s.technicians)]
    if not found:
        known = ", ".join(sorted(t.technician_id for s in sites for t in s.technicians))
        raise CommandError(f"There is no technician {technician!r}; there are {known}.")
    return found
