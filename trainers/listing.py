"""Which picture files a folder holds, found without opening them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

__all__ = ["SUFFIXES", "Listing", "Part", "class_folders", "class_names", "list_part", "walk"]

Part = Literal["train", "val", "test"]
SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_KEPT_APART = frozenset({"val", "test"})


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one part of an image folder, by class and then by path."""

    root: Path
    files: tuple[str, ...]
    """relative to root, with forward slashes"""
    labels: npt.NDArray[np.int64]
    """(N,), indices into classes"""
    classes: tuple[str, ...]
    stamp: str
    """sixteen hex digits over paths, sizes and times of change"""
    size: int
    """bytes of all files"""


def list_part(root: Path, part: Part) -> Listing | None:
    """List `root/<part>/<class>/*`; for train also `root/<class>/*` where `root/train` is absent.

    Returns None when there is no `root/val` or `root/test`. Raises FileNotFoundError for a root that is not a folder,
    ValueError for no classes, a class without pictures, or classes that differ from those of train.
    """
    classes = class_names(root)
    if part != "train":
        if not (root / part).is_dir():
            return None
        found = _classes(root, part)
        if found != classes:
            differing = sorted(set(classes) ^ set(found))
            raise ValueError(f"{root / part} and train differ in classes {differing}; both need the same class folders")
    prefix = f"{part}/" if part != "train" or (root / "train").is_dir() else ""
    files: list[str] = []
    counts: list[int] = []
    sha, size = hashlib.sha256(repr(classes).encode()), 0
    for name in classes:
        entries = sorted(walk(root / prefix / name, f"{prefix}{name}/"))
        if not entries:
            raise ValueError(f"class {name!r} has no readable picture; add some ({', '.join(sorted(SUFFIXES))})")
        counts.append(len(entries))
        files += [path for path, _, _ in entries]
        size += sum(length for _, length, _ in entries)
        sha.update(repr(entries).encode())
    return Listing(
        root=root,
        files=tuple(files),
        labels=np.repeat(np.arange(len(classes), dtype=np.int64), counts),
        classes=classes,
        stamp=sha.hexdigest()[:16],
        size=size,
    )


def class_names(root: Path) -> tuple[str, ...]:
    """Return the classes of an image folder by the names of its folders; errors as for `list_part`."""
    if not root.is_dir():
        raise FileNotFoundError(f"dataset.root {root} is not a folder; give one that holds train/<class>/ or <class>/")
    return _classes(root, "train")


def walk(folder: Path | str, prefix: str) -> Iterator[tuple[str, int, int]]:
    """Yield (prefix and path below the folder, bytes, time of change in ns) of each picture file, in any order."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[name.rfind(".") :].lower() in SUFFIXES and entry.is_file():
                found = entry.stat()
                yield prefix + name, found.st_size, found.st_mtime_ns
            elif entry.is_dir(follow_symlinks=False):
                yield from walk(entry.path, f"{prefix}{name}/")


def class_folders(folder: Path, *, leave_out: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """Return the names of class folders, sorted; raises ValueError for fewer than two."""
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in leave_out
    )
    if len(names) < 2:
        raise ValueError(f"{folder} holds {len(names)} class folder(s) {names}; a classifier needs two or more")
    return tuple(names)


def _classes(root: Path, part: Part) -> tuple[str, ...]:
    if part != "train" or (root / "train").is_dir():
        return class_folders(root / part)
    if (root / "val").is_dir():
        raise ValueError(f"{root} holds val/ but no train/; move the training classes into {root / 'train'}")
    return class_folders(root, leave_out=_KEPT_APART)
