"""Pictures that are unlike the others in simple ways: dark, pale, blurred, garish."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.measures import Measures

__all__ = ["FAR", "Outlier", "outliers"]

FAR = 5.0
"""Robust deviations from the median, of any of the measures, from which a picture is an outlier."""
_MEASURES = {"brightness": False, "contrast": True, "sharpness": True, "colour": True}
"""What is compared, and whether by its logarithm: most pictures are far from 0 there."""
_SMALLEST = 0.5
"""Levels, below which logarithms end."""


@dataclass(frozen=True, kw_only=True)
class Outlier:
    """A picture and the measure in which it is farthest from the others."""

    place: int
    measure: str
    value: float
    """in levels of 255"""
    usual: float
    """the median of all"""
    deviations: float
    """from the median, in robust deviations: 1.4826 times the median distance from it; signed"""


def outliers(measures: Measures) -> list[Outlier]:
    """Return all that are `FAR` or farther, the farthest first. A measure that most pictures have alike is left out."""
    names = list(_MEASURES)
    far = np.stack([_deviations(getattr(measures, name), logarithm=_MEASURES[name]) for name in names])
    which = np.abs(far).argmax(axis=0)
    largest = far[which, np.arange(far.shape[1])]
    places = np.flatnonzero(np.abs(largest) >= FAR)
    return [
        Outlier(
            place=int(place),
            measure=names[which[place]],
            value=float(getattr(measures, names[which[place]])[place]),
            usual=float(np.median(getattr(measures, names[which[place]]))),
            deviations=float(largest[place]),
        )
        for place in places[np.argsort(-np.abs(largest[places]), kind="stable")]
    ]


def _deviations(values: npt.NDArray[np.float32], *, logarithm: bool) -> npt.NDArray[np.float64]:
    scaled = np.log(np.maximum(values, _SMALLEST)) if logarithm else values
    apart = scaled.astype(np.float64) - float(np.median(scaled))
    spread = 1.4826 * float(np.median(np.abs(apart)))
    return apart / spread if spread > 1e-6 else np.zeros(len(values))
