"""What the default threshold promises, on healthy days that no training saw: one false alarm a machine-month, within 0.3 and 2."""

from datetime import date
from pathlib import Path

import pandas as pd
import yaml

from ml.detectors.fleet import SiteDetector
from ml.features import build_features
from ml.incidents import alarms
from ml.plant import Site
from ml.simulator import simulate

PLANT = Path(__file__).parents[2] / "plant"
FIRST_DAY, LEARNED_DAYS, OBSERVED_DAYS, SEED = date(2026, 9, 14), 28, 60, 1


def _observed(name: str) -> tuple[int, float]:
    """(false alarms, machine-months scored) of one demonstration site without faults."""
    site = Site.model_validate(yaml.safe_load((PLANT / f"{name}.yaml").read_text("utf-8")))
    days = simulate([site], start=FIRST_DAY, days=LEARNED_DAYS + OBSERVED_DAYS, seed=SEED, faults=())
    features = pd.concat([build_features(day.readings, site=site, day=day.day) for day in days], ignore_index=True)
    until = pd.Timestamp(FIRST_DAY, tz="UTC") + pd.Timedelta(days=LEARNED_DAYS)
    held_out_from = until - pd.Timedelta(days=round(LEARNED_DAYS * site.policy.training.held_out_share))
    detector = SiteDetector.fit(features[features["window_start"] < until], site=site, held_out_from=held_out_from, seed=7)
    assert not detector.untrained
    scores = detector.score(features, site=site, model_version=1, since=until)
    months = float((scores["state"] == "scored").sum()) * site.window_minutes / (30 * 1440)
    assert months > 0.8 * 2 * len(site.machines)
    return len(alarms(scores, site=site)), months


def test_two_months_of_healthy_machines_raise_about_one_alarm_a_machine_month() -> None:
    observed = [_observed(name) for name in ("hamburg", "houston")]
    raised, months = (sum(column) for column in zip(*observed, strict=True))
    assert months > 24
    assert 0.3 <= raised / months <= 2.0
