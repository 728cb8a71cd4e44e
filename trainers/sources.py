"""Where pictures come from: scikit-learn's digits, torchvision's downloads, folders."""

from __future__ import annotations

import os
from contextlib import nullcontext
from pathlib import Path
from typing import Literal
from urllib.error import URLError

import numpy as np

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

    `folder` holds downloads, unless the configuration names a root. Only image folders may have a val of their own.
    """
    if config.name == "imagefolder":
        if config.root is None:
            raise ValueError("imagefolder needs dataset.root: the folder that holds train/<class>/ or <class>/")
        size = config.image_size or FOLDER_IMAGE_SIZE
        return read_folder(config.root.expanduser(), part, size=size, threads=threads)
    if part == "val":
        return None
    if config.name == "digits":
        return _digits(part)
    return _torchvision(config, folder, part)


def _digits(part: Part) -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    everything = Pictures(
        images=pixels, labels=bunch.target.astype(np.int64), classes=tuple(str(name) for name in bunch.target_names)
    )
    train, test = halve(everything, DIGITS_TEST_FRACTION, seed=DIGITS_TEST_SEED)
    return test if part == "test" else train


def _torchvision(config: DatasetConfig, folder: Path, part: Part) -> Pictures:
    from filelock import FileLock
    from torchvision.datasets import CIFAR10, MNIST

    root = config.root.expanduser() if config.root is not None else folder
    dataset = {"cifar10": CIFAR10, "mnist": MNIST}[config.name]
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
