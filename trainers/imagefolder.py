"""Pictures in folders named by class, decoded once into one array."""

from __future__ import annotations

import csv
import hashlib
import io
import os
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from trainers.cache import cached
from trainers.pictures import Pictures

__all__ = ["GROUPS", "UNREADABLE", "Listing", "decode", "list_folder", "read_folder"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)
"""What a file that holds no readable picture raises."""
GROUPS = "groups.csv"
"""In the root: which file (relative path) is a variant of which source."""
VERSION = 1
"""Of decoding; a cache that was decoded by other rules is not used."""
THREADED_FROM = 16 * 1024
"""Mean bytes of a file below which one thread decodes: Python's own work dominates, which two threads only do slower
(12,100 pictures of 32 px a second on one, 6,500 on two, of two cores)."""
_CHUNK = 64
_NAMED_IN_A_WARNING = 5

Part = Literal["train", "val", "test"]


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The files of one part, before any is opened."""

    root: Path
    classes: tuple[str, ...]
    files: tuple[tuple[str, int], ...]
    """path relative to the root, and label; sorted by class and path"""
    bytes: int
    key: str
    """changes when a file is added, removed or written"""


def list_folder(root: Path, part: Part) -> Listing | None:
    """List `root/<part>/<class>/**`; for train also `root/<class>/**` where `root/train` is absent.

    Returns None when there is no `root/val` or `root/test`. Raises FileNotFoundError for a root that is not a folder,
    ValueError for fewer than two classes, or classes that differ from those of train.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"dataset.root {root} is not a folder; give one that holds train/<class>/ or <class>/")
    classes = _classes(root, "train")
    if part != "train":
        if not (root / part).is_dir():
            return None
        found = _classes(root, part)
        if found != classes:
            differing = sorted(set(classes) ^ set(found))
            raise ValueError(f"{root / part} and train differ in classes {differing}; both need the same class folders")
    folder = _part_folder(root, part)
    below = [sorted(_pictures_below(str(folder / name))) for name in classes]
    start = len(str(root)) + 1
    return Listing(
        root=root,
        classes=classes,
        files=tuple((path[start:], label) for label, files in enumerate(below) for path, _, _ in files),
        bytes=sum(size for files in below for _, size, _ in files),
        key=hashlib.sha256(repr((str(root.absolute()), part, below)).encode()).hexdigest(),
    )


def read_folder(root: Path, part: Part, *, size: int, threads: int, cache: Path) -> Pictures | None:
    """Decode one part of a folder, or read what was decoded before from `cache`.

    Pictures become (N, 3, size, size) RGB: upright by their EXIF tag, scaled to cover the square, cropped at its
    centre, transparency on white. Unreadable files are left out, with one warning that counts and names them.
    Returns and raises what `list_folder` does; ValueError for a class without readable pictures as well.
    """
    listing = list_folder(root, part)
    if listing is None:
        return None
    groups = root / GROUPS
    stamp = groups.stat().st_mtime_ns if groups.exists() else 0
    key = hashlib.sha256(f"{listing.key} {size} {stamp} {VERSION}".encode()).hexdigest()[:32]
    pictures = cached(cache, key, lambda: _decode_all(listing, size=size, threads=threads))
    if pictures.skipped:
        first = ", ".join(str(root / name) for name in pictures.skipped[:_NAMED_IN_A_WARNING])
        more = ", ..." if len(pictures.skipped) > _NAMED_IN_A_WARNING else ""
        count = f"{len(pictures.skipped)} of {len(listing.files)}"
        warnings.warn(f"{count} pictures cannot be read and are left out: {first}{more}", stacklevel=2)
    return pictures


