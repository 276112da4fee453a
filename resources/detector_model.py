"""The detector as MLflow serves it: features of machines in, anomaly scores out.

MLflow keeps this file beside the model (models from code) and runs it where the model is loaded; nothing is pickled.
"""

from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from ml.detectors.fleet import SiteDetector
from ml.plant import Site


class DetectorModel(PythonModel):
    """Input: rows of `machine_features`. Output: rows of `anomaly_scores`. Times are UTC without a zone, as MLflow demands."""

    def load_context(self, context: PythonModelContext) -> None:
        self.detector = SiteDetector.from_bytes(Path(context.artifacts["detector"]).read_bytes())
        self.site = Site.model_validate_json(Path(context.artifacts["site"]).read_text(encoding="utf-8"))

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - the signature is MLflow's
        model_input: pd.DataFrame,
        params: dict[str, Any] | None = None,  # noqa: ARG002
    ) -> pd.DataFrame:
        features = model_input.assign(window_start=pd.to_datetime(model_input["window_start"]).dt.tz_localize("UTC"))
        scores = self.detector.score(features, site=self.site, model_version=1)
        return scores.drop(columns="model_version").assign(window_start=scores["window_start"].dt.tz_localize(None))


mlflow.models.set_model(DetectorModel())
