"""What a trial's curves say of it. Rules with numbers, over one training: another seed may look otherwise.

In this order, the first that holds is the verdict and the others are said beside it; y is the objective, the larger
the better (its sign is turned where it is minimised), R the distance from its lowest to its highest epoch.

diverged   a loss or the objective was not finite; or train/loss ends above twice its lowest and above its first epoch
failed     the trial ended with another error
pruned     it was stopped early: of what would have come nothing is claimed
overfit    train/accuracy ends 0.15 or more above val/accuracy (mean of the last two epochs); or val/loss ends 10% or
           more above its lowest, which was a fifth of the epochs before the end, while train/loss fell by 5% since
slow       over the last third of the epochs, three at least, y rose by 10% of R or more and above all before, along a
           line whose slope is more than twice its standard error: it was still improving at its end
underfit   neither train/accuracy nor val/accuracy ends halfway between chance and 1; without accuracies, neither loss
           ends below half of ln(classes)
noisy      in the second half half of the steps of y or more are turns, and their median size is 15% of R or more
plateaued  it is not slow, and 98% of R was reached within 60% of the epochs, six at least: the rest brought next to
           nothing
short      fewer than four epochs: no trend can be read
healthy    none of these
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from statistics import fmean, median

__all__ = ["ORDER", "Curve", "Finding", "Judged", "counted_verdicts", "diagnose", "gained_by"]

ORDER = (
    "diverged",
    "failed",
    "pruned",
    "overfit",
    "slow",
    "underfit",
    "noisy",
    "plateaued",
    "short",
    "healthy",
    "unfinished",
)
GAP = 0.15
RISE = 1.1
FALL = 0.95
WORSE = 2.0
GAIN = 0.1
JUMP = 0.15
REACHED = 0.98
EARLY = 0.6
TREND = 4
"""Epochs from which a trend can be read."""
LONG = 6
"""Epochs from which noise and a plateau can."""
_NOT_FINITE = re.compile(r"\b(nan|inf)\b", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Curve:
    """The epochs of one training, in order."""

    objective: Sequence[float]  # at each epoch; NaN where it was not reported
    sign: float  # 1: the larger the better, -1: the smaller
    metrics: Mapping[str, Sequence[float | None]] = field(default_factory=dict)  # by name; None: not reported then
    state: str = "COMPLETE"  # in Optuna's words
    planned: int | None = None  # epochs that it was to train; None: not known
    error: str | None = None
    classes: int | None = None  # of the data; None: not known

    def metric(self, name: str) -> list[float]:
        """Its finite values."""
        return [each for each in self.metrics.get(name, ()) if each is not None and math.isfinite(each)]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """A verdict and the numbers that it is read from."""

    verdict: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class Judged:
    """A trial and what its curves say."""

    number: int
    params: Mapping[str, object]
    value: float | None  # objective at the last epoch; None: it is not COMPLETE
    curve: Curve
    findings: tuple[Finding, ...]

    @property
    def verdict(self) -> str:
        return self.findings[0].verdict


def counted_verdicts(trials: Iterable[Judged]) -> dict[str, int]:
    """How many trials have each verdict, in the order of the rules."""
    found = Counter(each.verdict for each in trials)
    return {verdict: found[verdict] for verdict in ORDER if found[verdict]}


def diagnose(curve: Curve) -> tuple[Finding, ...]:
    """All findings by the rules above, the verdict first."""
    if curve.state in ("WAITING", "RUNNING", "PAUSED"):
        return (Finding(verdict="unfinished", reason=f"it is {curve.state.lower()}"),)
    if reason := _diverged(curve):
        return (Finding(verdict="diverged", reason=reason),)
    if curve.state == "FAIL":
        return (Finding(verdict="failed", reason=curve.error or "no reason is on record"),)
    if curve.state == "PRUNED":
        of = f" of {curve.planned}" if curve.planned else ""
        why = curve.error or "it did no better than others had"
        return (Finding(verdict="pruned", reason=f"stopped after epoch {len(curve.objective)}{of}: {why}"),)
    rules = {"overfit": _overfit, "slow": _slow, "underfit": _underfit, "noisy": _noisy, "plateaued": _plateaued}
    found = [Finding(verdict=name, reason=reason) for name, rule in rules.items() if (reason := rule(curve))]
    if len(curve.objective) < TREND:
        found.append(Finding(verdict="short", reason=f"{len(curve.objective)} epochs show no trend"))
    return tuple(found) or (Finding(verdict="healthy", reason="none of the rules for trouble holds"),)


def gained_by(curve: Curve) -> int | None:
    """The epoch at which 98% of all that was gained was there; None where nothing was gained."""
    y = _rising(curve)
    if not y or max(y) <= min(y):
        return None
    enough = min(y) + REACHED * (max(y) - min(y))
    return next(index for index, each in enumerate(y, start=1) if each >= enough)


def _diverged(curve: Curve) -> str | None:
    watched = {name: values for name, values in curve.metrics.items() if name.rsplit("/", 1)[-1] == "loss"}
    for name, values in {**watched, "the objective": curve.objective}.items():
        for epoch, value in enumerate(values, start=1):
            if value is not None and not math.isfinite(value):
                return f"{name} was {value} at epoch {epoch}"
    if curve.state == "FAIL" and _NOT_FINITE.search(curve.error or ""):
        return curve.error
    loss = curve.metric("train/loss")
    if len(loss) > 1 and loss[-1] > WORSE * min(loss) and loss[-1] > loss[0]:
        return f"train/loss ends at {loss[-1]:.3g}, its lowest was {min(loss):.3g} and its first {loss[0]:.3g}"
    return None


def _overfit(curve: Curve) -> str | None:
    trained, validated = curve.metric("train/accuracy"), curve.metric("val/accuracy")
    if trained and validated:
        gap = fmean(trained[-2:]) - fmean(validated[-2:])
        if gap >= GAP:
            return (
                f"train/accuracy ends at {fmean(trained[-2:]):.3f}, {gap:.3f} above val/accuracy "
                f"({fmean(validated[-2:]):.3f}), mean of the last two epochs"
            )
    trained, validated = curve.metric("train/loss"), curve.metric("val/loss")
    if len(trained) != len(validated) or len(validated) < TREND:
        return None
    best = validated.index(min(validated))
    late = best > len(validated) - 1 - max(2, len(validated) // 5)
    if late or validated[-1] < RISE * validated[best] or trained[-1] > FALL * trained[best]:
        return None
    return (
        f"val/loss was lowest at epoch {best + 1} ({validated[best]:.3g}) and ends at {validated[-1]:.3g}, while "
        f"train/loss fell from {trained[best]:.3g} to {trained[-1]:.3g}"
    )


def _slow(curve: Curve) -> str | None:
    y = _rising(curve)
    if len(y) < TREND or max(y) <= min(y):
        return None
    last = y[-max(3, len(y) // 3) :]
    if max(last) <= max(y[: -len(last)]):
        return None
    slope, error = _line(last)
    share = slope * (len(last) - 1) / (max(y) - min(y))
    if share < GAIN or slope <= 2 * error:
        return None
    return f"over its last {len(last)} epochs it gained {share:.0%} of all that it gained: still improving at its end"


def _underfit(curve: Curve) -> str | None:
    ends = {name: fmean(curve.metric(name)[-2:]) for name in ("train/accuracy", "val/accuracy") if curve.metric(name)}
    if len(ends) == 2:
        half = (1 + 1 / curve.classes) / 2 if curve.classes else 0.5
        if max(ends.values()) >= half:
            return None
        said = ", ".join(f"{name} {value:.3f}" for name, value in ends.items())
        return f"it ends with {said}, and halfway between chance and 1 is {half:.3f}"
    losses = {name: curve.metric(name)[-1] for name in ("train/loss", "val/loss") if curve.metric(name)}
    if curve.classes is None or len(losses) < 2 or min(losses.values()) < math.log(curve.classes) / 2:
        return None
    said = ", ".join(f"{name} {value:.3g}" for name, value in losses.items())
    return f"it ends with {said}, and half of ln({curve.classes}) is {math.log(curve.classes) / 2:.3g}"


def _noisy(curve: Curve) -> str | None:
    y = _rising(curve)
    if len(y) < LONG or max(y) <= min(y):
        return None
    late = y[len(y) // 2 :]
    steps = [after - before for before, after in pairwise(late)]
    turns = sum(one * other < 0 for one, other in pairwise(steps))
    size = median(map(abs, steps)) / (max(y) - min(y))
    if size < JUMP or len(steps) < 2 or turns < (len(steps) - 1) / 2:
        return None
    return f"in its second half it jumps by {size:.0%} of its whole range from epoch to epoch, up and down"


def _plateaued(curve: Curve) -> str | None:
    reached, epochs = gained_by(curve), len(curve.objective)
    if reached is None or epochs < LONG or reached > EARLY * epochs or _slow(curve):
        return None
    return f"{REACHED:.0%} of what it gained was there after epoch {reached} of {epochs}"


def _rising(curve: Curve) -> list[float]:
    return [curve.sign * each for each in curve.objective if math.isfinite(each)]


def _line(y: Sequence[float]) -> tuple[float, float]:
    """Slope of the least-squares line through equidistant values, three at least, and its standard error."""
    middle, mean = (len(y) - 1) / 2, fmean(y)
    spread = sum((place - middle) ** 2 for place in range(len(y)))
    slope = sum((place - middle) * (each - mean) for place, each in enumerate(y)) / spread
    rest = sum((each - mean - slope * (place - middle)) ** 2 for place, each in enumerate(y))
    return slope, math.sqrt(rest / (len(y) - 2) / spread)
