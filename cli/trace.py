"""`maintenance trace`: a work order walked back to the lines of the delivered files, for a terminal, as JSON or as a page."""

from pathlib import Path

import dagster as dg
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from assets.tracing.page import shown
from assets.tracing.trace import Sources, Trace, trace_order
from cli.environment import Environment
from cli.errors import CommandError
from cli.planner import ledger_of
from resources.lake import LakeResource
from resources.landing import LandingResource
from resources.ledger.work import UnknownOrder


def traced(environment: Environment, order_id: str) -> Trace:
    """Raises CommandError for an order that there is not."""
    folder = environment.home.folder
    landing = LandingResource(landing=str(folder("landing")), archive=str(folder("archive")), quarantine=str(folder("quarantine")))
    with ledger_of(environment).begin() as connection, dg.DagsterInstance.get() as instance:
        sources = Sources(
            connection=connection,
            lake=LakeResource(root=str(folder("lake"))),
            landing=landing,
            instance=instance,
            sites={site.site: site for site in environment.sites},
        )
        try:
            return trace_order(order_id, sources)
        except UnknownOrder as error:
            raise CommandError(f"{error} `maintenance orders` lists them.") from error
        except KeyError as error:
            raise CommandError(f"{order_id} is of the site {error}, which the plant folder no longer describes.") from error


def write_page(environment: Environment, trace: Trace, *, out: Path | None) -> Path:
    """The trace as HTML, under the reports folder unless another place is named; raises CommandError where that cannot be written."""
    from assets.tracing.page import to_html
    from resources.validation_pages import ValidationPagesResource
    from resources.whole_files import write_whole

    path = out or environment.home.folder("reports") / "traces" / f"{trace['order']['order_id']}.html"
    dagster_url = ValidationPagesResource(root="").dagster_url
    try:
        write_whole(path, to_html(trace, dagster_url=dagster_url))
    except OSError as error:
        raise CommandError(f"{path} cannot be written ({error.strerror}); name another file with --out.") from error
    return path


def page(trace: Trace) -> RenderableType:
    """From the order down to the lines, for a terminal of 80 columns and more."""
    order = trace["order"]
    parts: list[RenderableType] = [
        Text.assemble((order["order_id"], "bold"), f"  {order['title']}  ({order['state'].replace('_', ' ')})"),
        Padding(Text(order["reason"]), (0, 2)),
        _head("Decision"),
        _table(trace["history"], at="at", to="to_state", who="who", why="why"),
    ]
    if trace["places"]:
        parts += [_head("Scheduled"), _table(trace["places"], technician="technician_id", start="start_at", end="end_at")]
    parts += [_head("Prediction"), _prediction(trace)]
    for incident in trace["incidents"]:
        parts += [_head("Incident"), *_incident(incident)]
    parts += [
        _head("Detector"),
        *(_detector(detector) for detector in trace["detectors"]),
        _head("Drops"),
        *(_drop(drop) for drop in trace["drops"]),
        _head("Runs"),
        _runs(trace),
    ]
    if trace["gaps"]:
        parts += [Text("What could not be resolved", style="bold red"), *(Text(f"  {gap}", style="red") for gap in trace["gaps"])]
    else:
        parts.append(Text("Every link is resolved.", style="green"))
    return Group(*parts)


def _head(title: str) -> Text:
    return Text(f"\n{title}", style="bold")


def _table(rows: list[Trace], **columns: str) -> Table:
    table = Table(box=None, padding=(0, 2))
    for head in columns:
        table.add_column(head.replace("_", " "), header_style="dim", overflow="fold")
    for row in rows:
        table.add_row(*(shown(row[name]) for name in columns.values()))
    return table


def _prediction(trace: Trace) -> Text:
    p = trace["prediction"]
    if p is None:
        return Text("  none: the work rests on the incidents alone")
    ttf = " / ".join(shown(p[f"ttf_{q}_days"]) for q in ("p10", "p50", "p90"))
    where = f"{p['leading_sensor_id']} to its {p['limit_side']} {p['limit_kind']} limit {shown(p['limit_value'])}"
    where = where if p["leading_sensor_id"] else "no sensor comes near a limit"
    return Text(
        f"  {p['failure_mode']} on {p['day']}: {shown(p['probability_7d'])} within 7 days, {shown(p['probability_30d'])} within 30; "
        f"p10/p50/p90 {ttf} days; {where}; by {p['method']}{'; ' + p['note'] if p['note'] else ''}"
    )


def _incident(incident: Trace) -> list[RenderableType]:
    doubts = f": {'; '.join(incident['reasons'])}" if incident["reasons"] else ""
    said = (
        f"  {incident['incident_id']}: {incident['verdict'].replace('_', ' ')}, confidence {shown(incident['confidence'])}{doubts}; "
        f"{incident['n_windows_above_threshold']} of {incident['n_windows_scored']} windows above the threshold, "
        f"{incident['n_readings']:,} readings"
    )
    rows = [
        {"window": w["window_start"], "score": w["score"], "sensor": r["sensor_id"], "n": r["n_readings"], "mean": r["mean"]}
        | {"drops": r["drop_seqs"]}
        for w in incident["windows"]
        for r in w["readings"]
    ]
    return [Text(said), _table(rows, window="window", score="score", sensor="sensor", readings="n", mean="mean", drop="drops")]


def _detector(detector: Trace) -> Text:
    learned = f"trained {shown(detector['trained_at'])} on {detector['data_start']} to {detector['data_end']}"
    hashes = [f"    {name} sha256 {detector[f'{name}_sha256']}" for name in ("artifact", "data")]
    return Text("\n".join([f"  version {detector['version']}, {learned}, MLflow run {detector['mlflow_run_id']}", *hashes]))


def _drop(drop: Trace) -> RenderableType:
    bytes_are = Text("as delivered", style="green") if drop["is_intact"] else Text("NOT AS DELIVERED", style="bold red")
    head = Text.assemble(f"  {drop['drop_seq']}: ", (drop["file_name"], "bold"), f", {drop['n_readings']:,} readings, ", bytes_are)
    lines = [f"    {line['sensor_id']}: {line['n']} shown, lines {line['first_line']} to {line['last_line']}" for line in drop["lines"]]
    segments = [f"    segment {s['path']}" for s in drop["segments"]]
    note = [f"    {drop['note']}"] if drop["note"] else []
    return Group(head, *(Text(t) for t in (f"    sha256 {drop['sha256']}", f"    {drop['kept_as']}", *lines, *segments, *note)))


def _runs(trace: Trace) -> Table:
    made = [{"asset": name, **run} for name, run in trace["runs"].items() if run]
    return _table(made, asset="asset", run="run_id", code="code_version")
