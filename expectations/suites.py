"""The suites: what must hold of each stored table, as Great Expectations rules with names that read as claims.

Each begins with the table's contract, or with a profile of a large table that counts what breaks the contract, and adds what the
table means. Severity: `critical` where going on would store nonsense, `warning` where somebody should look.
"""

from itertools import pairwise
from typing import Any

from expectations.contracts import ANOMALY_SCORES, MACHINE_FEATURES, SENSOR_QUALITY, Contract
from expectations.ledger_contracts import (
    ASSIGNMENTS,
    DRIFT_FINDINGS,
    LEARNED_PREDICTIONS,
    MACHINE_HEALTH,
    PREDICTIONS,
    UNPLANNED_ORDERS,
    WORK_ORDERS,
)
from expectations.loading import library
from expectations.profiles import READINGS_PROFILE_COLUMNS
from expectations.rules import between, complete, equal, not_above, one_of, suite_from_contract, unique
from expectations.validation import Rule, Suite, gx_expectation


def readings_profile_suite() -> Suite:
    """Over `readings_profile`: what the merged readings of a site-day must be; warnings for silent sensors and unknown ones.

    Intake refuses unknown sensors, so an unknown one here has left the plant file since: its readings stay, and nobody uses them.
    """
    in_plant = "no reading is of a sensor that the plant file lacks"
    counted = [c for c in READINGS_PROFILE_COLUMNS if c not in ("first_at", "last_at")]
    has_readings = gx_expectation("ExpectColumnMaxToBeBetween", column="n_readings", min_value=1)
    rules = (
        complete(tuple(counted)),
        one_of("is_in_plant", (1,), name="every_sensor_is_in_the_plant", severity="warning", words=in_plant, shown=("n_readings",)),
        between("n_duplicate_timestamps", 0, 0, name="timestamps_are_unique", words="no sensor has two readings at one time"),
        between("n_null", 0, 0, name="no_reading_lacks_its_value", words="every reading has a timestamp and a finite value"),
        between("n_outside_physical", 0, 0, name="readings_are_possible", words="every value is within what the sensor can measure"),
        one_of(
            "is_first_in_day", (1,), name="no_reading_is_before_the_day", words="the first reading lies in the UTC day", shown=("first_at",)
        ),
        one_of(
            "is_last_in_day", (1,), name="no_reading_is_after_the_day", words="the last reading lies in the UTC day", shown=("last_at",)
        ),
        Rule("the_day_has_readings", "at least one sensor has readings", "critical", has_readings, ("n_readings",)),
        between("n_readings", 1, None, name="every_sensor_delivered", severity="warning", words="every sensor of the plant has readings"),
        unique(("sensor_id",)),
    )
    return Suite("sensor_readings", "the merged readings, profiled by sensor", "sensor_readings", rules, ("sensor_id",))


def sensor_quality_suite(*, n_sensors: int = 1) -> Suite:
    """The contract, a row for each of so many sensors, and a warning where one is unusable."""
    words = "no sensor has grade F"
    usable = one_of("grade", ("A", "B", "C"), name="every_sensor_is_usable", severity="warning", words=words, shown=("findings",))
    described = "how far each sensor can be trusted, a row per sensor"
    return suite_from_contract(SENSOR_QUALITY, extra=(usable,), min_rows=n_sensors, description=described)


def features_profile_suite() -> Suite:
    """Over `features_profile`."""
    order = "in every window, minimum <= mean and last value <= maximum"
    delivered = "every sensor of the plant has features"
    rules = (
        *_contract_rules(MACHINE_FEATURES, by="sensor_id"),
        between("n_outside_day", 0, 0, name="windows_lie_in_the_day", words="every window lies in the UTC day"),
        between(
            "n_off_grid", 0, 0, name="windows_begin_on_the_grid", words="every window begins at a multiple of the site's window length"
        ),
        between("n_disordered", 0, 0, name="statistics_are_in_order", words=order),
        between("n_rows", 1, None, name="every_sensor_has_features", severity="warning", words=delivered),
    )
    return Suite("machine_features", "the windows' features, profiled by sensor", "machine_features", rules, ("sensor_id",))


def scores_profile_suite() -> Suite:
    """Over `scores_profile`. No machine that ran, and so no row, is a quiet day."""
    answered = "every window in which a machine ran has a score, or a state that says why not"
    rules = (
        *_contract_rules(ANOMALY_SCORES, by="machine_id"),
        between(
            "n_without_their_score",
            0,
            0,
            name="scored_windows_have_a_score",
            words="a window has a score if and only if its state is scored",
        ),
        between("n_of_another_model", 0, 0, name="the_champion_scored", words="every window was scored by the site's champion"),
        between("n_outside_day", 0, 0, name="windows_lie_in_the_day", words="every window lies in the UTC day"),
        between("n_unanswered", 0, 0, name="every_running_machine_is_scored", severity="warning", words=answered, shown=("n_rows",)),
    )
    return Suite("anomaly_scores", "the windows' scores, profiled by machine", "anomaly_scores", rules, ("machine_id",), min_rows=0)


