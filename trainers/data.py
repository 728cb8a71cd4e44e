"""Training and validation pictures, decoded once for all processes, and batches of them on the device."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from trainers.arrange import arranged, on_device
from trainers.config import DatasetConfig
from trainers.pictures import Pictures, held_of, stratified
from trainers.sources import cache_folder, read
from trainers.statistics import statistics

__all__ = ["Split", "TestSplit", "batches", "load", "load_test", "split_indices", "steps_in_epoch"]

MIRRORED_MAKES_SENSE = frozenset({"cifar10", "cifar100", "fashion_mnist", "imagefolder", "imagenet"})
_AHEAD = 2
"""Batches that are read while the device computes."""


@dataclass(frozen=True, kw_only=True)
class Split:
    """What a search may see of a dataset."""

    train_images: Tensor
    """(N, C, H, W) uint8, never to be written to; on the device, or mapped from a file where it has no room for them"""
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
    skipped_files: tuple[str, ...]
    """their paths, relative to the dataset's root"""
    class_counts: tuple[int, ...]
    """training pictures of each class"""


@dataclass(frozen=True, kw_only=True)
class TestSplit:
    """The pictures that a search never sees, to be scaled with the mean and std of its Split."""

    __test__ = False  # pytest would take the name for a test

    images: Tensor
    labels: Tensor
    classes: tuple[str, ...]
    fingerprint: str
    skipped_files: tuple[str, ...] = ()


@lru_cache(maxsize=2)
def load(config: DatasetConfig, folder: Path, device: str) -> Split:
    """Read, split and move pictures to `device`; a second call with equal arguments in a process costs nothing.

    `folder` is where downloads lie and decoded pictures are cached. The split depends on the dataset's section only,
    never on a trial. Raises FileNotFoundError for absent files, ValueError for pictures that cannot be split.
    """
    threads = torch.get_num_threads()  # follows the trial's share of the processors
    cache = cache_folder(folder)
    train = read(config, folder, "train", threads=threads)
    assert train is not None
    own_val = read(config, folder, "val", threads=threads)
    val = train if own_val is None else own_val
    _same_classes(train, val)
    chosen, held = split_indices(config, train, own_val)
    contents = (train.digest(), val.digest(), str(config.image_size))
    fingerprint = sha256("".join(contents).encode() + chosen.tobytes() + held.tobytes()).hexdigest()[:16]
    images = arranged(train, chosen, size=config.image_size, cache=cache)
    mean, std = statistics(images, config.statistics, dataset=config.name, fingerprint=fingerprint, cache=cache)
    labels = train.labels[chosen]
    skipped = train.skipped_files + (own_val.skipped_files if own_val is not None else ())
    return Split(
        train_images=on_device(images, device),
        train_labels=torch.from_numpy(labels).to(device),
        val_images=on_device(arranged(val, held, size=config.image_size, cache=cache), device),
        val_labels=torch.from_numpy(val.labels[held]).to(device),
        classes=train.classes,
        mean=mean,
        std=std,
        fingerprint=fingerprint,
        flip=config.name in MIRRORED_MAKES_SENSE,
        skipped=len(skipped),
        skipped_files=skipped,
        class_counts=tuple(np.bincount(labels, minlength=len(train.classes)).tolist()),
    )


def load_test(config: DatasetConfig, folder: Path, device: str) -> TestSplit:
    """Read the test pictures. For evaluation and promotion only: nothing in a training calls this.

    Raises FileNotFoundError where the dataset has none.
    """
    test = read(config, folder, "test", threads=torch.get_num_threads())
    if test is None:
        raise FileNotFoundError(
            f"{config.root} has no test_images and test_labels; add arrays of unseen pictures"
            if config.name == "npz"
            else f"{config.root} has no test/ folder; add test/<class>/ with unseen pictures"
        )
    everything = np.arange(len(test.labels))
    images = arranged(test, everything, size=config.image_size, cache=cache_folder(folder))
    return TestSplit(
        images=on_device(images, device),
        labels=torch.from_numpy(test.labels).to(device),
        classes=test.classes,
        fingerprint=sha256(f"{test.digest()}{config.image_size}".encode()).hexdigest()[:16],
        skipped_files=test.skipped_files,
    )


def steps_in_epoch(pictures: int, batch_size: int, max_batches: int | None) -> int:
    """Return how many batches `batches` yields; a lone last picture joins the batch before it."""
    steps = pictures // batch_size + (pictures % batch_size > 1)
    return min(max(steps, 1), max_batches or steps or 1)


def batches(
    images: Tensor, labels: Tensor, *, batch_size: int, order: Tensor | None = None, max_batches: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield (B, C, H, W) uint8 pictures and (B,) labels on the labels' device, in `order` (indices) or as they lie.

    The last batch may be smaller. One lone picture would break batch norm on 1x1 features: it joins the batch before.
    Pictures that lie elsewhere are read by a thread while the device computes.
    """
    count = len(labels)
    steps = steps_in_epoch(count, batch_size, None)
    elsewhere = images.device != labels.device
    if elsewhere and order is not None:
        order = order.to(images.device)
    on_labels = order.to(labels.device) if order is not None else None

    def span(step: int) -> slice:
        return slice(step * batch_size, count if step == steps - 1 else (step + 1) * batch_size)

    def pictures(step: int) -> Tensor:
        part = span(step)
        found = images[part] if order is None else images[order[part]]
        return found.pin_memory() if elsewhere and labels.device.type == "cuda" else found

    taken = range(min(steps, max_batches or steps))
    for step, found in zip(taken, _ahead(pictures, taken) if elsewhere else map(pictures, taken), strict=True):
        part = span(step)
        yield found.to(labels.device, non_blocking=True), labels[part if on_labels is None else on_labels[part]]


def _ahead(fetch: Callable[[int], Tensor], steps: range) -> Iterator[Tensor]:
    """Yield what `fetch` returns for each step, fetched by a thread up to _AHEAD steps early."""
    waiting: list[Future[Tensor]] = []
    with ThreadPoolExecutor(1, thread_name_prefix="pictures") as pool:
        try:
            for step in steps:
                waiting.append(pool.submit(fetch, step))
                if len(waiting) > _AHEAD:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _same_classes(train: Pictures, val: Pictures) -> None:
    if train.classes != val.classes:
        differing = sorted(set(train.classes) ^ set(val.classes))
        raise ValueError(f"train and val differ in classes {differing}; both need the same")


def split_indices(
    config: DatasetConfig, train: Pictures, own_val: Pictures | None
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Return indices of training and of validation pictures, the latter into `own_val` where there is one."""
    everything = np.arange(len(train.labels))
    if own_val is None:
        held = held_of(train.labels, config.val_fraction, seed=config.seed, classes=train.classes, groups=train.groups)
        chosen = np.setdiff1d(everything, held, assume_unique=True)
    else:
        chosen, held = everything, np.arange(len(own_val.labels))
    if config.limit is not None and config.limit < len(chosen):
        labels = train.labels[chosen]
        chosen = chosen[stratified(labels, config.limit, seed=config.seed, spare=0, classes=train.classes)]
    return chosen, held
