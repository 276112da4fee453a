"""The bench: medians against targets, pairs in turn, and every figure from work that was really done."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from cli.bench import GROUPS, measure, table_of
from cli.bench_suites import measure as measure_suites
from cli.benches import acquisition, figures, validation
from cli.benches.figures import Spent, figure, ratios, side_by_side
from cli.environment import Environment
from cli.errors import CommandError
from resources.home import HOME_VARIABLE, Home
from resources.ledger.ledger import LEDGER_VARIABLE, LedgerResource
from tests.conftest import CHECKOUT


def test_a_group_that_there_is_not_is_said_before_anything_is_measured(tmp_path: Path) -> None:
    groups = "intake, merge, validation, detect, definitions, planning, demo"
    with pytest.raises(CommandError, match=f"There is no group speed; the groups are {groups}"):
        measure(Home(tmp_path), only=("speed",), console=Console(file=StringIO()))
    assert list(tmp_path.iterdir()) == []


def test_the_help_names_every_group() -> None:
    source = (CHECKOUT / "cli" / "main.py").read_text()
    assert f"Only these groups: {', '.join(GROUPS)};" in source


@pytest.mark.parametrize(
    ("values", "at_least", "at_most", "holds", "target"),
    [
        ([3.0, 1.0, 2.0], 2.0, None, True, ">= 2"),
        ([3.0, 1.0, 2.0], 2.1, None, False, ">= 2.1"),
        ([3.0, 1.0, 2.0], None, 2.0, True, "<= 2"),
        ([9.0, 1.0, 2.1], None, 2.0, False, "<= 2"),
        ([3.0, 1.0, 2.0], None, None, None, ""),
        ([2e6], 1_000_000, None, True, ">= 1,000,000"),
    ],
)
def test_the_median_is_what_meets_a_target(
    values: list[float], at_least: float | None, at_most: float | None, holds: bool | None, target: str
) -> None:
    measured = figure("x", values, "s", at_least=at_least, at_most=at_most)
    assert (measured.holds, measured.target, measured.runs) == (holds, target, len(values))
    assert (measured.value, measured.lowest, measured.highest) == (sorted(values)[len(values) // 2], min(values), max(values))


def test_no_name_and_no_figure_is_cut_on_a_narrow_terminal() -> None:
    long = figure("intake.rows_per_s_per_core", [1_234_567.0, 2_345_678.0, 12_345_678.0], "rows/CPU-s", at_least=1_000_000)
    ratio = figure("validation.without_import", [0.987, 123.4, 99_999.0], "x bare pyarrow", at_most=2)
    printed = StringIO()
    Console(file=printed, width=80).print(table_of([long, ratio]))
    shown = [line.split() for line in printed.getvalue().splitlines()]
    assert shown[1][:7] == ["intake.rows_per_s_per_core", "2.35", "M", "1.23", "M", "12.35", "M"]
    assert next(words for words in shown if "validation.without_import" in words)[:4] == [
        "validation.without_import",
        "123",
        "0.99",
        "99,999",
    ]
    assert printed.getvalue().count("…") == 0


def test_two_works_take_turns_in_going_first_and_the_first_pair_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(figures, "RUNS", 3)
    done: list[str] = []
    pairs = side_by_side(lambda run: (lambda: done.append(f"ours {run}"), lambda: done.append(f"other {run}")))
    assert done == ["ours 0", "other 0", "other 1", "ours 1", "ours 2", "other 2", "other 3", "ours 3"]
    assert len(pairs) == 3


def test_ratios_are_taken_pair_by_pair() -> None:
    """The second pair fell into a slow time of the machine: 7 to 2 of the medians would be wrong."""
    pairs = [(Spent(3, 2), Spent(1, 2)), (Spent(14, 16), Spent(7, 4)), (Spent(7, 6), Spent(2, 2))]
    wall, cpu = ratios("x", pairs, at_most=2)
    assert (wall.value, wall.lowest, wall.highest, wall.holds) == (3.0, 2.0, 3.5, False)
    assert (cpu.value, cpu.lowest, cpu.highest) == (3.0, 1.0, 4.0)


@pytest.fixture
def small(tmp_path: Path, ledger: LedgerResource, monkeypatch: pytest.MonkeyPatch) -> Home:
    """The bench over a small site-day, once, over the test's own folder and ledger."""
    home = Home(tmp_path)
    home.prepare()
    monkeypatch.setenv(LEDGER_VARIABLE, ledger.url)
    monkeypatch.setenv(HOME_VARIABLE, str(tmp_path))

    @contextmanager
    def alone() -> Iterator[Environment]:
        yield Environment(home, CHECKOUT / "plant", (), "")

    monkeypatch.setattr(acquisition, "alone", alone)
    monkeypatch.setattr(figures, "RUNS", 1)
    for name, value in {"SENSORS": 3, "INTERVAL_S": 600, "ROWS": 3 * 144, "DELIVERIES": 4, "LARGE_DAYS": 2}.items():
        monkeypatch.setattr(acquisition, name, value)
    return home


def test_intake_and_merge_are_measured_on_what_they_store(small: Home) -> None:
    printed = StringIO()
    measured = measure(small, only=("merge", "intake"), console=Console(file=printed))
    assert "measuring merge ..." in printed.getvalue()
    assert [m.name for m in measured] == [
        "merge.rows_per_s",
        "merge.rows_per_s_per_core",
        "merge.wall_ratio",
        "merge.cpu_ratio",
        "intake.rows_per_s_per_core",
        "intake.rows_per_s",
        "intake.wall_ratio",
        "intake.cpu_ratio",
        "intake.memory_of_0_MB",
    ]
    assert all(m.value > 0 for m in measured)
    assert [row["name"] for row in json.loads((small.root / "bench.json").read_text())] == [m.name for m in measured]
    segments = list(small.folder("lake").rglob("segments/**/*.parquet"))
    assert len(segments) == 4 + 2 + 2, "hourly drops, two runs, two days of the large one"
    printed_table = StringIO()
    Console(file=printed_table, width=200).print(table_of(measured))
    assert all(m.name in printed_table.getvalue() for m in measured)


def test_a_drop_of_the_bench_that_is_not_taken_in_whole_is_an_error_not_a_figure(small: Home) -> None:
    plant = acquisition.Plant.over(small)
    rows = acquisition.readings(plant.site, acquisition.DAY, seed=1)
    twice = plant.deliver("twice.csv", acquisition.pa.concat_tables([rows, rows]))
    with pytest.raises(RuntimeError, match="not taken in whole"):
        plant.take_in(twice)


def test_suites_are_measured_in_fresh_processes_and_the_first_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    figures_of_one = measure_suites(sensors=20)
    assert len(figures_of_one["suites"]) >= 8
    assert figures_of_one["total_s"] >= figures_of_one["validation_s"] >= sum(figures_of_one["suites"].values()) > 0
    said = iter(json.dumps({**figures_of_one, "total_s": s, "validation_s": s / 2}) for s in (9, 1, 2, 3, 4, 5))
    monkeypatch.setattr(validation, "said_by", lambda script: next(said))
    with_import, without = validation.validation()
    assert (with_import.value, with_import.highest, with_import.holds, without.value) == (3, 5, True, 1.5)
