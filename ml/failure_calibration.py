"""The calibration that production uses, and what it is worth: simulated failures, by failure mode (`ml.conformal` says of what).

The residuals are found from SIMULATED_N failures of `ml.simulation.run_to_failure` with seed SIMULATED_SEED; the coverage is that of
ASKED_N others, with seed ASKED_SEED. `maintenance evaluate --format faults` finds both again and says whether they are still these. Modes
that are not here have no failures to learn from yet: their times stay the paths' own.
"""

from ml.conformal import Stretch
from ml.coverage import Coverage

SIMULATED_N, SIMULATED_SEED = 300, 1
SIMULATED: dict[str, Stretch] = {
    "ELP": Stretch(100, -2.70, -1.26, 0.21),
    "PLU": Stretch(100, -3.73, -1.57, -0.11),
    "VIB": Stretch(94, -5.44, -3.52, -1.73),
}

FORECAST_SEED = 7
ASKED_N, ASKED_SEED = 200, 20260
SIMULATED_COVERAGE: dict[str, Coverage] = {
    "ELP": Coverage(67, 50),
    "PLU": Coverage(66, 54),
    "VIB": Coverage(67, 46),
}
