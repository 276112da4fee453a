"""`maintenance evaluate`: our models over data that others labelled, one set after the other, as tables, JSON and MLflow runs."""

import hashlib
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version as distribution_version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Column, Table

from cli.environment import prepared
from cli.errors import CommandError
from cli.evaluation import ai4i, azure, azure_ahead, cmapss, faults, ims, labelled_csv, nab
from cli.evaluation.cases import Advance, SetResult
from cli.process import Stages
from resources.home import CHECKOUT
from resources.models import STORE_VARIABLE, URI_VARIABLE, ModelsResource

EXPERIMENT = "evaluation"


@dataclass(frozen=True)
class Format:
    """Where a set lies within the data folder, by which file it is known (none: it is simulated), and what evaluates it."""

    folder: str
    known_by: str | None
    evaluate: Callable[[Path, Advance], SetResult]


FORMATS: dict[str, Format] = {
    "nab": Format("nab", nab.WINDOWS, nab.evaluate),
    "ims": Format("ims_bearing", ims.FILE, ims.evaluate),
    "azure": Format("azure_pdm", azure.TELEMETRY, azure.evaluate),
    "azure-ahead": Format("azure_pdm", azure_ahead.REPLACEMENTS, azure_ahead.evaluate),
    "cmapss": Format("cmapss", cmapss.TRAIN, cmapss.evaluate),
    "ai4i": Format("ai4i2020", ai4i.FILE, ai4i.evaluate),
    "faults": Format(".", None, faults.evaluate),
    "csv": Format(".", labelled_csv.LABELS, labelled_csv.evaluate),
}
HEADS = {"false_alarms": "false", "machine_months": "months", "average_precision": "PR-AUC", "windows_with_a_new_alarm": "new"}
BY_DEFAULT = ("nab", "ims", "azure", "azure-ahead", "cmapss", "ai4i", "faults")


def folders_of(data: Path, *, formats: tuple[str, ...]) -> dict[str, Path]:
    """Format -> folder; the data folder may also be the set's own. Raises CommandError for an unknown format, and for a set not there."""
    unknown = sorted(set(formats) - set(FORMATS))
    if unknown:
        raise CommandError(f"There is no format {', '.join(unknown)}; the formats are {', '.join(FORMATS)}.")
    found = {}
    for name in formats or BY_DEFAULT:
        known_by = FORMATS[name].known_by
        if known_by is None:
            found[name] = data
            continue
        folder = next((f for f in (data / FORMATS[name].folder, data) if (f / known_by).is_file()), None)
        if folder is None:
            wanted = data / FORMATS[name].folder / known_by
            raise CommandError(f"There is no {wanted}: {data} does not hold the data of format {name}; name its folder with --data.")
        found[name] = folder
    return found


def evaluate_sets(
    folders: Mapping[str, Path], *, out: Path | None, home: Path | None, is_logged: bool, stages: Stages, console: Console
) -> None:
    results = []
    for name, folder in folders.items():
        with stages.stage(f"evaluate {name}", _size(name, folder)) as advance:
            results.append(FORMATS[name].evaluate(folder, advance))
        show(results[-1], seconds=stages.seconds[f"evaluate {name}"], console=console)
    if out is not None:
        try:
            out.write_text(json.dumps([as_json(result) for result in results], indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        except OSError as error:
            raise CommandError(f"{out} cannot be written ({error.strerror}); choose another with --out.") from error
    if is_logged:
        log(results, home=home, console=console)


def _size(name: str, folder: Path) -> int:
    """How many steps a set takes: its series, else one."""
    if name == "nab":
        return len(json.loads((folder / nab.WINDOWS).read_text(encoding="utf-8")))
    return len(list(folder.glob("*.csv"))) - 1 if name == "csv" else 1


def as_json(result: SetResult) -> dict[str, Any]:
    """What is not known is null."""
    written = result.as_dict() | {"code_version": distribution_version("smart-maintenance"), "code_sha256": code_sha256()}
    return {name: _known(value) for name, value in written.items()}


def _known(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _known(inner) for name, inner in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_known(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def code_sha256() -> str:
    """Over all that computes: a figure belongs to the code that made it, released or not."""
    digest = hashlib.sha256()
    for path in sorted((CHECKOUT / "ml").rglob("*.py")):
        digest.update(f"{path.relative_to(CHECKOUT)}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()


def show(result: SetResult, *, seconds: float, console: Console) -> None:
    console.print(f"\n[bold]{result.title}[/bold], {seconds:.0f} s")
    figures = Table(Column("figure", no_wrap=True), Column("value", justify="right"), box=None, padding=(0, 2))
    for name, value in result.figures.items():
        figures.add_row(name, _shown(value))
    console.print(figures)
    if len(result.rows) > 1:
        names = [name for name in result.rows[0] if name not in ("case", "not_trained")]
        heads = (Column(HEADS.get(name, name), justify="right", no_wrap=True) for name in names)
        cases = Table(Column("case", overflow="fold"), *heads, box=None, padding=(0, 1))
        stems = [Path(row["case"]).stem for row in result.rows]
        for row, stem in zip(result.rows, stems, strict=True):
            cases.add_row(stem if stems.count(stem) == 1 else row["case"], *(_shown(row[name]) for name in names))
        console.print(cases)
    for sentence in result.said:
        console.print(sentence, style="dim", highlight=False, soft_wrap=True)


def _shown(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    if math.isnan(value):
        return "-"
    return f"{value:,.0f}" if value == round(value) else f"{value:,.2f}"


def log(results: Sequence[SetResult], *, home: Path | None, console: Console) -> None:
    """A run per set in MLflow's experiment `evaluation`; a model of the whole set, where one was fitted, is registered by it."""
    with prepared(home=home) as environment:
        named = os.environ.get(URI_VARIABLE) or os.environ[STORE_VARIABLE]
        folder = environment.home.folder
        models = ModelsResource(tracking_uri=named, artifacts=str(folder("mlflow")), cache=str(folder("models")))
        for result in results:
            written = as_json(result)
            models.log_run(
                EXPERIMENT,
                name=f"{result.format} {datetime.now(UTC):%Y-%m-%d %H:%M}",
                params={"format": result.format, "data_sha256": result.data_sha256, **result.params},
                metrics={name: value for name, value in result.figures.items() if math.isfinite(value)},
                tags={"code_version": written["code_version"], "code_sha256": written["code_sha256"]},
                texts={"result.json": json.dumps(written, indent=1, ensure_ascii=False), "notes.txt": "\n".join(result.said) + "\n"},
                fitted=result.fitted,
            )
    console.print(f"\n{len(results)} runs logged to MLflow, experiment [bold]{EXPERIMENT}[/bold] (`maintenance up` shows it).")
