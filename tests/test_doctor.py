"""Damage done by hand, found by the audit, mended by `hpo doctor --fix`; real databases, a real MLflow, real kills."""

import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
import yaml
from mlflow import MlflowClient
from mlflow.entities import Run
from study_samples import open_study, report, scheduler_of

from hpo import orphans, settings
from hpo.audit import audit, examine
from hpo.errors import StudyOwned
from hpo.lease import Lease
from hpo.projection import Projection, Task
from hpo.repair import mend
from hpo.scheduler import Scheduler
from hpo.searcher import Searcher
from hpo.study import Study
from hpo.tracking import task_of
from hpo.trial import Checkpoint
from trainers import checkpoint

COMPLETE, FAILED, WAITING = 0, 1, 2  # the trials of `settled`


@pytest.fixture(scope="session")
def empty_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tracking database with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def settled(home: Path, empty_mlflow: Path) -> Study:
    """A study in which all records agree: a trial that is COMPLETE, one that FAILed, one in the queue to go on."""
    return settle(home, empty_mlflow)


def settle(home: Path, empty_mlflow: Path, storage: str | None = None) -> Study:
    home.mkdir(exist_ok=True)
    shutil.copy(empty_mlflow, home / "mlflow.db")
    study = open_study(home, storage)
    with Lease(study) as lease:
        study.begin()
        scheduler, searcher = scheduler_of(study), Searcher(study)
        study.ledger.post(study.id, None, "start", {})
        for number in (COMPLETE, FAILED, WAITING):
            begin(scheduler, searcher)
            for epoch in (1, 2, 3, 4) if number == COMPLETE else (1, 2):
                saved = save(study, number, epoch)
                facts = {"classes": 10} if epoch == 1 else None
                value = 0.1 * (epoch + number)
                scheduler.report(report(number, epoch, value, last=epoch == 4, facts=facts, checkpoint=saved))
        scheduler.fail(FAILED, "ValueError: a hole", "its traceback")
        scheduler.requeue(WAITING)
        study.ledger.post(study.id, None, "end", {"status": "SCHEDULED", "tags": {}, "time": time.time()})
        lease.outcome = "interrupted"
    send(study)
    assert audit(study).agrees, audit(study)
    return study


def begin(scheduler: Scheduler, searcher: Searcher) -> int:
    trial = searcher.next()
    assert trial is not None
    scheduler.start(trial, cpu=1, gpu=0)
    return trial.number


def save(study: Study, number: int, epoch: int) -> Checkpoint:
    name = f"{study.id}/{number:06d}/epoch-{epoch:04d}.json"
    digest = checkpoint.save({"epoch": epoch}, study.settings.checkpoints / name)
    for old in sorted((study.settings.checkpoints / name).parent.iterdir())[:-2]:
        old.unlink()
    return Checkpoint(path=name, sha256=digest, epoch=epoch)


def send(study: Study) -> None:
    Projection(Task(**task_of(study))).send()


def kinds(study: Study) -> set[str]:
    return {each.kind for each in audit(study).findings}


# -- MLflow -----------------------------------------------------------------------------------------------------------


class Damage:
    """Hands on the MLflow of a study, around its client where that refuses."""

    def __init__(self, study: Study) -> None:
        self.study = study
        self.client = MlflowClient(study.settings.mlflow)
        self.file = study.settings.home / "mlflow.db"

    def sql(self, statement: str, *values: Any) -> None:
        with sqlite3.connect(self.file) as connection:
            assert connection.execute(statement, values).rowcount > 0
        connection.close()

    def run_id(self, number: int | None) -> str:
        row = self.study.ledger.study("study") if number is None else self.study.ledger.trial(self.study.id, number)
        assert row is not None
        return str(row["run_id"])

    def run(self, number: int | None) -> Run:
        return self.client.get_run(self.run_id(number))

    def another(self, number: int) -> None:
        row = self.study.ledger.study("study")
        assert row is not None
        tags = {"hpo.uid": row["uid"], "hpo.trial": str(number)}
        self.client.create_run(row["experiment_id"], tags=tags)

    def bin_experiment(self) -> None:
        self.client.delete_experiment(self.run(0).info.experiment_id)

    def forget(self, number: int | None) -> None:
        self.client._tracking_client.store._hard_delete_run(self.run_id(number))


