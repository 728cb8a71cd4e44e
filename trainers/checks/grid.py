"""Training pictures as the network sees them, turned back into what an eye can judge."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image

from trainers.checks.bench import Bench, untouched

__all__ = ["Shown", "grid"]

SMALLEST = 64
"""Pixels that a side is enlarged to at the least, by whole factors."""
LARGEST = 128


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture with its label."""

    label: str
    png: bytes


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
        Shown(label=split.classes[label], png=_png(picture))
        for picture, label in zip(pixels, labels.tolist(), strict=True)
    )


def _png(picture: np.ndarray) -> bytes:
    """(C, H, W) bytes as a PNG, of one, three or else the first channel."""
    shown = picture.transpose(1, 2, 0) if len(picture) == 3 else picture[0]
    image = Image.fromarray(shown)
    side = max(image.size)
    if side < SMALLEST:
        factor = -(-SMALLEST // side)
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    elif side > LARGEST:
        image.thumbnail((LARGEST, LARGEST))
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
