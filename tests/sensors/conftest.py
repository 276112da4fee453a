"""A Dagster instance and the project's code location, for sensors that are evaluated as the daemon does."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from typing import Any

import dagster as dg
import pytest

from definitions import defs
from resources.ledger.ledger import LedgerResource

TODAY = datetime(2026, 11, 1, 12, tzinfo=UTC)
Evaluate = Callable[..., tuple[list[dg.RunRequest] | str, str | None]]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    """Knows the sites of the demonstration plant as partitions, as an intake leaves it."""
    with dg.DagsterInstance.ephemeral() as instance:
        instance.add_dynamic_partitions("site", ["hamburg", "houston"])
        yield instance


@pytest.fixture
def evaluate(instance: dg.DagsterInstance, ledger: LedgerResource) -> Evaluate:
    """One tick: what it asks for (or why it asks for nothing), and its cursor. Run requests must name partitions that exist."""
    repository = defs.get_repository_def()

    def tick(sensor: dg.SensorDefinition, *, cursor: str | None = None, **resources: Any) -> tuple[list[dg.RunRequest] | str, str | None]:
        context = dg.build_sensor_context(
            instance=instance, cursor=cursor, repository_def=repository, resources={"ledger": ledger, **resources}
        )
        with dg.partition_loading_context(effective_dt=TODAY, dynamic_partitions_store=instance):
            data = sensor.evaluate_tick(context)
        return (list(data.run_requests) if data.run_requests else str(data.skip_message)), data.cursor

    return tick
