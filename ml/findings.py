"""What technicians can find: failure modes, mechanisms and causes, in the words of ISO 14224:2016, annex B.

A plant file may say it in other words or with other codes: a list that it gives stands in place of the one here. Of the modes (tables
B.6 to B.15) those are here that rotating machines and their instruments have; the failure modes that are predicted can always be found.
"""

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

NO_FAULT_FOUND = "no_fault_found"

FAILURE_MODES: dict[str, str] = {
    "AIR": "abnormal instrument reading",
    "BRD": "breakdown",
    "ELE": "electrical failure",
    "ELP": "external leakage of process medium",
    "ELU": "external leakage of utility medium",
    "ERO": "erratic output",
    "FTS": "failure to start on demand",
    "HIO": "high output",
    "INL": "internal leakage",
    "LOO": "low output",
    "NOI": "noise",
    "OHE": "overheating",
    "PDE": "parameter deviation",
    "PLU": "plugged or choked",
    "SER": "minor in-service problems",
    "STD": "structural deficiency",
    "STP": "failure to stop on demand",
    "UST": "spurious stop",
    "VIB": "vibration",
    "OTH": "other",
    "UNK": "unknown",
}

# Table B.2.
FAILURE_MECHANISMS: dict[str, str] = {
    "1.0": "mechanical failure, general", "1.1": "leakage", "1.2": "vibration", "1.3": "clearance or alignment failure",
    "1.4": "deformation", "1.5": "looseness", "1.6": "sticking",
    "2.0": "material failure, general", "2.1": "cavitation", "2.2": "corrosion", "2.3": "erosion", "2.4": "wear", "2.5": "breakage",
    "2.6": "fatigue", "2.7": "overheating", "2.8": "burst",
    "3.0": "instrument failure, general", "3.1": "control failure", "3.2": "no signal, indication or alarm",
    "3.3": "faulty signal, indication or alarm", "3.4": "out of adjustment", "3.5": "software failure",
    "3.6": "common cause or mode failure",
    "4.0": "electrical failure, general", "4.1": "short circuiting", "4.2": "open circuit", "4.3": "no power or voltage",
    "4.4": "faulty power or voltage", "4.5": "earth or isolation fault",
    "5.0": "external influence, general", "5.1": "blockage or plugged", "5.2": "contamination", "5.3": "miscellaneous external influences",
    "6.0": "miscellaneous, general", "6.1": "no cause found", "6.2": "combined causes", "6.3": "other", "6.4": "unknown",
}  # fmt: skip

# Table B.3.
FAILURE_CAUSES: dict[str, str] = {
    "1.0": "design, general", "1.1": "improper capacity", "1.2": "improper material",
    "2.0": "fabrication or installation, general", "2.1": "fabrication failure", "2.2": "installation failure",
    "3.0": "operation or maintenance, general", "3.1": "off-design service", "3.2": "operating error", "3.3": "maintenance error",
    "3.4": "expected wear and tear",
    "4.0": "management, general", "4.1": "documentation error", "4.2": "management error",
    "5.0": "miscellaneous, general", "5.1": "no cause found", "5.2": "common cause", "5.3": "combined causes",
    "5.4": "other unit or cascading failure", "5.5": "other", "5.6": "unknown",
}  # fmt: skip


class FindingLists(BaseModel):
    """Code -> what it says, of what a technician can report."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    failure_modes: dict[str, str] = Field(default=FAILURE_MODES, min_length=1)
    failure_mechanisms: dict[str, str] = Field(default=FAILURE_MECHANISMS, min_length=1)
    failure_causes: dict[str, str] = Field(default=FAILURE_CAUSES, min_length=1)

    @model_validator(mode="after")
    def _no_fault_is_no_mode(self) -> Self:
        if NO_FAULT_FOUND in self.failure_modes:
            raise ValueError(f"failure_modes: {NO_FAULT_FOUND} can always be reported and is no failure mode")
        return self

    def demand(self, finding: str, *, mechanism: str | None, cause: str | None) -> None:
        """Raises ValueError, naming the choices, for what is on no list, and for a cause of a fault that was not there."""
        modes = {**self.failure_modes, NO_FAULT_FOUND: ""}
        for field, said, known in (
            ("finding", finding, modes),
            ("failure_mechanism", mechanism, self.failure_mechanisms),
            ("failure_cause", cause, self.failure_causes),
        ):
            if said is not None and said not in known:
                raise ValueError(f"{field} is {said!r}; it must be one of {_choices(known)}.")
        if finding == NO_FAULT_FOUND and (mechanism is not None or cause is not None):
            raise ValueError("where no fault was found, there is no mechanism and no cause of one.")


def _choices(known: dict[str, str]) -> str:
    return ", ".join(f"{code} ({words})" if words else code for code, words in known.items())
