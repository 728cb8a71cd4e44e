"""What a search may see of a dataset, part by part; the test part is never read."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.arrange import arranged
from trainers.config import DatasetConfig
from trainers.data import split_indices
from trainers.pictures import Pictures
from trainers.sources import cache_folder, read

__all__ = ["Seen", "seen"]


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The training and the validation pictures of a dataset, the former first; N of them in all."""

    parts: tuple[npt.NDArray[np.uint8], ...]
    """(N_i, C, H, W) of each part, in memory or mapped from a file"""
    part: npt.NDArray[np.int64]
    """(N,) 0: train, 1: val"""
    labels: npt.NDArray[np.int64]
    """(N,) indices into classes"""
    classes: tuple[str, ...]
    names: tuple[str, ...]
    """(N,) a path below the dataset's root, or part[index] where the dataset is no folder"""
    skipped_files: tuple[str, ...]
    """that cannot be read"""

    PARTS = ("train", "val")

    def take(self, places: Sequence[int] | npt.NDArray[np.int64]) -> npt.NDArray[np.uint8]:
        """The pictures (B, C, H, W) at these places among all."""
        first = len(self.parts[0])
        return np.stack([self.parts[0][each] if each < first else self.parts[1][each - first] for each in places])


def seen(config: DatasetConfig, folder: Path) -> Seen:
    """Read the pictures as a training would, parted as it parts them.

    Raises FileNotFoundError for absent files, ValueError for pictures that cannot be split.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    train = read(config, folder, "train", threads=threads)
    assert train is not None
    own_val = read(config, folder, "val", threads=threads)
    val = train if own_val is None else own_val
    chosen, held = split_indices(config, train, own_val)
    cache = cache_folder(folder)
    return Seen(
        parts=tuple(
            arranged(each, places, size=config.image_size, cache=cache)
            for each, places in ((train, chosen), (val, held))
        ),
        part=np.repeat([0, 1], [len(chosen), len(held)]),
        labels=np.concatenate([train.labels[chosen], val.labels[held]]),
        classes=train.classes,
        names=(*_names(train, "train", chosen), *_names(val, "train" if own_val is None else "val", held)),
        skipped_files=train.skipped_files + (own_val.skipped_files if own_val is not None else ()),
    )


def _names(pictures: Pictures, part: str, places: npt.NDArray[np.int64]) -> list[str]:
    return [pictures.files[each] if pictures.files else f"{part}[{each}]" for each in places]