MLFLOW: dict[str, tuple[Callable[[Damage], None], set[str]]] = {
    "run deleted": (lambda it: it.client.delete_run(it.run_id(COMPLETE)), {"run"}),
    "run gone for good": (lambda it: it.forget(FAILED), {"run"}),
    "run doubled": (lambda it: it.another(COMPLETE), {"run"}),
    "run of no trial": (lambda it: it.another(7), {"run"}),
    "status": (lambda it: it.client.update_run(it.run_id(COMPLETE), status="RUNNING"), {"picture"}),
    "status of one that waits": (lambda it: it.client.set_terminated(it.run_id(WAITING), "FAILED"), {"picture"}),
    "state tag": (lambda it: it.client.set_tag(it.run_id(FAILED), "hpo.state", "RUNNING"), {"picture"}),
    "reason": (lambda it: it.client.delete_tag(it.run_id(FAILED), "hpo.error"), {"picture"}),
    "parent": (lambda it: it.client.delete_tag(it.run_id(FAILED), "mlflow.parentRunId"), {"picture"}),
    "an epoch missing": (
        lambda it: it.sql("DELETE FROM metrics WHERE run_uuid = ? AND step = 2", it.run_id(COMPLETE)),
        {"picture"},
    ),
    "an epoch too many": (
        lambda it: it.client.log_metric(it.run_id(COMPLETE), "val/accuracy", 0.9, step=9),
        {"replace"},
    ),
    "an epoch twice": (lambda it: it.client.log_metric(it.run_id(COMPLETE), "val/accuracy", 0.9, step=2), {"replace"}),
    "a parameter missing": (
        lambda it: it.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'lr'", it.run_id(COMPLETE)),
        {"picture"},
    ),
    "a fact missing": (
        lambda it: it.sql("DELETE FROM params WHERE run_uuid = ? AND key = 'classes'", it.run_id(COMPLETE)),
        {"picture"},
    ),
    "a parameter wrong": (
        lambda it: it.sql("UPDATE params SET value = '7' WHERE run_uuid = ? AND key = 'lr'", it.run_id(COMPLETE)),
        {"replace"},
    ),
    "the study's run RUNNING": (lambda it: it.client.update_run(it.run_id(None), status="RUNNING"), {"picture"}),
    "the study's run deleted": (lambda it: it.client.delete_run(it.run_id(None)), {"run"}),
    "the study's run gone for good": (lambda it: it.forget(None), {"run"}),
    "the best value": (
        lambda it: it.client.log_metric(it.run_id(None), "best/val/accuracy", 2.0, step=9),
        {"picture"},
    ),
    "the experiment deleted": (Damage.bin_experiment, {"experiment"}),
}


@pytest.mark.parametrize("what", MLFLOW)
def test_damage_in_mlflow_is_found_and_mended(settled: Study, what: str) -> None:
    hurt, expected = MLFLOW[what]
    damage = Damage(settled)
    hurt(damage)
    assert kinds(settled) == expected
    mended, left = mend(settled)
    assert {each.kind for each in mended} >= expected
    assert left.agrees, left
    assert [damage.run(number).info.status for number in (0, 1, 2)] == ["FINISHED", "FAILED", "SCHEDULED"]
    assert damage.run(None).info.status == "SCHEDULED"
    assert mend(settled)[0] == []


