"""What is to be known of a dataset before it is trained on."""

from __future__ import annotations

import hashlib
import os
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from trainers.arrange import arranged
from trainers.config import DatasetConfig
from trainers.config.dataset import FOLDERS
from trainers.data import split_indices
from trainers.groups import sources_of
from trainers.listing import Part, list_part
from trainers.pictures import Pictures, balanced_weights
from trainers.sources import cache_folder, read
from trainers.statistics import moments

__all__ = ["Survey", "Twins", "class_weights", "stored_size", "survey"]

PARTS: tuple[Part, ...] = ("train", "val", "test")


@dataclass(frozen=True, kw_only=True)
class Twins:
    """Pictures of equal content, or variants of one source."""

    pictures: tuple[str, ...]
    """a path, or part[index] where the dataset is no folder"""
    parts: tuple[str, ...]
    classes: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Survey:
    """The findings."""

    classes: tuple[str, ...]
    counts: dict[str, dict[str, int]]
    """part -> class -> readable pictures"""
    imbalance: float
    """training pictures of the largest class per one of the smallest"""
    class_weights: dict[str, float]
    sizes: dict[str, int]
    """width x height as stored -> pictures, the most frequent first"""
    mean: tuple[float, ...]
    """per channel over pixels of training pictures, those left out that would validate, on the scale [0, 1]"""
    std: tuple[float, ...]
    measured: int
    """pictures behind mean and std"""
    skipped_files: tuple[str, ...]
    duplicates: tuple[Twins, ...]
    """equal pictures within one part"""
    leaks: tuple[Twins, ...]
    """equal pictures in several parts"""
    shared_sources: tuple[Twins, ...]
    """variants of one source in several parts"""


def survey(config: DatasetConfig, folder: Path) -> Survey:
    """Look at every part of a dataset, the test part included: its pictures are compared and counted only.

    Pictures are equal when their pixels are, once decoded at the configured size. Raises what reading and splitting
    raise, and ValueError for a class without training pictures.
    """
    threads = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    parts = {part: found for part in PARTS if (found := read(config, folder, part, threads=threads)) is not None}
    train = parts["train"]
    counts = {part: np.bincount(found.labels, minlength=len(train.classes)).tolist() for part, found in parts.items()}
    weights = balanced_weights(counts["train"], train.classes)
    chosen, _ = split_indices(config, train, parts.get("val"))
    mean, std = moments(arranged(train, chosen, size=config.image_size, cache=cache_folder(folder)), "pixel")
    twins = _twins(parts, {part: _contents(found) for part, found in parts.items()})
    variants = _twins(parts, _sources(config, parts))
    return Survey(
        classes=train.classes,
        counts={part: dict(zip(train.classes, each, strict=True)) for part, each in counts.items()},
        imbalance=max(counts["train"]) / min(counts["train"]),
        class_weights=dict(zip(train.classes, weights, strict=True)),
        sizes=_sizes(config, parts),
        mean=mean,
        std=std,
        measured=len(chosen),
        skipped_files=tuple(file for found in parts.values() for file in found.skipped_files),
        duplicates=tuple(each for each in twins if len(each.parts) == 1),
        leaks=tuple(each for each in twins if len(each.parts) > 1),
        shared_sources=tuple(each for each in variants if len(each.parts) > 1),
    )


def class_weights(root: Path) -> dict[str, float]:
    """Return N / (C * n_c) of each class of an image folder's training part, counted without opening a picture.

    Raises ValueError for a class without files, and what `list_part` raises.
    """
    listing = list_part(root, "train")
    assert listing is not None
    counts = np.bincount(listing.labels, minlength=len(listing.classes)).tolist()
    return dict(zip(listing.classes, balanced_weights(counts, listing.classes), strict=True))


def _contents(pictures: Pictures) -> list[bytes]:
    return [hashlib.blake2b(np.ascontiguousarray(each).data, digest_size=16).digest() for each in pictures.images]


def _sources(config: DatasetConfig, parts: dict[Part, Pictures]) -> dict[Part, list[str]]:
    if config.name not in FOLDERS or config.root is None:
        return {}
    found = {part: sources_of(config.root.expanduser(), pictures.files) for part, pictures in parts.items()}
    return {part: sources for part, sources in found.items() if sources is not None}


def _twins(parts: dict[Part, Pictures], keys: Mapping[Part, Sequence[str | bytes]]) -> list[Twins]:
    """Return pictures that have a key in common."""
    places: defaultdict[str | bytes, list[tuple[Part, int]]] = defaultdict(list)
    for part, each in keys.items():
        for index, key in enumerate(each):
            places[key].append((part, index))
    return [
        Twins(
            pictures=tuple(_name(parts[part], part, index) for part, index in found),
            parts=tuple(dict.fromkeys(part for part, _ in found)),
            classes=tuple(sorted({parts[part].classes[parts[part].labels[index]] for part, index in found})),
        )
        for found in places.values()
        if len(found) > 1
    ]


def _name(pictures: Pictures, part: Part, index: int) -> str:
    return pictures.files[index] if pictures.files else f"{part}[{index}]"


def _sizes(config: DatasetConfig, parts: dict[Part, Pictures]) -> dict[str, int]:
    """Count sizes as stored; a file's header tells, its pixels stay packed."""
    found: Counter[str] = Counter()
    for pictures in parts.values():
        if pictures.files:
            assert config.root is not None
            found.update(stored_size(config.root.expanduser() / file) for file in pictures.files)
        else:
            found[_size(pictures.images)] += len(pictures.labels)
    return dict(found.most_common())


def stored_size(path: Path) -> str:
    """Width x height by a file's header."""
    with Image.open(path) as picture:
        return f"{picture.width}x{picture.height}"


def _size(images: npt.NDArray[np.uint8]) -> str:
    return f"{images.shape[3]}x{images.shape[2]}"
