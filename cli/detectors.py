"""What the sub-commands of `maintenance models` do: read the ledger and MLflow, change the champion, say it in sentences."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from rich.markdown import Markdown
from rich.table import Column, Table

from assets.champions import note_champion
from assets.contest import head_to_head
from assets.reporting.report import counted
from assets.training import days_to_learn_from, material_of
from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import demand_site, ledger_of
from ml.healthy import split_days
from ml.plant import Site
from ml.promotion_chain import broken_links, champions_in_turn
from resources.lake import LakeResource
from resources.ledger.learning import (
    BY_HAND_IN_MLFLOW,
    GATE,
    champion_at,
    lock_promotions,
    promotions_of,
    record_promotion,
    sites_with_promotions,
    version_record,
    versions_of,
)
from resources.models import CHAMPION, ArtifactRefused, ModelsResource, ModelsUnreachable, models_of

IN_SAMPLE = "*"
ALIAS_WIDTH = len("challenger,")
NOTICED_BY = "`maintenance models`"


def models_in(environment: Environment) -> ModelsResource:
    return models_of(environment.home)


def listing(environment: Environment, *, site: str | None) -> Iterator[Table | str]:
    """A table per site, newest version last, with why the gate refused one that bears an alias; a sentence where there is nothing or
    MLflow does not answer. Raises CommandError.
    """
    for name in _sites(environment, site):
        rows, silence = _rows(environment, name)
        if not rows:
            yield f"{name}: no detector has been trained yet."
            continue
        heads = ("version", "trained", "on the days (UTC)", "aliases", "false alarms", "faults found")
        columns = (Column(head, no_wrap=head in heads[:3], min_width=ALIAS_WIDTH if head == "aliases" else None) for head in heads)
        table = Table(*columns, title=name, title_justify="left", box=None)
        for row in rows:
            rate = row["false_alarms_per_machine_month"]
            said = "unknown" if rate is None else f"{rate:.2f}{'' if row['is_rate_out_of_sample'] else IN_SAMPLE}"
            table.add_row(
                str(row["version"]),
                row["trained_at"][:10],
                f"{row['data_start']} to {row['data_end']}",
                ", ".join(row["aliases"]),
                said,
                _of(row["replayed_faults_found"], row["replayed_faults"]),
            )
        yield table
        if any(row["false_alarms_per_machine_month"] is not None and not row["is_rate_out_of_sample"] for row in rows):
            yield f"False alarms are per machine-month; {IN_SAMPLE} on days that the version was calibrated on."
        yield from (f"Version {row['version']} was {row['gate_said']}." for row in rows if row["is_refused_by_gate"] and row["aliases"])
        if silence is not None:
            yield f"{silence} The champion is the last one that the ledger knows; other aliases are not known."


def as_json(environment: Environment, *, site: str | None) -> str:
    """Raises CommandError."""
    return json.dumps({name: _rows(environment, name)[0] for name in _sites(environment, site)}, indent=2)


def _of(found: float | None, known: float | None) -> str:
    return "unknown" if found is None or known is None else f"{found:.0f} of {known:.0f}"


def _rows(environment: Environment, site: str) -> tuple[list[dict[str, Any]], str | None]:
    """The versions as `--format json` shows them, and why MLflow's aliases are not among them."""
    silence = None
    with ledger_of(environment).begin() as connection:
        versions = versions_of(connection, site=site)
        standing = champion_at(connection, site=site)
        of_gate = {row["to_version"]: row for row in promotions_of(connection, site=site) if row["who"] == GATE}
    try:
        aliases = models_in(environment).aliases_of(site)
    except ModelsUnreachable as error:
        silence = str(error)
        aliases = {CHAMPION: standing["to_version"]} if standing and standing["to_version"] is not None else {}
    rows = []
    for known in versions:
        metrics = known["metrics"]
        unseen = metrics.get("false_alarms_per_machine_month")
        said = of_gate.get(known["version"])
        counts = ("replayed_faults_found", "replayed_faults", "known_incidents_found", "known_incidents")
        rows.append(
            {
                "version": known["version"],
                "trained_at": known["trained_at"].isoformat(),
                "data_start": known["data_start"].isoformat(),
                "data_end": known["data_end"].isoformat(),
                "aliases": sorted(alias for alias, version in aliases.items() if version == known["version"]),
                "false_alarms_per_machine_month": metrics.get("false_alarms_per_machine_month_in_sample") if unseen is None else unseen,
                "is_rate_out_of_sample": unseen is not None,
                **{name: metrics.get(name) for name in counts},
                "is_refused_by_gate": not said["is_promoted"] if said else None,
                "gate_said": said["why"] if said else None,
                "artifact_sha256": known["artifact_sha256"],
                "mlflow_run_id": known["mlflow_run_id"],
            }
        )
    return rows, silence


