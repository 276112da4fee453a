"""An incident that a day made anew finds under another onset takes over what people said of it and did about it.

Its labels, its work order, its shelvings, and that it was told; what days found out about it stays theirs.
"""

from collections.abc import Mapping
from datetime import date

import pandas as pd
from sqlalchemy import Connection, delete, select, update

from ml.notifications import incident_key
from ml.succession import successors
from resources.ledger.rows import read_frame
from resources.ledger.tables import incident_assessments, incident_labels, incidents, notifications, shelvings, work_order_incidents


def not_found_again(connection: Connection, found: pd.DataFrame, *, site: str, day: date) -> pd.DataFrame:
    """[incident_id, machine_id, onset_at, last_window_at, label] of those that the day knew and `found` lacks."""
    a = incident_assessments
    return read_frame(
        connection,
        select(a.c.incident_id, incidents.c.machine_id, incidents.c.onset_at, a.c.last_window_at, incidents.c.label)
        .join(incidents, incidents.c.incident_id == a.c.incident_id)
        .where(a.c.site == site, a.c.day == day, a.c.incident_id.not_in(list(found["incident_id"])))
        .order_by(a.c.incident_id),
    )


def hand_over(connection: Connection, gone: pd.DataFrame, found: pd.DataFrame) -> Mapping[str, str]:
    """Those that are there again under another name hand over to it, which it returns; `found` stands in the ledger already."""
    names = successors(gone, found) if len(gone) and len(found) else {}
    for before, after in names.items():
        _hand_over_labels(connection, before, after)
        _hand_over_order(connection, before, after)
        connection.execute(update(shelvings).where(shelvings.c.incident_id == before).values(incident_id=after))
        _hand_over_notice(connection, before, after)
    return names


def _hand_over_labels(connection: Connection, before: str, after: str) -> None:
    """Of those that come together the one written last holds."""
    given = incident_labels
    connection.execute(update(given).where(given.c.incident_id == before).values(incident_id=after))
    last = select(given.c.label).where(given.c.incident_id == after).order_by(given.c.label_id.desc()).limit(1)
    connection.execute(update(incidents).where(incidents.c.incident_id == after).values(label=last.scalar_subquery()))
    connection.execute(update(incidents).where(incidents.c.incident_id == before).values(label=None))


def _hand_over_order(connection: Connection, before: str, after: str) -> None:
    """An incident has one order, the first: where the two had different ones, each keeps its own."""
    links = work_order_incidents
    orders = {row.incident_id: row.order_id for row in connection.execute(select(links).where(links.c.incident_id.in_([before, after])))}
    if before in orders and after not in orders:
        connection.execute(update(links).where(links.c.incident_id == before).values(incident_id=after))
    elif before in orders and orders[before] == orders[after]:
        connection.execute(delete(links).where(links.c.incident_id == before))


def _hand_over_notice(connection: Connection, before: str, after: str) -> None:
    """Whoever was told of it, or is about to be, is not told again; of two notices under both names each stays."""
    told, again = notifications, notifications.alias("again")
    is_told_too = select(again.c.notification_id).where(again.c.event_key == incident_key(after), again.c.receiver_id == told.c.receiver_id)
    of_before = told.c.event_key == incident_key(before)
    connection.execute(update(told).where(of_before, ~is_told_too.exists()).values(event_key=incident_key(after)))
