"""A command that runs a job says, where the job fails, what the failed step said."""

import dagster as dg
import pytest

from cli.errors import CommandError
from cli.launch import Launcher


@dg.op
def tells() -> None:
    try:
        raise OSError("no route to host")
    except OSError as error:
        raise dg.Failure("MLflow does not answer (no route to host). Bring it back.") from error


@dg.op
def breaks() -> None:
    raise KeyError("P9")


@dg.job
def told() -> None:
    tells()


@dg.job
def broken() -> None:
    breaks()


@pytest.mark.parametrize(
    ("job", "words"),
    [("told", r"tells: MLflow does not answer \(no route to host\)\. Bring it back\.$"), ("broken", "breaks: KeyError: 'P9'")],
)
def test_a_failure_is_told_in_its_own_words_and_an_error_in_those_of_its_cause(job: str, words: str) -> None:
    with dg.DagsterInstance.ephemeral() as instance, pytest.raises(CommandError, match=rf"The run \S+ of {job} failed\. {words}"):
        Launcher(dg.Definitions(jobs=[told, broken]), instance).run(job)
