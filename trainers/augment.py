"""Augmentation of whole batches on the device, with a draw of its own for every picture."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["augment", "cutout", "flip", "random_crop"]


def augment(
    images: Tensor, *, level: Literal["none", "light", "standard", "heavy"], mirrored: bool, generator: Generator
) -> Tensor:
    """Augment normalised pictures (N, C, H, W): light crops and, where `mirrored`, flips; standard also cuts out.

    The crop pads by an eighth of the side (4 at 32 px), the cut-out square has a quarter of it (8 at 32 px).
    `generator` lives on the pictures' device.
    """
    if level == "none":
        return images
    side = min(images.shape[-2:])
    images = random_crop(images, padding=max(1, round(side / 8)), generator=generator)
    if mirrored:
        images = flip(images, generator=generator)
    return (
        cutout(images, size=max(1, round(side / 4)), generator=generator) if level in ("standard", "heavy") else images
    )


def random_crop(images: Tensor, *, padding: int, generator: Generator) -> Tensor:
    """Shift each picture by up to `padding` px in both directions; what comes in from outside is 0, the mean colour."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    offsets = torch.randint(2 * padding + 1, (2, count, 1), device=images.device, generator=generator)
    rows = offsets[0] + torch.arange(height, device=images.device)
    columns = offsets[1] + torch.arange(width, device=images.device)
    which = torch.arange(count, device=images.device)[:, None, None]
    # Indices around a slice put its axis last: (N, H, W, C).
    return padded[which, :, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)


def flip(images: Tensor, *, generator: Generator) -> Tensor:
    """Mirror each picture left to right with probability one half."""
    mirrored = torch.rand((len(images), 1, 1, 1), device=images.device, generator=generator) < 0.5
    return torch.where(mirrored, images.flip(-1), images)


def cutout(images: Tensor, *, size: int, generator: Generator) -> Tensor:
    """Set a square of `size` px in each picture to 0; its place is uniform, so it may reach over the border."""
    count, _, height, width = images.shape
    device = images.device
    top = torch.randint(1 - size, height, (count, 1), device=device, generator=generator)
    left = torch.randint(1 - size, width, (count, 1), device=device, generator=generator)
    row, column = torch.arange(height, device=device), torch.arange(width, device=device)
    in_rows = (row >= top) & (row < top + size)
    in_columns = (column >= left) & (column < left + size)
    hole = in_rows[:, None, :, None] & in_columns[:, None, None, :]
    return images.masked_fill(hole, 0)
