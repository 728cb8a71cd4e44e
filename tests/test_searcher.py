"""Which trial comes next, over SQLite and PostgreSQL, without Ray."""

from pathlib import Path
from typing import Any

import pytest
from optuna.trial import TrialState

from hpo import settings, spec
from hpo.search.recovery import recover
from hpo.search.searcher import Searcher
from hpo.study import Study


def open_study(home: Path, storage: str, **sections: Any) -> Study:
    tree = {
        "name": "study",
        "metric": "val/accuracy",
        "parameters": {"lr": {"values": [0.1, 0.2, 0.3]}, "weight_decay": {"values": [0.0, 0.5]}},
        "trainer": {"import": "synthetic:Resumable"},
        **sections,
    }
    return Study.open(spec.from_mapping(tree), settings.resolve(home=home, storage=storage))


def begin(study: Study, searcher: Searcher, count: int) -> list[dict[str, Any]]:
    """Start trials as the scheduler does; returns their parameters."""
    points = []
    for _ in range(count):
        trial = searcher.next()
        if trial is None:
            break
        study.ledger.start_trial(study.id, trial.number, seed=0, gpu=0, record={})
        points.append(trial.params)
    return points


def test_a_grid_goes_on_after_a_kill_and_runs_only_failed_cells_again(home: Path, storage: str) -> None:
    study = open_study(home, storage, sampler="grid")
    searcher = Searcher(study)
    points = begin(study, searcher, 3)
    study.optuna.tell(0, 0.5)
    study.optuna.tell(1, state=TrialState.FAIL)
    recover(study)  # trial 2 was at work when the driver died

    study = open_study(home, storage, sampler="grid")
    rest = begin(study, Searcher(study), 100)
    assert points[2] in rest
    assert points[1] in rest
    assert points[0] not in rest
    assert len(rest) == 5
    for trial in study.optuna.get_trials(states=(TrialState.RUNNING,)):
        study.optuna.tell(trial.number, 0.1)
    assert Searcher(open_study(home, storage, sampler="grid")).next() is None


def test_a_failed_cell_within_a_budget_is_run_again(home: Path) -> None:
    study = open_study(home, f"sqlite:///{home}/x.db", sampler="grid", budget={"trials": 2})
    points = begin(study, Searcher(study), 100)
    study.optuna.tell(0, state=TrialState.FAIL)
    study.optuna.tell(1, 0.5)
    assert begin(study, Searcher(study), 100) == [points[0]]


def test_a_grid_keeps_to_a_budget_of_trials(home: Path, storage: str) -> None:
    study = open_study(home, storage, sampler="grid", budget={"trials": 4})
    assert len(begin(study, Searcher(study), 100)) == 4
    recover(study)
    assert len(begin(study, Searcher(study), 100)) == 4, "what was interrupted is run, and no more"


@pytest.mark.parametrize(
    "sampler", ["random", {"type": "tpe", "startup_trials": 2}, {"type": "gp", "startup_trials": 2}]
)
def test_a_resumed_search_draws_what_the_uninterrupted_one_would(home: Path, sampler: Any) -> None:
    ranges = {"lr": {"min": 1e-4, "max": 1.0, "log": True}, "weight_decay": {"min": 0.0, "max": 1.0}}

    def draws(name: str, restart: bool) -> list[dict[str, Any]]:
        options = {"name": name, "sampler": sampler, "parameters": ranges, "budget": {"trials": 8}}
        storage = f"sqlite:///{home}/{name}.db"
        study = open_study(home, storage, **options)
        searcher, points = Searcher(study), []
        for number in range(8):
            if restart:
                study = open_study(home, storage, **options)
                searcher = Searcher(study)
            points += begin(study, searcher, 1)
            study.optuna.tell(number, points[-1]["lr"])
        return points

    whole = draws("whole", restart=False)
    assert len({tuple(point.values()) for point in whole}) == 8, "draws repeat"
    assert draws("broken", restart=True) == whole


@pytest.mark.parametrize("sampler", ["random", "tpe", "gp"])
def test_a_point_survives_a_kill_between_its_parameters(
    home: Path, monkeypatch: pytest.MonkeyPatch, sampler: str
) -> None:
    ranges = {"lr": {"min": 1e-4, "max": 1.0, "log": True}, "weight_decay": {"min": 0.0, "max": 1.0}}
    options: dict[str, Any] = {"sampler": sampler, "parameters": ranges, "budget": {"trials": 3}}
    study = open_study(home, f"sqlite:///{home}/whole.db", **options)
    whole = begin(study, Searcher(study), 3)

    storage = f"sqlite:///{home}/killed.db"
    study = open_study(home, storage, **options)
    with monkeypatch.context() as patch:
        patch.setattr("hpo.search.searcher._suggest", _dies_after_the_first(in_memory=sampler != "tpe"))
        searcher = Searcher(study)
        with pytest.raises(KeyboardInterrupt):
            searcher.next()
    recover(study)
    study = open_study(home, storage, **options)
    assert begin(study, Searcher(study), 3) == whole
    assert [trial.number for trial in study.frozen_trials()] == [0, 1, 2]


def _dies_after_the_first(*, in_memory: bool) -> Any:
    from hpo.search.searcher import _suggest

    calls = iter([_suggest] if in_memory else [])  # the first call draws a random point in memory

    def suggest(trial: Any, space: Any) -> None:
        whole = next(calls, None)
        if whole is not None:
            return whole(trial, space)
        trial.suggest_float("lr", 1e-4, 1.0, log=True)
        raise KeyboardInterrupt

    return suggest


def test_conditional_parameters_are_set_only_where_they_hold(home: Path, storage: str) -> None:
    parameters = {
        "optimizer": {"values": ["sgd", "adam"]},
        "momentum": {"min": 0.8, "max": 0.99, "when": {"optimizer": "sgd"}},
    }
    trainer = {"model": "linear", "dataset": "digits"}
    study = open_study(
        home,
        storage,
        sampler={"type": "tpe", "startup_trials": 3},
        parameters=parameters,
        trainer=trainer,
        budget={"trials": 8},
    )
    searcher = Searcher(study)
    for number in range(8):
        (point,) = begin(study, searcher, 1)
        assert ("momentum" in point) == (point["optimizer"] == "sgd")
        study.optuna.tell(number, 0.1)
    assert searcher.next() is None


@pytest.mark.parametrize(
    ("sections", "counts"),
    [
        ({"sampler": "grid"}, [6, 5, 4]),
        ({"sampler": "grid", "budget": {"trials": 2}}, [2, 1, 0]),
        ({"sampler": "tpe", "budget": {"trials": 3}}, [3, 2, 1]),
        ({"sampler": "tpe", "budget": {"time": 60}}, [None, None, None]),
    ],
)
def test_how_many_trials_are_left(home: Path, sections: dict[str, Any], counts: list[int | None]) -> None:
    study = open_study(home, f"sqlite:///{home}/x.db", **sections)
    searcher = Searcher(study)
    found = []
    for _ in counts:
        found.append(searcher.left)
        begin(study, searcher, 1)
    assert found == counts


def test_what_was_interrupted_is_left(home: Path) -> None:
    sections: dict[str, Any] = {"sampler": "tpe", "budget": {"trials": 3}}
    study = open_study(home, f"sqlite:///{home}/x.db", **sections)
    begin(study, Searcher(study), 2)
    recover(study)
    assert Searcher(open_study(home, f"sqlite:///{home}/x.db", **sections)).left == 3
