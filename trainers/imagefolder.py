"""Pictures in folders named by class, decoded once into one array."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from trainers.pictures import Pictures

__all__ = ["read_folder"]

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".png", ".tif", ".tiff", ".webp"})
_NAMED_IN_A_WARNING = 5
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


def read_folder(root: Path, part: Literal["train", "val", "test"], *, size: int, threads: int) -> Pictures | None:
    """Decode `root/<part>/<class>/*`; for train also `root/<class>/*` where `root/train` is absent.

    Pictures become (N, 3, size, size) RGB: upright by their EXIF tag, scaled to cover the square, cropped at its
    centre, transparency on white. Unreadable files are left out, with one warning that counts and names them.
    Returns None when there is no `root/val` or `root/test`. Raises FileNotFoundError for a root that is not a folder,
    ValueError for no classes, a class without readable pictures, or classes that differ from those of train.
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
    files = [(path, label) for label, name in enumerate(classes) for path in _pictures_of(folder / name)]
    return _decode_all(files, classes, size=size, threads=threads)


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


def _pictures_of(folder: Path) -> Iterator[Path]:
    return (path for path in sorted(folder.rglob("*")) if path.suffix.lower() in SUFFIXES and path.is_file())


def _decode_all(files: list[tuple[Path, int]], classes: tuple[str, ...], *, size: int, threads: int) -> Pictures:
    images = np.empty((len(files), 3, size, size), dtype=np.uint8)

    def decode_into(index: int) -> bool:
        try:
            images[index] = _decode(files[index][0], size)
        except _UNREADABLE:
            return False
        return True

    with ThreadPoolExecutor(max_workers=threads) as pool:
        readable = np.fromiter(pool.map(decode_into, range(len(files))), dtype=bool, count=len(files))
    skipped = [str(files[index][0]) for index in np.flatnonzero(~readable)]
    if skipped:
        named = ", ".join(skipped[:_NAMED_IN_A_WARNING]) + (", ..." if len(skipped) > _NAMED_IN_A_WARNING else "")
        warnings.warn(f"{len(skipped)} of {len(files)} pictures cannot be read and are left out: {named}", stacklevel=2)
    labels = np.array([label for _, label in files], dtype=np.int64)[readable]
    for label, name in enumerate(classes):
        if label not in labels:
            raise ValueError(f"class {name!r} has no readable picture; add some ({', '.join(sorted(SUFFIXES))})")
    if skipped:  # indexing copies the whole array
        images = images[readable]
    return Pictures(images=images, labels=labels, classes=classes, skipped=len(skipped))


def _decode(path: Path, size: int) -> npt.NDArray[np.uint8]:
    with Image.open(path) as opened:
        opened.draft("RGB", (2 * size, 2 * size))
        picture = ImageOps.exif_transpose(opened)
        if picture.has_transparency_data:
            # Under transparent pixels files hold arbitrary colours, which a plain conversion would show.
            picture = picture.convert("RGBA")
            picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
        if picture.mode.startswith("I;16"):
            # Pillow would turn everything above 255 of 65,535 to white.
            picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
        fitted = ImageOps.fit(picture.convert("RGB"), (size, size), Image.Resampling.BILINEAR)
        return np.asarray(fitted).transpose(2, 0, 1)
