"""Dropout whose rate is a tensor, so that trainings that differ in nothing else share one compiled graph."""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Dropout", "Dropout2d"]


class Dropout(nn.Module):
    """In training, zeroes each element with probability `p` and divides the others by 1 - p; distributed as nn.Dropout.

    Draws from torch's global generator of the input's device. In evaluation, and where built with p = 0, it returns its
    input and draws nothing. The rate is no part of the state dict.
    """

    rate: Tensor

    def __init__(self, p: float) -> None:
        """Raises ValueError for `p` outside [0, 1)."""
        super().__init__()
        if not 0 <= p < 1:
            raise ValueError(f"dropout {p} must lie in [0, 1)")
        self.p = p
        self.active = p > 0
        """whether it was built to drop; a bool, for reading the tensor would make a GPU wait"""
        self.register_buffer("rate", torch.tensor(p, dtype=torch.float32), persistent=False)

    def forward(self, values: Tensor) -> Tensor:
        if not (self.training and self.active):
            return values
        # not masked_fill, whose result forgets that channels come last, and with it everything after it would
        return torch.where(self._draw(values) < self.rate, 0.0, values / (1 - self.rate))

    def _draw(self, values: Tensor) -> Tensor:
        # bfloat16 has 256 steps in [0, 1), too few to compare with a rate
        return torch.rand_like(values, dtype=torch.float32)

    def extra_repr(self) -> str:
        return f"p={self.p:g}"


class Dropout2d(Dropout):
    """Zeroes whole channels of single pictures, (N, C, H, W); distributed as nn.Dropout2d."""

    def _draw(self, values: Tensor) -> Tensor:
        return torch.rand_like(values[:, :, :1, :1], dtype=torch.float32)