def test_an_mlflow_that_is_gone_is_rebuilt_with_curves_params_and_tags(settled: Study) -> None:
    damage = Damage(settled)
    settled.storage.set_trial_user_attr(
        settled.frozen_trials()[WAITING]._trial_id, "warnings", ["the step runs slower"]
    )
    settled.ledger.post(settled.id, WAITING, "tags", {"tags": {"hpo.warnings": "the step runs slower"}})
    settled.ledger.post(settled.id, None, "tags", {"tags": {"hpo.trials_per_card": 2}})
    settled.ledger.add_packing(settled.id, card="none", asked="auto", per_card=2, reason="it fits", measured=[])
    settled.ledger.post(settled.id, COMPLETE, "checkpoint", {"path": "1/000000/epoch-0004.json"})
    settled.ledger.post(settled.id, None, "table", settled.table())
    send(settled)
    before = pictures(settled.settings.mlflow)
    damage.file.unlink()
    assert kinds(settled) == {"experiment"}
    done = doctor(settled, "--fix")  # MLflow keeps the file open in this process
    assert done.returncode == 0, done.stdout
    copy = shutil.copy(damage.file, damage.file.with_name("copy.db"))
    after = pictures(f"sqlite:///{copy}")
    assert after["trial 0000"]["curves"]["val/accuracy"] == [(1, 0.1), (2, 0.2), (3, pytest.approx(0.3)), (4, 0.4)]
    assert after == before


