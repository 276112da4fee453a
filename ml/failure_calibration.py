"""The calibration that production uses: residuals of simulated failures, by failure mode (`ml.conformal` says of what).

Found from SIMULATED_N failures of `ml.simulation.run_to_failure` with seed SIMULATED_SEED; `maintenance evaluate --format faults` finds
them again and says whether they are still these. Modes that are not here have no
failures to learn from yet: their times stay the paths' own.
"""

from ml.conformal import Stretch

SIMULATED_N, SIMULATED_SEED = 300, 1
SIMULATED: dict[str, Stretch] = {
    "ELP": Stretch(100, -2.70, -1.26, 0.21),
    "PLU": Stretch(100, -3.73, -1.57, -0.11),
    "VIB": Stretch(94, -5.44, -3.52, -1.73),
}
