"""How many trials share a card: chosen from what was measured, in plain numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["LEVELS", "Measured", "Packing", "choose", "fitting", "gains", "lower", "worth_measuring"]

LEVELS = (1, 2, 4, 8)
"""Trials on a card that are tried; more than eight were never measured."""
GAIN = 1.05
"""Pictures a second have to grow by so much for more trials at a time, which leave a sampler less to learn from."""
ROOM = 0.9
"""Share of a card's free memory that may be planned for."""
PAYS_FROM = 300.0
"""Seconds of search from which measuring, half a minute, pays: four on a card saved 19 to 24% of the time on an H100
against one whose steps are captured (docs/log.md)."""


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What so many copies of a trial did on one card, all at the same time."""

    copies: int
    pictures_per_second: float  # in sum
    memory_mb: float  # of the copy that took most


@dataclass(frozen=True, kw_only=True)
class Packing:
    """Trials on a card at a time, and why so many."""

    per_card: int
    reason: str
    measured: tuple[Measured, ...] = ()


def worth_measuring(
    *, trials: int | None, epochs: int, epoch_seconds: float, cards: int, seconds_left: float | None
) -> bool:
    """Whether the search goes on for so long, one trial on a card, that measuring pays; None: no such limit ends it."""
    limits = [
        math.inf if trials is None else trials * epochs * epoch_seconds / cards,
        math.inf if seconds_left is None else seconds_left,
    ]
    return min(limits) >= PAYS_FROM


def gains(measured: Sequence[Measured]) -> bool:
    """Whether the last level brought enough more than the one before to try the next."""
    return len(measured) < 2 or measured[-1].pictures_per_second >= GAIN * measured[-2].pictures_per_second


def fitting(memory_mb: float, room_mb: float) -> int:
    """How many trials of so much memory fit beside each other; one always does."""
    return max(1, int(ROOM * room_mb / memory_mb))


def choose(measured: Sequence[Measured], *, room_mb: float, growth: float = 1.0, problem: str | None = None) -> Packing:
    """The level with the highest sum of pictures a second, or a smaller one that nearly reaches it, of those that fit.

    `room_mb` is what the card had free before, `growth` how many times as much memory as the measured trial another may
    take. One trial on a card always fits. `problem` is why higher levels were not measured, where that was an error.
    """
    there = [each for each in measured if each.copies <= fitting(each.memory_mb * growth, room_mb)]
    highest = max(each.pictures_per_second for each in there)
    chosen = next(each for each in there if GAIN * each.pictures_per_second >= highest)
    needed = chosen.memory_mb * growth
    reason = (
        f"pictures/s in sum were {_rates(measured)}; a trial takes up to {_gib(needed)} of {_gib(room_mb)} GiB, "
        f"where {fitting(needed, room_mb)} would fit{f'; {problem}' if problem else ''}"
    )
    return Packing(per_card=chosen.copies, reason=reason, measured=tuple(measured))


def lower(at_once: int, trial: int) -> Packing:
    """Half as many as could be on a card, after a trial ran out of memory beside others; at least one."""
    beside = {1: "somebody else", 2: "another"}.get(at_once, f"{at_once - 1} others")
    reason = f"trial {trial} ran out of memory beside {beside} on its card"
    return Packing(per_card=max(1, at_once // 2), reason=reason)


def _rates(measured: Sequence[Measured]) -> str:
    return ", ".join(f"{each.pictures_per_second:,.0f} with {each.copies}" for each in measured)


def _gib(megabytes: float) -> str:
    return f"{megabytes / 1024:.1f}"
