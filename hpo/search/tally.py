"""What a study has come to so far, counted as trials end: the best, how many since, failures."""

from __future__ import annotations

import math

from optuna.trial import TrialState

from hpo.goals import Point, betters, front
from hpo.rungs import states
from hpo.search.ahead import longest
from hpo.study import Study

__all__ = ["Tally"]


class Tally:
    """Begins with what SQL holds; a driver tells it of every trial that ends or pauses."""

    def __init__(self, study: Study) -> None:
        self._metrics = study.spec.metrics
        trials = study.frozen_trials()
        known = dict(zip((trial.number for trial in trials), states(study.spec, trials), strict=True))
        retried = sum("retry_of" in trial.user_attrs for trial in trials)
        self.failures = list(known.values()).count("FAIL") - retried  # one that is made up for is spent no more
        self.ended = sum(trial.state.is_finished() for trial in trials)
        self.front = study.front()  # of one goal the best alone
        rows = {row["number"]: row for row in study.ledger.trials(study.id)}
        self._paused = {number for number, state in known.items() if state == "PAUSED"}
        self.longest = longest(trials, rows.values())
        times = study.ledger.last_times(study.id)
        moments = {number: times.get(number, row["ended"] or 0.0) for number, row in rows.items()}
        self._since_best = self._after_best(known, moments)

    def _after_best(self, known: dict[int, str], moments: dict[int, float]) -> set[int]:
        """By the time of their last epoch: one that paused is ended long after it came to its rung."""
        counted = {"COMPLETE", "FAIL"} | ({"PRUNED", "PAUSED"} if self.front else set())
        judged = [number for number, state in known.items() if state in counted]
        # whoever came to the front last stands on it
        latest = max((moments.get(each.number, 0.0) for each in self.front), default=-math.inf)
        return {number for number in judged if moments.get(number, 0.0) > latest}

    @property
    def best(self) -> float | None:
        """The best value of the first goal, which is always one of the front."""
        return self.front[0].values[0] if self.front else None

    @property
    def since_best(self) -> int:
        """Trials that have come to an end, a rung or a stop since the best one did.

        Before there is one, those that failed or missed constraints: who is stopped early makes way for a first.
        """
        return len(self._since_best)

    def reaches(self, target: float) -> bool:
        """Whether a trial has come to a value of the objective, or a better one."""
        return self.best is not None and self._metrics[0].sign * (self.best - target) >= 0

    def start(self, number: int) -> None:
        """Note that a trial is at work, perhaps again."""
        self._paused.discard(number)
        self._since_best.discard(number)

    def pause(self, number: int) -> None:
        """Count a trial that pauses."""
        self._paused.add(number)
        if self.front:
            self._since_best.add(number)

    def end(self, number: int, state: TrialState, point: Point | None, *, gpu_seconds: float) -> bool:
        """Count a trial that has ended, COMPLETE at a point; returns whether it is the best so far, or on the front.

        One that only equals another there brings nothing new.
        """
        self.ended += 1
        if number in self._paused:  # and never went on: it was counted when it paused
            self._paused.remove(number)
            return False
        if state == TrialState.COMPLETE:
            self.longest = max(self.longest, gpu_seconds)
        self.failures += state == TrialState.FAIL
        if point is None or point.excess or self._is_bettered(point):
            if self.front or state != TrialState.PRUNED:
                self._since_best.add(number)
            return False
        self.front = front([*self.front, point], self._metrics)
        self._since_best.clear()
        return True

    def _is_bettered(self, point: Point) -> bool:
        return any(betters(each.values, point.values, self._metrics) for each in self.front)
