"""Which learning rates a training can take: the rate rises with every batch, and the loss says when it is too high.

Leslie Smith, "Cyclical Learning Rates for Training Neural Networks", 2017, arXiv:1506.01186, section 3.3.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise

from trainers.checks.bench import Bench, untouched
from trainers.precision import switches
from trainers.train import Trainer

__all__ = ["Point", "Suggestion", "suggest", "sweep"]

BETA = 0.9
"""Of the moving average of the loss, over about ten batches."""
DIVERGED = 4.0
"""Times the least smoothed loss at which the sweep ends."""
BELOW_STEEPEST, BELOW_LEAST = 10.0, 2.0
"""What the range begins below the rate at which the loss falls fastest, and ends below that of the least loss."""
FALL = 0.05
"""Of the first loss, that the smoothed one has to fall by for anything to be seen."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """One batch of a sweep."""

    step: int
    lr: float
    loss: float
    """of the batch"""
    smoothed: float
    """moving average so far, its start corrected"""


@dataclass(frozen=True, kw_only=True)
class Suggestion:
    """What a sweep says."""

    low: float
    high: float
    """ends of a range worth searching, one significant digit"""
    steepest: float
    """rate at which the smoothed loss falls fastest"""
    least: float
    """rate of the least smoothed loss"""
    diverged: float | None
    """rate at which the loss had grown DIVERGED-fold; None: it never did"""


def sweep(trainer: Trainer, *, low: float, high: float, steps: int) -> Iterator[Point]:
    """Train a copy on `steps` batches, at rates from `low` to `high` that grow by the same factor each.

    Ends early where the loss has grown DIVERGED-fold or is not finite. The trainer is left as it was, and so are the
    generators of Python, NumPy and torch, once the sweep has ended or is closed. Weight decay, momentum, batch size and
    augmentation are the trainer's, and it goes over its pictures as often as it takes.
    """
    with untouched():
        twin = Bench(trainer).copy()
        average, least, step = 0.0, math.inf, 0
        growth = (high / low) ** (1 / max(1, steps - 1))
        while step < steps:
            first = step
            with switches(twin.config, twin.device):
                for loss, _, _ in twin.steps(lambda number, first=first: low * growth ** (first + number)):  # type: ignore[misc]
                    value = float(loss)
                    average = BETA * average + (1 - BETA) * value
                    smoothed = average / (1 - BETA ** (step + 1))
                    yield Point(step=step, lr=low * growth**step, loss=value, smoothed=smoothed)
                    least = min(least, smoothed)
                    step += 1
                    if step == steps or not smoothed <= DIVERGED * least:  # NaN ends it too
                        return
            twin.epoch = min(twin.epoch + 1, twin.config.epochs - 1)


def suggest(points: list[Point]) -> Suggestion:
    """The range from a tenth of the rate at which the loss falls fastest to half of that where it is least.

    The smoothed loss lags behind, so that its least lies above the best rate. Raises ValueError where the loss never
    falls: there is nothing to be seen.
    """
    known = [each for each in points if math.isfinite(each.smoothed)]
    if len(known) < 3:
        raise ValueError("the loss was not finite from the start: look at the checks of `hpo check` first")
    least = min(known, key=lambda each: each.smoothed)
    if least.smoothed > (1 - FALL) * known[0].smoothed:
        raise ValueError(
            f"the loss never fell by {FALL:.0%}: from {known[0].smoothed:.3g} to {least.smoothed:.3g} at best; "
            "more --steps or a higher --to may show more, and `hpo check` whether the network learns at all"
        )
    falling = known[: least.step + 1]
    slopes = [(before.smoothed - after.smoothed, after) for before, after in pairwise(falling)]
    steepest = max(slopes, key=lambda pair: pair[0])[1]
    diverged = points[-1] if not points[-1].smoothed <= DIVERGED * least.smoothed else None
    low, high = steepest.lr / BELOW_STEEPEST, least.lr / BELOW_LEAST
    return Suggestion(
        low=_round(low),
        high=_round(max(high, 10 * low)),
        steepest=steepest.lr,
        least=least.lr,
        diverged=diverged.lr if diverged is not None else None,
    )


def _round(value: float) -> float:
    """To one significant digit, or two where the first is 1."""
    return float(f"{value:.1e}" if f"{value:.0e}".startswith("1") else f"{value:.0e}")
