"""Damage done by hand in each store, found by the audit, mended from SQL; real databases, a real MLflow."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from damage import COMPLETE, FAILED, WAITING, Damage, begin, kinds, optuna_sql, save, send, settle
from mlflow import MlflowClient
from study_samples import open_study, report, scheduler_of
from typed import typed

from hpo.audit.agreement import audit, examine
from hpo.audit.repair import mend
from hpo.search.searcher import Searcher
from hpo.store import records
from hpo.study import Study

# -- MLflow -----------------------------------------------------------------------------------------------------------

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
    "the study's status": (lambda it: it.client.set_terminated(it.run_id(None), "FAILED"), {"picture"}),
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
    settled.ledger.post(settled.id, COMPLETE, "checkpoint", {"path": f"{settled.folder_name}/000000/epoch-0004.json"})
    settled.ledger.post(settled.id, None, "table", records.table(settled))
    send(settled)
    before = pictures(settled.settings.mlflow)
    damage.file.unlink()
    assert kinds(settled) == {"experiment"}
    done = typed("doctor", "--fix", home=settled.settings.home)  # MLflow keeps the file open in this process
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
    scheduler.requeue(WAITING, "Ctrl-C")
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


def test_damage_in_sql_is_found_and_mended(home: Path, empty_mlflow: Path, storage: str) -> None:
    study = settle(home, empty_mlflow, storage)
    for what, (hurt, expected) in SQL.items():
        hurt(study)
        assert kinds(study) == expected, what
        mended, left = mend(study)
        assert {each.kind for each in mended} >= expected, what
        assert left.agrees, (what, left)
        row = study.ledger.study("study")
        assert row is not None
        assert row["owner"] is None, what
        assert study.ledger.pending_count(study.id) == 0, what


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
    optuna_sql(settled, "DELETE FROM hpo_trial")  # none had begun: nothing is lost with it
    assert [each.mend for each in examine("study", settled.settings).findings] == ["makes it"]


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
    gone += [folder / "000000" / ".epoch-0005.json.ab12_x9"]  # of a worker that was killed while it wrote
    stay = [
        folder / "000002" / ".epoch-0003.json.ab12_x9",  # goes at the trial's end
        folder / "000002" / "epoch-0003.json",  # trained while the driver waited for SQL
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
    assert [each.mend for each in found].count("removes 5 bytes") == 2  # one's record is in doubt, one is elsewhere
    mend(settled)
    assert (folder / "000001" / "epoch-0001.pt").exists()  # a repair removes none whose record it has cleared
    _, left = mend(settled)
    assert [(each.kind, each.mend) for each in left.findings] == [("leftover", None)]
    assert "lies elsewhere" in str(left.findings[0])
    assert not any(path.exists() for path in gone)
    assert all(path.exists() for path in stay)


def test_checkpoints_of_an_earlier_version_stay_where_they_are(settled: Study) -> None:
    """Whose folders were named by the number of the study alone."""
    earlier = settled.settings.checkpoints / str(settled.id)
    settled.folder.rename(earlier)
    for row in settled.ledger.trials(settled.id):
        if row["checkpoint"]:
            path = str(row["checkpoint"]).replace(settled.folder_name, str(settled.id), 1)
            settled.ledger.update_trial(settled.id, row["number"], checkpoint=path)
    assert [each for each in audit(settled).findings if each.kind in ("checkpoint", "leftover")] == []
    mend(settled)
    path = Study.load("study", settled.settings).checkpoint(COMPLETE)
    assert path is not None
    assert path.is_relative_to(earlier)
    assert path.exists()
