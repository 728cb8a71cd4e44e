"""Training and validation pictures on the device, decoded once per process, and batches of them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional

from trainers.config import DatasetConfig
from trainers.pictures import Pictures, derive, halve, stratified
from trainers.sources import read

__all__ = ["Split", "TestSplit", "batches", "load", "load_test", "steps_in_epoch"]

Statistics = tuple[tuple[float, ...], tuple[float, ...]]

# Mean and deviation over the whole training set, on the scale [0, 1].
KNOWN_STATISTICS: dict[tuple[str, str], Statistics] = {
    ("cifar10", "pixel"): ((0.4914, 0.4822, 0.4465), (0.247, 0.243, 0.262)),
    ("cifar10", "picture"): ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010)),
    ("mnist", "pixel"): ((0.1307,), (0.3081,)),
}
IMAGENET: Statistics = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
MIRRORED_KEEPS_ITS_CLASS = frozenset({"cifar10", "cifar100", "fashion_mnist", "imagefolder", "imagenet"})
MEASURED = 8_192
"""Training pictures at most, evenly chosen, that mean and deviation are measured on."""
_CHUNK = 1024


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a search may see of a dataset."""

    train_images: Tensor
    """(N, C, H, W) uint8, on the device where they fit, else mapped from disk"""
    train_labels: Tensor
    """(N,) int64, beside the pictures, indices into classes"""
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
    skipped_files: tuple[str, ...]
    """files that could not be read, relative to the root"""
    class_counts: tuple[int, ...]
    """training pictures of each class"""

    @property
    def skipped(self) -> int:
        """How many files could not be read."""
        return len(self.skipped_files)


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
    skipped = train.skipped + (own_val.skipped if own_val is not None else ())
    train, val = (train, own_val) if own_val is not None else halve(train, config.val_fraction, seed=config.seed)
    if config.limit is not None and config.limit < len(train.labels):
        train = train.take(stratified(train.labels, config.limit, seed=config.seed, spare=0, classes=train.classes))
    train, val = _resize(train, config.image_size), _resize(val, config.image_size)
    mean, std = _statistics(config, train)
    return Split(
        train_images=(train_images := _place(train.images, device)),
        train_labels=torch.from_numpy(train.labels).to(train_images.device),
        val_images=(val_images := _place(val.images, device)),
        val_labels=torch.from_numpy(val.labels).to(val_images.device),
        classes=train.classes,
        mean=mean,
        std=std,
        fingerprint=sha256((train.digest() + val.digest()).encode()).hexdigest()[:16],
        flip=config.name in MIRRORED_KEEPS_ITS_CLASS,
        skipped_files=skipped,
        class_counts=tuple(np.bincount(train.labels, minlength=len(train.classes)).tolist()),
    )


def load_test(config: DatasetConfig, folder: Path, device: str) -> TestSplit:
    """Read the test pictures. For evaluation and promotion only: nothing in a training calls this.

    Raises FileNotFoundError where the dataset has none.
    """
    test = read(config, folder, "test", threads=torch.get_num_threads())
    if test is None:
        what = "arrays test_images and test_labels" if config.name == "npz" else "test/ folder"
        raise FileNotFoundError(f"{config.root} has no {what}; add unseen pictures there")
    test = _resize(test, config.image_size)
    return TestSplit(
        images=(images := _place(test.images, device)),
        labels=torch.from_numpy(test.labels).to(images.device),
        classes=test.classes,
        fingerprint=test.digest()[:16],
    )


def steps_in_epoch(pictures: int, batch_size: int, max_batches: int | None) -> int:
    """Return how many batches `batches` yields; a lone last picture joins the batch before it."""
    steps = pictures // batch_size + (pictures % batch_size > 1)
    return min(max(steps, 1), max_batches or steps or 1)


def batches(
    images: Tensor,
    labels: Tensor,
    *,
    batch_size: int,
    device: torch.device,
    order: Tensor | None = None,
    max_batches: int | None = None,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, C, H, W) uint8 pictures and (B,) labels on `device`, in `order` (indices) or as they lie.

    The last batch may be smaller. One lone picture would break batch norm on 1x1 features: it joins the batch before.
    """
    count = len(labels)
    steps = steps_in_epoch(count, batch_size, None)
    order = order.to(images.device) if order is not None else None
    for step in range(min(steps, max_batches or steps)):
        part = slice(step * batch_size, count if step == steps - 1 else (step + 1) * batch_size)
        which = part if order is None else order[part]
        yield images[which].to(device, non_blocking=True), labels[which].to(device, non_blocking=True)


def _resize(pictures: Pictures, size: int | None) -> Pictures:
    if size is None or pictures.images.shape[-2:] == (size, size):
        return pictures
    resized = [
        functional.interpolate(chunk, (size, size), mode="bilinear", antialias=True).round().clamp(0, 255).byte()
        for chunk in (part.float() for part in torch.split(torch.from_numpy(pictures.images), _CHUNK))
    ]
    digest = derive(pictures.digest(), f"{size} px".encode())
    return replace(pictures, images=torch.cat(resized).numpy(), known_digest=digest)


def _place(images: npt.NDArray[np.uint8], device: str) -> Tensor:
    """Move pictures to the device; those that would take more than half of a GPU's free memory stay where they are."""
    tensor = torch.from_numpy(images)
    if device.startswith("cuda") and tensor.nbytes > torch.cuda.mem_get_info(torch.device(device))[0] / 2:
        return tensor
    return tensor.to(device)


def _statistics(config: DatasetConfig, pictures: Pictures) -> Statistics:
    """Mean and deviation per channel, as the configuration wants them."""
    colours = pictures.images.shape[1]
    if config.statistics == "imagenet":
        return IMAGENET if colours == 3 else ((sum(IMAGENET[0]) / 3,) * colours, (sum(IMAGENET[1]) / 3,) * colours)
    known = KNOWN_STATISTICS.get((config.name, config.statistics))
    if known is not None and len(known[0]) == colours:
        return known
    sample = pictures.images[:: max(1, -(-len(pictures.images) // MEASURED))]
    mean, std = _of_pixels(sample)
    return (mean, _of_pictures(sample)) if config.statistics == "picture" else (mean, std)


def _of_pixels(images: npt.NDArray[np.uint8]) -> Statistics:
    """Exact, from counts of the 256 values."""
    values = np.arange(256) / 255
    means, deviations = [], []
    for channel in range(images.shape[1]):
        shares = np.bincount(images[:, channel].ravel(), minlength=256) / images[:, channel].size
        mean = float(shares @ values)
        means.append(mean)
        deviations.append(max(float(shares @ (values - mean) ** 2) ** 0.5, 1 / 255))
    return tuple(means), tuple(deviations)


def _of_pictures(images: npt.NDArray[np.uint8]) -> tuple[float, ...]:
    """The mean of the pictures' own deviations."""
    own = [images[:, channel].reshape(len(images), -1).std(axis=1).mean() / 255 for channel in range(images.shape[1])]
    return tuple(max(float(each), 1 / 255) for each in own)
