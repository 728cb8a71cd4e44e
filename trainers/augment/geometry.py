"""Changes of place: crops, flips, affine maps, blanked squares; each picture draws for itself.

Pictures are (N, C, H, W) floats in [0, 1], `mean` is (1, C, 1, 1): the colour of whatever comes in from outside.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["Affine", "affine", "cutout", "erase", "flip", "random_crop"]


def random_crop(images: Tensor, *, padding: int, mean: Tensor, generator: Generator) -> Tensor:
    """Shift each picture by up to `padding` px in both directions."""
    count, colours, height, width = images.shape
    padded = mean.expand(count, colours, height + 2 * padding, width + 2 * padding).clone()
    padded[..., padding : padding + height, padding : padding + width] = images
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


def cutout(images: Tensor, *, size: int, mean: Tensor, generator: Generator) -> Tensor:
    """Blank a square of `size` px in each picture; its place is uniform, so it may reach over the border."""
    count, _, height, width = images.shape
    device = images.device
    top = torch.randint(1 - size, height, (count, 1), device=device, generator=generator)
    left = torch.randint(1 - size, width, (count, 1), device=device, generator=generator)
    return torch.where(_box(top, top + size, left, left + size, height, width), mean, images)


def erase(images: Tensor, *, chance: float, mean: Tensor, generator: Generator) -> Tensor:
    """Blank a rectangle of 2 to 33% of the area, its sides 0.3 to 3.3 to each other, with probability `chance`."""
    count, _, height, width = images.shape
    draws = torch.rand((5, count, 1), device=images.device, generator=generator)
    area = (0.02 + 0.31 * draws[0]) * height * width
    ratio = torch.exp(math.log(0.3) + (math.log(3.3) - math.log(0.3)) * draws[1])
    tall = (area * ratio).sqrt().clamp(1, height)
    wide = (area / ratio).sqrt().clamp(1, width)
    top, left = draws[2] * (height - tall), draws[3] * (width - wide)
    hole = _box(top, top + tall, left, left + wide, height, width) & (draws[4] < chance)[:, :, None, None]
    return torch.where(hole, mean, images)


def _box(top: Tensor, bottom: Tensor, left: Tensor, right: Tensor, height: int, width: int) -> Tensor:
    """Mark the pixels (N, 1, H, W) of one box a picture; its borders are (N, 1), the far ones outside."""
    row, column = torch.arange(height, device=top.device), torch.arange(width, device=top.device)
    rows, columns = (row >= top) & (row < bottom), (column >= left) & (column < right)
    return rows[:, None, :, None] & columns[:, None, None, :]


@dataclass(frozen=True, kw_only=True)
class Affine:
    """How far an affine map may go."""

    degrees: float  # of rotation, to either side
    zoom: float  # pictures are enlarged by this and cropped at a random place
    chance: float  # of a further map that shifts, scales and shears
    shift: float = 0.1  # of the side, to either side
    scale: float = 0.1  # to either side of 1
    shear: float = 10.0  # degrees, to either side


def affine(images: Tensor, limits: Affine, *, mean: Tensor, generator: Generator) -> Tensor:
    """Rotate, enlarge and perhaps shift, scale and shear each picture, all in one bilinear resampling."""
    count = len(images)
    draws = torch.rand((8, count), device=images.device, generator=generator) * 2 - 1
    more = ((draws[7] + 1) / 2 < limits.chance).float()
    angle = draws[0] * math.radians(limits.degrees)
    shear = more * draws[1] * math.radians(limits.shear)
    size = limits.zoom * (1 + more * draws[2] * limits.scale)
    across = draws[3:5] * (1 - 1 / limits.zoom) + more * draws[5:7] * 2 * limits.shift
    return resample(images, angle=angle, shear=shear, size=size, across=across, mean=mean)


def resample(images: Tensor, *, angle: Tensor, shear: Tensor, size: Tensor, across: Tensor, mean: Tensor) -> Tensor:
    """Map each picture bilinearly.

    `angle` (N): radians, counterclockwise; `shear` (N): radians, along x; `size` (N): factor of enlargement; `across`
    (2, N): what is looked at, x and y off the centre in halves of the side.
    """
    height, width = images.shape[-2:]
    aspect = height / width
    cos, sin, slope = angle.cos() / size, angle.sin() / size, shear.tan()
    # from the coordinates of an output pixel, in halves of the sides, to those of its source
    rows = [cos, (-sin + slope * cos) * aspect, across[0], sin / aspect, cos + slope * sin, across[1]]
    maps = torch.stack(rows, dim=1).reshape(-1, 2, 3)
    grid = functional.affine_grid(maps, list(images.shape), align_corners=False)
    return functional.grid_sample(images - mean, grid, align_corners=False) + mean
