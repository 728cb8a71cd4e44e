"""Rectangles, one a picture: what is blanked, and what is pasted."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

__all__ = ["boxes", "cutout_holes", "erasing_holes"]

CUTOUT_SHARE = 1 / 4
"""Side of a cut-out square as a share of the picture's: 8 px at 32."""
ERASED_SHARE = (0.02, 0.33)
"""Range of an erased rectangle's share of the picture, torchvision's default."""
ERASED_RATIO = (0.3, 3.3)
"""Range of its height to its width, torchvision's default."""


def boxes(images: Tensor, *, top: Tensor, left: Tensor, height: Tensor, width: Tensor) -> Tensor:
    """Return (N, 1, H, W) in the pictures' type: 1 inside each picture's box, 0 around it.

    The four have shape (N, 1), in pixels; a box may reach over the border, and one of no height or width is empty.
    """
    row = torch.arange(images.shape[-2], device=images.device)
    column = torch.arange(images.shape[-1], device=images.device)
    in_rows = ((row >= top) & (row < top + height)).to(images.dtype)
    in_columns = ((column >= left) & (column < left + width)).to(images.dtype)
    return in_rows[:, None, :, None] * in_columns[:, None, None, :]


def erasing_holes(images: Tensor, *, probability: float, generator: Generator) -> Tensor:
    """Draw a rectangle wholly inside each picture with that probability, else none (Zhong et al., arXiv:1708.04896)."""
    rows, columns = images.shape[-2:]
    chosen, share, ratio, down, right = torch.rand((5, len(images), 1), device=images.device, generator=generator)
    low, high = (math.log(bound) for bound in ERASED_RATIO)
    stretch = torch.exp((ratio * (high - low) + low) / 2)
    side = torch.sqrt((share * (ERASED_SHARE[1] - ERASED_SHARE[0]) + ERASED_SHARE[0]) * (rows * columns))
    height, width = (side * stretch).round().clamp(1, rows), (side / stretch).round().clamp(1, columns)
    return boxes(
        images,
        top=(down * (rows - height + 1)).floor(),
        left=(right * (columns - width + 1)).floor(),
        height=height * (chosen < probability),
        width=width,
    )


def cutout_holes(images: Tensor, *, generator: Generator) -> Tensor:
    """Draw a square in each picture, at a uniform place, so that it may reach over the border."""
    count, _, rows, columns = images.shape
    size = max(1, round(min(rows, columns) * CUTOUT_SHARE))
    side = torch.full((), size, device=images.device)
    top = torch.randint(1 - size, rows, (count, 1), device=images.device, generator=generator)
    left = torch.randint(1 - size, columns, (count, 1), device=images.device, generator=generator)
    return boxes(images, top=top, left=left, height=side, width=side)
