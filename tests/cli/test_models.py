"""`maintenance models`, from the command line to ledger and MLflow: who is champion, moved by hand, promoted, rolled back, refused."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from rich.console import Console
from sqlalchemy import text

from cli.detectors import models_in
from cli.environment import Environment, prepared
from cli.planner import ledger_of
from resources.lake import LakeResource
from resources.ledger.learning import promotions_of, record_promotion, record_version
from resources.models import CHAMPION
from resources.postgres import URL_VARIABLE
from tests.cli.conftest import Say
from tests.ledger_states import days_from, deliver
from tests.resources.test_models import SITE, START, flip_a_byte, healthy_features, training

WHO = ("--operator", "ada", "--why", "fewer false alarms")
FEATURE_DAYS = 14
REFUSAL = "refused: it finds 5 of 8 replayed faults, the champion 6"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """A data folder whose one site has fourteen days of features and three versions, of which the gate promoted the first two."""
    plant = tmp_path_factory.mktemp("plant")
    (plant / "plant.yaml").write_text(yaml.safe_dump(SITE.model_dump(mode="json", exclude_defaults=True), allow_unicode=True))
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(URL_VARIABLE, raising=False)
        with prepared(home=tmp_path_factory.mktemp("home"), plant=plant) as made:
            _filled(made)
            yield made


def _filled(made: Environment) -> None:
    models, ledger = models_in(made), ledger_of(made)
    lake = LakeResource(root=str(made.home.folder("lake")))
    days = days_from(START.date(), FEATURE_DAYS)
    deliver(ledger, "plant", days_from(START.date(), FEATURE_DAYS + 1), is_processed=True)  # the newest day still goes on
    features = healthy_features(FEATURE_DAYS)
    for day in days:
        of_day = features[features["window_start"].dt.date == day]
        whole = of_day.assign(n_readings=10, **dict.fromkeys(("min", "max", "last", "rms", "kurtosis", "crest_factor"), of_day["mean"]))
        lake.write("machine_features", whole, site="plant", day=day)
    for seed in (1, 2, 3):
        registered = models.register(training(seed))
        metrics = {"false_alarms_per_machine_month": 0.25 * seed, "replayed_faults": 8.0, "replayed_faults_found": 8.0 - seed}
        row = {"site": "plant", "version": registered.version, "mlflow_run_id": registered.run_id, "data_sha256": "d" * 64}
        row |= {"data_start": days[0], "data_end": days[3], "metrics": metrics, "artifact_sha256": registered.artifact_sha256}
        with ledger.begin() as connection:
            record_version(connection, row)
            is_promoted = seed < 3
            if is_promoted:
                models.promote("plant", registered.version, description="promoted")
            verdict = {"is_promoted": is_promoted, "who": "gate", "why": "better" if is_promoted else REFUSAL, "comparison": {}}
            record_promotion(connection, verdict | {"site": "plant", "from_version": seed - 1 or None, "to_version": seed})


@pytest.fixture
def say(environment: Environment, monkeypatch: pytest.MonkeyPatch, typed: Say) -> Say:
    """`maintenance models` in this process: exit code, stdout, stderr."""
    monkeypatch.setattr("cli.models.console", Console(width=100))

    def in_process(*words: str) -> tuple[int, str, str]:
        return typed("models", *words, "--home", environment.home.root, "--plant", environment.plant)

    return in_process


def rows(environment: Environment) -> list[dict[str, Any]]:
    with ledger_of(environment).begin() as connection:
        return promotions_of(connection, site="plant")


def standing(environment: Environment) -> int | None:
    return models_in(environment).version_of("plant", CHAMPION)


def test_promoted_rolled_back_and_moved_by_hand_each_leaves_its_row(say: Say, environment: Environment) -> None:
    code, out, err = say("promote", "3", *WHO)
    assert (code, err) == (0, "")
    assert out == "Version 3 is champion of plant from now on, after version 2; the next run scores with it.\n"
    assert standing(environment) == 3
    moment = datetime.now(UTC)
    for version in (2, 1):
        assert say("rollback", *WHO)[0] == 0
        assert standing(environment) == version
    code, _, err = say("rollback", *WHO)
    assert (code, err) == (2, "error: plant has none to go back to: version 1 is the first champion.\n")

    models_in(environment).promote("plant", 3, description="by hand")
    code, out, _ = say("champion")
    assert out.startswith("Version 3 was champion of plant on ")
    assert "by mlflow: found so by `maintenance models`: the alias was moved in MLflow some time after" in out
    assert "It may have been champion a while before it was found." in out
    _, out, _ = say("champion", "--at", moment.isoformat())
    assert out.startswith(f"Version 3 was champion of plant on {moment:%Y-%m-%d at %H:%M:%S} UTC, since ")
    assert out.endswith(" by ada: fewer false alarms.\n")
    _, out, _ = say("champion", "--at", "2020-01-01T00:00:00+00:00")
    assert out == "plant had no champion on 2020-01-01 at 00:00:00 UTC; it had never had one.\n"

    told = [(row["from_version"], row["to_version"], row["who"]) for row in rows(environment)][3:]
    assert told == [(2, 3, "ada"), (3, 2, "ada"), (2, 1, "ada"), (1, 3, "mlflow")]
    assert rows(environment)[4]["why"] == "rolled back from version 3: fewer false alarms"
    assert rows(environment)[3]["metrics"]["replayed_faults_found"] == 5


def test_the_list_has_what_each_version_was_trained_on_and_reached(say: Say, environment: Environment) -> None:
    code, out, err = say("list")
    assert (code, err) == (0, "")
    [line] = [line.split() for line in out.splitlines() if line.strip().startswith("3 ")]
    assert line[2:5] == ["2026-03-02", "to", "2026-03-05"]
    assert line[-4:] == ["0.75", "5", "of", "8"]
    assert f"Version 3 was {REFUSAL}." in out
    told = json.loads(say("list", "--format", "json")[1])
    assert [v["version"] for v in told["plant"]] == [1, 2, 3]
    assert [(v["is_refused_by_gate"], v["gate_said"]) for v in told["plant"]] == [(False, "better"), (False, "better"), (True, REFUSAL)]
    champion = [v["version"] for v in told["plant"] if "champion" in v["aliases"]]
    assert champion == [standing(environment)]
    assert [v["version"] for v in told["plant"] if "challenger" in v["aliases"]] == [3]


def test_two_versions_are_compared_on_the_same_days(say: Say, environment: Environment) -> None:
    before = len(rows(environment)), standing(environment)
    code, out, err = say("compare", "1", "2")
    assert (code, err) == (0, "")
    assert "version 1" in out
    assert "replayed faults found" in out
    assert "of 1" in out  # one machine, of each kind one
    assert "Of the days compared on, version 1 has learned from 0 of 1." in out
    assert "The gate would" in out
    assert (len(rows(environment)), standing(environment)) == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("promote", "9", *WHO), "The ledger knows no version 9 of the detector of plant: trained here were 1, 2, 3."),
        (("compare", "1", "9"), "The ledger knows no version 9 of the detector of plant"),
        (("promote", "1", *WHO, "--site", "nowhere"), "The plant has no site 'nowhere'; it has plant."),
        (("promote", "1", "--operator", " ", "--why", "x"), "Say who decides (--operator) and why (--why)"),
        (("champion", "--at", "2026-11-20"), "write it as 2026-11-20T00:00:00+00:00 or with"),
        (("promote", "99999999999", *WHO), "Invalid value for 'version'"),
        (("compare", "1", "0"), "Invalid value for 'other'"),
        (("champion", "--at", "yesterday"), "'yesterday' is not an ISO 8601 time"),
        (("champion", "--at", "2999-01-01T00:00:00+00:00"), "lies in the future; who will be champion then nobody knows."),
    ],
)
def test_what_cannot_be_is_said_in_one_sentence(say: Say, environment: Environment, words: tuple[str, ...], said: str) -> None:
    before = len(rows(environment)), standing(environment)
    code, _, err = say(*words)
    assert code == 2
    assert said in err
    assert (len(rows(environment)), standing(environment)) == before


def test_the_champion_is_not_promoted_again(say: Say, environment: Environment) -> None:
    version = standing(environment)
    code, _, err = say("promote", str(version), *WHO)
    assert (code, err) == (2, f"error: Version {version} is the champion of plant already.\n")


def test_changed_bytes_are_neither_promoted_nor_verified(say: Say, environment: Environment) -> None:
    other = 2 if standing(environment) != 2 else 1
    assert say("verify")[0] == 0
    wanted = training(other).artifact
    [stored] = [p for p in environment.home.folder("mlflow").rglob("detector.bin") if p.read_bytes() == wanted]
    before = flip_a_byte(stored)
    try:
        for words in (("promote", str(other), *WHO), ("verify",)):
            code, _, err = say(*words)
            assert code == 2
            assert f"detector-plant version {other} is refused: its sha256 is" in err
        assert standing(environment) != other
    finally:
        stored.write_bytes(before)
    assert say("verify")[0] == 0


def test_a_history_that_somebody_has_changed_is_not_verified(say: Say, environment: Environment) -> None:
    code, out, _ = say("verify")
    assert code == 0
    assert f"plant: {len(rows(environment))} promotions in one chain; the last has the sha256 {rows(environment)[-1]['sha256']}.\n" in out

    def change(who: str) -> None:
        with ledger_of(environment).begin() as connection:
            connection.execute(text("alter table promotions disable trigger promotions_are_history"))
            connection.execute(text("update promotions set who = :who where place = 1"), {"who": who})
            connection.execute(text("alter table promotions enable trigger promotions_are_history"))

    assert "Do not rely on it" not in say("champion")[1]
    change("bob")
    code, _, err = say("verify")
    _, told, _ = say("champion")
    change("gate")
    assert told.endswith(" Do not rely on it: somebody changed the history of the champions; `maintenance models verify` says where.\n")
    assert code == 2
    assert "promotion 1 of plant" in err
    assert "was changed after it was written" in err


def test_with_mlflow_gone_the_ledger_still_answers_and_nothing_is_changed(
    say: Say, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    version = standing(environment)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    code, out, _ = say("champion")
    assert code == 0
    assert out.startswith(f"Version {version} was champion of plant")
    assert "Whether that still holds is not known. MLflow at http://127.0.0.1:1 does not answer" in out
    _, out, _ = say("list")
    assert "The champion is the last one that the ledger knows; other aliases are not known." in out
    before = len(rows(environment))
    code, _, err = say("promote", "1" if version != 1 else "2", *WHO)
    assert code == 2
    assert "MLflow at http://127.0.0.1:1 does not answer" in err
    assert len(rows(environment)) == before
