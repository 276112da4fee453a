"""The verbs `start` and `complete`: what technicians report of their work."""

from datetime import UTC, datetime
from typing import Annotated, Optional

import typer
from rich.console import Console

from cli.environment import hush, prepared
from cli.options import HomeOption, PlantOption

OrderArgument = Annotated[str, typer.Argument(help="The work order.")]
TechnicianOption = Annotated[str, typer.Option(help="Who does the work.")]


def start(
    order_id: OrderArgument,
    technician: TechnicianOption,
    at: Annotated[Optional[str], typer.Option(help="When it began, an ISO 8601 time with offset; left out: now.")] = None,
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Say that somebody has begun to work on an order."""
    from cli.planner import begin_work

    with prepared(home=home, plant=plant) as environment:
        hush()
        _say(begin_work(environment, order_id, technician=technician, at=at))


def complete(  # noqa: PLR0913 - each is an option that people type
    order_id: OrderArgument,
    technician: TechnicianOption,
    finding: Annotated[str, typer.Option(help="The failure mode that was found, such as VIB, or no_fault_found.")],
    mechanism: Annotated[Optional[str], typer.Option(help="Failure mechanism, such as 2.4 for wear.")] = None,
    cause: Annotated[Optional[str], typer.Option(help="Failure cause, such as 3.4 for expected wear and tear.")] = None,
    *,
    part: Annotated[Optional[list[str]], typer.Option(help="A part that was used, once for each piece.")] = None,
    hours_worked: Annotated[Optional[float], typer.Option(help="Hands on the machine, without waiting and ways.")] = None,
    started: Annotated[Optional[str], typer.Option(help="ISO 8601 time with offset; left out: as said by `start`.")] = None,
    ended: Annotated[Optional[str], typer.Option(help="ISO 8601 time with offset; left out: now.")] = None,
    note: Annotated[str, typer.Option(help="Anything worth knowing next time.")] = "",
    request_id: Annotated[str, typer.Option(help="A repeated request with the same id changes nothing.")] = "",
    home: HomeOption = None,
    plant: PlantOption = None,
) -> None:
    """Log finished work and what was found; closes the order, labels its incidents, plans the site anew."""
    from cli.planner import finish_work
    from jobs.reported import Report

    said = Report(
        order_id=order_id,
        technician=technician,
        started_at=started or "",
        ended_at=ended or datetime.now(UTC).isoformat(),
        finding=finding,
        failure_mechanism=mechanism or "",
        failure_cause=cause or "",
        parts_used=part or [],
        hours_worked=hours_worked,
        note=note,
        request_id=request_id,
    )
    with prepared(home=home, plant=plant) as environment:
        hush()
        _say(finish_work(environment, said))


def _say(words: str) -> None:
    Console().print(words, highlight=False, markup=False, soft_wrap=True)
