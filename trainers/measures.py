"""Numbers of single pictures: what they hold, how bright, how sharp, and a small copy, in one pass over all."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["HASH_BITS", "Measures", "measure", "reduced"]

Bytes = npt.NDArray[np.uint8]
Floats = npt.NDArray[np.float32]

HASH_BITS = 64
SMALL = 8
"""Side of the small copies."""
_CHUNK = 1 << 23
"""Values at a time."""


@dataclass(frozen=True, kw_only=True)
class Measures:
    """Of N pictures, in their order."""

    contents: tuple[bytes, ...]
    """equal where all pixels are"""
    hashes: npt.NDArray[np.uint64]
    """(N,) difference hash: of the grey picture at 9x8, whether each cell is darker than the one to its right"""
    small: Bytes
    """(N, C, 8, 8)"""
    brightness: Floats
    """(N,) mean of all values, in levels of 255"""
    contrast: Floats
    """(N,) standard deviation of the grey picture, in levels"""
    sharpness: Floats
    """(N,) mean absolute difference of neighbouring pixels of the grey picture, in levels"""
    colour: Floats
    """(N,) mean difference of the largest and the smallest of a pixel's colours, in levels; 0 for grey pictures"""


def measure(images: Bytes) -> Measures:
    """Measure pictures (N, C, H, W), N at least 1, so many at a time that memory stays small."""
    size = max(1, _CHUNK // images[0].size)
    found = [_measured(np.asarray(images[start : start + size])) for start in range(0, len(images), size)]
    return joined(found)


def joined(found: list[Measures]) -> Measures:
    """One after the other."""
    arrays = ("hashes", "small", "brightness", "contrast", "sharpness", "colour")
    return Measures(
        contents=tuple(each for part in found for each in part.contents),
        **{name: np.concatenate([getattr(part, name) for part in found]) for name in arrays},
    )


def reduced(images: npt.NDArray[np.generic], height: int, width: int) -> Floats:
    """Scale pictures (..., H, W) to (..., height, width) by the mean over the area of each new pixel."""
    down, across = _areas(images.shape[-2], height), _areas(images.shape[-1], width)
    scaled: Floats = down @ images.astype(np.float32) @ across.T
    return scaled


def _measured(images: Bytes) -> Measures:
    grey = images.mean(axis=1, dtype=np.float32)
    cells = reduced(grey, 8, 9)
    darker = (cells[:, :, :-1] < cells[:, :, 1:]).reshape(len(images), HASH_BITS)
    steps = [np.abs(np.diff(grey, axis=axis)).mean(axis=(1, 2)) for axis in (1, 2) if grey.shape[axis] > 1]
    return Measures(
        contents=tuple(hashlib.blake2b(np.ascontiguousarray(each).data, digest_size=16).digest() for each in images),
        hashes=np.packbits(darker, axis=1).view(np.uint64)[:, 0],
        small=reduced(images, SMALL, SMALL).round().astype(np.uint8),
        brightness=grey.mean(axis=(1, 2)),
        contrast=grey.std(axis=(1, 2)),
        sharpness=np.mean(steps, axis=0, dtype=np.float32) if steps else np.zeros(len(images), np.float32),
        colour=(images.max(axis=1) - images.min(axis=1)).mean(axis=(1, 2), dtype=np.float32),
    )


def _areas(entering: int, leaving: int) -> Floats:
    """(leaving, entering): which share of each old pixel a new one covers; rows sum to 1."""
    edges = np.linspace(0, entering, leaving + 1)
    low, high = edges[:-1, None], edges[1:, None]
    pixel = np.arange(entering)
    shares = np.clip(np.minimum(high, pixel + 1) - np.maximum(low, pixel), 0, None)
    shared: Floats = (shares / shares.sum(axis=1, keepdims=True)).astype(np.float32)
    return shared
