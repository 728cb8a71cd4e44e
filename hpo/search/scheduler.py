"""What becomes of a trial after each epoch: go on, stop early, end. Writes SQL; knows nothing of Ray."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from optuna.samplers import RandomSampler
from optuna.trial import Trial, TrialState
from sqlalchemy.engine import RowMapping

from hpo.goals import span
from hpo.rungs import PAUSED, PROMOTED, Rungs
from hpo.search.pruners import pruner_of
from hpo.search.recovery import report_missing
from hpo.search.retention import Retention
from hpo.search.running import Event, Running
from hpo.search.searcher import TRIAL, derive_seed
from hpo.search.tally import Tally
from hpo.space.canonical import objective
from hpo.space.constraints import LATENCY
from hpo.store import columns, records
from hpo.store.history import BASELINE
from hpo.study import Study
from hpo.workers.trial import Assignment, Checkpoint, Report

__all__ = ["Scheduler"]

WARNINGS = 10  # that are kept of a trial


class Scheduler:
    """The running trials of a driver, and every write about them.

    Early stopping is Optuna's pruner over what SQL holds, so that a resumed search decides as an uninterrupted one. The
    objective of a trial is its value at the last epoch it ran; the best epoch is recorded beside it.
    """

    def __init__(self, study: Study, notify: Callable[[Event], None]) -> None:
        self._study = study
        self._spec = study.spec
        self._notify = notify
        self._sign = self._spec.metric.sign
        study.optuna.pruner = pruner_of(self._spec)
        self._rungs = Rungs.of(self._spec)
        self.running: dict[int, Running] = {}
        self.tally = Tally(study)
        self.gpu_seconds = study.ledger.gpu_seconds(study.id)
        self._checkpoints = Retention(study)
        self._warned: set[str] = set()
        self.epoch_time = self._spec.budget.epoch_time

    # -- start --------------------------------------------------------------------------------------------------------

    def start(self, trial: Trial, *, cpu: float, gpu: float, forecast_trials: float | None = None) -> Assignment | None:
        """Record an attempt at a trial and say what the worker has to do; `forecast_trials`: like it in its process.

        Returns None for a trial whose end its driver did not live to tell: it is told here.
        """
        seed = self._seed(trial)
        resolved = self._spec.resolve(trial.params)
        row = self._study.ledger.start_trial(
            self._study.id, trial.number, seed=seed, gpu=gpu, record=self._start_record(trial, seed, resolved)
        )
        self._run(trial, row, resolved, cpu=cpu, gpu=gpu, forecast_trials=forecast_trials)
        run = self.running[trial.number]
        self.tally.start(trial.number)
        self._tell_progress("start", run, "RUNNING")
        return run.assignment if self._goes_on(run) else None

    def _run(
        self,
        trial: Trial,
        row: RowMapping,
        resolved: dict[str, Any],
        *,
        cpu: float = 0.0,
        gpu: float = 0.0,
        forecast_trials: float | None = None,
    ) -> None:
        """Take a trial in as one that is at work, from its row in our tables."""
        saved = None
        if row["checkpoint"]:
            saved = Checkpoint(path=row["checkpoint"], sha256=row["sha256"], epoch=row["checkpoint_epoch"])
        assignment = Assignment(
            number=trial.number,
            attempt=row["attempt"],
            seed=row["seed"],
            trainer=resolved,
            recorded=row["epoch"],
            checkpoint=saved,
            checkpoints=self._study.settings.checkpoints,
            folder=str(self._study.trial_folder(trial.number).relative_to(self._study.settings.checkpoints)),
            datasets=self._study.settings.datasets,
            cpu=cpu,
            gpu=gpu,
            import_paths=self._study.import_paths,
            latency=self._spec.asks_for(LATENCY),
            forecast_trials=forecast_trials,
        )
        self.running[trial.number] = Running(
            trial=trial,
            assignment=assignment,
            epoch=row["epoch"],
            value=None,
            metrics={},
            facts=columns.facts(row),
            best_value=row["best_value"],
            best_epoch=row["best_epoch"],
            seconds=row["seconds"],
            gpu=gpu,
            gpu_seconds=row["gpu_seconds"],
            told_facts=row["facts"] is not None,
        )

    def _goes_on(self, run: Running) -> bool:
        """Take the decision after the last recorded epoch that a dead driver may not have come to."""
        number = run.trial.number
        epochs = self._study.ledger.epochs(self._study.id, number)
        if not epochs:
            return True
        run.metrics = columns.metrics(epochs[-1])
        problem = run.problem(self._spec, epochs[-1]["epoch"])
        if problem:
            self.fail(number, problem)
        elif epochs[-1]["epoch"] == run.assignment.trainer.get("epochs"):
            self._complete(run)
        else:
            self._judge(run, epochs[-1]["epoch"])
        return number in self.running

    def _start_record(self, trial: Trial, seed: int, resolved: dict[str, Any]) -> dict[str, Any]:
        shown = self._spec.shown(trial.params)
        return records.start(trial.number, seed=seed, params=shown, trainer=resolved, objective=objective(self._spec))

    def _seed(self, trial: Trial) -> int:
        if self._spec.confirms:
            return int(trial.params["seed"])
        return derive_seed(self._spec.sampler.seed, TRIAL, trial.number)

    # -- epochs -------------------------------------------------------------------------------------------------------

    def report(self, report: Report) -> bool:
        """Take in a worker's report; returns whether the trial goes on."""
        run = self.running[report.number]
        if report.full:
            self.requeue(report.number, f"the {report.full} was full: {report.error}")
            return False
        if report.error:
            self.fail(report.number, report.error, report.traceback)
            return False
        self._note_warnings(run, report.warnings)
        if report.epoch is not None:
            problem = self._record(run, report)
            if problem:
                self.fail(report.number, problem)
                return False
        elif run.epoch == 0:
            self.fail(report.number, "the trainer ended without yielding an epoch")
            return False
        if report.last:
            self._complete(run)
            return False
        if not self._judge(run, run.epoch):
            return False
        limit = self._spec.budget.trial_time
        if limit is not None and run.seconds >= limit:
            self._end(
                run, TrialState.PRUNED, error=f"stopped after {run.seconds:.0f} s, budget.trial_time is {limit:g}"
            )
            return False
        return True

    def _judge(self, run: Running, epoch: int) -> bool:
        """Early stopping; returns whether a trial goes on from here."""
        if self._rungs is not None and epoch in self._rungs:
            run.weigh(self._spec)
        if BASELINE in run.trial.user_attrs:
            return True
        if self._rungs is None:
            if not self._spec.several and run.trial.should_prune():  # Optuna knows none for several goals
                self._end(run, TrialState.PRUNED)
            return run.trial.number in self.running
        number = run.trial.number
        if epoch not in self._rungs or run.trial.user_attrs.get(PROMOTED) == epoch:
            return True
        if self._rungs.goes_on(number, epoch, self._study.frozen_trials()):
            run.trial.set_user_attr(PROMOTED, epoch)
            return True
        run.trial.set_user_attr(PAUSED, epoch)
        self._put_back(number, f"paused at epoch {epoch}", "PAUSED")
        self.tally.pause(number)
        return False

    def _record(self, run: Running, report: Report) -> str | None:
        """Write an epoch down; returns what is wrong with its numbers."""
        assert report.epoch is not None
        name = self._spec.metric.name
        value = report.metrics.get(name)
        run.metrics, run.facts = report.metrics, {**run.facts, **(report.facts or {})}
        run.epoch, run.value, run.seconds = report.epoch, value, run.seconds + report.seconds
        run.gpu_seconds += report.seconds * run.gpu
        self.gpu_seconds += report.seconds * run.gpu
        if value is not None and (run.best_value is None or self._sign * (value - run.best_value) > 0):
            run.best_value, run.best_epoch = value, report.epoch
        introduction: dict[str, Any] | None = None
        changed: dict[str, Any] = {
            "seconds": run.seconds,
            "gpu_seconds": run.gpu_seconds,
            "best_value": run.best_value,
            "best_epoch": run.best_epoch,
        }
        if report.facts is not None and not run.told_facts:
            changed["facts"] = json.dumps(report.facts)
            shown = self._spec.shown(run.trial.params)
            introduction = records.facts(report.facts, params=shown, config=report.config)
        if report.checkpoint:
            saved = report.checkpoint
            changed |= {"checkpoint": saved.path, "sha256": saved.sha256, "checkpoint_epoch": saved.epoch}
            run.assignment = replace(run.assignment, checkpoint=saved)
        run.assignment = replace(run.assignment, recorded=report.epoch)
        self._study.ledger.add_epoch(
            self._study.id,
            report.number,
            epoch=report.epoch,
            attempt=report.attempt,
            metrics=report.metrics,
            introduction=introduction,
            **changed,
        )
        run.told_facts = run.told_facts or introduction is not None
        if value is not None:
            run.tell(self._spec, value)
            self._tell_progress("epoch", run, "RUNNING")
        return run.problem(self._spec, report.epoch)

    def _note_warnings(self, run: Running, warned: tuple[str, ...]) -> None:
        """Put what a worker was warned of on record, once a trial, and let a person see it once a run."""
        known = run.trial.user_attrs.get("warnings", [])
        fresh = [text for text in warned if text not in known][: max(0, WARNINGS - len(known))]
        if not fresh:
            return
        run.trial.set_user_attr("warnings", [*known, *fresh])
        self._study.ledger.post(self._study.id, run.trial.number, "tags", records.warned([*known, *fresh]))
        for text in [text for text in fresh if text not in self._warned]:
            self._warned.add(text)
            self._tell_progress("warning", run, "RUNNING", text)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def fail(self, number: int, error: str, traceback: str | None = None) -> None:
        """End a trial as FAIL with its reason on record."""
        self._end(self.running[number], TrialState.FAIL, error=error, traceback=traceback)

    def requeue(self, number: int, why: str) -> None:
        """Put a trial back into the queue: it keeps its number and goes on from its last recorded epoch."""
        self._put_back(number, why, "WAITING")

    def _put_back(self, number: int, why: str, shown: str) -> None:
        run = self.running.pop(number)
        report_missing(self._study, run.trial._get_latest_trial())
        self._study.storage.set_trial_state_values(run.trial._trial_id, TrialState.WAITING)
        self._study.ledger.end_trial(self._study.id, number, outcome=why, record=records.end("WAITING"))
        self._tell_progress("end", run, shown)

    def conclude(self) -> int:
        """End trials that wait to be promoted and never will be, as PRUNED; returns how many."""
        if self._rungs is None:
            return 0
        paused = self._rungs.paused(self._study.frozen_trials())
        self._study.optuna.sampler = RandomSampler()  # asked for nothing: they have their parameters
        for frozen in paused:
            self._study.storage.set_trial_state_values(frozen._trial_id, TrialState.RUNNING)
            row = self._study.ledger.trial(self._study.id, frozen.number)
            assert row is not None
            trial = Trial(self._study.optuna, frozen._trial_id)
            self._run(trial, row, self._spec.resolve(trial.params))
            self.running[frozen.number].value = frozen.intermediate_values[row["epoch"]]
            self._end(self.running[frozen.number], TrialState.PRUNED)
        return len(paused)

    def tidy(self) -> None:
        """Remove what workers wrote of trials that had ended; once no worker is left."""
        self._checkpoints = Retention(self._study)

    def _complete(self, run: Running) -> None:
        if not run.metrics:  # resumed after its last epoch had been recorded
            run.metrics = columns.metrics(self._study.ledger.epochs(self._study.id, run.trial.number)[-1])
        run.value = run.metrics[self._spec.metric.name]
        self._end(run, TrialState.COMPLETE)

    def _end(self, run: Running, state: TrialState, *, error: str | None = None, traceback: str | None = None) -> None:
        number, ledger = run.trial.number, self._study.ledger
        point = run.point(self._spec) if state == TrialState.COMPLETE else None
        self._describe(run, error)
        if error:  # before the trial has ended, after which nobody would know it any more
            ledger.update_trial(self._study.id, number, error=error, traceback=traceback)
        if state != TrialState.FAIL:
            run.weigh(self._spec)
        self._study.optuna.tell(run.trial, point.values if point is not None else None, state=state)
        before = self.tally.best
        news = self.tally.end(number, state, point, gpu_seconds=run.gpu_seconds)
        ledger.end_trial(
            self._study.id,
            number,
            outcome=error or state.name.lower(),
            record=records.end(state.name, best_epoch=run.best_epoch, error=error, traceback=traceback),
            best=self._best_point() if self.tally.best != before else None,
        )
        del self.running[number]
        self._tell_progress("end", run, state.name, error, best=news, point=point, front=self._told_front(news))
        if point is None:
            self._checkpoints.drop(number)
        else:
            self._checkpoints.keep(point)

    def _told_front(self, news: bool) -> str | None:
        """Where there are several goals and a new trial on their front: put that on record, and say it in a line."""
        if not news or not self._spec.several:
            return None
        self._study.ledger.post(self._study.id, None, "tags", records.front(self.tally.front, self._spec.metrics))
        return span(self.tally.front, self._spec.metrics)

    def _best_point(self) -> records.Payload:
        """A point of the best value's curve."""
        assert self.tally.best is not None
        metric, value = self._spec.metric.name, self.tally.best
        return records.best(self.tally.ended, metric=metric, value=value, time=time.time())

    def _describe(self, run: Running, error: str | None) -> None:
        """What the Optuna dashboard shows beside the parameters."""
        row = self._study.ledger.trial(self._study.id, run.trial.number)
        shown = {
            "seconds": round(run.seconds, 3),
            "gpu": run.gpu or None,
            "reason": error,
            "mlflow_run_id": row["run_id"] if row else None,
        }
        for name, value in shown.items():
            if value is not None:
                run.trial.set_user_attr(name, value)

    def _tell_progress(self, kind: str, run: Running, state: str, error: str | None = None, **ended: Any) -> None:
        """`ended`: what an Event says of a trial that has ended."""
        value = run.value if run.value is not None else run.best_value
        about: dict[str, Any] = {"number": run.trial.number, "params": run.trial.params, "epoch": run.epoch}
        self._notify(Event(kind=kind, state=state, value=value, error=error, **about, **ended))
