"""What it means that a row was refused, and what to do about it: one entry for every reason of `ml.readings.REASONS`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """`remedy` names the fields of the plant file after whose correction the rows can be released, if there are any."""

    meaning: str
    remedy: str


EXPLANATIONS: dict[str, Explanation] = {
    "malformed_row": Explanation(
        "The line does not have the fields that its header names, or is no JSON object.",
        "If that holds for many lines, correct drops.delimiter; a line that was cut off must be delivered again.",
    ),
    "bad_timestamp": Explanation(
        "The text in the timestamp's place is no time of the declared form.",
        "Correct drops.timestamp_format (iso, epoch_s, epoch_ms, or a pattern such as %d.%m.%Y %H:%M:%S).",
    ),
    "skipped_by_clock_change": Explanation(
        "The local time does not exist: clocks were set forward over it.",
        "If the gateway's clock is not set forward, correct drops.time_zone (UTC, or a zone without summer time).",
    ),
    "unknown_sensor": Explanation(
        "No sensor of the plant file goes by this name in drops.",
        "Add the sensor to its machine, or write the name into the sensor's source_name (the machine's, for a machine column).",
    ),
    "not_a_number": Explanation(
        "The value is empty, text, NaN or infinite, or one that drops.missing_values declares to be none.",
        "If numbers are written with a comma, correct drops.decimal; a gateway that sends no value has none to release.",
    ),
    "wrong_unit": Explanation(
        "The row's unit is unknown, or measures something else than the sensor's unit.",
        "Correct the sensor's unit, together with its limits; where rows name no unit, write it into the sensor's source_unit.",
    ),
    "bad_quality": Explanation(
        "The gateway itself marked the value as bad.",
        "If the mark means something else, take it out of drops.bad_quality.",
    ),
    "out_of_physical_range": Explanation(
        "The sensor cannot have measured this value.",
        "If it can, widen the sensor's physical band; clamp_within sets values just outside on its edge.",
    ),
    "in_the_future": Explanation(
        "The timestamp lies after the arrival of the file, by more than clocks may differ.",
        "Set the gateway's clock; correct drops.time_zone if local times were taken for UTC, or raise drops.clock_tolerance_s.",
    ),
    "before_first_day": Explanation(
        "The timestamp lies before the site's first day.",
        "If the site is older, set first_day earlier.",
    ),
    "too_old": Explanation(
        "The timestamp lies further back from the arrival of the file than the site takes in.",
        "If so old readings are wanted, raise drops.max_age_days, or leave it out for a moment.",
    ),
}
