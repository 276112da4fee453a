"""False alarms that the default thresholds raise on healthy days of the demonstration sites that no training saw.

60 days of both sites are 26 machine-months; of a true rate of 1 a machine-month, counting alone would show 0.6 to 1.4 in 19 of 20 samples.
"""

from collections.abc import Iterator
from datetime import date, timedelta

import pandas as pd
import yaml

from cli.benches.figures import Measured, figure
from ml.detectors.fleet import SiteDetector
from ml.detectors.pace import machine_days
from ml.features import build_features
from ml.incidents import alarms
from ml.plant import Site
from ml.simulator import simulate
from resources.home import CHECKOUT

SITES = ("hamburg", "houston")
FIRST_DAY, LEARNED_DAYS, OBSERVED_DAYS, SEED = date(2026, 9, 14), 28, 60, 2


def false_alarms() -> Iterator[Measured]:
    raised, months = (sum(column) for column in zip(*map(observed, SITES), strict=True))
    yield figure("detect.false_alarms_per_machine_month", [raised / months], "alarms", at_least=0.3, at_most=2.0)


def observed(name: str) -> tuple[int, float]:
    """(alarms, machine-months scored) of one demonstration site, simulated without faults."""
    site = Site.model_validate(yaml.safe_load((CHECKOUT / "plant" / f"{name}.yaml").read_text(encoding="utf-8")))
    days = simulate([site], start=FIRST_DAY, days=LEARNED_DAYS + OBSERVED_DAYS, seed=SEED, faults=())
    features = pd.concat([build_features(day.readings, site=site, day=day.day) for day in days], ignore_index=True)
    until = pd.Timestamp(FIRST_DAY + timedelta(days=LEARNED_DAYS), tz="UTC")
    held_out_from = until - pd.Timedelta(days=round(LEARNED_DAYS * site.policy.training.held_out_share))
    detector = SiteDetector.fit(features[features["window_start"] < until], site=site, held_out_from=held_out_from, seed=7)
    scores = detector.score(features, site=site, model_version=1, since=until)
    return len(alarms(scores, site=site)), machine_days(scores, site=site) / 30
