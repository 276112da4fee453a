"""Failures and remaining life on public data: the targets, as `maintenance evaluate` measures them."""

from pathlib import Path

import pytest

from cli.evaluation import ai4i, azure_ahead, cmapss

pytestmark = pytest.mark.shared_data


def nothing(_: int) -> None:
    """Nobody looks at the progress."""


def test_milling_failures_are_told_as_well_as_asked(shared_data: Path) -> None:
    figures = ai4i.evaluate(shared_data / "ai4i2020", nothing).figures
    assert figures["n_events"] == 239
    assert figures["average_precision"] >= 0.87
    assert figures["mcc"] >= 0.84


def test_engines_are_given_their_remaining_flights_as_well_as_asked(shared_data: Path) -> None:
    figures = cmapss.evaluate(shared_data / "cmapss", nothing).figures
    assert figures["n_engines"] == 100
    assert figures["rmse_raw"] <= 13.0
    assert figures["rmse_clipped"] <= 11.5


def test_failures_are_foreseen_a_day_ahead(shared_data: Path) -> None:
    figures = azure_ahead.evaluate(shared_data / "azure_pdm", nothing).figures
    assert figures["n_events"] == 15  # 17 components in 15 hours
    assert figures["n_found"] >= 13
    assert figures["false_alarms_per_machine_month"] < 0.2
    assert figures["average_precision"] > 30 * figures["anomalous_share"]
    assert figures["later_n_events"] == 5
    assert figures["later_n_found"] >= 3
    assert figures["later_average_precision"] > 0.9
