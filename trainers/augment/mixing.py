"""Pairs of pictures in one: blended (mixup) or pasted (cutmix)."""

from __future__ import annotations

from functools import cache

import numpy as np
import torch
from torch import Generator, Tensor

from trainers.augment.boxes import boxes
from trainers.config import AugmentConfig

__all__ = ["draw_beta", "mix"]

_STEPS = 4096


def mix(
    images: Tensor, labels: Tensor, *, config: AugmentConfig, generator: Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """Mix each picture (N, C, H, W) with one of the batch; returns images, other_labels (N,), share (N,) in [0, 1].

    `share` is the weight of the picture's own label. mixup (Zhang et al., arXiv:1710.09412) blends with a share from
    Beta(alpha, alpha); cutmix (Yun et al., arXiv:1905.04899) pastes a box of one minus such a share, cut off at the
    border, and the share is then what is left in fact. Where both are set, each picture takes one of them with
    probability one half. Where neither is, images and labels are returned as they are and nothing is drawn.
    """
    count = len(images)
    device = images.device
    if not config.mixup and not config.cutmix:
        return images, labels, torch.ones(count, device=device)
    partner = torch.rand(count, device=device, generator=generator).argsort(stable=True)
    others = images.index_select(0, partner)
    share = torch.ones(count, device=device)
    pasted = torch.ones(count, dtype=torch.bool, device=device)
    if config.mixup:
        share = draw_beta(config.mixup, count, device=device, generator=generator)
        if config.cutmix:
            pasted = torch.rand(count, device=device, generator=generator) < 0.5
            share = share.masked_fill(pasted, 1)
        images = torch.lerp(others, images, share[:, None, None, None])
    if config.cutmix:
        box = _cutmix_boxes(images, config.cutmix, generator) * pasted[:, None, None, None]
        images = torch.lerp(images, others, box)
        share = share - share * box.mean(dim=(1, 2, 3))
    return images, labels.index_select(0, partner), share


def draw_beta(alpha: float, count: int, *, device: torch.device, generator: Generator) -> Tensor:
    """Draw (count,) from Beta(alpha, alpha) by its quantiles: torch's own sampler takes no generator."""
    place = torch.rand(count, device=device, generator=generator) * _STEPS
    below = place.long()
    quantiles = _quantiles(alpha, device)
    return torch.lerp(quantiles[below], quantiles[below + 1], place - below)


def _cutmix_boxes(images: Tensor, alpha: float, generator: Generator) -> Tensor:
    count, _, rows, columns = images.shape
    side = torch.sqrt(1 - draw_beta(alpha, count, device=images.device, generator=generator))[:, None]
    down, right = torch.rand((2, count, 1), device=images.device, generator=generator)
    height, width = (side * rows).round(), (side * columns).round()
    return boxes(
        images,
        top=(down * rows - height / 2).round(),
        left=(right * columns - width / 2).round(),
        height=height,
        width=width,
    )


@cache  # without a limit: a captured graph reads the table by its address, long after the call
def _quantiles(alpha: float, device: torch.device) -> Tensor:
    from scipy.stats import beta

    quantiles = beta.ppf(np.linspace(0, 1, _STEPS + 1), alpha, alpha)
    return torch.from_numpy(quantiles.astype(np.float32)).to(device)
