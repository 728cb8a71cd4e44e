"""Labelled pictures, and stratified choice among them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from trainers.groups import held_groups

__all__ = ["Pictures", "balanced_weights", "held_of", "stratified"]

_HASHED_AT_ONCE = 1 << 24


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Decoded pictures of one part of a dataset, in memory or mapped from a file."""

    images: npt.NDArray[np.uint8]
    """(N, C, H, W)"""
    labels: npt.NDArray[np.int64]
    """(N,), indices into classes"""
    classes: tuple[str, ...]
    files: tuple[str, ...] = ()
    """(N,) paths relative to the dataset's root; empty for datasets that are no folders"""
    skipped_files: tuple[str, ...] = ()
    """paths of files that could not be read"""
    groups: npt.NDArray[np.int64] | None = None
    """(N,) number of the source that a picture is a variant of; None where each stands alone"""
    content: str | None = None
    """what `digest` would compute, where that is known"""

    def digest(self) -> str:
        """Return the SHA-256 (hex) of shape, class names, labels and pixels."""
        if self.content is not None:
            return self.content
        sha = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        sha.update(np.ascontiguousarray(self.labels).data)
        flat = np.ascontiguousarray(self.images).reshape(-1)
        for start in range(0, flat.size, _HASHED_AT_ONCE):
            sha.update(flat[start : start + _HASHED_AT_ONCE].data)
        return sha.hexdigest()


def balanced_weights(counts: Sequence[int], classes: Sequence[str]) -> tuple[float, ...]:
    """Return N / (C * n_c) for each of C classes with n_c pictures, N in all; raises ValueError for an absent class."""
    absent = [name for name, count in zip(classes, counts, strict=True) if count == 0]
    if absent:
        raise ValueError(f"class {absent[0]!r} has no training picture, so it has no weight; add some or drop it")
    return tuple(sum(counts) / (len(counts) * count) for count in counts)


def stratified(
    labels: npt.NDArray[np.int64], count: int, *, seed: int, spare: int, classes: tuple[str, ...]
) -> npt.NDArray[np.int64]:
    """Choose `count` indices, each class in proportion and at least once, leaving `spare` or more of each class.

    The same labels and seed give the same choice, sorted. Raises ValueError, naming the class, where a class is too
    small, and where `count` cannot hold every class.
    """
    sizes = np.bincount(labels, minlength=len(classes))
    smallest = int(sizes.argmin())
    if sizes[smallest] < 1 + spare:
        raise ValueError(
            f"class {classes[smallest]!r} has {sizes[smallest]} picture(s), too few to be split; it needs {1 + spare}"
        )
    if not len(classes) <= count <= len(labels) - spare * len(classes):
        most = len(labels) - spare * len(classes)
        raise ValueError(f"cannot choose {count} of {len(labels)} pictures by class; choose {len(classes)} to {most}")
    generator = np.random.default_rng(seed)
    chosen = [
        generator.permutation(np.flatnonzero(labels == label))[:quota]
        for label, quota in enumerate(_quotas(sizes, count, spare))
    ]
    return np.sort(np.concatenate(chosen))


def held_of(
    labels: npt.NDArray[np.int64],
    fraction: float,
    *,
    seed: int,
    classes: tuple[str, ...],
    groups: npt.NDArray[np.int64] | None = None,
    spare: int = 1,
) -> npt.NDArray[np.int64]:
    """Choose `fraction` of each class to be held out, at least one and leaving `spare`; returns sorted indices.

    Pictures of one group are held together or not at all; the counts are then as near as the groups allow, and
    `spare` counts groups. Raises ValueError, naming the class, where a class is too small.
    """
    if groups is not None:
        return held_groups(labels, groups, fraction, seed=seed, classes=classes, spare=spare)
    count = max(len(classes), round(fraction * len(labels)))
    count = min(count, max(len(labels) - spare * len(classes), len(classes)))
    return stratified(labels, count, seed=seed, spare=spare, classes=classes)


def _quotas(sizes: npt.NDArray[np.int64], count: int, spare: int) -> npt.NDArray[np.int64]:
    """Share `count` out by class size: proportional, rounded so that the sum is exact."""
    ideal = count * sizes / sizes.sum()
    quotas: npt.NDArray[np.int64] = np.clip(np.floor(ideal).astype(np.int64), 1, sizes - spare)
    while (missing := count - int(quotas.sum())) != 0:
        step = 1 if missing > 0 else -1
        room = quotas < sizes - spare if step > 0 else quotas > 1
        quotas[int(np.where(room, step * (ideal - quotas), -np.inf).argmax())] += step
    return quotas
