"""Lists of what technicians can find: those of ISO 14224 unless the plant file has its own."""

import pytest
from pydantic import ValidationError

from ml.findings import FAILURE_CAUSES, FAILURE_MECHANISMS, FAILURE_MODES, FindingLists
from ml.plant import FAILURE_MODE_NAMES, Site

OWN = FindingLists(
    failure_modes={**FAILURE_MODES, "CAV": "cavitation noise"}, failure_mechanisms={"W": "worn"}, failure_causes={"A": "age"}
)
SITE = {
    "site": "s", "name": "Works", "first_day": "2026-01-01",
    "machines": [{"machine_id": "P1", "machine_class": "pump", "sensors": [{"sensor_id": "a", "type": "vibration", "unit": "mm/s"}]}],
}  # fmt: skip


def test_the_default_lists_have_the_subdivisions_of_the_standard() -> None:
    """ISO 14224:2016, tables B.2 and B.3: how many subdivisions each notation number has, general ones included."""

    def sizes(codes: dict[str, str]) -> dict[str, int]:
        return {group: sum(code.startswith(f"{group}.") for code in codes) for group in sorted({code[0] for code in codes})}

    assert sizes(FAILURE_MECHANISMS) == {"1": 7, "2": 9, "3": 7, "4": 6, "5": 4, "6": 5}
    assert sizes(FAILURE_CAUSES) == {"1": 3, "2": 3, "3": 5, "4": 3, "5": 7}
    assert FAILURE_MODE_NAMES.keys() <= FAILURE_MODES.keys(), "what is predicted can be found"


def test_a_finding_is_read_by_the_lists_of_the_site() -> None:
    OWN.demand("CAV", mechanism="W", cause="A")
    OWN.demand("no_fault_found", mechanism=None, cause=None)
    FindingLists().demand("VIB", mechanism="2.4", cause=None)
    with pytest.raises(ValueError, match=r"finding is 'CAV'; it must be one of AIR \(abnormal instrument reading\), "):
        FindingLists().demand("CAV", mechanism=None, cause=None)
    with pytest.raises(ValueError, match=r"failure_mechanism is '2.4'; it must be one of W \(worn\)\."):
        OWN.demand("VIB", mechanism="2.4", cause=None)
    with pytest.raises(ValueError, match=r"failure_cause is 'B'; it must be one of A \(age\)\."):
        OWN.demand("VIB", mechanism="W", cause="B")


@pytest.mark.parametrize("said", [{"mechanism": "2.4", "cause": None}, {"mechanism": None, "cause": "3.4"}])
def test_no_fault_has_no_mechanism_and_no_cause(said: dict[str, str | None]) -> None:
    with pytest.raises(ValueError, match="where no fault was found"):
        FindingLists().demand("no_fault_found", **said)


def test_a_plant_file_may_bring_lists_of_its_own_that_hold_what_is_predicted() -> None:
    modes = {**FAILURE_MODE_NAMES, "CAV": "cavitation"}
    site = Site.model_validate({**SITE, "findings": {"failure_modes": modes}})
    assert site.findings.failure_modes == modes
    assert site.findings.failure_causes == FAILURE_CAUSES
    with pytest.raises(ValidationError, match="lacks AIR, ELE"):
        Site.model_validate({**SITE, "findings": {"failure_modes": {"VIB": "shakes"}}})
    with pytest.raises(ValidationError, match="can always be reported"):
        Site.model_validate({**SITE, "findings": {"failure_modes": {**modes, "no_fault_found": "nothing"}}})
