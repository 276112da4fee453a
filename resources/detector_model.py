"""The detector as MLflow serves it: features of machines in, anomaly scores out.

MLflow keeps this file beside the model (models from code) and runs it where the model is loaded; nothing is pickled.
"""

from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ml.detectors.fleet import SiteDetector
from ml.plant import Site


class DetectorModel(PythonModel):  # type: ignore[misc]
    """Input: rows of `machine_features`. Output: rows of `anomaly_scores`. Times are UTC without a zone, as MLflow demands."""

    def load_context(self, context: PythonModelContext) -> None:
        with open(context.artifacts["detector"], "rb") as file:
            self.detector = SiteDetector.from_bytes(file.read())
        with open(context.artifacts["site"], encoding="utf-8") as file:
            self.site = Site.model_validate_json(file.read())

    def predict(self, context: PythonModelContext, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> pd.DataFrame:
        features = model_input.assign(window_start=pd.to_datetime(model_input["window_start"]).dt.tz_localize("UTC"))
        scores = self.detector.score(features, site=self.site, model_version=1)
        return scores.drop(columns="model_version").assign(window_start=scores["window_start"].dt.tz_localize(None))


mlflow.models.set_model(DetectorModel())