def pictures(uri: str) -> dict[str, Any]:
    """All that MLflow shows of the study, without ids and without tags that say where it came from."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("study")
    assert experiment is not None
    found: dict[str, Any] = {}
    for run in client.search_runs([experiment.experiment_id]):
        ids = {"hpo.trials", "mlflow.parentRunId", "mlflow.note.content", "mlflow.runName"}
        histories = {name: client.get_metric_history(run.info.run_id, name) for name in run.data.metrics}
        found[run.info.run_name] = {
            "status": run.info.status,
            "curves": {name: sorted((each.step, each.value) for each in all_) for name, all_ in histories.items()},
            "params": run.data.params,
            "tags": {key: value for key, value in run.data.tags.items() if not any(each in key for each in ids)},
            "artifacts": sorted(each.path for each in client.list_artifacts(run.info.run_id)),
        }
    return found


def test_records_that_wait_are_found_and_sent(home: Path, empty_mlflow: Path, storage: str) -> None:
    study = settle(home, empty_mlflow, storage)
    scheduler = scheduler_of(study)
    begin(scheduler, Searcher(study))
    scheduler.report(report(WAITING, 3, 0.9, checkpoint=save(study, WAITING, 3)))
    scheduler.requeue(WAITING)
    assert kinds(study) == {"outbox"}
    mended, left = mend(study)
    assert [each.kind for each in mended] == ["outbox"]
    assert left.agrees, left


def test_an_mlflow_that_does_not_answer_keeps_its_records_and_the_rest_is_mended(settled: Study) -> None:
    elsewhere = open_study(settled.settings.home)
    settled.ledger.update_study(settled.id, mlflow="http://127.0.0.1:9")
    study = Study.load("study", elsewhere.settings)
    assert study.settings.mlflow == "http://127.0.0.1:9"  # where the last driver sent its records
    study.ledger.update_trial(study.id, COMPLETE, best_value=0.9)
    study.ledger.post(study.id, COMPLETE, "tags", {"tags": {"some": "tag"}})
    mended, left = mend(study)
    assert [each.kind for each in mended] == ["tally"]
    assert {each.kind for each in left.findings} == {"outbox"}
    assert "127.0.0.1:9" in str(left.silent)
    assert study.ledger.pending_count(study.id) == 1


def test_runs_that_are_elsewhere_are_not_made_here(settled: Study) -> None:
    settled.ledger.update_study(settled.id, mlflow="postgresql://me:***@elsewhere/mlflow")
    settled.ledger.post(settled.id, COMPLETE, "tags", {"tags": {"some": "tag"}})
    study = Study.load("study", settled.settings)
    _, left = mend(study)
    assert "postgresql://me:***@elsewhere/mlflow" in str(left.silent)
    assert study.ledger.pending_count(study.id) == 1


# -- SQL --------------------------------------------------------------------------------------------------------------


def of(study: Study, number: int) -> int:
    return study.frozen_trials()[number]._trial_id


def optuna_sql(study: Study, statement: str) -> None:
    with study.ledger.begin() as connection:
        assert connection.execute(sql.text(statement)).rowcount > 0


SQL: dict[str, tuple[Callable[[Study], None], set[str]]] = {
    "an epoch that only Optuna has": (
        lambda it: it.storage.set_trial_intermediate_value(of(it, WAITING), 3, 0.7),
        {"epochs"},
    ),
    "an epoch that only our tables have": (
        lambda it: optuna_sql(it, f"DELETE FROM trial_intermediate_values WHERE trial_id = {of(it, WAITING)}"),
        {"epochs"},
    ),
    "the last epoch": (lambda it: it.ledger.update_trial(it.id, COMPLETE, epoch=9), {"tally"}),
    "the best epoch": (lambda it: it.ledger.update_trial(it.id, COMPLETE, best_epoch=1, best_value=0.1), {"tally"}),
    "the reason": (lambda it: it.ledger.update_trial(it.id, FAILED, error="no idea"), {"tally", "picture"}),
    "a trial that stayed open": (lambda it: it.ledger.update_trial(it.id, COMPLETE, ended=None), {"orphan"}),
    "a trial that stayed RUNNING": (
        lambda it: optuna_sql(it, f"UPDATE trials SET state = 'RUNNING' WHERE trial_id = {of(it, WAITING)}"),
        {"orphan"},
    ),
    "a lease that was not given back": (
        lambda it: it.ledger.update_study(it.id, owner="x", host="elsewhere", pid=1, owned_since=1.0, expires=1.0),
        {"orphan"},
    ),
}


@pytest.mark.parametrize("what", SQL)
def test_damage_in_sql_is_found_and_mended(home: Path, empty_mlflow: Path, storage: str, what: str) -> None:
    study = settle(home, empty_mlflow, storage)
    hurt, expected = SQL[what]
    hurt(study)
    assert kinds(study) == expected
    mended, left = mend(study)
    assert {each.kind for each in mended} >= expected
    assert left.agrees, left
    row = study.ledger.study("study")
    assert row is not None
    assert row["owner"] is None
    assert study.ledger.pending_count(study.id) == 0


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("UPDATE trial_values SET value = 0.9", "value"),
        ("UPDATE trial_intermediate_values SET intermediate_value = 0.9 WHERE step = 2", "value"),
        ("DELETE FROM trial_intermediate_values WHERE step = 2 AND trial_id = 1", "epochs"),
        ("DELETE FROM hpo_trial WHERE number = 1", "trials"),
    ],
    ids=["value", "epoch's value", "an epoch of a finished trial", "a trial"],
)
def test_what_cannot_be_mended_without_guessing_is_said_and_left(settled: Study, statement: str, kind: str) -> None:
    optuna_sql(settled, statement)
    assert kind in kinds(settled)
    _, left = mend(settled)
    assert next(each.mend for each in left.findings if each.kind == kind) is None


def test_a_study_that_optuna_has_lost_is_said_and_not_made_anew(settled: Study) -> None:
    optuna_sql(settled, "DELETE FROM trials")
    optuna_sql(settled, "UPDATE studies SET study_name = 'other'")
    for _ in range(2):
        found = examine("study", settled.settings)
        assert [(each.kind, each.mend) for each in found.findings] == [("study", None)]


# -- checkpoints ------------------------------------------------------------------------------------------------------


def test_checkpoints_that_are_missing_or_damaged_lose_their_record(settled: Study) -> None:
    folder = settled.folder
    (folder / "000000" / "epoch-0004.json").unlink()
    (folder / "000002" / "epoch-0002.json").write_text("half of i")
    found = audit(settled).findings
    assert [(each.trial, each.kind) for each in found] == [(0, "checkpoint"), (2, "checkpoint")]
    _, left = mend(settled)
    assert left.agrees, left
    rows = settled.ledger.trials(settled.id)
    assert [row["checkpoint"] for row in rows] == [None, None, None]
    resumed = Searcher(settled).next()
    assert resumed is not None
    assignment = scheduler_of(settled).start(resumed, cpu=1, gpu=0)
    assert assignment is not None
    assert (assignment.recorded, assignment.checkpoint) == (2, None)


def test_files_that_sql_does_not_name_are_removed_and_others_are_not(settled: Study, tmp_path: Path) -> None:
    folder = settled.folder
    gone = [folder / "000001" / "epoch-0001.pt", folder / "000000" / "epoch-0003.json"]
    gone += [folder / "000002" / ".epoch-0003.json.ab12_x9"]  # of a worker that was killed while it wrote
    stay = [
        folder / "000001" / "notes.txt",
        folder / "000000" / "epoch-0004.json",
        folder / "000002" / "epoch-0001.json",
    ]
    stay += [tmp_path / "elsewhere" / "epoch-0001.pt", folder.parent / "77" / "000001" / "epoch-0001.pt"]
    for path in [*gone, *stay]:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text("12345")
    (folder / "000003").symlink_to(tmp_path / "elsewhere")
    settled.ledger.update_trial(settled.id, FAILED, checkpoint="../../elsewhere/epoch-0001.pt", sha256="0" * 64)

    found = [each for each in audit(settled).findings if each.kind == "leftover"]
    assert len(found) == 4
    assert all(each.sides == {"bytes": 5} for each in found)
    assert "removes 5 bytes" in {each.mend for each in found}
    _, left = mend(settled)
    assert [(each.kind, each.mend) for each in left.findings] == [("leftover", None)]
    assert "lies elsewhere" in str(left.findings[0])
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stay)


# -- drivers ----------------------------------------------------------------------------------------------------------


def test_a_study_with_a_live_driver_is_not_touched(settled: Study) -> None:
    with Lease(settled):
        scheduler = scheduler_of(settled)
        begin(scheduler, Searcher(settled))
        leftover = settled.folder / "000001" / "epoch-0001.pt"
        leftover.parent.mkdir(exist_ok=True)
        leftover.write_text("x")
        before = dump(settled)
        found = audit(settled)
        assert found.agrees, found
        assert f"process {os.getpid()}" in str(found.owner)
        with pytest.raises(StudyOwned):
            mend(settled)
        assert orphans.close(settled.settings) == []
        done = doctor(settled, "study", "--fix")
        assert (done.returncode, "left alone" in done.stderr) == (4, True)
        done = doctor(settled, "--fix")
        assert (done.returncode, "left alone" in done.stdout) == (0, True)
        assert leftover.exists()
        assert dump(settled) == before
        Damage(settled).client.set_tag(Damage(settled).run_id(COMPLETE), "hpo.state", "FAIL")
        assert kinds(settled) == {"picture"}  # what has ended is looked at all the same


def dump(study: Study) -> list[str]:
    with sqlite3.connect(study.settings.home / "studies.db") as connection:
        lines = list(connection.iterdump())
    connection.close()
    return lines


def test_one_query_tells_that_there_is_no_orphan(home: Path, storage: str) -> None:
    study = open_study(home, storage)
    assert orphans.close(study.settings) == []
    seconds = []
    for _ in range(20):
        began = time.perf_counter()
        orphans.close(study.settings)
        seconds.append(time.perf_counter() - began)
    assert min(seconds) < 0.01, seconds
    assert orphans.close(settings.resolve(home=home / "nowhere")) == []
    assert not (home / "nowhere").exists()


@pytest.fixture
def killed(ray_cluster: str, home: Path, tmp_path: Path, empty_mlflow: Path) -> Path:
    """The home of a study whose driver was killed while trials ran that MLflow shows as RUNNING."""
    home.mkdir()
    shutil.copy(empty_mlflow, home / "mlflow.db")
    trainer = {"import": "synthetic:Resumable", "epochs": 500, "sleep": 0.2}
    space = {"name": "study", "metric": "val/accuracy", "sampler": "random", "budget": 2}
    space |= {"parameters": {"lr": {"min": 0.0, "max": 1.0}}, "trainer": trainer}
    path = tmp_path / "space.yaml"
    path.write_text(yaml.safe_dump(space))
    command = [sys.executable, "-m", "hpo", "run", "--quiet", "--space", str(path), "--home", str(home)]
    process = subprocess.Popen([*command, "--ray", ray_cluster], stderr=subprocess.DEVNULL)
    try:
        wait_until(lambda: statuses(home).count("RUNNING") == 3)
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
    return home


def test_after_a_kill_the_next_command_closes_what_was_open(killed: Path) -> None:
    began = time.monotonic()
    done = hpo_("status", "study", home=killed)
    assert done.returncode == 0, done.stderr
    assert "its driver is gone; 2 unfinished trials wait to go on with: hpo resume study" in done.stderr
    assert "2 waiting" in done.stdout
    study = Study.load("study", settings.resolve(home=killed))
    assert study.counts() == {"WAITING": 2}
    wait_until(lambda: study.ledger.pending_count(study.id) == 0)
    assert time.monotonic() - began < 30
    assert statuses(killed) == ["SCHEDULED"] * 3
    assert audit(study).agrees, audit(study)
    done = hpo_("status", home=killed)
    assert (done.returncode, done.stderr) == (0, "")


def test_after_a_kill_doctor_says_so_and_mends_it(killed: Path) -> None:
    done = hpo_("doctor", "study", home=killed)
    assert done.returncode == 3
    assert "its driver, process" in done.stdout
    done = hpo_("doctor", "--fix", "study", home=killed)
    assert done.returncode == 0, done.stdout
    assert statuses(killed) == ["SCHEDULED"] * 3


def statuses(home: Path) -> list[str]:
    """Of MLflow's runs, read around it, so that nothing is started or locked."""
    with sqlite3.connect(f"file:{home}/mlflow.db?mode=ro", uri=True) as connection:
        found = [status for (status,) in connection.execute("SELECT status FROM runs")]
    connection.close()
    return found


