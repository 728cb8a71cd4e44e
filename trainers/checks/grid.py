"""Training pictures as the network sees them, turned back into what an eye can judge."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from trainers.checks.bench import Bench, untouched
from trainers.checks.shown import Shown

__all__ = ["grid"]


def grid(bench: Bench, count: int = 24) -> tuple[Shown, ...]:
    """So many training pictures after augmentation and mixing, with the scaling undone; a mixed one has its own label.

    Everything is left as it was.
    """
    with untouched(), torch.no_grad():
        return _grid(bench, count)


def _grid(bench: Bench, count: int) -> tuple[Shown, ...]:
    twin, split = bench.copy(), bench.split
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randperm(len(split.train_labels), generator=generator)[:count]
    images = split.train_images[chosen.to(split.train_images.device)].to(bench.device)
    labels = split.train_labels[chosen.to(split.train_labels.device)]
    seen = twin.seen(images, labels)
    mean, deviation = (torch.tensor(each, device=bench.device).reshape(1, -1, 1, 1) for each in (split.mean, split.std))
    pixels = (seen * deviation + mean).clamp(0, 1).mul(255).round().byte().cpu().numpy()
    return tuple(
        Shown(label=split.classes[label], pixels=_shown(picture))
        for picture, label in zip(pixels, labels.tolist(), strict=True)
    )


def _shown(picture: npt.NDArray[Any]) -> npt.NDArray[np.uint8]:
    """(C, H, W) with the colours last where there are three, else its first channel."""
    return np.ascontiguousarray(picture.transpose(1, 2, 0)) if len(picture) == 3 else picture[0]
