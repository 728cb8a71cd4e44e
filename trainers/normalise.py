"""Pictures as stored, and as a network sees them."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["Normalise"]


class Normalise:
    """Scales (N, C, H, W) pictures by a mean and deviation per channel, which are given on the scale [0, 1]."""

    def __init__(self, mean: Sequence[float], std: Sequence[float], *, device: torch.device) -> None:
        shape = (1, len(mean), 1, 1)
        self.mean = torch.tensor(mean, device=device).reshape(shape)
        self._factor = torch.tensor(std, device=device).reciprocal().reshape(shape)
        # NVIDIA's convolutions are fastest with the channels last.
        self.layout = torch.channels_last if device.type == "cuda" else torch.contiguous_format

    def __call__(self, images: Tensor) -> Tensor:
        """Scale floats in [0, 1]."""
        return (images - self.mean).mul_(self._factor).contiguous(memory_format=self.layout)

    def stored(self, images: Tensor) -> Tensor:
        """Scale pictures as they are stored, uint8."""
        return self(self.unit(images))

    @staticmethod
    def unit(images: Tensor) -> Tensor:
        """Turn uint8 into floats in [0, 1]."""
        return images.float().mul_(1 / 255)
