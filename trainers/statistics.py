"""Mean and deviation that pictures are scaled by."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch

from trainers.cache import remembered

__all__ = ["Statistics", "moments", "statistics"]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]
"""(mean, standard deviation) per channel, on the scale [0, 1]"""

IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
# Over the whole training set, as stored.
KNOWN: dict[tuple[str, str], Statistics] = {
    ("cifar10", "pixel"): ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)),
    ("cifar10", "picture"): ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ("cifar100", "pixel"): ((0.5071, 0.4865, 0.4409), (0.2673, 0.2564, 0.2762)),
    ("mnist", "pixel"): ((0.1307,), (0.3081,)),
    ("fashion_mnist", "pixel"): ((0.2860,), (0.3530,)),
}
_NATIVE = {"cifar10": 32, "cifar100": 32, "mnist": 28, "fashion_mnist": 28}
_SAMPLE = 100_000
"""Of more pictures every k-th is measured: the mean of 100,000 is sure to three digits."""
_WORTH_KEEPING = 64 << 20
_CHUNK = 1 << 20
"""values at a time"""


def statistics(
    images: npt.NDArray[np.uint8],
    kind: Literal["pixel", "picture", "imagenet"],
    *,
    dataset: str,
    fingerprint: str,
    cache: Path,
) -> Statistics:
    """Return statistics of training pictures (N, C, H, W): known ones for datasets at their own size, else computed.

    pixel: over all pixels; picture: the mean of the pictures' own deviations; imagenet: ImageNet's, whatever the
    pictures. What takes long is kept in `cache` under the fingerprint. Raises ValueError for imagenet on grey pictures.
    """
    if kind == "imagenet":
        if images.shape[1] != 3:
            raise ValueError(f"statistics: imagenet are for colour, and {dataset} is grey; choose pixel or picture")
        return IMAGENET
    known = KNOWN.get((dataset, kind))
    if known is not None and images.shape[-1] == _NATIVE[dataset]:
        return known
    if images.nbytes < _WORTH_KEEPING:
        return moments(images, kind)
    mean, deviation = remembered(cache, f"statistics-{fingerprint}-{kind}", lambda: moments(images, kind))
    return tuple(mean), tuple(deviation)


def moments(images: npt.NDArray[np.uint8], kind: Literal["pixel", "picture"]) -> Statistics:
    """Compute mean and deviation of (N, C, H, W) pictures; no deviation is less than one step of 255."""
    stride = -(-len(images) // _SAMPLE)
    chosen = images[::stride]
    chunk = max(1, _CHUNK // images[0].size)
    means, squares = [], []
    for start in range(0, len(chosen), chunk):
        values = torch.from_numpy(np.array(chosen[start : start + chunk])).flatten(2).double().div_(255)
        means.append(values.mean(dim=2))
        squares.append(values.square_().mean(dim=2))
    mean, square = torch.cat(means), torch.cat(squares)
    if kind == "pixel":
        deviation = (square.mean(dim=0) - mean.mean(dim=0).square()).clamp(min=0).sqrt()
    else:
        deviation = (square - mean.square()).clamp(min=0).sqrt().mean(dim=0)
    return tuple(mean.mean(dim=0).tolist()), tuple(deviation.clamp(min=1 / 255).tolist())
