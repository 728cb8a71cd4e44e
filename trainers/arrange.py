"""Chosen pictures at a chosen size: in memory where they are few, else in a file of their own."""

from __future__ import annotations

import hashlib
import math
import warnings
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainers.cache import Allocate, cached, derived_name
from trainers.pictures import Pictures

__all__ = ["arranged", "on_device"]

COPIED_IN_MEMORY = 1 << 30
RESIZED_IN_MEMORY = 64 << 20
"""Bytes above which a choice of pictures, or pictures at another size, go into the cache: processes share its pages."""
SHARE_OF_DEVICE = 0.3
"""Of a GPU's free memory, for one set of pictures; the rest is for weights, activations and other trials."""
_VERSION = "1"
_CHUNK = 256


def arranged(
    pictures: Pictures, indices: npt.NDArray[np.int64], *, size: int | None, cache: Path
) -> npt.NDArray[np.uint8]:
    """Return the pictures at sorted, different `indices`, scaled to (size, size); None leaves them as they are.

    What comes back may be a read-only map of a file. Scaling is bilinear with antialiasing.
    """
    source = pictures.images
    height, width = source.shape[-2:]
    scaled = size is not None and (height, width) != (size, size)
    if not scaled and len(indices) == len(source):
        return source
    side = (size, size) if size is not None else (height, width)
    shape = (len(indices), source.shape[1], *side)
    if math.prod(shape) <= (RESIZED_IN_MEMORY if scaled else COPIED_IN_MEMORY):
        images = np.empty(shape, dtype=np.uint8)
        _fill(images, source, indices)
        return images
    key = hashlib.sha256(repr(side).encode() + np.ascontiguousarray(indices).tobytes()).hexdigest()[:16]

    def build(allocate: Allocate) -> Pictures:
        images = allocate(shape)
        _fill(images, source, indices)
        return Pictures(images=images, labels=pictures.labels[indices], classes=pictures.classes)

    return cached(cache, f"{derived_name(pictures.digest())}-{key}", _VERSION, build).images


def on_device(images: npt.NDArray[np.uint8], device: str) -> Tensor:
    """Return pictures as a tensor on the device; on the CPU, perhaps mapped from a file, where a GPU has no room.

    Nobody may write into it.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        tensor = torch.from_numpy(images)
    place = torch.device(device)
    if place.type == "cuda" and images.nbytes > SHARE_OF_DEVICE * torch.cuda.mem_get_info(place)[0]:
        return tensor
    return tensor.to(place)


def _fill(images: npt.NDArray[np.uint8], source: npt.NDArray[np.uint8], indices: npt.NDArray[np.int64]) -> None:
    side = images.shape[-2:]
    if source.shape[-2:] == side:
        np.take(source, indices, axis=0, out=images, mode="clip")  # the default mode fills a copy first
        return
    for start in range(0, len(indices), _CHUNK):
        values = torch.from_numpy(source[indices[start : start + _CHUNK]]).float()
        values = functional.interpolate(values, side, mode="bilinear", antialias=True)
        images[start : start + _CHUNK] = values.round().clamp(0, 255).byte().numpy()
