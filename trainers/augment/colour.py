"""Changes of colour and sharpness; each picture draws for itself. Pictures are (N, C, H, W) floats in [0, 1]."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Generator, Tensor
from torch.nn import functional

__all__ = ["Jitter", "blur", "jitter"]

LUMA = (0.299, 0.587, 0.114)
# RGB to luma and two colour axes (YIQ, as in NTSC), in which hue is an angle
YIQ = (LUMA, (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
RGB = tuple(tuple(row) for row in torch.linalg.inv(torch.tensor(YIQ, dtype=torch.float64)).tolist())


@dataclass(frozen=True, kw_only=True)
class Jitter:
    """How far colours may move: factors 1 - x to 1 + x, and hue as a share of the whole circle to either side."""

    brightness: float
    contrast: float
    saturation: float
    hue: float


def jitter(images: Tensor, limits: Jitter, *, generator: Generator) -> Tensor:
    """Change brightness, contrast, saturation and hue, in this order, in one product a pixel.

    Hue turns in the YIQ plane, which is linear, where HSV's is not; grey pictures have neither saturation nor hue.
    """
    count, colours = images.shape[:2]
    draws = torch.rand((4, count, 1, 1), device=images.device, generator=generator) * 2 - 1
    bright, contrast = 1 + limits.brightness * draws[0], 1 + limits.contrast * draws[1]
    grey = _grey(images).mean(dim=(2, 3))[..., None] * bright  # (N, 1, 1)
    if colours != 3:
        return (images * (bright * contrast)[..., None] + (grey * (1 - contrast))[..., None]).clamp(0, 1)
    saturation, angle = 1 + limits.saturation * draws[2], 2 * math.pi * limits.hue * draws[3]
    turn = _hue(angle) @ _saturation(saturation, images.device)
    matrix = turn * bright * contrast
    moved = matrix @ images.flatten(2) + turn.sum(dim=2, keepdim=True) * grey * (1 - contrast)
    return moved.reshape(images.shape).clamp(0, 1)


def _grey(images: Tensor) -> Tensor:
    if images.shape[1] != 3:
        return images.mean(dim=1, keepdim=True)
    return (images * _constant((LUMA,), images.device).reshape(1, 3, 1, 1)).sum(dim=1, keepdim=True)


def _saturation(factor: Tensor, device: torch.device) -> Tensor:
    """(N, 1, 1) factors to (N, 3, 3) matrices that blend with grey."""
    return factor * torch.eye(3, device=device) + (1 - factor) * _constant((LUMA,) * 3, device)


def _hue(angle: Tensor) -> Tensor:
    """(N, 1, 1) radians to (N, 3, 3) matrices that turn the colours."""
    zero, one = torch.zeros_like(angle), torch.ones_like(angle)
    cos, sin = angle.cos(), angle.sin()
    rows = [torch.cat(row, dim=2) for row in ((one, zero, zero), (zero, cos, -sin), (zero, sin, cos))]
    return _constant(RGB, angle.device) @ torch.cat(rows, dim=1) @ _constant(YIQ, angle.device)


@lru_cache(maxsize=16)
def _constant(rows: tuple[tuple[float, ...], ...], device: torch.device) -> Tensor:
    """A small matrix on the device; made once, because a copy from the host may not stand in a captured graph."""
    return torch.tensor(rows, device=device)


def blur(images: Tensor, *, chance: float, generator: Generator) -> Tensor:
    """Blend each picture with its Gaussian blur, by a share from 0 to 1, with probability `chance`.

    The blur's deviation is a sixty-fourth of the side, at least half a pixel.
    """
    draws = torch.rand((2, len(images), 1, 1, 1), device=images.device, generator=generator)
    share = draws[0] * (draws[1] < chance)
    sigma = max(0.5, min(images.shape[-2:]) / 64)
    radius = max(1, math.ceil(2 * sigma))
    offsets = torch.arange(-radius, radius + 1, device=images.device)
    kernel = torch.exp(-(offsets**2) / (2 * sigma**2))
    kernel = (kernel / kernel.sum()).to(images.dtype)
    colours = images.shape[1]
    padded = functional.pad(images, (radius,) * 4, mode="replicate")
    row = functional.conv2d(padded, kernel.expand(colours, 1, 1, -1), groups=colours)
    soft = functional.conv2d(row, kernel[:, None].expand(colours, 1, -1, 1), groups=colours)
    return torch.lerp(images, soft, share)