def _contract_rules(contract: Contract, *, by: str) -> tuple[Rule, ...]:
    """What `contract_profile` counts must be nothing."""
    claims = {
        "n_missing": ("no_value_is_missing", "no value is missing that must be there"),
        "n_infinite": ("numbers_are_finite", "no number is infinite"),
        "n_out_of_range": ("values_are_in_range", "every value is in the range, or of the set, that its contract declares"),
        "n_repeated": ("rows_are_unique", f"no two rows have the same {', '.join(contract.key)}"),
    }
    counts = (between(n, 0, 0, name=name, words=words, shown=("where",)) for n, (name, words) in claims.items())
    return (*counts, unique((by,)))


def machine_health_suite(*, n_reporting: int) -> Suite:
    """`n_reporting`: machines of the plant with features on the day; each must have its health."""
    words = "the health of each machine that reported, a row per machine"
    return suite_from_contract(MACHINE_HEALTH.of_one_site_day, min_rows=n_reporting, description=words)


def predictions_suite() -> Suite:
    """No prediction at all is a good day, not a failure."""
    percentiles = ("ttf_p10_days", "ttf_p50_days", "ttf_p90_days")
    rules = (
        not_above("probability_7d", "probability_30d"),
        *(not_above(a, b) for a, b in pairwise(percentiles)),
        *(_only_with(later, earlier) for earlier, later in pairwise(percentiles)),
    )
    words = "when machines are likely to fail, a row per machine and failure mode"
    return suite_from_contract(PREDICTIONS.of_one_site_day, extra=rules, min_rows=0, description=words)


def _only_with(later: str, earlier: str) -> Rule:
    """A missing percentile lies beyond the horizon, so an earlier one cannot be missing while a later one is known."""

    def build() -> Any:
        library()
        from great_expectations.expectations.row_conditions import Column as Tested

        return gx_expectation("ExpectColumnValuesToNotBeNull", column=earlier, row_condition=Tested(later).is_not_null())()

    return Rule(f"{later}_is_known_only_with_{earlier}", f"where {later} is known, so is {earlier}", "critical", build, (earlier, later))


def learned_predictions_suite() -> Suite:
    """The contract; how many machines reported is known from nowhere else."""
    words = "how likely each machine is to fail within the horizon, by the learned failure model, a row per machine"
    return suite_from_contract(LEARNED_PREDICTIONS.of_one_site_day, extra=(), min_rows=0, description=words)


def work_orders_suite() -> Suite:
    """Over `resources.ledger.checked.orders_to_check`: the contract's columns, `opened_at` and the audit log's `logged_state`."""
    rules = (
        not_above(
            "opened_at", "due_at", name="orders_are_due_after_they_were_opened", words="no order was due before the day that opened it"
        ),
        not_above("probability_7d", "probability_30d"),
        equal(
            "state", "logged_state", name="states_are_those_of_the_audit_log", words="the audit log's last word on an order is its state"
        ),
        between("duration_h", 0.01, None, name="work_takes_time", words="no order takes no time"),
    )
    words = "the site's open work orders, and those that this day opened or assessed, a row per order"
    return suite_from_contract(WORK_ORDERS, extra=rules, min_rows=0, description=words)


def assignments_suite() -> Suite:
    """Over `resources.ledger.checked.plan_to_check`: the contract's columns, `state`, `machine_id`, and what is double-booked."""
    overlaps = {
        "technician": ("overlaps_of_technician", "nobody_is_in_two_places", "nobody has two orders at one time"),
        "machine": ("overlaps_of_machine", "machines_are_worked_on_once", "no machine is worked on by two orders at one time"),
    }
    shown = ("technician_id", "start_at", "end_at")
    rules = (
        not_above("start_at", "end_at", name="work_ends_after_it_began", words="every assignment ends after it began"),
        *(between(column, 0, 0, name=name, words=words, shown=shown) for column, name, words in overlaps.values()),
        one_of(
            "state",
            ("approved", "scheduled", "in_progress"),
            name="only_approved_work_is_planned",
            words="every order in the plan is approved or under way",
        ),
    )
    words = "who does which order when, a row per order in the plan and technician"
    return suite_from_contract(ASSIGNMENTS.of_one_site_day, extra=rules, min_rows=0, description=words)


def unplanned_orders_suite() -> Suite:
    said = gx_expectation("ExpectColumnValueLengthsToBeBetween", column="reason", min_value=1)
    rules = (Rule("every_reason_is_said", "every order without a place says what stands in the way", "critical", said, ("reason",)),)
    words = "orders that the plan has no place for, a row per order"
    return suite_from_contract(UNPLANNED_ORDERS.of_one_site_day, extra=rules, min_rows=0, description=words)


def drift_suite() -> Suite:
    words = "how far each sensor lies from what the champion was trained on, a row per sensor"
    calm = one_of(
        "is_drifted", (False,), name="no_sensor_has_drifted", severity="warning", words="no sensor has drifted", shown=("psi", "ks_p")
    )
    return suite_from_contract(DRIFT_FINDINGS.of_one_site_day, extra=(calm,), min_rows=0, description=words)