def decode(path: Path | str, *, shape: tuple[int, int, int]) -> npt.NDArray[np.uint8]:
    """Read one picture file as (C, H, W), one colour (grey) or three.

    Upright by its EXIF tag, scaled to cover the shape, cropped at its centre, transparency on white. Raises one of
    UNREADABLE for a file that holds no picture.
    """
    colours, height, width = shape
    with open(path, "rb") as file:  # noqa: PTH123 - as paths, small files take a fifth longer
        content = file.read()
    with Image.open(io.BytesIO(content)) as opened:
        if opened.mode == "RGB" == _mode(colours) and opened.size == (width, height):
            pixels = np.frombuffer(opened.tobytes(), np.uint8).reshape(height, width, 3)
            if not {"exif", "transparency"} & opened.info.keys():  # known once all of the file has been read
                return pixels.transpose(2, 0, 1)
        opened.draft("RGB", (2 * width, 2 * height))
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            # Under transparent pixels files hold arbitrary colours, which a plain conversion would show.
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        if picture.mode.startswith("I;16"):
            # Pillow would turn everything above 255 of 65,535 to white.
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        fitted = ImageOps.fit(picture.convert(_mode(colours)), (width, height), Image.Resampling.BILINEAR)
        return np.asarray(fitted).reshape(height, width, colours).transpose(2, 0, 1)


def _mode(colours: int) -> str:
    return "RGB" if colours == 3 else "L"


def _part_folder(root: Path, part: str) -> Path:
    return root / part if part != "train" or (root / "train").is_dir() else root


def _classes(root: Path, part: str) -> tuple[str, ...]:
    folder = _part_folder(root, part)
    kept_apart = {"val", "test"} if folder == root else set()
    if kept_apart and (root / "val").is_dir():
        raise ValueError(f"{root} holds val/ but no train/; move the training classes into {root / 'train'}")
    names = sorted(
        entry.name
        for entry in folder.iterdir()
        if entry.is_dir() and not entry.name.startswith(".") and entry.name not in kept_apart
    )
    if len(names) < 2:
        raise ValueError(f"{folder} holds {len(names)} class folder(s) {names}; a classifier needs two or more")
    return tuple(names)


def _pictures_below(folder: str) -> Iterator[tuple[str, int, int]]:
    """Yield path, bytes and time of change; os.scandir, because 60,000 Path objects would take seconds."""
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[name.rfind(".") :].lower() in SUFFIXES and entry.is_file():
                status = entry.stat()
                yield entry.path, status.st_size, status.st_mtime_ns
            elif entry.is_dir():
                yield from _pictures_below(entry.path)


def _decode_all(listing: Listing, *, size: int, threads: int) -> Pictures:
    count = len(listing.files)
    images = np.empty((count, 3, size, size), dtype=np.uint8)
    readable = np.zeros(count, dtype=bool)

    def decode_from(start: int) -> None:
        for index in range(start, min(start + _CHUNK, count)):
            try:
                images[index] = decode(f"{listing.root}/{listing.files[index][0]}", shape=(3, size, size))
                readable[index] = True
            except UNREADABLE:
                pass

    workers = threads if count and listing.bytes / count >= THREADED_FROM else 1
    with ThreadPoolExecutor(max_workers=workers) as pool:
        list(pool.map(decode_from, range(0, count, _CHUNK)))
    labels = np.array([label for _, label in listing.files], dtype=np.int64)[readable]
    for label, name in enumerate(listing.classes):
        if label not in labels:
            raise ValueError(f"class {name!r} has no readable picture; add some ({', '.join(sorted(SUFFIXES))})")
    kept = [name for (name, _), good in zip(listing.files, readable, strict=True) if good]
    return Pictures(
        images=images if readable.all() else images[readable],  # indexing copies the whole array
        labels=labels,
        classes=listing.classes,
        skipped=tuple(name for (name, _), good in zip(listing.files, readable, strict=True) if not good),
        groups=_groups(listing.root, kept),
    )


def _groups(root: Path, files: list[str]) -> npt.NDArray[np.int64] | None:
    """Number the sources of `groups.csv`; a file that it does not name is a source of its own."""
    path = root / GROUPS
    if not path.exists():
        return None
    with path.open(newline="") as file:
        rows = csv.DictReader(file)
        if not {"file", "source"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has columns {rows.fieldnames}; it needs file and source")
        source = {row["file"]: row["source"] for row in rows}
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(source.get(name, name), len(numbers)) for name in files], dtype=np.int64)
