"""Random changes to whole batches on the device, every picture with a draw of its own.

Nothing here waits for the device or copies from the host, so that a training step can be captured as a CUDA graph (the
generator must be registered there). The one exception is the first call of `mix` with an alpha, which a warm-up makes.
For the same reason there is no torch.where with a number: on a GPU it copies the number there.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Generator, Tensor

from trainers.augment.boxes import cutout_holes, erasing_holes
from trainers.augment.colour import blur, jitter
from trainers.augment.geometry import draw_motion, shift, warp
from trainers.augment.mixing import mix
from trainers.config import AugmentConfig

__all__ = ["augment", "mix"]

CROP_SHARE = 1 / 8
"""Farthest shift as a share of the side, and the padding that makes it possible: 4 px at 32."""
ZOOM = 1.1
"""Of standard and heavy: resize to 1.1 times the side, then crop the side at random."""


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How much a level above light does. Factors are uniform in 1 - x .. 1 + x, the rest in -x .. x."""

    degrees: float
    """rotation"""
    brightness: float
    contrast: float
    saturation: float
    hue: float
    """in turns"""
    blur: float
    """probability"""
    affine: float
    """probability of translate, scale and shear"""
    translate: float
    """share of the side"""
    scale: float
    shear: float
    """degrees"""
    erasing: float
    """probability"""


STRENGTHS = {
    "standard": Strength(
        degrees=15,
        brightness=0.2,
        contrast=0.2,
        saturation=0.2,
        hue=0.1,
        blur=0.2,
        affine=0.3,
        translate=0.1,
        scale=0.1,
        shear=5,
        erasing=0.1,
    ),
    "heavy": Strength(
        degrees=30,
        brightness=0.4,
        contrast=0.4,
        saturation=0.4,
        hue=0.1,
        blur=0.3,
        affine=0.5,
        translate=0.15,
        scale=0.2,
        shear=10,
        erasing=0.3,
    ),
}


def augment(images: Tensor, *, config: AugmentConfig, mirrored: bool, mean: Tensor, generator: Generator) -> Tensor:
    """Augment pictures (N, C, H, W), float32 in [0, 1]; returns the same shape and range, the input stays as it is.

    Where the configuration leaves a switch to the level: all but none crop; they flip where `mirrored` pictures keep
    their class; heavy cuts out. `mean` (1, C, 1, 1) in [0, 1] fills what comes in from outside and what is blanked.
    Saturation and hue need three channels. `generator` lives on the pictures' device. With nothing to do, `images`
    itself is returned and nothing is drawn.
    """
    crop = config.level != "none" if config.crop is None else config.crop
    flip = (config.level != "none" and mirrored) if config.flip is None else config.flip
    cutout = config.level == "heavy" if config.cutout is None else config.cutout
    strength = STRENGTHS.get(config.level)
    if strength is not None:
        # Colours first: what comes in from outside is then the mean exactly, 0 for the network.
        images = _recoloured(images, strength, generator)
        images = _moved(images, strength, crop=crop, flip=flip, mean=mean, generator=generator)
    elif crop or flip:
        most = max(1, round(min(images.shape[-2:]) * CROP_SHARE)) if crop else 0
        images = shift(images, most=most, flip=flip, mean=mean, generator=generator)
    holes = []
    if strength is not None:
        holes.append(erasing_holes(images, probability=strength.erasing, generator=generator))
    if cutout:
        holes.append(cutout_holes(images, generator=generator))
    for hole in holes:
        images = torch.lerp(images, mean, hole)  # a tenth of torch.where's time on a CPU, exact at 0 and 1
    return images


def _recoloured(images: Tensor, strength: Strength, generator: Generator) -> Tensor:
    images = jitter(
        images,
        brightness=strength.brightness,
        contrast=strength.contrast,
        saturation=strength.saturation,
        hue=strength.hue,
        generator=generator,
    )
    return blur(images, probability=strength.blur, generator=generator)


def _moved(images: Tensor, strength: Strength, *, crop: bool, flip: bool, mean: Tensor, generator: Generator) -> Tensor:
    motion = draw_motion(
        images,
        degrees=strength.degrees,
        zoom=ZOOM if crop else 1.0,
        flip=flip,
        probability=strength.affine,
        translate=strength.translate,
        scale=strength.scale,
        shear=strength.shear,
        generator=generator,
    )
    return warp(images, motion, mean=mean)