def comparison(environment: Environment, version: int, other: int, *, site: str | None) -> Iterator[Markdown | str]:
    """Both on the latest days, as a training would compare them; which of the days each has learned from. Raises CommandError."""
    plant_site = _site(environment, site)
    first, second = (_loaded(environment, plant_site, v) for v in (version, other))
    lake = LakeResource(root=str(environment.home.folder("lake")))
    import dagster as dg

    with ledger_of(environment).begin() as connection:
        try:
            days = days_to_learn_from(connection, lake=lake, site=plant_site, until=None)
        except dg.Failure as error:
            raise CommandError(str(error.description)) from error
        split = split_days(days, held_out_share=plant_site.policy.training.held_out_share, has_champion=True)
        material = material_of(connection, lake=lake, site=plant_site, split=split)
        known = [version_record(connection, site=plant_site.site, version=v) for v in (version, other)]
    table, why = head_to_head(first, second, material, site=plant_site, names=(f"version {version}", f"version {other}"))
    yield Markdown(table)
    for record in known:
        assert record is not None
        seen = sum(record["data_start"] <= day <= record["data_end"] for day in split.observed)
        yield f"Of the days compared on, version {record['version']} has learned from {seen} of {len(split.observed)}."
    yield (
        f"The gate would refuse version {version} where {other} is champion: {why}."
        if why
        else (f"The gate would let version {version} take the place of {other}.")
    )


def promote_version(environment: Environment, version: int, *, site: str | None, operator: str, why: str) -> str:
    """Raises CommandError for a version that was not trained here, whose bytes were changed, or that is the champion already."""
    plant_site = _site(environment, site)
    _loaded(environment, plant_site, version)
    return _moved(environment, plant_site, version, operator=operator, why=why)


def roll_back(environment: Environment, *, site: str | None, operator: str, why: str) -> str:
    """Raises CommandError where there is no champion to go back to, and as `promote_version`."""
    plant_site = _site(environment, site)
    with ledger_of(environment).begin() as connection:
        _note(environment, connection, plant_site.site)
        turn = champions_in_turn(promotions_of(connection, site=plant_site.site))
    if len(turn) < 2:
        standing = f"version {turn[0]} is the first champion" if turn else "there is no champion"
        raise CommandError(f"{plant_site.site} has none to go back to: {standing}.")
    _loaded(environment, plant_site, turn[-2])
    return _moved(environment, plant_site, turn[-2], operator=operator, why=f"rolled back from version {turn[-1]}: {why}")


def champion_then(environment: Environment, *, site: str | None, at: str | None) -> str:
    """Raises CommandError for a time without an offset, or in the future."""
    from jobs.reported import parse_time

    name = _site(environment, site).site
    try:
        asked = parse_time(at) if at else None
    except ValueError as error:
        raise CommandError(str(error)) from error
    if asked is not None and asked > datetime.now(UTC):
        raise CommandError(f"{at} lies in the future; who will be champion then nobody knows.")
    with ledger_of(environment).begin() as connection:
        try:
            _note(environment, connection, name)
            doubt = ""
        except CommandError as error:
            doubt = "" if asked else f" Whether that still holds is not known. {error}"
        row = champion_at(connection, site=name, at=asked)
        if broken_links(promotions_of(connection, site=name)):
            doubt += " Do not rely on it: somebody changed the history of the champions; `maintenance models verify` says where."
    then = asked or datetime.now(UTC)
    when = f"on {then.astimezone(UTC):%Y-%m-%d at %H:%M:%S} UTC"
    if row is None:
        return f"{name} had no champion {when}; it had never had one.{doubt}"
    since = f"since {row['at']:%Y-%m-%d %H:%M:%S} UTC by {row['who']}: {row['why']}"
    if row["to_version"] is None:
        return f"{name} had no champion {when}, {since}.{doubt}"
    found = " It may have been champion a while before it was found." if row["who"] == BY_HAND_IN_MLFLOW else ""
    return f"Version {row['to_version']} was champion of {name} {when}, {since}.{found}{doubt}"


