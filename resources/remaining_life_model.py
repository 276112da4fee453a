"""A model of remaining useful life as MLflow serves it: histories of units in, the cycles that each has left out.

MLflow keeps this file beside the model (models from code) and runs it where the model is loaded. The model's own bytes are a pickle.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ml.pickled import unpack
from ml.remaining_life import cycles_left_table


class ServedRemainingLifeModel(PythonModel):
    """Input: unit, cycle and the quantities, a row per cycle. Output: [unit, cycles_left] after the last cycle of each."""

    def load_context(self, context: PythonModelContext) -> None:
        self.model = unpack(Path(context.artifacts["remaining_life_model"]).read_bytes())

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - the signature is MLflow's
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        return cycles_left_table(self.model.of_last_cycles(model_input))


mlflow.models.set_model(ServedRemainingLifeModel())
