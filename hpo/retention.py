"""Which checkpoints stay: the last of a running trial, and those of the best few that are finished."""

from __future__ import annotations

import shutil

from hpo.study import Study

__all__ = ["Retention"]


class Retention:
    """The kept checkpoints of one study; the record of one is cleared before its file goes."""

    def __init__(self, study: Study) -> None:
        self._study = study
        self._sign = study.spec.metric.sign
        self._limit, self._room = study.spec.checkpoints_kept, study.spec.budget.disk
        finished = study.complete()
        self._best = max((self._sign * value for value in finished.values()), default=None)
        saved = {row["number"] for row in study.ledger.trials(study.id) if row["checkpoint"]}
        self._kept = {number: value for number, value in finished.items() if number in saved}
        self._catch_up()

    def _catch_up(self) -> None:
        """Remove what a driver that died between the end of a trial and its checkpoints left of finished trials."""
        for trial in self._study.frozen_trials():
            if trial.state.is_finished() and trial.number not in self._kept:
                self.drop(trial.number)
        for number in self._kept:
            self._tidy(number)

    def keep(self, number: int, value: float) -> bool:
        """Keep a finished trial's last checkpoint and drop what it displaces; returns whether it is the best so far."""
        if self._study.checkpoint(number) is not None:
            self._kept[number] = value
            self._tidy(number)
        while len(self._kept) > self._limit or (len(self._kept) > 1 and self._too_large()):
            worst = min(self._kept, key=lambda each: (self._sign * self._kept[each], -each))  # of equals the latest
            del self._kept[worst]
            self.drop(worst)
        is_best = self._best is None or self._sign * value > self._best
        if is_best:
            self._best = self._sign * value
        return is_best

    def _too_large(self) -> bool:
        if self._room is None:
            return False
        folders = [self._study.trial_folder(number) for number in self._kept]
        return sum(path.stat().st_size for folder in folders for path in folder.glob("epoch-*")) > self._room

    def _tidy(self, number: int) -> None:
        """Leave only the newest: a worker keeps the epoch before the last one too, until the last is on record.

        A worker that was killed while it wrote leaves a file with a dot in front.
        """
        folder = self._study.trial_folder(number)
        for path in {*folder.glob("epoch-*"), *folder.glob(".epoch-*")} - {self._study.checkpoint(number)}:
            path.unlink()

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints."""
        folder = self._study.trial_folder(number)
        if not folder.exists():
            return
        self._study.ledger.forget_checkpoint(self._study.id, number)
        shutil.rmtree(folder, ignore_errors=True)
