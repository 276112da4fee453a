"""The command `maintenance`: what it understands, and how it says what is wrong."""

import json
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, Optional

import typer
from rich.console import Console
from rich.markup import escape

from cli.environment import Environment, hush, places, prepared
from cli.errors import CommandError
from cli.history import history
from cli.models import models
from cli.notifications import notifications
from cli.options import HomeOption, PlantOption
from cli.quarantine import quarantine
from cli.server import LOOPBACK, PORTS, Address, Service, check_service, run_service
from cli.shelving import shelve, shelved, unshelve
from cli.working import complete, start
from resources.home import HomeError
from resources.plant_files import PlantError, read_plant
from resources.postgres import DatabaseError

if TYPE_CHECKING:
    from cli.process import Stages

app = typer.Typer(
    name="maintenance",
    help="Smart Maintenance: from dropped sensor files to scheduled work orders.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(quarantine, name="quarantine")
app.add_typer(notifications, name="notifications")
app.add_typer(models, name="models")
app.add_typer(history, name="history")
console = Console()

DayOption = Annotated[Optional[datetime], typer.Option(formats=["%Y-%m-%d"], help="First day (UTC); left out: so that it ends yesterday.")]

Format = Literal["csv", "parquet", "table"]  # of `readings`; its module is imported when it is asked for
DEMO_DAYS = 35
DEMO_SEED = 7


@app.command()
def demo(home: HomeOption = None) -> None:
    """Simulate the demonstration plant for 35 days and take it through the whole chain, to work orders and reports."""
    from cli.simulation import truth_of, write_simulated

    with prepared(home=home) as environment:
        folder = environment.home.root / "demo"
        folder.mkdir(exist_ok=True)
        start = _demo_start(folder / "demo.json")
        stages = _stages()
        with stages.stage("simulate the plant", DEMO_DAYS * len(environment.sites)) as advance:
            files = write_simulated(
                environment.sites, folder=environment.home.folder("landing"), start=start, days=DEMO_DAYS, seed=DEMO_SEED, advance=advance
            )
        truth = truth_of(environment.sites, start=start, days=DEMO_DAYS, seed=DEMO_SEED)
        truth.to_csv(folder / "truth.csv", index=False)
        _main_job(environment, stages, files, truth_file=folder / "truth.csv")
        console.print("\nNext: [bold]make up[/bold] serves the Dagster and MLflow UIs over this data.")


@app.command()
def run(
    drops: Annotated[
        Path, typer.Option(help="Folder of drops: <site>/... for each site, or the files themselves where the plant has one site.")
    ],
    plant: PlantOption = None,
    home: HomeOption = None,
    retrain: Annotated[
        bool, typer.Option(help="Train a challenger before each Sunday of the drops, as the weekly schedule of a running plant does.")
    ] = True,
) -> None:
    """Take your own drops through the whole chain: readings, detectors, incidents, predictions, work orders, reports.

    The files are copied into the landing zone; yours stay as they are. What was taken in before is recognised.
    """
    with prepared(home=home, plant=plant) as environment:
        files = _copy_into_landing(drops, environment)
        _main_job(environment, _stages(), files, truth_file=None, is_retraining=retrain)


@app.command()
def simulate(
    out: Annotated[Path, typer.Option(help="Folder to write to: <site>/... with the drops, and truth.csv.")],
    plant: PlantOption = None,
    start: DayOption = None,
    days: Annotated[int, typer.Option(min=1, max=3650)] = DEMO_DAYS,
    seed: Annotated[int, typer.Option(help="The same seed writes the same bytes.")] = DEMO_SEED,
    gzip: Annotated[bool, typer.Option("--gzip", help="Pack the drops.")] = False,
) -> None:
    """Write simulated drops of a plant, and the injected faults beside them (truth.csv)."""
    from cli.simulation import truth_of, write_simulated
    from resources.home import plant_folder

    sites = read_plant(plant or plant_folder())
    first = start.date() if start else datetime.now(UTC).date() - timedelta(days=days)
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"The folder {out} cannot be written ({error.strerror}); choose another with --out.") from error
    with _stages().stage("simulate the plant", days * len(sites)) as advance:
        names = write_simulated(sites, folder=out, start=first, days=days, seed=seed, advance=advance, is_packed=gzip)
    truth_of(sites, start=first, days=days, seed=seed).to_csv(out / "truth.csv", index=False)
    console.print(f"{len(names)} drops of {len(sites)} sites, {first} to {first + timedelta(days=days - 1)}, in {out}")


