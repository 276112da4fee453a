"""The library is loaded without what no suite uses, and with all it can do."""

import gc
import math
import subprocess
import sys
from pathlib import Path

import pytest

from expectations.loading import SELDOM_USED, _loaded_later, without_collection

IN_A_FRESH_PROCESS = """
import gc, math, sys
import pandas as pd
from cli.bench_suites import rows_of
from expectations.loading import SELDOM_USED, library
from expectations.ledger_contracts import PREDICTIONS
from expectations.suites import predictions_suite
from expectations.validation import validate_table

frame = rows_of(PREDICTIONS.of_one_site_day, 2).assign(probability_7d=[0.5, 2.0])
assert not validate_table(frame, suite=predictions_suite()).success
assert "great_expectations" in sys.modules
loaded = [name for name in SELDOM_USED if name in sys.modules]
assert loaded == [], f"validating loaded {loaded}"
assert gc.isenabled()

gx = library()
batch = (
    gx.get_context(mode="ephemeral").data_sources.add_pandas("m").add_dataframe_asset("t").add_batch_definition_whole_dataframe("w")
).get_batch(batch_parameters={"dataframe": pd.DataFrame({"v": ["a"] * 3 + ["b"]})})
asked = gx.expectations.ExpectColumnKLDivergenceToBeLessThan(
    column="v", partition_object={"values": ["a", "b"], "weights": [0.5, 0.5]}, threshold=0.2
)
said = batch.validate(asked)
assert said.success, said
assert math.isclose(said.result["observed_value"], 0.75 * math.log(0.75 / 0.5) + 0.25 * math.log(0.25 / 0.5)), said.result
assert "scipy.stats" in sys.modules, "an expectation that needs it has it"

import scipy.stats
assert math.isclose(scipy.stats.norm.cdf(0), 0.5)
assert type(sys.modules["scipy.stats"]).__name__ == "module"
"""


def test_validating_leaves_the_heavy_libraries_out_and_an_expectation_that_needs_one_gets_it() -> None:
    subprocess.run([sys.executable, "-W", "ignore", "-c", IN_A_FRESH_PROCESS], check=True, timeout=120)


@pytest.fixture
def heavy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that takes note of being loaded, and two that import it."""
    (tmp_path / "heavy_thing.py").write_text("import sys\nsys.heavy_things = getattr(sys, 'heavy_things', 0) + 1\nvalue = 42\n")
    (tmp_path / "patient.py").write_text("import heavy_thing\n\ndef value():\n    return heavy_thing.value\n")
    (tmp_path / "eager.py").write_text("from heavy_thing import value\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "heavy_things", 0, raising=False)
    for name in ("heavy_thing", "patient", "eager"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return "heavy_thing"


def times_loaded() -> int:
    return int(sys.heavy_things)  # type: ignore[attr-defined]


def test_a_module_is_loaded_when_something_of_it_is_asked_for_and_once(heavy: str) -> None:
    with _loaded_later((heavy,)):
        import patient  # type: ignore[import-not-found]
    assert times_loaded() == 0
    assert heavy not in sys.modules, "whoever imports it from now on gets the module itself"
    assert patient.value() == 42
    assert sys.modules[heavy].value == 42
    assert patient.value() == 42
    assert times_loaded() == 1


def test_whoever_wants_a_name_of_it_at_once_has_it_at_once(heavy: str) -> None:
    with _loaded_later((heavy,)):
        import eager  # type: ignore[import-not-found]
    assert eager.value == 42
    assert type(sys.modules[heavy]).__name__ == "module"
    assert times_loaded() == 1


def test_a_module_that_is_there_already_stays_the_one_it_is() -> None:
    with _loaded_later(("math",)):
        assert sys.modules["math"] is math
    assert sys.modules["math"] is math


def test_what_the_module_lacks_is_said_as_ever(heavy: str) -> None:
    with _loaded_later((heavy,)):
        import patient
    with pytest.raises(AttributeError, match="module 'heavy_thing' has no attribute 'nothing'"):
        _ = patient.heavy_thing.nothing


def test_collection_goes_on_afterwards_unless_it_was_off_before() -> None:
    with without_collection():
        assert not gc.isenabled()
    assert gc.isenabled()
    gc.disable()
    try:
        with without_collection():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


def test_what_is_left_out_is_what_the_library_imports() -> None:
    """Else the stand-ins would be for nothing; the bench says what they are worth."""
    script = "import sys, great_expectations; print([n for n in %r if n in sys.modules])" % (SELDOM_USED,)  # noqa: UP031
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", script], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == str(list(SELDOM_USED))
