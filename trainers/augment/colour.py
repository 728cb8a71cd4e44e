"""What pixels look like: brightness, contrast, saturation and hue in one map, and blur."""

from __future__ import annotations

import math

import torch
from torch import Generator, Tensor

__all__ = ["blur", "jitter", "recolour", "smooth"]

LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in grey (ITU-R BT.601)."""
SIGMAS = (0.1, 2.0)
"""Range of a blur's standard deviation in pixels, torchvision's default."""
_RADIUS_MAX = 4


def jitter(
    images: Tensor, *, brightness: float, contrast: float, saturation: float, hue: float, generator: Generator
) -> Tensor:
    """Change the colours of each picture: factors uniform in 1 -+ the first three, a turn of the hue in -+ `hue`."""
    drawn = torch.rand((4, len(images), 1, 1, 1), device=images.device, generator=generator) * 2 - 1
    return recolour(
        images,
        brightness=drawn[0] * brightness + 1,
        contrast=drawn[1] * contrast + 1,
        saturation=drawn[2] * saturation + 1,
        hue=drawn[3] * hue,
    )


def recolour(images: Tensor, *, brightness: Tensor, contrast: Tensor, saturation: Tensor, hue: Tensor) -> Tensor:
    """Change the colours of pictures in [0, 1] by factors and a hue in turns, each (N, 1, 1, 1).

    The first three are torchvision's adjust_brightness, adjust_contrast, adjust_saturation in this order; the hue is
    turned about the axis of greys (Rodrigues' formula; as in Karras et al., 2020, arXiv:2006.06676, appendix B). All
    four are linear, hence one 3x3 matrix a picture, and cut off to [0, 1] once at the end. Pictures of other than
    three channels have brightness and contrast only, their grey being the mean of the channels.
    """
    channels = images.shape[1]
    colour = images.mean(dim=(2, 3), keepdim=True)
    if channels != 3:
        offset = colour.mean(dim=1, keepdim=True) * (1 - contrast) * brightness
        return torch.addcmul(offset, images, contrast * brightness).clamp_(0, 1)
    grey = colour[:, 0:1] * LUMA[0] + colour[:, 1:2] * LUMA[1] + colour[:, 2:3] * LUMA[2]
    per_red, per_green, per_blue = _matrix_columns(contrast * brightness, saturation, hue)
    mixed = torch.addcmul(grey * (1 - contrast) * brightness, images[:, 0:1], per_red)
    return mixed.addcmul_(images[:, 1:2], per_green).addcmul_(images[:, 2:3], per_blue).clamp_(0, 1)


def blur(images: Tensor, *, probability: float, generator: Generator) -> Tensor:
    """Blur each picture with that probability, its sigma uniform in SIGMAS; the kernel is 3 px wide up to side 63."""
    chosen, drawn = torch.rand((2, len(images), 1, 1, 1), device=images.device, generator=generator)
    sigma = (drawn * (SIGMAS[1] - SIGMAS[0]) + SIGMAS[0]) * (chosen < probability)
    return smooth(images, sigma=sigma, radius=min(max(1, min(images.shape[-2:]) // 32), _RADIUS_MAX))


def smooth(images: Tensor, *, sigma: Tensor, radius: int) -> Tensor:
    """Convolve pictures in [0, 1] with a Gaussian of 2 * radius + 1 px, reflected at the borders.

    `sigma` (N, 1, 1, 1) in pixels; 0 leaves a picture as it is, bit for bit.
    """
    taps = [torch.exp(-(step**2) / (2 * sigma**2)) for step in range(1, radius + 1)]
    centre = 1 / (1 + 2 * torch.stack(taps).sum(dim=0))
    weights = [tap * centre for tap in taps]
    return _along(_along(images, 3, centre, weights), 2, centre, weights).clamp_(0, 1)


def _along(images: Tensor, axis: int, centre: Tensor, weights: list[Tensor]) -> Tensor:
    # In place on parts, for padded copies cost a CPU more in fresh memory than the sums do.
    size, total = images.shape[axis], images * centre
    for step, weight in enumerate(weights, start=1):
        inner = size - step
        total.narrow(axis, step, inner).addcmul_(images.narrow(axis, 0, inner), weight)
        total.narrow(axis, 0, inner).addcmul_(images.narrow(axis, step, inner), weight)
        total.narrow(axis, 0, step).addcmul_(images.narrow(axis, 1, step).flip(axis), weight)
        total.narrow(axis, inner, step).addcmul_(images.narrow(axis, inner - 1, step).flip(axis), weight)
    return total


def _matrix_columns(factor: Tensor, saturation: Tensor, hue: Tensor) -> list[Tensor]:
    """Return the columns (N, 3, 1, 1) of factor * turn * (saturation + (1 - saturation) * to grey).

    Greys stay where they are when the hue turns, so that the turn acts on the first part only.
    """
    angle = hue * math.tau
    cosine, sine = angle.cos(), angle.sin() / math.sqrt(3)
    rest = (1 - cosine) / 3
    column = torch.cat([cosine + rest, rest + sine, rest - sine], dim=1) * saturation
    return [(column.roll(channel, 1) + (1 - saturation) * weight) * factor for channel, weight in enumerate(LUMA)]
