"""`maintenance quarantine release`: asks for judging refused rows anew, takes the request in, and says what came of it."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import pandas as pd
from rich.console import Console
from sqlalchemy import Connection

from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import ledger_of
from cli.process import MainJob, Stages
from cli.quarantined import groups_of, landing_of, sum_of, visible, why_none
from resources.landing import drop_file
from resources.ledger.quarantine import Selection, drop_of_bytes, n_releases, origin_of, quarantined_groups
from resources.quarantine import Release, release_name


@dataclass(frozen=True)
class Written:
    """A release in the landing zone: which file it is, and which delivered file its rows stand in."""

    release: Release
    site: str
    name: str
    origin: str

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.release.content()).hexdigest()


def release_rows(environment: Environment, which: Sequence[Selection], *, operator: str, why: str, console: Console) -> Iterator[str]:
    """Sentences about what came of it. Raises CommandError before anything is done that cannot be done.

    The intake is launched here and now. Where `maintenance up` serves the same data folder, its landing sensor may be the quicker:
    intakes take turns, and the slower one finds nothing to do.
    """
    from cli.launch import launcher

    if not operator.strip() or not why.strip():
        raise CommandError("--operator and --why must say something: a release without them cannot be audited.")
    written = []
    with ledger_of(environment).begin() as connection:
        waiting = pd.concat([quarantined_groups(connection, selection) for selection in which])
        if not len(waiting):
            yield from dict.fromkeys(why_none(connection, selection) for selection in which)
            return
        # Drops are released in the order in which they came: of two readings of one instant the later one wins again.
        for drop_id, groups in sorted(waiting.groupby("drop_id"), key=lambda of_drop: of_drop[1]["taken_in_at"].iloc[0]):
            site = groups["site"].iloc[0]
            origin = _demand_original(environment, connection, str(drop_id), site)
            release = Release(drop_id=str(drop_id), groups=groups_of(groups.drop_duplicates()), who=operator, why=why, at=datetime.now(UTC))
            written.append(Written(release, site, release_name(release.drop_id, n_releases(connection, release.drop_id) + 1), origin))
    for one in written:
        drop_file(one.release.content(), environment.home.folder("landing") / one.site, one.name)
    with launcher(environment) as started:
        remarks = MainJob(environment, started, Stages(console)).run([f"{one.site}/{one.name}" for one in written])
    for one in written:
        yield _what_came_of(environment, one)
    yield from (f"Note: {remark}" for remark in remarks)


def _demand_original(environment: Environment, connection: Connection, drop_id: str, site: str) -> str:
    """Name of the delivered file. Raises CommandError where it is not in its place, or its site not in the plant."""
    if site not in {s.site for s in environment.sites}:
        raise CommandError(f"The plant has no site {site!r} any more, so the rows of drop {drop_id} cannot be judged.")
    origin = origin_of(connection, drop_id, site=site)
    if not landing_of(environment).kept_path(origin.kept_as).exists():
        raise CommandError(
            f"The original of drop {drop_id} is not in its place, {environment.home.root / origin.kept_as}; put it back there."
        )
    return origin.file_name


def _what_came_of(environment: Environment, one: Written) -> str:
    of = f"drop {one.release.drop_id} ({visible(one.origin)})"
    with ledger_of(environment).begin() as connection:
        drop = drop_of_bytes(connection, site=one.site, sha256=one.sha256)
        if drop is None:
            return f"The release of {of} waits in the landing zone as {one.site}/{one.name}; the next intake takes it in."
        if drop["state"] == "refused":
            return f"The release of {of} was refused: {visible(drop['refused_because'])}"
        again = quarantined_groups(connection, Selection(drop_id=drop["drop_id"]))
    counts = again.groupby("reason")["rows"].sum().to_dict()
    why = f" ({', '.join(f'{reason} {rows:,}' for reason, rows in counts.items())})" if counts else ""
    return f"Released of {of}, as drop {drop['drop_id']}: {sum_of(drop)}{why}."
