"""Unfinished trials as SQL holds them, kept by the one process that writes them."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from optuna.trial import FrozenTrial

__all__ = ["Mirror", "as_stored"]


class Mirror:
    """What a driver has read of the unfinished trials of its study, with what it has written since.

    Optuna reads all unfinished trials whole, with their curves, four times a question: 67 ms each with 64 at work. A
    trial in here is never changed in place, because readers keep what they were given. One whose state changes is
    forgotten and read again, so that what has ended is exactly what SQL holds.
    """

    def __init__(self) -> None:
        self.newest: int | None = None  # id of the newest trial read; None: nothing has been
        self.stale: set[int] = set()  # ids to be read again
        self._known: dict[int, FrozenTrial] = {}
        self._changed: set[int] = set()  # ids of known trials that `take` has not given out as they are

    def forget(self) -> None:
        """Take nothing for granted any more: a write's answer was lost."""
        self.newest = None
        self.stale.clear()
        self._known.clear()
        self._changed.clear()

    def learn(self, trials: Iterable[FrozenTrial], *, after: int) -> list[FrozenTrial]:
        """Take in what was just read, all trials with an id over `after` among it; returns what is new to a reader.

        That is what was read, and what was written since the last time.
        """
        read = {trial._trial_id: trial for trial in trials}
        self.newest = max([after, *read])
        self.stale -= read.keys()
        self._known |= {each: trial for each, trial in read.items() if not trial.state.is_finished()}
        read |= {each: self._known[each] for each in self._changed - read.keys()}
        self._changed.clear()
        return [read[each] for each in sorted(read)]

    def get(self, trial_id: int) -> FrozenTrial | None:
        """A copy that may be changed of a trial; None where SQL has to be asked."""
        return _copy(self._known[trial_id]) if trial_id in self._known else None

    @contextmanager
    def writing(self, trial_id: int) -> Iterator[FrozenTrial | None]:
        """Around a write: yields what to change likewise; where it is not known, or the write fails, SQL is read."""
        trial = self.get(trial_id)
        try:
            yield trial
        except BaseException:
            self.drop(trial_id)
            raise
        if trial is not None:
            self._known[trial_id] = trial
            self._changed.add(trial_id)

    def drop(self, trial_id: int) -> None:
        """Have a trial read again."""
        self._known.pop(trial_id, None)
        self._changed.discard(trial_id)
        self.stale.add(trial_id)


def as_stored(value: object) -> object:
    """An attribute as it comes back from SQL."""
    return json.loads(json.dumps(value))


def _copy(trial: FrozenTrial) -> FrozenTrial:
    new = copy.copy(trial)
    new._params, new._distributions = dict(trial.params), dict(trial.distributions)
    new._user_attrs, new._system_attrs = dict(trial.user_attrs), dict(trial.system_attrs)
    new.intermediate_values = dict(trial.intermediate_values)
    return new
