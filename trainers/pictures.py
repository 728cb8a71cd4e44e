"""Labelled pictures in memory, and stratified choice among them."""

from __future__ import annotations

import hashlib
import warnings
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

__all__ = ["Pictures", "derive", "halve", "stratified"]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Decoded pictures of one part of a dataset."""

    images: npt.NDArray[np.uint8]
    """(N, C, H, W)"""
    labels: npt.NDArray[np.int64]
    """(N,), indices into classes"""
    classes: tuple[str, ...]
    skipped: tuple[str, ...] = ()
    """files that could not be read, relative to the root"""
    groups: npt.NDArray[np.int64] | None = None
    """(N,), equal for variants of one source; None where no two are"""
    known_digest: str | None = None
    """what `digest` returns, where it has been found out before"""

    def take(self, indices: npt.NDArray[np.int64]) -> Pictures:
        """Return the pictures at `indices`, copied."""
        return replace(
            self,
            images=self.images[indices],
            labels=self.labels[indices],
            groups=self.groups[indices] if self.groups is not None else None,
            known_digest=derive(self.digest(), indices.astype(np.int64).tobytes()),
        )

    def digest(self) -> str:
        """Return the SHA-256 (hex) of shape, class names, labels and pixels.

        Of chosen pictures it is that of the whole and of the choice, which costs nothing.
        """
        if self.known_digest is not None:
            return self.known_digest
        sha = hashlib.sha256(repr((self.images.shape, self.classes)).encode())
        sha.update(np.ascontiguousarray(self.labels).data)
        sha.update(np.ascontiguousarray(self.images).data)
        return sha.hexdigest()


def derive(digest: str, change: bytes) -> str:
    """The digest of what a known change makes of something with a digest."""
    return hashlib.sha256(digest.encode() + change).hexdigest()


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


def halve(pictures: Pictures, fraction: float, *, seed: int) -> tuple[Pictures, Pictures]:
    """Part pictures into (rest, held): `fraction` of each class is held, at least one and never all of it.

    Variants of one source stay together, which makes the fraction an approximate one.
    """
    if pictures.groups is not None:
        return _halve_by_group(pictures, fraction, seed)
    count = max(len(pictures.classes), round(fraction * len(pictures.labels)))
    most = len(pictures.labels) - len(pictures.classes)
    held = stratified(pictures.labels, min(count, most), seed=seed, spare=1, classes=pictures.classes)
    rest = np.setdiff1d(np.arange(len(pictures.labels)), held, assume_unique=True)
    return pictures.take(rest), pictures.take(held)


def _halve_by_group(pictures: Pictures, fraction: float, seed: int) -> tuple[Pictures, Pictures]:
    from sklearn.model_selection import StratifiedGroupKFold

    sources = len(set(pictures.groups.tolist())) if pictures.groups is not None else 0
    folds = min(max(2, round(1 / fraction)), sources)
    if folds < 2:
        raise ValueError(f"all {len(pictures.labels)} pictures are variants of one source and cannot be parted")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a class with fewer pictures than folds: looked at below
        parts = StratifiedGroupKFold(folds, shuffle=True, random_state=seed).split(
            pictures.labels, pictures.labels, pictures.groups
        )
        rest, held = next(parts)
    for name, part in (("training", rest), ("validation", held)):
        absent = set(range(len(pictures.classes))) - set(pictures.labels[part].tolist())
        if absent:
            raise ValueError(
                f"class {pictures.classes[min(absent)]!r} has too few sources: none is left for {name}; add pictures"
            )
    return pictures.take(np.sort(rest)), pictures.take(np.sort(held))


def _quotas(sizes: npt.NDArray[np.int64], count: int, spare: int) -> npt.NDArray[np.int64]:
    """Share `count` out by class size: proportional, rounded so that the sum is exact."""
    ideal = count * sizes / sizes.sum()
    quotas: npt.NDArray[np.int64] = np.clip(np.floor(ideal).astype(np.int64), 1, sizes - spare)
    while (missing := count - int(quotas.sum())) != 0:
        step = 1 if missing > 0 else -1
        room = quotas < sizes - spare if step > 0 else quotas > 1
        quotas[int(np.where(room, step * (ideal - quotas), -np.inf).argmax())] += step
    return quotas
