"""How trials stand after trainings with fresh seeds: means with intervals, and which of them can be told apart.

The best of many noisy numbers is too good: it was chosen for its luck too. Numbers from fresh seeds were not, but the
winner is then chosen by them: where others are as good, its mean is a little flattered still. With three equal trials
and three seeds that is half a standard deviation of one training, and the 95% interval holds the truth in 94%.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

__all__ = ["LEVEL", "Interval", "Standing", "difference", "rank", "same_as_first", "simultaneous"]

LEVEL = 0.95
Interval = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Standing:
    """One trial of the search and what its trainings with fresh seeds came to."""

    trial: int
    searched: float  # the objective that the search saw
    fresh: tuple[float, ...]  # of each training that came to its end
    failed: int = 0  # trainings that did not

    @property
    def mean(self) -> float | None:
        return fmean(self.fresh) if self.fresh else None

    @property
    def interval(self) -> Interval | None:
        """Student's interval of the mean, 95%; None for fewer than two numbers."""
        if len(self.fresh) < 2:
            return None
        from scipy import stats  # half a second

        count = len(self.fresh)
        half = float(stats.t.ppf((1 + LEVEL) / 2, count - 1)) * stdev(self.fresh) / math.sqrt(count)
        mean = fmean(self.fresh)
        return mean - half, mean + half

    def flattery(self, sign: float) -> float | None:
        """By how much the search's number was better than the mean; negative: it was worse."""
        return sign * (self.searched - self.mean) if self.mean is not None else None


def rank(standings: Sequence[Standing], sign: float) -> list[Standing]:
    """The best mean first; of equals the earlier trial. One with failed trainings comes after all that have none."""

    def key(each: Standing) -> tuple[bool, bool, float, int]:
        return each.mean is None, each.failed > 0, -sign * (each.mean or 0.0), each.trial

    return sorted(standings, key=key)


def difference(one: Sequence[float], other: Sequence[float]) -> Interval | None:
    """Welch's interval of the difference of two means, 95% (Welch 1947); None for fewer than two numbers on a side.

    Where seeds change nothing on either side, the difference is what it is.
    """
    if min(len(one), len(other)) < 2:
        return None
    from scipy import stats

    apart = fmean(one) - fmean(other)
    shares = [stdev(each) ** 2 / len(each) for each in (one, other)]  # of the variance of the difference
    if not any(shares):
        return apart, apart
    freedom = sum(shares) ** 2 / sum(
        share**2 / (len(each) - 1) for share, each in zip(shares, (one, other), strict=True)
    )
    half = float(stats.t.ppf((1 + LEVEL) / 2, freedom)) * math.sqrt(sum(shares))
    return apart - half, apart + half


def simultaneous(standings: Sequence[Standing]) -> dict[tuple[int, int], Interval]:
    """Tukey's intervals of the difference of each two means, 95% for all at once (Tukey 1949, Kramer 1956).

    By numbers of trials, the first less the second, of those that have two numbers or more; empty for fewer than two of
    them. The chance to see a difference anywhere where there is none is 5% in all, however many trials are compared.
    Where seeds change nothing at all, a difference is what it is.
    """
    groups = [each for each in standings if len(each.fresh) > 1]
    if len(groups) < 2:
        return {}
    means = [fmean(each.fresh) for each in groups]
    if all(min(each.fresh) == max(each.fresh) for each in groups):
        low = high = [[one - other for other in means] for one in means]
    else:
        from scipy import stats

        found = stats.tukey_hsd(*(each.fresh for each in groups)).confidence_interval(LEVEL)
        low, high = found.low.tolist(), found.high.tolist()
    places = [(i, j) for i in range(len(groups)) for j in range(len(groups)) if i != j]
    return {(groups[i].trial, groups[j].trial): (low[i][j], high[i][j]) for i, j in places}


def same_as_first(ranked: Sequence[Standing]) -> list[int] | None:
    """Trials that cannot be told apart from the first at 95%, by `simultaneous`; None where there are too few numbers.

    Of a trial with fewer than two numbers nothing is said.
    """
    found, first = simultaneous(ranked), ranked[0].trial
    pairs = {other: span for (one, other), span in found.items() if one == first}
    return [other for other, (low, high) in pairs.items() if low <= 0 <= high] if pairs else None
