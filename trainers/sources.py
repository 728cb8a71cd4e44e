"""Where pictures come from: scikit-learn's digits, torchvision's downloads, folders, arrays."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import numpy as np

from trainers.arrays import read_arrays
from trainers.config import DatasetConfig
from trainers.imagefolder import read_folder
from trainers.pictures import Pictures, halve

__all__ = ["read"]

FOLDER_IMAGE_SIZE = 224
DIGITS_TEST_FRACTION = 0.2
DIGITS_TEST_SEED = 0
"""Fixed, so that no choice in a space file can move a test picture into a search."""

Part = Literal["train", "val", "test"]


def read(config: DatasetConfig, folder: Path, part: Part, *, threads: int) -> Pictures | None:
    """Read one part of a dataset as it is stored; None where the dataset has no such part of its own.

    `folder` holds downloads, unless the configuration names a root, and the cache of decoded pictures.
    """
    root = config.root.expanduser() if config.root is not None else folder
    if config.name in ("imagefolder", "imagenet"):
        size = config.image_size or FOLDER_IMAGE_SIZE
        pictures = read_folder(root, part, size=size, threads=threads, cache=folder / "cache")
        if pictures is None and config.name == "imagenet" and part == "val":
            raise FileNotFoundError(f"imagenet needs {root}/val/<class>/; without one, use dataset.name=imagefolder")
        return pictures
    if config.name == "npz":
        return read_arrays(root, part)
    if part == "val":
        return None
    return _digits(part) if config.name == "digits" else _torchvision(config, root, part)


def _digits(part: Part) -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    everything = Pictures(
        images=pixels, labels=bunch.target.astype(np.int64), classes=tuple(str(name) for name in bunch.target_names)
    )
    train, test = halve(everything, DIGITS_TEST_FRACTION, seed=DIGITS_TEST_SEED)
    return test if part == "test" else train


def _torchvision(config: DatasetConfig, root: Path, part: Part) -> Pictures:
    from filelock import FileLock
    from torchvision.datasets import CIFAR10, CIFAR100, MNIST, FashionMNIST

    dataset = {"cifar10": CIFAR10, "cifar100": CIFAR100, "mnist": MNIST, "fashion_mnist": FashionMNIST}[config.name]
    try:
        if config.download:
            root.mkdir(parents=True, exist_ok=True)
        # Workers start together; two that download into one folder would spoil each other's files.
        writable = config.download and os.access(root, os.W_OK)
        with FileLock(root / f".{config.name}.lock") if writable else nullcontext():
            stored = dataset(root, train=part == "train", download=writable)
    except (RuntimeError, URLError, OSError) as error:
        cause = "could not be downloaded (no network?)" if config.download else "dataset.download is false"
        raise FileNotFoundError(
            f"{config.name} is not whole in {root}, and {cause}: copy torchvision's files into that folder, "
            "or use dataset: {name: imagefolder, root: ...} with pictures of your own"
        ) from error
    pixels = np.asarray(stored.data)
    images = pixels.transpose(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]
    labels = np.asarray(stored.targets, dtype=np.int64)
    return Pictures(images=np.ascontiguousarray(images), labels=labels, classes=tuple(stored.classes))
