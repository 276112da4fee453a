"""Headless runs: jobs of the code location, executed in this process and recorded in the Dagster instance."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import dagster as dg

from cli.environment import Environment
from cli.errors import CommandError
from sensors.alerts import words_of_failure

T = TypeVar("T")


class Launcher:
    """Runs the code location's jobs against one instance."""

    def __init__(self, definitions: dg.Definitions, instance: dg.DagsterInstance) -> None:
        self.definitions = definitions
        self.instance = instance

    def run(
        self,
        job_name: str,
        *,
        partition_key: str | None = None,
        tags: Mapping[str, str] | None = None,
        config: dg.RunConfig | None = None,
        assets: Collection[dg.AssetKey] | None = None,
    ) -> dg.ExecuteInProcessResult:
        """Execute a job to its end, or only these of its assets. Raises CommandError with the failed step's own words."""
        job = self.definitions.resolve_job_def(job_name)
        run_config: dict[str, Any] = config.to_config_dict() if config else {}  # type: ignore[no-untyped-call]
        run_config["loggers"] = {"console": {"config": {"log_level": "CRITICAL"}}}
        result = job.execute_in_process(
            run_config=run_config,
            instance=self.instance,
            partition_key=partition_key,
            tags=dict(tags or {}),
            asset_selection=None if assets is None else list(assets),
            raise_on_error=False,
        )
        if not result.success:
            raise CommandError(f"The run {result.run_id} of {job_name} failed. {_why(result)}")
        return result


@contextmanager
def launcher(environment: Environment) -> Iterator[Launcher]:
    """The code location over the environment's data folder and Dagster instance."""
    from definitions import build_definitions

    with dg.DagsterInstance.get() as instance:
        yield Launcher(build_definitions(environment.home, plant=environment.plant), instance)


def chunks(items: Sequence[T], size: int) -> Iterator[Sequence[T]]:
    return (items[i : i + size] for i in range(0, len(items), size))


def _why(result: dg.ExecuteInProcessResult) -> str:
    said = (words_of_failure(event) for event in result.all_events if event.is_step_failure)
    return next((words for words in said if words), "Its log in the Dagster UI (`make up`) says why.")
