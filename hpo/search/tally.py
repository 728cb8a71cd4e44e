"""What a study has come to so far, counted as trials end: the best, how many since, failures."""

from __future__ import annotations

from optuna.trial import TrialState
from sqlalchemy.engine import RowMapping

from hpo.rungs import states
from hpo.study import Study

__all__ = ["Tally"]


class Tally:
    """Begins with what SQL holds; a driver tells it of every trial that ends or pauses."""

    def __init__(self, study: Study) -> None:
        self._sign = study.spec.metric.sign
        trials = study.frozen_trials()
        known = dict(zip((trial.number for trial in trials), states(study.spec, trials), strict=True))
        retried = sum("retry_of" in trial.user_attrs for trial in trials)
        self.failures = list(known.values()).count("FAIL") - retried  # one that is made up for is spent no more
        self.ended = sum(trial.state.is_finished() for trial in trials)
        self.best = max(study.complete().values(), key=lambda value: self._sign * value, default=None)
        rows = {row["number"]: row for row in study.ledger.trials(study.id)}
        whole = [number for number, state in known.items() if state == "COMPLETE" and number in rows]
        self.longest = max((rows[each]["gpu_seconds"] for each in whole), default=0.0)  # GPU-seconds of a whole trial
        self._since_best = self._after_best(study, known, rows)

    @staticmethod
    def _after_best(study: Study, known: dict[int, str], rows: dict[int, RowMapping]) -> set[int]:
        ranked = study.best_first()
        if not ranked:
            return set()
        ended = {number: row["ended"] or 0.0 for number, row in rows.items()}
        judged = [number for number, state in known.items() if state in ("COMPLETE", "PRUNED", "PAUSED")]
        return {number for number in judged if ended.get(number, 0.0) > ended.get(ranked[0], 0.0)}

    @property
    def since_best(self) -> int:
        """Trials that have come to an end, a rung or a stop since the best one did; none before there is one."""
        return len(self._since_best)

    def reaches(self, target: float) -> bool:
        """Whether a trial has come to a value of the objective, or a better one."""
        return self.best is not None and self._sign * (self.best - target) >= 0

    def pause(self, number: int) -> None:
        """Count a trial that pauses."""
        if self.best is not None:
            self._since_best.add(number)

    def end(self, number: int, state: TrialState, value: float | None, *, gpu_seconds: float) -> bool:
        """Count a trial that has ended, COMPLETE with a value; returns whether it is the best so far."""
        self.ended += 1
        if state == TrialState.COMPLETE:
            self.longest = max(self.longest, gpu_seconds)
        if state == TrialState.FAIL:
            self.failures += 1
        elif value is None or (self.best is not None and self._sign * (value - self.best) <= 0):
            self.pause(number)
        else:
            self.best = value
            self._since_best.clear()
            return True
        return False
