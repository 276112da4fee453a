"""The job that sends what waits in the outbox."""

import dagster as dg

from jobs.pipeline import EXCLUSIVE
from resources.delivery import deliver
from resources.ledger.ledger import LedgerResource
from resources.notifier import NotifierResource
from resources.plant import PlantResource

SEND_JOB = "send_notifications"


@dg.op
def deliver_notifications(context: dg.OpExecutionContext, ledger: LedgerResource, notifier: NotifierResource, plant: PlantResource) -> None:
    """Send what may go now. A receiver that fails or is slow is tried again later; that is no failure of the run."""
    counts = deliver(ledger, notifier, plant.sites())
    context.log.info("%s", ", ".join(f"{n} {name.replace('_', ' ')}" for name, n in counts.items()))
    context.add_output_metadata(dict(counts))


@dg.job(
    name=SEND_JOB,
    description="Send the notifications that wait: each once to each receiver, tried again where that fails.",
    executor_def=dg.in_process_executor,
    tags={EXCLUSIVE: SEND_JOB, "dagster/max_runtime": "600"},
)
def send_notifications() -> None:
    deliver_notifications()
