"""What a driver keeps of its unfinished trials is what SQL holds, and no question costs more as a study grows."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sql
from optuna.exceptions import UpdateFinishedTrialError
from optuna.trial import TrialState, create_trial
from study_samples import open_study, report, scheduler_of

from hpo.search.ranges import distribution
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.store.storage import alone
from hpo.study import Study

SECTIONS: dict[str, Any] = {
    "sampler": {"type": "tpe", "seed": 1, "startup_trials": 3},
    "parameters": {
        "lr": {"min": 1e-4, "max": 1.0, "log": True},
        "layers": {"min": 1, "max": 9, "step": 1},
        "kind": {"values": ["sgd", "adam", None]},
    },
    "trainer": {"import": "synthetic:Unwell", "kinds": {}, "epochs": 4},
    "pruner": {"type": "asha", "mode": "stop", "min_epochs": 1, "reduction": 2},
    "budget": {"trials": 1000},
}


def start(searcher: Searcher, scheduler: Scheduler) -> int:
    trial = searcher.next()
    assert trial is not None
    assert scheduler.start(trial, cpu=1, gpu=0.5) is not None
    return trial.number


def test_it_is_what_sql_holds_after_every_step(home: Path, storage: str) -> None:
    study = open_study(home, storage, **SECTIONS)

    def compare() -> None:
        assert study.frozen_trials() == study.afresh().frozen_trials()

    with alone(study.storage):
        searcher, scheduler = Searcher(study), scheduler_of(study)
        for _ in range(5):
            start(searcher, scheduler)
            compare()
        for epoch in (1, 2, 3, 4):
            for number in sorted(scheduler.running):
                warned = (f"epoch {epoch}",) if number == 1 else ()
                scheduler.report(report(number, epoch, 0.9 - 0.1 * number, last=epoch == 4, warnings=warned))
                compare()
        assert {trial.state for trial in study.frozen_trials()} == {TrialState.COMPLETE, TrialState.PRUNED}
        first, second = start(searcher, scheduler), start(searcher, scheduler)
        scheduler.report(report(first, 1, float("inf")))
        scheduler.report(report(second, 1, float("-inf")))
        compare()
        third = start(searcher, scheduler)
        scheduler.report(report(third, 1, 0.9))
        scheduler.requeue(third, "put back")
        searcher.give_back(1)
        compare()
        assert start(searcher, scheduler) == third
        compare()
    compare()


def test_what_others_add_is_found_and_what_has_ended_takes_nothing(home: Path, storage: str) -> None:
    study = open_study(home, storage, **SECTIONS)
    with alone(study.storage):
        searcher, scheduler = Searcher(study), scheduler_of(study)
        number = start(searcher, scheduler)
        other = study.afresh()
        other.optuna.enqueue_trial({"lr": 0.5, "layers": 3, "kind": None})
        trial = searcher.next()
        assert trial is not None
        assert trial.params == {"lr": 0.5, "layers": 3, "kind": None}
        other.optuna.tell(number, 0.7)  # as a driver that took the study over
        with pytest.raises(UpdateFinishedTrialError):
            scheduler.report(report(number, 1, 0.1))
        assert study.frozen_trials()[number].values == [0.7]


def test_after_an_outage_all_is_read_again(home: Path) -> None:
    study = open_study(home, **SECTIONS)
    with alone(study.storage):
        number = start(Searcher(study), scheduler_of(study))
        study.frozen_trials()
        other = study.afresh()
        other.storage.set_trial_user_attr(other.frozen_trials()[number]._trial_id, "written", "and not known")
        study.patience.outages += 1
        assert study.frozen_trials()[number].user_attrs["written"] == "and not known"


def test_what_has_ended_before_is_not_read_again(home: Path) -> None:
    study = open_study(home, **SECTIONS)
    fill(study, 30)
    before = {trial.number: trial for trial in study.frozen_trials()}
    with alone(study.storage):
        start(Searcher(study), scheduler_of(study))
        assert all(trial is before[trial.number] for trial in study.frozen_trials()[:30])


class Questions:
    """Statements to the database, and the values sent along: to read a trial again sends its number."""

    def __init__(self) -> None:
        self.statements = self.values = 0

    @contextmanager
    def of(self, study: Study) -> Iterator[None]:
        engines = (study.ledger.engine, study.storage._backend.engine)  # type: ignore[attr-defined]
        self.statements = self.values = 0
        for engine in engines:
            sql.event.listen(engine, "before_cursor_execute", self._count)
        yield
        for engine in engines:
            sql.event.remove(engine, "before_cursor_execute", self._count)

    def _count(self, connection: Any, cursor: Any, statement: str, values: Any, *more: Any) -> None:
        self.statements += 1
        self.values += len(values)


def fill(study: Study, size: int) -> None:
    """Bring the study to so many ended trials."""
    space = {name: distribution(parameter) for name, parameter in study.spec.parameters.items()}
    for number in range(len(study.frozen_trials()), size):
        trial = create_trial(
            state=TrialState.PRUNED if number % 3 else TrialState.COMPLETE,
            value=0.001 * number,
            params={"lr": 0.001 + 0.001 * number, "layers": 1 + number % 9, "kind": "sgd"},
            distributions=space,
            intermediate_values={1: 0.001 * number},
            system_attrs={"completed_rung_0": 0.001 * number},
        )
        study.optuna.add_trial(trial)


@pytest.mark.parametrize(("sampler", "pruner"), [("tpe", "asha"), ("random", "none")])
def test_no_question_costs_more_with_more_trials_or_slots(home: Path, sampler: str, pruner: str) -> None:
    asked: dict[str, set[tuple[int, int]]] = {"start": set(), "report": set(), "end": set()}
    for size, slots in ((50, 2), (150, 8)):
        study = open_study(home, **SECTIONS | {"sampler": sampler, "pruner": pruner})
        fill(study, size)
        with alone(study.storage):
            searcher, scheduler, questions = Searcher(study), scheduler_of(study), Questions()
            for _ in range(slots):
                start(searcher, scheduler)
            for _ in range(3):
                number = min(scheduler.running)
                for epoch, what in ((1, "report"), (2, "end")):
                    with questions.of(study):
                        assert scheduler.report(report(number, epoch, 1.0 + number, last=epoch == 2)) == (epoch == 1)
                    asked[what].add((questions.statements, questions.values))
                with questions.of(study):
                    start(searcher, scheduler)
                asked["start"].add((questions.statements, questions.values))
            for number in list(scheduler.running):
                scheduler.fail(number, "no more of it")
    assert {what: len(each) for what, each in asked.items()} == {"start": 1, "report": 1, "end": 1}, asked
