"""Ray Tune as the engine: it asks our searcher, obeys our scheduler, and keeps nothing."""

from __future__ import annotations

import logging
import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.execution import class_cache
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher as TuneSearcher
from ray.tune.stopper import Stopper

from hpo.cluster.placement import Placement
from hpo.cluster.resources import tune_environment
from hpo.cluster.room import Room
from hpo.search.clock import Clock
from hpo.search.scheduler import Scheduler
from hpo.search.searcher import Searcher
from hpo.settings import is_secret
from hpo.workers.trial import Assignment, Report
from hpo.workers.worker import TrialWorker
from trainers.folders import private

__all__ = ["Search"]

WORKER_LOSSES = 3  # without an epoch between them, after which a trial has failed
GRACE = 3.0  # seconds that running epochs get to end once the search is asked to stop

# An actor with environment variables of its own cannot have a worker that is up already, and starts 0.6 s later.
# Tune gives every actor one variable, which TrialWorker sets as well.
class_cache.DEFAULT_ENV_VARS.clear()
# Tune would send the driver's AWS keys to every worker, that is over the network to a running cluster.
class_cache.ENV_VARS_TO_PROPAGATE -= {name for name in class_cache.ENV_VARS_TO_PROPAGATE if is_secret(name)}


class Search:
    """One pass of Ray Tune over a study, until nothing is left to start or `stop` is called.

    Tune writes into `folder`, which is removed afterwards. `on_tick` is called in every turn of its control loop, about
    ten times a second or more; `on_report` after each report has been recorded, with the trial's assignment.
    """

    def __init__(
        self,
        searcher: Searcher,
        scheduler: Scheduler,
        placement: Placement,
        *,
        folder: Path,
        on_tick: Callable[[], None],
        on_report: Callable[[Report, Assignment], None],
    ) -> None:
        self.searcher = searcher
        self.scheduler = scheduler
        self.placement = placement
        self.folder = folder
        self.on_tick = on_tick
        self.on_report = on_report
        self.tune_trials: dict[int, Any] = {}
        self.room = Room(cpu=placement.cpu, gpu=placement.gpu)
        self.controller: Any = None  # Tune's, once there is a trial
        self._clock = Clock(scheduler.epoch_time)
        self._losses: Counter[int] = Counter()  # of each trial's workers, since its last epoch
        self._stop_at: float | None = None
        self._failure: Exception | None = None  # Tune passes on the text of an error, not the error

    def __reduce__(self) -> tuple[type[dict[str, Any]], tuple[()]]:
        # Tune pickles its searcher, scheduler and callbacks into its folder: no handle or URL may travel along
        return dict, ()

    def run(self) -> None:
        """Run to the end. Trials still at work when it returns are left in `scheduler.running`."""
        tune_environment(self.placement.slots)
        logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a trial that fails is ours to report
        shutil.rmtree(self.folder, ignore_errors=True)  # what a killed driver left
        private(self.folder)
        try:
            tune.Tuner(
                tune.with_resources(TrialWorker, {"cpu": self.placement.cpu, "gpu": self.placement.gpu}),
                tune_config=tune.TuneConfig(
                    search_alg=_Ask(self),
                    scheduler=_Obey(self),
                    num_samples=-1,
                    reuse_actors=True,
                    trial_name_creator=_name,
                    trial_dirname_creator=_name,
                ),
                # no callbacks: given any, Tune imports MLflow only to count which of them are MLflow's
                run_config=tune.RunConfig(
                    storage_path=str(self.folder),
                    name="search",
                    verbose=0,
                    stop=_End(self),
                    # a lost worker's trial is ours to begin again: Tune gives it up where its process died idle
                    failure_config=tune.FailureConfig(max_failures=0),
                    checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
                ),
            ).fit()
        except Exception as error:
            raise self._failure or error from error
        finally:
            shutil.rmtree(self.folder, ignore_errors=True)

    def stop(self) -> None:
        """Start nothing more, let epochs that end within the grace time be recorded, then return from `run`."""
        self._stop_at = self._stop_at or time.monotonic() + GRACE

    @property
    def stopping(self) -> bool:
        return self._stop_at is not None

    # -- what Tune asks -----------------------------------------------------------------------------------------------

    def suggest(self) -> dict[str, Any] | str | None:
        """The next trial as a Tune config; FINISHED when there are no more, None while one may still come."""
        while not self.stopping:
            # own gate: Tune's max_concurrent_trials would count paused trials too
            if len(self.scheduler.running) >= self.placement.slots:
                return None
            trial = self.searcher.next()
            if trial is None:
                if self.scheduler.running or not self.scheduler.conclude():
                    break
                continue  # the next stage may begin
            left = self.searcher.left
            assignment = self.scheduler.start(
                trial,
                cpu=self.placement.cpu,
                gpu=self.placement.gpu,
                forecast_trials=1 + left / self.placement.slots if left is not None else None,
            )
            if assignment is not None:
                self._clock.begin(trial.number, compiles=assignment.may_compile)
                return {"assignment": assignment}
        # the worker of one that runs may be lost yet, and the trial come back
        return None if self.scheduler.running and not self.stopping else str(TuneSearcher.FINISHED)

    def decide(self, trial: Any, report: Report) -> str:
        """Tune's decision after a report."""
        if report.number not in self.scheduler.running:
            # it was ended for hanging in the same moment. Stopped, it would leave Tune a dead process to use again;
            # asked to go on, it is found dead
            return str(TrialScheduler.CONTINUE)
        assignment = self.scheduler.running[report.number].assignment
        self._clock.lap(report.number, report.seconds)  # before the database is asked, which may take its time
        with self._keeping_errors():
            goes_on = self.scheduler.report(report)
            self.on_report(report, assignment)
        if not goes_on or self.stopping:
            self._clock.end(report.number)
            return str(TrialScheduler.STOP)
        self._losses.pop(report.number, None)
        return str(TrialScheduler.CONTINUE)

    def should_end(self) -> bool:
        """Whether to leave the control loop; epochs that outlast the grace time are cut off. Called in every turn."""
        placed = self.controller is None or self.controller._actor_manager.num_live_actors  # be it that it starts
        self.room.look(waiting=bool(self.scheduler.running) and not placed)
        self.on_tick()
        self._watch_clock()
        if self._stop_at is None:
            return False
        busy = [each for each in self.tune_trials.values() if each.status == "RUNNING"]
        if busy and time.monotonic() < self._stop_at:
            return False
        for each in busy:
            _kill(each)
        return True

    def _watch_clock(self) -> None:
        for number, trial in self.tune_trials.items():
            if trial.status != "RUNNING":
                self._clock.wait(number)
        for number, limit in self._clock.overdue().items():
            self._end_hanging(number, limit)

    def _end_hanging(self, number: int, limit: float) -> None:
        """Fail a trial whose epoch does not end, and free its place."""
        self._clock.end(number)
        epoch = self.scheduler.running[number].epoch + 1
        self.scheduler.fail(
            number, f"epoch {epoch} took longer than {limit:.0f} s; budget.epoch_time says how long it may"
        )
        _kill(self.tune_trials[number])

    def lose(self, number: int, last_words: str | None) -> None:
        """Put a trial whose worker died into the queue, or fail it where none has brought it an epoch further."""
        if number not in self.scheduler.running or self.stopping:  # ended on purpose
            return
        self._clock.end(number)
        self._losses[number] += 1
        with self._keeping_errors():
            if self._losses[number] < WORKER_LOSSES:
                self.scheduler.requeue(number, "its worker was lost")
                self.searcher.give_back(1)
            else:
                error = f"its worker was lost {WORKER_LOSSES} times: killed, crashed, or out of memory"
                self.scheduler.fail(number, error, last_words)

    @contextmanager
    def _keeping_errors(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._failure = error
            raise


class _Ask(TuneSearcher):  # type: ignore[misc]
    """Only asks; the scheduler tells, because a searcher never sees a stopped trial's last report."""

    def __init__(self, search: Search) -> None:
        super().__init__(metric=None, mode=None)
        self._search = search

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        return self._search.suggest()

    def set_search_properties(self, metric: str | None, mode: str | None, config: dict[str, Any], **spec: Any) -> bool:
        return True

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        pass

    def save(self, checkpoint_path: str) -> None:
        pass

    def restore(self, checkpoint_path: str) -> None:
        pass


class _Obey(FIFOScheduler):  # type: ignore[misc]
    def __init__(self, search: Search) -> None:
        super().__init__()
        self._search = search

    def on_trial_add(self, tune_controller: Any, trial: Any) -> None:
        self._search.controller = tune_controller
        self._search.tune_trials[_number(trial)] = trial

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> str:
        return self._search.decide(trial, result["report"])

    def on_trial_error(self, tune_controller: Any, trial: Any) -> None:
        self._search.lose(_number(trial), _last_words(trial))

    def on_trial_complete(self, tune_controller: Any, trial: Any, result: dict[str, Any]) -> None:
        self._search.tune_trials.pop(_number(trial), None)


class _End(Stopper):  # type: ignore[misc]
    def __init__(self, search: Search) -> None:
        self._search = search

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        return False

    def stop_all(self) -> bool:
        return self._search.should_end()


def _kill(trial: Any) -> None:
    if trial.temporary_state.ray_actor is not None:
        ray.kill(trial.temporary_state.ray_actor)


def _number(trial: Any) -> int:
    return int(trial.config["assignment"].number)


def _name(trial: Any) -> str:
    return f"trial-{_number(trial):06d}"


def _last_words(trial: Any) -> str | None:
    """What Ray wrote about the loss of a worker; text, where Tune's own accessor would unpickle a file."""
    path = Path(trial.error_file)
    return "\n".join(path.read_text().splitlines()[-20:]) if path.exists() else None
