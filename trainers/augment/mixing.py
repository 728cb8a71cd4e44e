"""Pictures made of two: mixup and cutmix, with a draw of its own for every picture."""

from __future__ import annotations

from functools import lru_cache

import torch
from scipy.stats import beta
from torch import Generator, Tensor

from trainers.config import AugmentConfig

__all__ = ["mix"]

QUANTILES = 1025


def mix(
    images: Tensor, labels: Tensor, *, config: AugmentConfig, generator: Generator
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """Blend pictures in pairs (mixup: Zhang et al., 2018), or paste a box across (cutmix: Yun et al., 2019).

    Returns images, the labels of each picture's partner (N,) and the share (N,) that its own label has. Where both are
    on, each picture takes one or the other with probability one half. Where both are off nothing is drawn, and there
    are neither partners nor shares.
    """
    count, device = len(labels), images.device
    if not config.mixup and not config.cutmix:
        return images, None, None
    order = torch.rand(count, device=device, generator=generator).argsort()
    partners = images[order]
    pastes = torch.rand(count, device=device, generator=generator) < (
        0.5 if config.mixup and config.cutmix else float(config.cutmix > 0)
    )
    blended, share = images, torch.ones(count, device=device)
    if config.mixup:
        kept = _beta(config.mixup, count, device, generator)
        blended, share = torch.lerp(partners, images, kept[:, None, None, None]), kept
    if config.cutmix:
        pasted, kept = _paste(images, partners, _beta(config.cutmix, count, device, generator), generator)
        blended = torch.where(pastes[:, None, None, None], pasted, blended)
        share = torch.where(pastes, kept, share)
    return blended, labels[order], share


def _paste(images: Tensor, partners: Tensor, kept: Tensor, generator: Generator) -> tuple[Tensor, Tensor]:
    """Paste a box of 1 - kept of the area at a random place; returns pictures and the share that is really kept."""
    height, width = images.shape[-2:]
    side = (1 - kept).sqrt()[:, None]
    middle = torch.rand((2, len(images), 1), device=images.device, generator=generator)
    inside = []
    for length, centre in ((height, middle[0]), (width, middle[1])):
        pixel = torch.arange(length, device=images.device) + 0.5
        inside.append((pixel - centre * length).abs() < side * length / 2)
    box = inside[0][:, None, :, None] & inside[1][:, None, None, :]
    return torch.where(box, partners, images), 1 - box.float().mean(dim=(1, 2, 3))


def _beta(alpha: float, count: int, device: torch.device, generator: Generator) -> Tensor:
    """Draw from Beta(alpha, alpha) by its quantiles: torch's own sampler takes no generator."""
    table = _quantiles(alpha, device)
    place = torch.rand(count, device=device, generator=generator) * (QUANTILES - 1)
    below = place.long().clamp(max=QUANTILES - 2)
    return torch.lerp(table[below], table[below + 1], place - below)


@lru_cache(maxsize=16)
def _quantiles(alpha: float, device: torch.device) -> Tensor:
    levels = torch.linspace(0, 1, QUANTILES, dtype=torch.float64).numpy()
    return torch.tensor(beta.ppf(levels, alpha, alpha), dtype=torch.float32, device=device)
