"""Failed trials once more: as new trials, once for each failure, beside the budget."""

import json
from pathlib import Path
from typing import Any

import pytest
from study_samples import TREE, open_study, run_all
from typer.testing import CliRunner

import hpo
from hpo import spec
from hpo.audit.agreement import audit
from hpo.cli import app
from hpo.editing.retry import retry
from hpo.errors import SpecError, StudyOwned
from hpo.store.lease import Lease
from hpo.study import Study

TPE = {"sampler": {"type": "tpe", "startup_trials": 2}}


def failed(home: Path, storage: str | None = None, *numbers: int, **sections: Any) -> Study:
    """A study of four trials of which some have failed."""
    study = open_study(home, storage, **sections)
    run_all(study, failing=numbers)
    return study.afresh()


def test_a_failed_trial_is_run_again_as_a_new_one_beside_the_budget(home: Path, storage: str) -> None:
    study = failed(home, storage, 1, 3, **TPE)
    assert run_all(study) == [], "the budget is spent"
    assert retry(study) == {1: 4, 3: 5}
    study = study.afresh()
    before = [trial.params for trial in study.frozen_trials()]
    assert run_all(study) == [before[1], before[3]]
    rows = study.afresh().rows()
    assert [row["state"] for row in rows] == ["COMPLETE", "FAIL", "COMPLETE", "FAIL", "COMPLETE", "COMPLETE"]
    assert [row["origin"] for row in rows][3:] == [None, "retry of trial 1", "retry of trial 3"]
    seeds = {row["seed"] for row in study.ledger.trials(study.id)}
    assert len(seeds) == 6
    assert retry(study.afresh()) == {}, "each failure is made up for once"
    (entry,) = study.ledger.history(study.id)
    assert json.loads(entry["changes"])[0] == "trial 1, which failed: ValueError: a hole"


def test_a_retry_that_fails_may_be_tried_again(home: Path) -> None:
    study = failed(home, None, 1, **TPE)
    assert retry(study, [1]) == {1: 4}
    run_all(study.afresh(), failing=(4,))
    with pytest.raises(SpecError, match="trial 1 was put into the queue again as trial 4"):
        retry(study.afresh(), [1])
    assert retry(study.afresh()) == {4: 5}
    assert len(run_all(study.afresh())) == 1


def test_whatever_is_wrong_with_the_numbers_is_told_at_once(home: Path) -> None:
    study = failed(home, None, 1, 2)
    with pytest.raises(SpecError) as caught:
        retry(study, [0, 1, 9])
    assert "trial 0 has not failed: it is COMPLETE" in str(caught.value)
    assert "there is no trial 9" in str(caught.value)
    assert "not run again: 1, 2" in str(caught.value)
    assert study.afresh().counts() == {"COMPLETE": 2, "FAIL": 2}
    with Lease(study), pytest.raises(StudyOwned):
        retry(study)


def test_the_budget_of_failures_counts_what_was_not_made_up_for(home: Path) -> None:
    from study_samples import scheduler_of

    study = failed(home, None, 1, 2, budget={"trials": 4, "failures": 2})
    assert scheduler_of(study).tally.failures == 2
    retry(study, [1])
    assert scheduler_of(study.afresh()).tally.failures == 1


def test_a_cell_of_a_grid_is_run_once_whoever_asks_for_it(home: Path, storage: str) -> None:
    grid: dict[str, Any] = {"sampler": "grid", "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}}, "budget": {}}
    study = failed(home, storage, 0, 2, **grid)
    assert retry(study, [2]) == {2: 3}
    assert run_all(study.afresh()) == [{"lr": 0.3}, {"lr": 0.1}], "the other one by the resume, as ever"
    assert study.afresh().counts() == {"COMPLETE": 3, "FAIL": 2}
    assert retry(study.afresh()) == {}


def test_what_a_kill_left_undone_is_made_up_for(home: Path, storage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    study = failed(home, storage, 1, 3)
    optuna, made = study.optuna, study.optuna.enqueue_trial

    def killed(*arguments: Any, **named: Any) -> None:
        if len(optuna.get_trials(deepcopy=False)) == 5:
            raise KeyboardInterrupt
        made(*arguments, **named)

    monkeypatch.setattr(optuna, "enqueue_trial", killed)
    with pytest.raises(KeyboardInterrupt):
        retry(study)
    study = study.afresh()
    assert study.counts()["WAITING"] == 1
    assert retry(study) == {}, "nothing is left to be asked for"
    assert study.afresh().counts()["WAITING"] == 2
    assert len(run_all(study.afresh())) == 2


@pytest.mark.slow
def test_the_command_says_what_to_type_next(ray_cluster: str, home: Path) -> None:
    # trial 0 of this seed gets an odd seed, with which the trainer fails
    trainer = {"import": "synthetic:frail"}
    tree = spec.from_mapping({**TREE, "trainer": trainer, "budget": {"trials": 4}})
    study = hpo.run(tree, home=home, progress=False)
    failures = study.counts()["FAIL"]
    run = CliRunner().invoke(app, ["retry", "study", "--home", str(home)])
    assert run.exit_code == 0, run.output
    assert run.output.count("waits in the queue again") == failures
    assert "hpo resume study" in run.output
    again = hpo.load("study", home=home).resume(progress=False)
    assert sum(again.counts().values()) == 4 + failures
    assert audit(again).agrees, audit(again)
