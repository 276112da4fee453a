"""The verb `label`: what people know of an incident, whether or not a work order came of it."""

from datetime import UTC, date, datetime

from cli.environment import Environment
from cli.errors import CommandError
from cli.inspect import find_incident, vanished
from cli.planner import ledger_of
from ml.feedback import precision_of
from resources.ledger.findings import Label, label_incidents, labelled_incidents, labels_of
from resources.ledger.verdicts import assessments_of


def put_label(environment: Environment, incident: str, label: str, *, operator: str, why: str) -> str:
    """Write the label; returns what it replaced and what the site's labels now say. Raises CommandError."""
    try:
        said = Label(label, "person", operator.strip(), why.strip(), datetime.now(UTC))
    except ValueError as error:
        raise CommandError(str(error)) from error
    with ledger_of(environment).begin() as connection:
        incident_id = find_incident(connection, incident)
        assessments = assessments_of(connection, incident_id)
        if assessments.empty:
            raise CommandError(vanished(incident_id))
        site = str(assessments["site"].iloc[0])
        before = labels_of(connection, incident_id)
        label_incidents(connection, [incident_id], said)
        precision = precision_of(labelled_incidents(connection, site=site, before=date.max)["label"])
    was = f" (before: {_words(before[-1]['label'])}, by {before[-1]['who']})" if before else ""
    return f"{incident_id} is labelled {_words(label)}{was}.\nMeasured precision of {site}: {precision.words}."


def _words(label: str) -> str:
    return label.replace("_", " ")
