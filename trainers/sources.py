"""Where pictures come from: scikit-learn's digits, downloads, folders, arrays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from trainers.arrays import read_npz
from trainers.config import DatasetConfig
from trainers.downloaded import read_downloaded
from trainers.imagefolder import read_folder
from trainers.listing import Part
from trainers.pictures import Pictures, held_of

__all__ = ["FOLDER_IMAGE_SIZE", "cache_folder", "read"]

FOLDER_IMAGE_SIZE = 224
DIGITS_TEST_FRACTION = 0.2
DIGITS_TEST_SEED = 0
"""Fixed, so that no choice in a space file can move a test picture into a search."""


def read(config: DatasetConfig, folder: Path, part: Part, *, threads: int) -> Pictures | None:
    """Read one part of a dataset; None where the dataset has no such part of its own.

    Folders are decoded to `config.image_size`, by `threads` processors at most; others come as they are stored.
    `folder` holds downloads, unless the configuration names a root, and the cache of decoded pictures.
    Raises FileNotFoundError for absent files, ValueError for files that cannot be used.
    """
    cache = cache_folder(folder)
    root = config.root.expanduser() if config.root is not None else folder
    if config.name in ("imagefolder", "imagenet"):
        size = config.image_size or FOLDER_IMAGE_SIZE
        found = read_folder(root, part, size=size, threads=threads, cache=cache)
        if found is None and part == "val" and config.name == "imagenet":
            raise FileNotFoundError(f"imagenet needs {root / 'val'} with the same classes as train; or use imagefolder")
        return found
    if config.name == "npz":
        return read_npz(root, part, cache=cache)
    if part == "val":
        return None
    if config.name == "digits":
        return _digits(part)
    return read_downloaded(config, root, train=part == "train", cache=cache)


def cache_folder(folder: Path) -> Path:
    """Return where decoded pictures are kept in the data folder; it may be deleted at any time."""
    return folder / "cache"


def _digits(part: Part) -> Pictures:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    pixels = np.round(bunch.images * (255 / 16)).astype(np.uint8)[:, None]
    classes = tuple(str(name) for name in bunch.target_names)
    labels = bunch.target.astype(np.int64)
    held = held_of(labels, DIGITS_TEST_FRACTION, seed=DIGITS_TEST_SEED, classes=classes)
    chosen = held if part == "test" else np.setdiff1d(np.arange(len(labels)), held)
    everything = Pictures(images=pixels, labels=labels, classes=classes)
    return replace(everything, images=pixels[chosen], labels=labels[chosen])
