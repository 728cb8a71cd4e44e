"""How long epochs take, and which one takes so long that its trial must hang."""

from __future__ import annotations

import time
from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass

__all__ = ["Clock"]

TIMES = 10.0  # the median, that an epoch may take where no limit is given
FLOOR = 60.0  # seconds that it may take in any case
COMPILING_FLOOR = 600.0  # the same where the trainer may compile its network in the middle of it
KNOWN = 3  # epochs from which there is a median
STANDSTILL = 2.0  # seconds between two looks at the clock, after which the driver is known to have stood still itself


@dataclass(kw_only=True)
class Lap:
    """An epoch that is being trained."""

    began: float
    first: bool  # of its attempt: what it trains on is loaded in it, perhaps in a new process
    floor: float


class Clock:
    """Times the epochs of all running trials. First epochs of an attempt are compared with first ones only.

    A driver that stands still, because it waits for its database or is suspended, does not see that epochs end. Such
    time counts against no trial.
    """

    def __init__(self, limit: float | None, *, now: Callable[[], float] = time.monotonic) -> None:
        """`limit`: seconds that any epoch may take; None: ten times the median, at least a minute."""
        self._limit, self._now = limit, now
        self._laps: dict[int, Lap] = {}
        self._seconds: dict[bool, list[float]] = {True: [], False: []}  # sorted: asked in every turn of every trial
        self._looked = now()

    def begin(self, number: int, *, compiles: bool = False) -> None:
        """A trial's attempt begins."""
        self._laps[number] = Lap(began=self._now(), first=True, floor=COMPILING_FLOOR if compiles else FLOOR)

    def wait(self, number: int) -> None:
        """The trial waits for a process: its epoch has not begun."""
        if number in self._laps:
            self._laps[number].began = self._now()

    def lap(self, number: int, seconds: float) -> None:
        """The trial has reported an epoch, in which it trained for `seconds`, and goes on."""
        lap = self._laps[number]
        # it may be trained already when it is asked for
        insort(self._seconds[lap.first], max(self._now() - lap.began, seconds))
        lap.began, lap.first = self._now(), False

    def end(self, number: int) -> None:
        """The trial does not run any more."""
        self._laps.pop(number, None)

    def overdue(self) -> dict[int, float]:
        """Trials whose epoch takes longer than it may: number -> seconds that it may take. Asked in every turn."""
        self._forgive_standstill()
        limits = {number: self._limit_of(lap) for number, lap in self._laps.items()}
        now = self._now()
        return {
            number: limit
            for number, limit in limits.items()
            if limit is not None and now - self._laps[number].began > limit
        }

    def _forgive_standstill(self) -> None:
        stood = self._now() - self._looked
        self._looked = self._now()
        if stood > STANDSTILL:
            for lap in self._laps.values():
                lap.began = min(lap.began + stood, self._looked)

    def _limit_of(self, lap: Lap) -> float | None:
        if self._limit is not None:
            return self._limit
        known = self._seconds[lap.first]
        return max(lap.floor, TIMES * _median(known)) if len(known) >= KNOWN else None


def _median(ascending: Sequence[float]) -> float:
    middle = len(ascending) // 2
    return ascending[middle] if len(ascending) % 2 else (ascending[middle - 1] + ascending[middle]) / 2
