"""Settings that the chain could not honour are refused where they are written."""

import pytest
from pydantic import ValidationError

from ml.plant import DetectionPolicy, PrognosisPolicy, TrainingPolicy
from tests.conftest import CHECKOUT


@pytest.mark.parametrize(("field", "value"), [("horizon_days", 29), ("horizon_days", 91), ("history_days", 11), ("history_days", 1)])
def test_a_horizon_or_history_that_prognosis_cannot_honour_is_refused(field: str, value: int) -> None:
    with pytest.raises(ValidationError, match=field):
        PrognosisPolicy(**{field: value})  # type: ignore[arg-type]


@pytest.mark.parametrize("field", sorted({*DetectionPolicy.model_fields, *TrainingPolicy.model_fields, *PrognosisPolicy.model_fields}))
def test_every_setting_of_these_policies_is_read_somewhere(field: str) -> None:
    sources = [p for room in ("ml", "assets") for p in (CHECKOUT / room).rglob("*.py") if p.name != "plant.py"]
    assert any(f".{field}" in p.read_text() for p in sources)
