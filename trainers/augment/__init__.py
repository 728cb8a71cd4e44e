"""Augmentation of whole batches on the device, with a draw of its own for every picture.

Nothing here waits for the device or looks at a value: a step with it can be captured as a CUDA graph.
"""

from __future__ import annotations

from torch import Generator, Tensor

from trainers.augment.colour import Jitter, blur, jitter
from trainers.augment.geometry import Affine, affine, cutout, erase, flip, random_crop
from trainers.augment.mixing import mix
from trainers.config import AugmentConfig

__all__ = ["augment", "mix"]

STANDARD = Jitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
HEAVY = Jitter(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)


def augment(images: Tensor, *, config: AugmentConfig, mirrored: bool, mean: Tensor, generator: Generator) -> Tensor:
    """Augment pictures (N, C, H, W), floats in [0, 1].

    `mirrored`: whether a mirrored picture keeps its class. `mean`: (1, C, 1, 1), the colour of what comes in from
    outside. `generator` lives on the pictures' device. The crop shifts by an eighth of the side (4 px at 32), the
    cut-out square has a quarter of it (8 px at 32).
    """
    side = min(images.shape[-2:])
    if _on(config.crop, config.level == "light"):
        images = random_crop(images, padding=max(1, round(side / 8)), mean=mean, generator=generator)
    if _on(config.flip, mirrored and config.level != "none"):
        images = flip(images, generator=generator)
    if config.level == "standard":
        images = affine(images, Affine(degrees=15, zoom=1.1, chance=0.3), mean=mean, generator=generator)
        images = jitter(images, STANDARD, generator=generator)
        images = blur(images, chance=0.2, generator=generator)
        images = erase(images, chance=0.1, mean=mean, generator=generator)
    if config.level == "heavy":
        images = affine(images, Affine(degrees=30, zoom=1.1, chance=0.5), mean=mean, generator=generator)
        images = jitter(images, HEAVY, generator=generator)
        images = blur(images, chance=0.3, generator=generator)
        images = erase(images, chance=0.3, mean=mean, generator=generator)
    if _on(config.cutout, config.level == "heavy"):
        images = cutout(images, size=max(1, round(side / 4)), mean=mean, generator=generator)
    return images


def _on(switch: bool | None, by_level: bool) -> bool:
    return by_level if switch is None else switch
