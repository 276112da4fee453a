"""A learned failure model as MLflow serves it: features of machines in, the probability of a failure within the horizon out.

MLflow keeps this file beside the model (models from code) and runs it where the model is loaded. The model's own bytes are a pickle.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ml.failure_model import FailureModel
from ml.pickled import unpack


class ServedFailureModel(PythonModel):
    """Input: rows of window features, as in the input example. Output: [probability], a row each."""

    def load_context(self, context: PythonModelContext) -> None:
        model = unpack(Path(context.artifacts["failure_model"]).read_bytes())
        self.hazard = model.hazard if isinstance(model, FailureModel) else model

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - the signature is MLflow's
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        return pd.DataFrame({"probability": self.hazard.probability(model_input)})


mlflow.models.set_model(ServedFailureModel())
