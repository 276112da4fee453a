"""What an incident's evidence must show to be believed: one claim per rule, with the words that people read.

A claim names its column of `ml.evidence`, the threshold's field in `VerdictPolicy`, and how a failing value is told to a technician.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from expectations.contracts import MEMBERS
from expectations.rules import between, one_of
from expectations.validation import Rule
from ml.plant import VerdictPolicy

GRADES = ("A", "B", "C", "F")
INSTRUMENT = "AIR"  # the failure mode of instruments: a fault of the sensor does not speak against it, it is the finding
_MOST_DIGITS = 6

Form = Callable[[Any, int], str]


def _share(value: Any, digits: int) -> str:
    return f"{value:.{digits}%}"


def _number(value: Any, digits: int) -> str:
    return f"{value:.{digits + 3}g}"


def _hours(value: Any, digits: int) -> str:
    return f"{_number(value, digits)} h"


def _bare(value: Any, _: int) -> str:
    return f"{value:g}"


def _whether(value: Any, _: int) -> str:
    return "yes" if value else "no"


def _counted(noun: str) -> Form:
    return lambda value, _: f"{value:g} {noun}{'' if value == 1 else 's'}"


@dataclass(frozen=True)
class Claim:
    """One rule on the evidence. In `claim` and `doubt` stand {limit}, and in `doubt` {value} or another column of the evidence.

    `limit` is the threshold's name in the policy, if it has one; `way` says on which side of it a value holds, or that it must be among
    those allowed. `moot_for` is the failure mode that the claim does not speak against, whatever the value.
    """

    name: str
    column: str
    known_as: str
    way: Literal["least", "most", "among"]
    limit: str | None
    form: Form
    claim: str
    doubt: str
    moot_for: str | None = None

    def rule(self, policy: VerdictPolicy) -> Rule:
        name, words, threshold = self.name, self.words(policy), self._threshold(policy)
        if self.way == "among":
            return one_of(self.column, threshold, name=name, words=words, severity="warning")
        low, high = (threshold, None) if self.way == "least" else (None, threshold)
        return between(self.column, low, high, name=name, words=words, severity="warning")

    def words(self, policy: VerdictPolicy) -> str:
        return self.claim.format(limit=self.form(self._threshold(policy), 0))

    def reason(self, evidence: Mapping[str, Any], policy: VerdictPolicy) -> str:
        """Why the evidence fails the claim, with as many digits as it takes to tell the value from the limit."""
        value, limit = evidence[self.column], self._threshold(policy)
        digits = next((d for d in range(_MOST_DIGITS) if self.form(value, d) != self.form(limit, d)), _MOST_DIGITS)
        others = {"worst_sensor_id": "one", "sensor_faults": "unnamed"} | {k: v for k, v in evidence.items() if isinstance(v, str) and v}
        return self.doubt.format(**others | {"value": self.form(value, digits), "limit": self.form(limit, 0)})

    def passing(self, policy: VerdictPolicy) -> Any:
        """A value that just holds."""
        threshold = self._threshold(policy)
        return threshold[-1] if self.way == "among" else threshold

    def _threshold(self, policy: VerdictPolicy) -> Any:
        if self.limit is None:
            return (0,)
        limit = getattr(policy, self.limit)
        return GRADES[: GRADES.index(limit) + 1] if self.way == "among" else limit


def _grades(value: Any, _: int) -> str:
    return value if isinstance(value, str) else " or ".join(value)


CLAIMS = (
    Claim(
        "members_agree", "n_members_agreeing", "how many detectors saw it", "least", "min_members_agreeing", _bare,
        claim=f"at least {{limit}} of {len(MEMBERS)} detectors saw it",
        doubt=f"only {{value}} of {len(MEMBERS)} detectors saw it ({{limit}} wanted)",
    ),
    Claim(
        "peak_is_high", "peak_score", "its peak score", "least", "min_peak_score", _number,
        claim="its peak score is at least {limit}",
        doubt="its peak score was only {value} ({limit} wanted)",
    ),
    Claim(
        "lasts_long_enough", "duration_windows", "how long it lasted", "least", "min_duration_windows", _counted("window"),
        claim="it lasts at least {limit}",
        doubt="it lasted only {value} ({limit} wanted)",
    ),
    Claim(
        "is_sustained", "anomalous_share", "how many of its windows were anomalous", "least", "min_anomalous_share", _share,
        claim="at least {limit} of its windows are anomalous",
        doubt="it flickered: only {value} of its windows were anomalous ({limit} wanted)",
    ),
    Claim(
        "sensors_moved", "n_sensors_moved", "how many sensors moved", "least", "min_sensors_moved", _counted("sensor"),
        claim="at least {limit} moved",
        doubt="only {value} moved ({limit} wanted)",
    ),
    Claim(
        "sensors_are_trustworthy", "worst_grade", "the grade of its sensors", "among", "worst_grade_allowed", _grades,
        claim="the sensors it rests on have grade {limit}, or it is about a faulty sensor",
        doubt="of the sensors it rests on, {worst_sensor_id} has grade {value} ({limit} wanted)",
        moot_for=INSTRUMENT,
    ),
    Claim(
        "no_sensor_fault_explains_it", "faulty_share", "whether its sensors were faulty", "most", "max_faulty_share", _share,
        claim="at most {limit} of the movement comes from faulty sensors, or it is about one",
        doubt="{value} of the movement comes from faulty sensors (at most {limit} allowed): {sensor_faults}",
        moot_for=INSTRUMENT,
    ),
    Claim(
        "readings_are_complete", "coverage", "how complete its readings are", "least", "min_coverage", _share,
        claim="at least {limit} of the readings due during it are there",
        doubt="only {value} of the readings due during it are there ({limit} wanted)",
    ),
    Claim(
        "machine_was_running", "running_share", "whether the machine was running", "least", "min_running_share", _share,
        claim="the machine ran at least {limit} of the time",
        doubt="the machine ran only {value} of the time ({limit} wanted)",
    ),
    Claim(
        "machine_had_settled", "hours_since_start", "when the machine was started", "least", "min_hours_since_start", _hours,
        claim="the machine had run for at least {limit} by its middle",
        doubt="the machine had run for only {value} by its middle ({limit} wanted)",
    ),
    Claim(
        "machine_was_not_in_maintenance", "in_maintenance", "whether the machine was in maintenance", "among", None, _whether,
        claim="the machine was not in maintenance",
        doubt="the machine was in maintenance at the time",
    ),
    Claim(
        "machine_rarely_cries_wolf", "false_alarms_30d", "how many false alarms the machine had", "most", "max_false_alarms_30d",
        _counted("false alarm"),
        claim="the machine had at most {limit} in 30 days",
        doubt="the machine had {value} in 30 days (at most {limit} allowed)",
    ),
    Claim(
        "site_did_not_move_at_once", "site_share", "how much of the site was anomalous", "most", "max_site_share", _share,
        claim="at most {limit} of the site's other machines were anomalous with it",
        doubt="{value} of the site's other machines were anomalous with it (at most {limit} allowed)",
    ),
)  # fmt: skip


def shown(name: str, value: Any) -> str:
    """A value of the rule as people read it."""
    form = next((c.form for c in CLAIMS if c.name == name), None)
    if value is None:
        return "unknown"
    return form(value, 0) if form else str(value)