@app.command()
def up(
    home: HomeOption = None,
    plant: PlantOption = None,
    port: Annotated[int, typer.Option(help="Port of the Dagster UI.")] = 3000,
    mlflow_port: Annotated[int, typer.Option(help="Port of the MLflow UI.")] = 5000,
) -> None:
    """Serve the Dagster UI (with its daemon: the sensors run) and the MLflow UI on 127.0.0.1 until Ctrl-C."""
    from cli.serve import serve

    with prepared(home=home, plant=plant) as environment:
        serve(environment, dagster_port=port, mlflow_port=mlflow_port, console=console)


@app.command()
def server(
    service: Annotated[Service, typer.Argument(help="init prepares the databases and ends; the others serve.")],
    host: Annotated[str, typer.Option(help="Where to listen.")] = LOOPBACK,
    port: Annotated[Optional[int], typer.Option(help="Left out: code-location 4000, webserver 3000, mlflow 5000.")] = None,
    code_host: Annotated[str, typer.Option(help="Where webserver and daemon find the code location.")] = LOOPBACK,
    code_port: Annotated[int, typer.Option()] = PORTS["code-location"],
    *,
    check: Annotated[
        bool, typer.Option("--check", help="Only say, by the exit code, whether the service on this machine answers.")
    ] = False,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Run one server of `up` by itself, over the PostgreSQL named by DATABASE_URL: for Docker Compose and other supervisors."""
    where, plants = places(home, plant)
    number = port or PORTS.get(service, 0)
    if check:
        check_service(service, home=where, plant=plants, at=Address(LOOPBACK, number))
    else:
        run_service(service, home=where, plant=plants, at=Address(host, number), code=Address(code_host, code_port))


@app.command()
def orders(
    home: HomeOption = None,
    plant: PlantOption = None,
    site: Annotated[Optional[str], typer.Option(help="Only this site.")] = None,
    state: Annotated[Optional[list[str]], typer.Option(help="Only these states; may be given several times.")] = None,
) -> None:
    """List work orders: what, why, how likely, until when, and in which state."""
    from cli.planner import list_orders_table

    with prepared(home=home, plant=plant) as environment:
        console.print(list_orders_table(environment, site=site, states=state or []))


@app.command()
def schedule(
    home: HomeOption = None,
    plant: PlantOption = None,
    site: Annotated[Optional[str], typer.Option(help="Only this site.")] = None,
    technician: Annotated[Optional[str], typer.Option(help="Only the work of this technician, by id.")] = None,
    is_calendar: Annotated[bool, typer.Option("--ics", help="As an iCalendar of the technician, for a calendar program.")] = False,
) -> None:
    """Show who does which order when, by the plans in force; times are the site's."""
    from cli.schedule import plan_table, technician_calendar

    with prepared(home=home, plant=plant) as environment:
        if is_calendar:
            sys.stdout.buffer.write(technician_calendar(environment, site=site, technician=technician).encode())
        else:
            console.print(plan_table(environment, site=site, technician=technician))


@app.command()
def decide(  # noqa: PLR0913 - each is an option that people type
    order_id: Annotated[str, typer.Argument(help="The work order.")],
    decision: Annotated[str, typer.Argument(help="approve, reject, defer, cancel or modify.")],
    operator: Annotated[str, typer.Option(help="Who decides.")],
    reason: Annotated[str, typer.Option(help="Why.")],
    until: Annotated[Optional[str], typer.Option(help="Only for defer: an ISO 8601 time with offset.")] = None,
    confidence: Annotated[Optional[float], typer.Option(help="How sure you are, 0 to 1.")] = None,
    priority: Annotated[Optional[str], typer.Option(help="Only for modify: urgent, high, medium or low.")] = None,
    not_before: Annotated[Optional[str], typer.Option(help="Only for modify: no work begins before this ISO 8601 time.")] = None,
    not_after: Annotated[Optional[str], typer.Option(help="Only for modify: the work is due by this ISO 8601 time with offset.")] = None,
    skills: Annotated[Optional[str], typer.Option(help="Only for modify: what who does it must know, with commas between.")] = None,
    request_id: Annotated[str, typer.Option(help="A repeated request with the same id changes nothing.")] = "",
    *,
    is_false_alarm: Annotated[
        bool, typer.Option("--false-alarm", help="Only for reject: there is no fault. Labels the order's incidents.")
    ] = False,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Decide on a work order, or change its priority, window or skills, and plan its site anew."""
    from cli.planner import submit

    with prepared(home=home, plant=plant) as environment:
        hush()
        console.print(
            submit(
                environment,
                order_id,
                decision,
                operator=operator,
                reason=reason,
                until=until,
                not_before=not_before,
                not_after=not_after,
                confidence=confidence,
                priority=priority,
                skills=[skill.strip() for skill in skills.split(",")] if skills is not None else None,
                request_id=request_id,
                is_false_alarm=is_false_alarm,
            )
        )


app.command()(start)
app.command()(complete)
app.command()(shelve)
app.command()(unshelve)
app.command()(shelved)


@app.command()
def report(
    start: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="First day (UTC).")],
    end: Annotated[datetime, typer.Option(formats=["%Y-%m-%d"], help="Last day (UTC), inclusive.")],
    site: Annotated[Optional[str], typer.Option(help="One site; left out: all sites.")] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Compute the four reports for a range of days and say where they are."""
    from cli.planner import make_reports

    with prepared(home=home, plant=plant) as environment:
        for path in make_reports(environment, start=start.date(), end=end.date(), site=site):
            console.print(str(path), soft_wrap=True)


@app.command("readings")
def show_readings(
    sensor: Annotated[list[str], typer.Option(help="A sensor, or a pattern such as 'HH-C302-*'; may be given several times.")],
    start: Annotated[str, typer.Option("--from", help="A day, or an ISO 8601 time; without an offset in the zone of --tz.")],
    end: Annotated[str, typer.Option("--to", help="A day, inclusive, or a time, exclusive.")],
    every: Annotated[
        Optional[str], typer.Option(help="Mean, min, max and n per interval, counted from midnight of --tz: 30s, 10min, 1h, 1d.")
    ] = None,
    form: Annotated[
        Optional[Format], typer.Option("--format", help="Left out: by the name of --out, else a table on a terminal and csv in a pipe.")
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="File to write; left out: standard output.")] = None,
    tz: Annotated[
        Optional[str], typer.Option(help="Zone of times read and shown: site, or a name such as Europe/Berlin. Left out: UTC.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Rows of a table; csv and parquet are always whole.")] = 40,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Explore stored readings: those of some sensors, or figures per interval, as a table, CSV or Parquet.

    Rows come day by day (UTC), within a day by sensor and time. An interval without readings is there, with n = 0.
    """
    from cli.readings import Question, explore

    where, plants = places(home, plant)
    question = Question.parse(where, plants, names=sensor, start=start, end=end, every=every, zone=tz)
    explore(question, form=form, out=out, limit=limit, console=console)


@app.command()
def explain(
    incident: Annotated[str, typer.Argument(help="Its name, or how only its name begins, such as a machine.")],
    day: Annotated[
        Optional[datetime], typer.Option(formats=["%Y-%m-%d"], help="As known at the end of this day; left out: the latest.")
    ] = None,
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="json for machines.")] = "text",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Explain an incident: what moved, the evidence, every rule with what it took off the confidence, the verdict, day by day."""
    from cli.inspect import explanation, find_incident, page
    from cli.planner import ledger_of

    with prepared(home=home, plant=plant) as environment, ledger_of(environment).begin() as connection:
        incident_id = find_incident(connection, incident)
        told = explanation(connection, incident_id, day=day.date() if day else None, sites=environment.sites)
    if form == "json":
        typer.echo(json.dumps(told, indent=2, ensure_ascii=False))
    else:
        console.print(page(told), highlight=False)


@app.command("label")
def label_incident(
    incident: Annotated[str, typer.Argument(help="Its name, or how only its name begins, such as a machine.")],
    label: Annotated[str, typer.Argument(help="confirmed or false_alarm.")],
    operator: Annotated[str, typer.Option(help="Who says so.")],
    why: Annotated[str, typer.Option(help="How it is known.")],
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Say what an incident was. Kept with who, when and why; the latest label holds: for training, confidence and measured precision."""
    from cli.labelling import put_label

    with prepared(home=home, plant=plant) as environment:
        console.print(put_label(environment, incident, label, operator=operator, why=why), highlight=False, markup=False, soft_wrap=True)


@app.command()
def trace(
    order_id: Annotated[str, typer.Argument(help="The work order.")],
    form: Annotated[Literal["text", "json", "html"], typer.Option("--format", help="html writes a page and says where.")] = "text",
    out: Annotated[Optional[Path], typer.Option(help="File for the page; left out: reports/traces/ in the data folder.")] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Walk a work order back: decision, prediction, incidents, windows, readings, segments, and the lines of the delivered files."""
    from cli.trace import page, traced, write_page

    with prepared(home=home, plant=plant) as environment:
        hush()
        found = traced(environment, order_id)
        if form == "html":
            console.print(str(write_page(environment, found, out=out)), soft_wrap=True)
    if form == "json":
        typer.echo(json.dumps(found, indent=2, ensure_ascii=False))
    elif form == "text":
        console.print(page(found), highlight=False)


@app.command()
def revalidate(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC), inclusive.")],
    site: Annotated[Optional[str], typer.Option(help="One site; left out: all sites.")] = None,
    is_applied: Annotated[bool, typer.Option("--apply", help="Write it, and make anew what rests on it.")] = False,
    operator: Annotated[str, typer.Option(help="Who changes the verdicts; only with --apply.")] = "",
    why: Annotated[str, typer.Option(help="Why; only with --apply.")] = "",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Find and judge past incidents by what the plant file has now: shows what would change, and changes it with --apply."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.revalidate import judge_again

        judge_again(
            environment,
            start=start.date(),
            end=end.date(),
            site=site,
            is_applied=is_applied,
            operator=operator,
            why=why,
            console=console,
        )


@app.command("what-if")
def what_if(
    start: Annotated[datetime, typer.Option("--from", formats=["%Y-%m-%d"], help="First day (UTC).")],
    end: Annotated[datetime, typer.Option("--to", formats=["%Y-%m-%d"], help="Last day (UTC), inclusive.")],
    policy: Annotated[Optional[Path], typer.Option(help="YAML with `policy:` as in a plant file; what it leaves out stays.")] = None,
    model: Annotated[Optional[int], typer.Option(help="Detector version of the site that scores instead of the champion.")] = None,
    roster: Annotated[Optional[Path], typer.Option(help="YAML with `technicians:` (and `parts:`) as in a plant file.")] = None,
    site: Annotated[Optional[str], typer.Option(help="One site; left out: all sites.")] = None,
    form: Annotated[Literal["text", "json"], typer.Option("--format", help="json for machines.")] = "text",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Run past days again, under another policy, detector or roster, beside the ledger; prints what would differ."""
    with prepared(home=home, plant=plant) as environment:
        hush()
        from cli.what_if import Question, as_json, ask, show

        question = Question(start.date(), end.date(), site=site, policy=policy, roster=roster, model=model)
        answer = ask(environment, question, console=console if form == "text" else Console(stderr=True))
    if form == "json":
        typer.echo(json.dumps(as_json(answer), indent=2, ensure_ascii=False))
    else:
        show(answer, console=console)


@app.command("exec", context_settings={"ignore_unknown_options": True})
def execute(
    command: Annotated[list[str], typer.Argument(help="A command and its arguments, after --.")],
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Run any command with PostgreSQL running and the environment set: `maintenance exec -- dagster run list`."""
    from cli.server import program

    with prepared(home=home, plant=plant):
        beside = program(command)
        known = beside if Path(beside[0]).exists() else command
        try:
            code = subprocess.run(known, check=False).returncode
        except OSError as error:
            raise CommandError(f"{command[0]} cannot be run: {error.strerror}.") from error
    sys.exit(code)


@app.command()
def bench(
    home: HomeOption = None,
    only: Annotated[
        Optional[list[str]],
        typer.Option(help="Only these groups: intake, merge, validation, detect, definitions, planning, demo; may be repeated."),
    ] = None,
) -> None:
    """Measure speed and memory on this machine; prints a table and writes bench.json into the data folder."""
    hush()
    from cli.bench import measure, table_of

    where, _ = places(home, None)
    where.prepare()
    console.print(table_of(measure(where, only=tuple(only or ()), console=console)))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Option(help="Folder that holds the sets: nab/, azure_pdm/, cmapss/, ...; for csv the files themselves.")],
    formats: Annotated[
        Optional[list[str]],
        typer.Option(
            "--format", help="Only these: nab, ims, azure, azure-ahead, cmapss, ai4i, faults, csv; may be repeated. Left out: all but csv."
        ),
    ] = None,
    out: Annotated[Optional[Path], typer.Option(help="JSON file to write.")] = None,
    is_logged: Annotated[bool, typer.Option("--log/--no-log", help="Log to MLflow, experiment `evaluation`.")] = True,
    home: HomeOption = None,
) -> None:
    """Hold detectors and forecasts against labelled data: one configuration for all files, nothing chosen by looking at labels."""
    from cli.evaluate import evaluate_sets, folders_of

    folders = folders_of(data, formats=tuple(formats or ()))
    hush()
    evaluate_sets(folders, out=out, home=home, is_logged=is_logged, stages=_stages(), console=console)


def main() -> None:
    """Entry point: errors a person can mend are one sentence and exit code 2."""
    try:
        app()
    except (CommandError, HomeError, PlantError, DatabaseError) as error:
        Console(stderr=True).print(f"[red]error:[/red] {escape(str(error))}", soft_wrap=True, highlight=False)
        sys.exit(2)


def _stages() -> "Stages":
    from cli.process import Stages

    return Stages(console)


def _main_job(
    environment: Environment, stages: "Stages", files: list[str], *, truth_file: Path | None, is_retraining: bool = False
) -> None:
    import pandas as pd

    from cli.launch import launcher
    from cli.process import MainJob
    from cli.summary import Outcome, show
    from resources.lake import LakeResource

    hush()
    with launcher(environment) as started:
        job = MainJob(environment, started, stages, is_retraining)
        remarks = job.run(files)
        times = ["onset_at", "failure_at", "repaired_at"]
        truth = pd.read_csv(truth_file, parse_dates=times) if truth_file else None
        with job.ledger.begin() as connection:
            lake = LakeResource(root=str(environment.home.folder("lake")))
            outcome = Outcome.query(connection, environment=environment, lake=lake, truth=truth)
    show(outcome, environment=environment, seconds=stages.seconds, console=console)
    for remark in remarks:
        console.print(f"[yellow]note:[/yellow] {remark}")


def _demo_start(kept: Path) -> date:
    """The demonstration ends yesterday; made again over the same data, it is the same one."""
    if kept.exists():
        return date.fromisoformat(json.loads(kept.read_text())["start"])
    start = datetime.now(UTC).date() - timedelta(days=DEMO_DAYS)
    kept.write_text(json.dumps({"start": start.isoformat(), "days": DEMO_DAYS, "seed": DEMO_SEED}))
    return start


def _copy_into_landing(drops: Path, environment: Environment) -> list[str]:
    """Names as intake takes them. Raises CommandError for a folder without drops."""
    from resources.landing import drop_file, is_deliverable, shown

    if not drops.is_dir():
        raise CommandError(f"There is no folder {drops}.")
    landing = environment.home.folder("landing")
    names = []
    for site in environment.sites:
        source = drops / site.site
        if not source.is_dir() and len(environment.sites) == 1:
            source = drops
        for path in sorted(p for p in source.rglob("*") if p.is_file()) if source.is_dir() else ():
            name = path.relative_to(source)
            if is_deliverable(name):
                drop_file(path, landing / site.site / name.parent, name.name)
                names.append(shown(str(Path(site.site) / name)))
    if not names:
        wanted = " or ".join(f"{drops / site.site}/" for site in environment.sites)
        raise CommandError(f"There are no drops in {drops}; put each site's files into {wanted}.")
    return names


if __name__ == "__main__":
    main()
