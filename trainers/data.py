"""Training and validation pictures on the device, decoded once per process, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from trainers.config import DatasetConfig
from trainers.pictures import Pictures, halve, stratified
from trainers.sources import read

__all__ = ["Split", "TestSplit", "batches", "load", "load_test", "steps_in_epoch"]

# Per pixel over the whole training set, on the scale [0, 1].
KNOWN_STATISTICS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "cifar10": ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)),
    "mnist": ((0.1307,), (0.3081,)),
}
MIRRORED_MAKES_SENSE = frozenset({"cifar10", "imagefolder"})
_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a search may see of a dataset."""

    train_images: Tensor
    """(N, C, H, W) uint8 on the device"""
    train_labels: Tensor
    """(N,) int64 on the device, indices into classes"""
    val_images: Tensor
    val_labels: Tensor
    classes: tuple[str, ...]
    mean: tuple[float, ...]
    """per channel, on the scale [0, 1]"""
    std: tuple[float, ...]
    fingerprint: str
    """sixteen hex digits over pixels, labels, class names and split"""
    flip: bool
    """whether a mirrored picture keeps its class"""
    skipped: int
    """files that could not be read"""


@dataclass(frozen=True, kw_only=True)
class TestSplit:
    """The pictures that a search never sees, to be scaled with the mean and std of its Split."""

    __test__ = False  # pytest would take the name for a test

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str


@lru_cache(maxsize=2)
def load(config: DatasetConfig, folder: Path, device: str) -> Split:
    """Read, split and move pictures to `device`; a second call with equal arguments in a process costs nothing.

    `folder` is where downloads lie. The split depends on the dataset's section only, never on a trial.
    Raises FileNotFoundError for absent files, ValueError for pictures that cannot be split.
    """
    threads = torch.get_num_threads()  # follows the trial's share of the processors
    train = read(config, folder, "train", threads=threads)
    assert train is not None
    own_val = read(config, folder, "val", threads=threads)
    skipped = train.skipped + (own_val.skipped if own_val is not None else 0)
    train, val = (train, own_val) if own_val is not None else halve(train, config.val_fraction, seed=config.seed)
    if config.limit is not None and config.limit < len(train.labels):
        train = train.take(stratified(train.labels, config.limit, seed=config.seed, spare=0, classes=train.classes))
    train, val = _resize(train, config.image_size), _resize(val, config.image_size)
    mean, std = KNOWN_STATISTICS.get(config.name) or _statistics(train)
    return Split(
        train_images=torch.from_numpy(train.images).to(device),
        train_labels=torch.from_numpy(train.labels).to(device),
        val_images=torch.from_numpy(val.images).to(device),
        val_labels=torch.from_numpy(val.labels).to(device),
        classes=train.classes,
        mean=mean,
        std=std,
        fingerprint=sha256((train.digest() + val.digest()).encode()).hexdigest()[:16],
        flip=config.name in MIRRORED_MAKES_SENSE,
        skipped=skipped,
    )


def load_test(config: DatasetConfig, folder: Path, device: str) -> TestSplit:
    """Read the test pictures. For evaluation and promotion only: nothing in a training calls this.

    Raises FileNotFoundError where the dataset has none.
    """
    test = read(config, folder, "test", threads=torch.get_num_threads())
    if test is None:
        raise FileNotFoundError(f"{config.root} has no test/ folder; add test/<class>/ with unseen pictures")
    test = _resize(test, config.image_size)
    return TestSplit(
        images=torch.from_numpy(test.images).to(device),
        labels=torch.from_numpy(test.labels).to(device),
        classes=test.classes,
        fingerprint=test.digest()[:16],
    )


def steps_in_epoch(pictures: int, batch_size: int, max_batches: int | None) -> int:
    """Return how many batches `batches` yields; a lone last picture joins the batch before it."""
    steps = pictures // batch_size + (pictures % batch_size > 1)
    return min(max(steps, 1), max_batches or steps or 1)


def batches(
    images: Tensor, labels: Tensor, *, batch_size: int, order: Tensor | None = None, max_batches: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, C, H, W) uint8 pictures and (B,) labels, in `order` (indices) or as they lie.

    The last batch may be smaller. One lone picture would break batch norm on 1x1 features: it joins the batch before.
    """
    count = len(labels)
    steps = steps_in_epoch(count, batch_size, None)
    for step in range(min(steps, max_batches or steps)):
        part = slice(step * batch_size, count if step == steps - 1 else (step + 1) * batch_size)
        if order is None:
            yield images[part], labels[part]
        else:
            yield images[order[part]], labels[order[part]]


def _resize(pictures: Pictures, size: int | None) -> Pictures:
    if size is None or pictures.images.shape[-2:] == (size, size):
        return pictures
    resized = [
        functional.interpolate(chunk, (size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for chunk in (part.float() for part in torch.split(torch.from_numpy(pictures.images), _CHUNK))
    ]
    return Pictures(
        images=torch.cat(resized).numpy(),
        labels=pictures.labels,
        classes=pictures.classes,
        skipped=pictures.skipped,
    )


def _statistics(pictures: Pictures) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel, exact, from counts of the 256 values."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(pictures.images.shape[1]):
        shares = np.bincount(pictures.images[:, channel].ravel(), minlength=256) / pictures.images[:, channel].size
        mean = float(shares @ values)
        means.append(mean)
        deviations.append(max(float(shares @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(deviations)
