"""Averages and scores over pictures, summed on the device and read once an epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

__all__ = ["Average", "Scores", "Tally"]

TOP = 5
BINS = 15


class Average:
    """Mean loss and accuracy, every picture weighing the same whatever the size of its batch."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(2, dtype=torch.float64, device=device)
        self._count = 0

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss (scalar), logits (B, classes), labels (B,). Does not wait for the device."""
        self._sums[0].add_(loss.detach(), alpha=len(labels))
        self._sums[1].add_((logits.argmax(dim=1) == labels).sum())
        self._count += len(labels)

    def read(self) -> tuple[float, float]:
        """Return (loss, accuracy as a fraction in [0, 1]); waits for the device. NaN where nothing was counted."""
        loss, correct = self._sums.tolist()
        return (loss / self._count, correct / self._count) if self._count else (math.nan, math.nan)


@dataclass(frozen=True, kw_only=True)
class Scores:
    """How good a network was on labelled pictures. Fractions in [0, 1]; per class in the order of the classes.

    A quotient whose divisor is 0 is 0, as with scikit-learn's zero_division=0.
    """

    loss: float
    accuracy: float
    top5: float
    """true class among the five most probable, or among all where there are fewer"""
    confusion: npt.NDArray[np.int64]
    """(C, C) pictures: rows are true classes, columns predicted ones"""
    precision: tuple[float, ...]
    recall: tuple[float, ...]
    f1: tuple[float, ...]
    support: tuple[int, ...]
    """pictures of each class"""
    calibration_error: float
    """expected difference of confidence and accuracy over 15 bins of confidence (Guo et al., 2017)"""

    @property
    def count(self) -> int:
        """Pictures scored."""
        return sum(self.support)

    @property
    def macro_precision(self) -> float:
        """Mean over classes."""
        return self._macro(self.precision)

    @property
    def macro_recall(self) -> float:
        """Mean over classes."""
        return self._macro(self.recall)

    @property
    def macro_f1(self) -> float:
        """Mean over classes."""
        return self._macro(self.f1)

    @property
    def weighted_precision(self) -> float:
        """Mean over pictures' classes."""
        return self._weighted(self.precision)

    @property
    def weighted_recall(self) -> float:
        """Mean over pictures' classes; equal to the accuracy."""
        return self._weighted(self.recall)

    @property
    def weighted_f1(self) -> float:
        """Mean over pictures' classes."""
        return self._weighted(self.f1)

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Return the accuracy's confidence interval at `level` (Wilson, 1927), which holds for few pictures too."""
        z, n, p = NormalDist().inv_cdf((1 + level) / 2), self.count, self.accuracy
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        return max(0.0, centre - half), min(1.0, centre + half)

    def as_metrics(self, prefix: str) -> dict[str, float]:
        """Return what is recorded every epoch, under `prefix/...`."""
        return {
            f"{prefix}/loss": self.loss,
            f"{prefix}/accuracy": self.accuracy,
            f"{prefix}/top5": self.top5,
            f"{prefix}/macro_f1": self.macro_f1,
            f"{prefix}/calibration_error": self.calibration_error,
        }

    def _macro(self, values: tuple[float, ...]) -> float:
        return sum(values) / len(values)

    def _weighted(self, values: tuple[float, ...]) -> float:
        return sum(value * size for value, size in zip(values, self.support, strict=True)) / self.count


class Tally:
    """Counts what `Scores` are made of, batch by batch; waits for the device only in `read`."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self._classes = classes
        self._loss = torch.zeros((), dtype=torch.float64, device=device)
        self._top = torch.zeros((), dtype=torch.float64, device=device)
        self._confusion = torch.zeros(classes * classes, dtype=torch.float64, device=device)
        self._bins = torch.zeros((2, BINS), dtype=torch.float64, device=device)  # sums of confidence and of hits

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss (scalar), logits (B, classes), labels (B,)."""
        logits = logits.detach().float()
        confidence, predicted = logits.softmax(dim=1).max(dim=1)
        correct = (predicted == labels).double()
        self._loss += loss.detach().double() * len(labels)
        best = logits.topk(min(TOP, self._classes), dim=1).indices
        self._top += (best == labels[:, None]).sum()
        self._confusion.scatter_add_(0, labels * self._classes + predicted, torch.ones_like(correct))
        where = (confidence * BINS).ceil().long().sub(1).clamp(0, BINS - 1)  # bins are open at their lower end
        for row, values in enumerate((confidence.double(), correct)):
            self._bins[row].scatter_add_(0, where, values)

    def read(self) -> Scores:
        """Return the scores of all that was counted, at least one picture."""
        flat = torch.cat([self._loss[None], self._top[None], self._confusion, self._bins.flatten()]).cpu().numpy()
        cells = self._classes**2
        confusion = flat[2 : 2 + cells].reshape(self._classes, self._classes)
        confidence, correct = flat[2 + cells :].reshape(2, BINS)
        count, hits = confusion.sum(), np.diag(confusion)
        precision, recall = _ratio(hits, confusion.sum(axis=0)), _ratio(hits, confusion.sum(axis=1))
        return Scores(
            loss=float(flat[0] / count),
            accuracy=float(hits.sum() / count),
            top5=float(flat[1] / count),
            confusion=confusion.astype(np.int64),
            precision=tuple(precision.tolist()),
            recall=tuple(recall.tolist()),
            f1=tuple(_ratio(2 * precision * recall, precision + recall).tolist()),
            support=tuple(int(each) for each in confusion.sum(axis=1)),
            calibration_error=float(np.abs(confidence - correct).sum() / count),
        )


def _ratio(above: npt.NDArray[np.float64], below: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.divide(above, below, out=np.zeros_like(above), where=below > 0)