def wait_until(what: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, f"waited for {seconds} s"
        time.sleep(0.05)


# -- the command ------------------------------------------------------------------------------------------------------


def hpo_(*arguments: str, home: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "hpo", *arguments]
    surroundings = {**os.environ, "HPO_HOME": str(home), "NO_COLOR": "1", **environment}
    return subprocess.run(command, capture_output=True, text=True, env=surroundings, timeout=120)


def doctor(study: Study, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return hpo_("doctor", *arguments, home=study.settings.home, **environment)


def test_the_command_ends_with_0_only_when_all_agree_and_a_dry_run_changes_nothing(settled: Study) -> None:
    done = doctor(settled)
    assert (done.returncode, done.stderr) == (0, "")
    for word in ("python", "torch", "ray", "optuna", "mlflow", "sqlalchemy", "GPU", "answers in", "free", "agrees"):
        assert word in done.stdout, word

    settled.ledger.update_trial(settled.id, COMPLETE, epoch=9)
    Damage(settled).client.delete_run(Damage(settled).run_id(FAILED))
    leftover = settled.folder / "000001" / "epoch-0001.pt"
    leftover.parent.mkdir(exist_ok=True)
    leftover.write_text("12345")
    before = dump(settled)
    done = doctor(settled, "study", "--fix", "--dry-run", "--json")
    assert done.returncode == 3
    [said] = json.loads(done.stdout)["studies"]
    assert [(each["trial"], each["kind"]) for each in said["findings"]] == [(0, "tally"), (1, "leftover"), (1, "run")]
    assert said["findings"][1]["mend"] == "removes 5 bytes"
    assert (dump(settled), leftover.exists()) == (before, True)
    assert doctor(settled).returncode == 3

    done = doctor(settled, "study", "--fix")
    assert done.returncode == 0, done.stdout
    assert done.stdout.count("mended") == 3
    assert doctor(settled, "--dry-run").returncode == 2


def test_stores_that_cannot_be_reached_end_with_4_and_show_no_password(settled: Study, tmp_path: Path) -> None:
    done = doctor(settled, MLFLOW_TRACKING_URI="http://me:sesame@127.0.0.1:9")
    assert done.returncode == 4
    assert "does not answer" in done.stdout
    assert "sesame" not in done.stdout + done.stderr
    done = doctor(settled, "--json", OPTUNA_STORAGE="postgresql://me:sesame@127.0.0.1:9/x")
    assert done.returncode == 4
    assert "sesame" not in done.stdout + done.stderr
    stores = {each["store"]: each for each in json.loads(done.stdout)["stores"]}
    assert "refused" in stores["database"]["problem"]
    assert stores["mlflow"]["seconds"] > 0


def test_a_new_home_is_healthy_and_stays_empty(home: Path) -> None:
    done = hpo_("doctor", home=home)
    assert done.returncode == 0, done.stderr
    assert "none yet" in done.stdout
    assert not home.exists()
    assert hpo_("doctor", "nobody", home=home).returncode == 2