def verified(environment: Environment, *, site: str | None) -> Iterator[str]:
    """A sentence per site whose history is whole and whose versions are. Raises CommandError with all that is wrong."""
    wrong: list[str] = []
    with ledger_of(environment).begin() as connection:
        named = set(_sites(environment, site)) | (set() if site else set(sites_with_promotions(connection)))
        histories = {name: promotions_of(connection, site=name) for name in sorted(named)}
        versions = {name: versions_of(connection, site=name) for name in sorted(named)}
    for name, rows in histories.items():
        broken = broken_links(rows)
        wrong.extend(broken)
        if not broken:
            yield f"{name}: {counted(len(rows), 'promotion')} in one chain" + (
                f"; the last has the sha256 {rows[-1]['sha256']}." if rows else "."
            )
        refused = list(_changed(environment, name, versions[name]))
        wrong.extend(refused)
        if not refused and versions[name]:
            yield f"{name}: the bytes of {counted(len(versions[name]), 'version')} in MLflow are as registered."
    if wrong:
        raise CommandError("\n".join(wrong))


def _changed(environment: Environment, site: str, versions: list[dict[str, Any]]) -> Iterator[str]:
    models = models_in(environment)
    for known in versions:
        try:
            models.fetch(site, known["version"], artifact_sha256=known["artifact_sha256"])
        except ArtifactRefused as error:
            yield str(error)
        except ModelsUnreachable as error:
            yield f"{error} The versions of {site} could not be looked at."
            return


def _moved(environment: Environment, site: Site, version: int, *, operator: str, why: str) -> str:
    """The alias and its row, in turn with whoever else moves it; where the writer dies between them, the next run writes the row."""
    if not operator.strip() or not why.strip():
        raise CommandError("Say who decides (--operator) and why (--why): the history of champions keeps both.")
    models = models_in(environment)
    with ledger_of(environment).begin() as connection:
        standing = _note(environment, connection, site.site)
        if standing == version:
            raise CommandError(f"Version {version} is the champion of {site.site} already.")
        said = f"promoted by {operator}: {why}"
        try:
            models.promote(site.site, version, description=said)
        except ModelsUnreachable as error:
            raise CommandError(f"{error} Nothing was changed.") from error
        promotion: dict[str, Any] = {"site": site.site, "from_version": standing, "to_version": version, "is_promoted": True}
        record_promotion(connection, promotion | {"who": operator, "why": why, "comparison": {}})
    before = f"version {standing}" if standing is not None else "no champion"
    return f"Version {version} is champion of {site.site} from now on, after {before}; the next run scores with it."


def _note(environment: Environment, connection: Any, site: str) -> int | None:
    """The champion that MLflow has now, which the ledger knows afterwards. Raises CommandError where MLflow does not answer."""
    lock_promotions(connection, site=site)
    try:
        standing = models_in(environment).version_of(site, CHAMPION)
    except ModelsUnreachable as error:
        raise CommandError(str(error)) from error
    note_champion(connection, site=site, champion=standing, noticed_by=NOTICED_BY)
    return standing


def _loaded(environment: Environment, site: Site, version: int) -> Any:
    """The detector, its bytes fetched from MLflow. Raises CommandError."""
    from ml.detectors.fleet import SiteDetector

    with ledger_of(environment).begin() as connection:
        known = version_record(connection, site=site.site, version=version)
        others = [str(row["version"]) for row in versions_of(connection, site=site.site)]
    if known is None:
        trained = f"trained here were {', '.join(others)}" if others else "none has been trained here"
        raise CommandError(f"The ledger knows no version {version} of the detector of {site.site}: {trained}. Only those can be used.")
    try:
        return SiteDetector.from_bytes(models_in(environment).fetch(site.site, version, artifact_sha256=known["artifact_sha256"]))
    except (ArtifactRefused, ModelsUnreachable) as error:
        raise CommandError(str(error)) from error
    except ValueError as error:
        raise CommandError(
            f"Version {version} of the detector of {site.site} was made by another version of the program; it cannot be read ({error})."
        ) from error


def _sites(environment: Environment, site: str | None) -> list[str]:
    demand_site(environment, site)
    return [site] if site else [s.site for s in environment.sites]


def _site(environment: Environment, site: str | None) -> Site:
    demand_site(environment, site)
    if site is None and len(environment.sites) > 1:
        raise CommandError(f"Name the site with --site: {', '.join(s.site for s in environment.sites)}.")
    return next(s for s in environment.sites if site in (None, s.site))
