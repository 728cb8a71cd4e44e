"""Where pixels go: shifts by whole pixels, and any affine motion in one resampling."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["Motion", "draw_motion", "shift", "warp"]


@dataclass(frozen=True, kw_only=True)
class Motion:
    """One affine motion a picture: mirrored, then sheared, rotated and scaled about the centre, then moved.

    Every field has shape (N, 1, 1).
    """

    angle: Tensor
    """radians, clockwise as seen, as in torchvision's affine"""
    shear: Tensor
    """radians, along the rows"""
    scale: Tensor
    """above 1 magnifies"""
    right: Tensor
    """pixels"""
    down: Tensor
    """pixels"""
    mirrored: Tensor
    """bool"""


def shift(images: Tensor, *, most: int, flip: bool, mean: Tensor, generator: Generator) -> Tensor:
    """Shift each picture by up to `most` px in both directions; with `flip`, mirror it with probability one half."""
    count, channels, height, width = images.shape
    device = images.device
    padded = mean.expand(count, channels, height + 2 * most, width + 2 * most).clone()
    padded[..., most : most + height, most : most + width] = images
    top, left = torch.randint(2 * most + 1, (2, count, 1), device=device, generator=generator)
    rows, columns = torch.arange(height, device=device) + top, torch.arange(width, device=device)
    if flip:
        mirrored = torch.rand((count, 1), device=device, generator=generator) < 0.5
        columns = torch.where(mirrored, width - 1 - columns, columns)
    # One gather over flat pixels takes a quarter of the time of indexing by rows and columns on a CPU.
    pixels = rows[:, :, None] * padded.shape[-1] + (columns + left)[:, None, :]
    flat = padded.flatten(2).gather(2, pixels.reshape(count, 1, -1).expand(-1, channels, -1))
    return flat.reshape(images.shape)


def draw_motion(
    images: Tensor,
    *,
    degrees: float,
    zoom: float,
    flip: bool,
    probability: float,
    translate: float,
    scale: float,
    shear: float,
    generator: Generator,
) -> Motion:
    """Draw a motion for each picture.

    All are rotated by up to `degrees` and magnified by `zoom`, a part of the picture as large as before being cut out
    at random. With `probability` come a translation (up to that share of the side), a scale (1 -+ scale) and a shear
    (degrees). With `flip`, half are mirrored.
    """
    count, _, height, width = images.shape
    drawn = torch.rand((9, count, 1, 1), device=images.device, generator=generator)
    chosen, mirrored = drawn[0] < probability, drawn[1] < (0.5 if flip else 0)
    signed = drawn[2:] * 2 - 1
    turn, crop_right, crop_down = signed[:3]
    move_right, move_down, stretch, skew = signed[3:] * chosen
    spare = (zoom - 1) / 2
    return Motion(
        angle=turn * math.radians(degrees),
        shear=skew * math.radians(shear),
        scale=(stretch * scale + 1) * zoom,
        right=(crop_right * spare + move_right * translate) * width,
        down=(crop_down * spare + move_down * translate) * height,
        mirrored=mirrored,
    )


def warp(images: Tensor, motion: Motion, *, mean: Tensor) -> Tensor:
    """Move pictures in [0, 1], with bilinear interpolation; `mean` (1, C, 1, 1) lies around them.

    The motion is torchvision's affine with the same parameters (`torchvision.transforms.functional.affine`, shear along
    one axis): forward R(angle) [[1, -tan shear], [0, 1]], of which the inverse is taken here for every target pixel.
    """
    height, width = images.shape[-2:]
    x = (torch.arange(width, device=images.device) - (width - 1) / 2)[:, None]
    y = (torch.arange(height, device=images.device) - (height - 1) / 2)[:, None, None]
    sine, cosine, tangent = motion.angle.sin() / motion.scale, motion.angle.cos() / motion.scale, motion.shear.tan()
    # grid_sample counts from -1 to 1 across the picture, whatever its side.
    across, along = (1 - 2 * motion.mirrored.to(images.dtype)) * (2 / width), 2 / height
    per_x = torch.stack([(cosine - sine * tangent) * across, -sine * along], dim=-1)
    per_y = torch.stack([(cosine * tangent + sine) * across, cosine * along], dim=-1)
    start = -(per_x * motion.right[..., None] + per_y * motion.down[..., None])
    # One sum of (N, 1, W, 2) and (N, H, 1, 2): no product of matrices, which tf32 and autocast would round.
    grid = per_x * x + (per_y * y + start)
    # Around the picture grid_sample knows zeros only, so that the mean has to be zero there.
    sampled = functional.grid_sample(images - mean, grid, padding_mode="zeros", align_corners=False)
    return sampled.add_(mean).clamp_(0, 1)
