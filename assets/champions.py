"""Which detector a site's runs use: MLflow's champion; where MLflow does not answer, the last one that lies verified in the cache.

A champion is moved by the gate, by `maintenance models`, or by a person in the MLflow UI. Of the last nobody tells us: the first run
that meets it writes its row, and says that it was found then.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import dagster as dg
from sqlalchemy import Connection

from ml.plant import Site
from resources.ledger.learning import (
    BY_HAND_IN_MLFLOW,
    champion_at,
    latest_champion,
    lock_promotions,
    promotions_of,
    record_promotion,
    version_record,
    versions_of,
)
from resources.ledger.ledger import LedgerResource
from resources.models import CHAMPION, DETECTOR, URI_VARIABLE, ArtifactRefused, Family, ModelsResource, ModelsUnreachable

if TYPE_CHECKING:
    from ml.detectors.fleet import SiteDetector


@dataclass(frozen=True)
class Champion:
    """`warning` says that MLflow could not be asked, and what that means."""

    version: int
    warning: str | None = None

    @property
    def metadata(self) -> Mapping[str, str]:
        return {"warning": self.warning} if self.warning else {}


def champion_of(site: str, *, ledger: LedgerResource, models: ModelsResource, noticed_by: str) -> Champion | None:
    """The champion to use; None where the site has none. A champion that the ledger has not heard of is noted."""
    try:
        with ledger.begin() as connection:
            lock_promotions(connection, site=site)
            version = models.version_of(site, CHAMPION)
            note_champion(connection, site=site, champion=version, noticed_by=noticed_by)
    except ModelsUnreachable as error:
        with ledger.begin() as connection:
            trained = champions_trained_here(connection, site=site)
        return champion_without_mlflow(error, trained, models=models, site=site, family=DETECTOR)
    return Champion(version) if version is not None else None


def champion_without_mlflow(
    error: ModelsUnreachable, trained: Mapping[int, str], *, models: ModelsResource, site: str, family: Family
) -> Champion | None:
    """The latest champion whose bytes lie verified in the cache; where none of them do, the latest; None where there was none.

    `trained`: version -> sha256 of those that the ledger knows as champions, the latest first.
    """
    said = dg.get_dagster_logger()
    if not trained:
        said.warning("%s The ledger knows of no champion among the %ss of %s either.", error, family.words, site)
        return None
    latest = next(iter(trained))
    kept = (version for version, sha256 in trained.items() if models.is_kept(site, version, artifact_sha256=sha256, family=family))
    used = next(kept, latest)
    standing = f"the last champion among the {family.words}s of {site} that the ledger knows"
    which = standing if used == latest else f"the last champion that lies in the cache: version {latest}, {standing}, does not"
    warning = f"{error} Version {used} is used, {which}; one promoted since would not be known."
    said.warning(warning)
    return Champion(used, warning)


def champions_trained_here(connection: Connection, *, site: str) -> dict[int, str]:
    """version -> sha256 of the site's champions, the latest first: one that was not trained here is never loaded. Empty while nobody is."""
    if (standing := champion_at(connection, site=site)) is None or standing["to_version"] is None:
        return {}
    known = {row["version"]: row["artifact_sha256"] for row in versions_of(connection, site=site)}
    in_turn = [row["to_version"] for row in reversed(promotions_of(connection, site=site)) if row["is_promoted"]]
    return {version: known[version] for version in in_turn if version in known}


def load_champion(champion: Champion, *, ledger: LedgerResource, models: ModelsResource, site: Site) -> "SiteDetector":
    """The detector, its bytes those that the ledger knows. Raises dg.Failure, with the sentence that says what to do."""
    from ml.detectors.fleet import SiteDetector

    with ledger.begin() as connection:
        known = version_record(connection, site=site.site, version=champion.version)
    stored = verified_bytes(champion.version, known=known, models=models, site=site.site, family=DETECTOR)
    try:
        return SiteDetector.from_bytes(stored)
    except ValueError as error:
        raise of_another_version(error, champion.version, site=site.site, family=DETECTOR) from error


def verified_bytes(version: int, *, known: Mapping[str, Any] | None, models: ModelsResource, site: str, family: Family) -> bytes:
    """The bytes of a champion, those of the hash that the ledger knows; `known` is its record there. Raises dg.Failure."""
    who = site if family is DETECTOR else f"the {family.words}s of {site}"
    if known is None:
        raise dg.Failure(
            f"The champion of {who} is version {version}, which the ledger does not know: it was not trained here. "
            f"Promote a version that `{family.job}` made.",
            allow_retries=False,
        )
    try:
        return models.load(site, version, artifact_sha256=known["artifact_sha256"], family=family)
    except ArtifactRefused as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    except ModelsUnreachable as error:
        raise dg.Failure(f"{error} Version {version} does not lie in the cache either, so nothing can be scored.") from error


@contextmanager
def training_told(site: str, *, family: Family) -> Iterator[None]:
    """Where a training of the family meets an MLflow that is gone, or bytes that were changed, it ends with what, where and what to do.

    Raises dg.Failure: an MLflow that is gone may be back at a retry, changed bytes stay changed.
    """
    ended = f"The training of the {family.words} of {site} ended here; the champion, if there is one, stays at work."
    try:
        yield
    except ArtifactRefused as error:
        raise dg.Failure(f"{error} {ended} Then run `{family.job}` for {site} again.", allow_retries=False) from error
    except ModelsUnreachable as error:
        again = f"Bring MLflow back, or mend what {URI_VARIABLE} names, and run `{family.job}` for {site} again."
        raise dg.Failure(f"{error} {ended} {again}") from error


def of_another_version(error: ValueError, version: int, *, site: str, family: Family) -> dg.Failure:
    return dg.Failure(
        f"Version {version} of the {family.words} of {site} was made by another version of the program, which this one cannot read "
        f"({error}). Run `{family.job}` for {site}.",
        allow_retries=False,
    )


def note_champion(connection: Connection, *, site: str, champion: int | None, noticed_by: str) -> dict[str, Any] | None:
    """The ledger learns of a champion that it has not seen promoted, or of one taken away; the row, if there was anything to learn."""
    lock_promotions(connection, site=site)
    noted = latest_champion(connection, site=site)
    if champion == noted:
        return None
    standing = champion_at(connection, site=site)
    since = f" some time after {standing['at'].isoformat(timespec='seconds')}" if standing else ""
    what = "taken away" if champion is None else "moved"
    return record_promotion(
        connection,
        {
            "site": site,
            "from_version": noted,
            "to_version": champion,
            "is_promoted": True,
            "who": BY_HAND_IN_MLFLOW,
            "why": f"found so by {noticed_by}: the alias was {what} in MLflow{since}, by whom MLflow does not say, or by a run or command "
            "that ended before it could write so; the time is that of the finding",
            "comparison": {},
        },
    )
