"""Averages over pictures, summed on the device and read once an epoch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["Average"]


class Average:
    """Mean loss and accuracy, every picture weighing the same whatever the size of its batch."""

    def __init__(self, device: torch.device) -> None:
        self._sums = torch.zeros(3, dtype=torch.float64, device=device)

    def add(self, loss: Tensor, logits: Tensor, labels: Tensor) -> None:
        """Count a batch: its mean loss (scalar), logits (B, classes), labels (B,). Does not wait for the device."""
        count = len(labels)
        correct = (logits.argmax(dim=1) == labels).sum()
        self._sums += torch.stack([loss.detach().double() * count, correct.double(), torch.full_like(correct, count)])

    def read(self) -> tuple[float, float]:
        """Return (loss, accuracy as a fraction in [0, 1]); waits for the device. NaN where nothing was counted."""
        loss, correct, count = self._sums.tolist()
        return (loss / count, correct / count) if count else (float("nan"), float("nan"))
