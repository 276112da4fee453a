"""Speed and memory, measured on this machine: each figure with its target, ratios taken side by side in one run."""

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict

from rich.console import Console
from rich.table import Column, Table

from cli.benches.acquisition import intake, merge
from cli.benches.detect import detect
from cli.benches.figures import Measured
from cli.benches.planning import planning
from cli.benches.program import definitions, demo
from cli.benches.validation import validation
from cli.errors import CommandError
from resources.home import Home

GROUPS: dict[str, Callable[[], Iterator[Measured]]] = {
    "intake": intake,
    "merge": merge,
    "validation": validation,
    "detect": detect,
    "definitions": definitions,
    "planning": planning,
    "demo": demo,
}


def measure(home: Home, *, only: tuple[str, ...], console: Console) -> list[Measured]:
    """Every figure, or those of the groups named; writes bench.json into `home`, and nothing else there.

    Raises CommandError for an unknown group.
    """
    unknown = sorted(set(only) - set(GROUPS))
    if unknown:
        raise CommandError(f"There is no group {', '.join(unknown)}; the groups are {', '.join(GROUPS)}.")
    figures: list[Measured] = []
    for name in only or tuple(GROUPS):
        console.print(f"measuring {name} ...")
        figures.extend(GROUPS[name]())
    (home.root / "bench.json").write_text(json.dumps([asdict(f) for f in figures], indent=1) + "\n")
    return figures


def table_of(figures: list[Measured]) -> Table:
    """Eighty columns hold every name and figure uncut; units and targets wrap."""
    names = ("figure", "median", "lowest", "highest")
    uncut = [Column(name, no_wrap=True, justify="left" if name == "figure" else "right") for name in names]
    table = Table(*uncut, "unit", "target", Column("holds", no_wrap=True), box=None, padding=(0, 1, 0, 0))
    for f in figures:
        holds = {True: "yes", False: "NO", None: ""}[f.holds]
        table.add_row(f.name, _shown(f.value), _shown(f.lowest), _shown(f.highest), f.unit, f.target, holds)
    return table


def _shown(value: float) -> str:
    if value >= 1e6:
        return f"{value / 1e6:,.2f} M"
    return f"{value:,.2f}" if value < 100 else f"{value:,.0f}"
