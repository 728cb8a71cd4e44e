"""Pictures in one .npz file."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.cache import Allocate, cached
from trainers.listing import Part
from trainers.pictures import Pictures

__all__ = ["read_npz", "sketch"]


def read_npz(path: Path, part: Part, *, cache: Path) -> Pictures | None:
    """Read `<part>_images` (N, H, W), (N, H, W, C) or (N, C, H, W) uint8 and `<part>_labels` (N,) or (N, 1).

    Labels are 0 .. classes - 1; `classes` names them, else they are called by their numbers. Returns None where the
    file has no val or test. Raises FileNotFoundError for no file, ValueError for anything else that is wrong with it.
    """
    _require(path)
    with _opened(path) as arrays:
        if part != "train" and not {f"{part}_images", f"{part}_labels"} & set(arrays.files):
            return None
    found = path.stat()
    place = hashlib.sha256(str(path.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    key = hashlib.sha256(f"{found.st_size} {found.st_mtime_ns}".encode()).hexdigest()[:16]
    return cached(cache, f"npz-{place}-{part}", key, lambda allocate: _stored(path, part, allocate))


def sketch(path: Path) -> tuple[tuple[int, int, int], int]:
    """Return colours, height and width of the training pictures, and the number of classes, without reading a picture.

    Errors as for `read_npz`.
    """
    _require(path)
    classes = len(_classes(path))
    try:
        with zipfile.ZipFile(path) as archive, archive.open("train_images.npy") as stream:
            version = np.lib.format.read_magic(stream)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, kind = read(stream)
    except (KeyError, ValueError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path}: train_images cannot be read ({error}); write it with numpy.savez") from error
    pixels = _colours_first(np.broadcast_to(np.zeros((), dtype=kind), shape), f"{path}: train_images")
    return (pixels.shape[1], pixels.shape[2], pixels.shape[3]), classes


def _require(path: Path) -> None:
    if not path.is_file():
        raise FileNotFoundError(f"dataset.root {path} is not a file; give a .npz with train_images and train_labels")


def _stored(path: Path, part: Part, allocate: Allocate) -> Pictures:
    pixels = _colours_first(_array(path, f"{part}_images"), f"{path}: {part}_images")
    labels = _labels(path, part)
    if len(labels) != len(pixels):
        raise ValueError(f"{path}: {part}_images holds {len(pixels)} pictures, {part}_labels {len(labels)}")
    if not len(labels):
        raise ValueError(f"{path}: {part}_images holds no picture")
    classes = _classes(path)
    if labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(
            f"{path}: {part}_labels reach from {labels.min()} to {labels.max()}; "
            f"with {len(classes)} classes they must be 0 to {len(classes) - 1}"
        )
    images = allocate(pixels.shape)
    images[:] = pixels
    return Pictures(images=images, labels=labels, classes=classes)


@contextmanager
def _opened(path: Path) -> Iterator[np.lib.npyio.NpzFile]:
    with path.open("rb") as stream:  # NumPy leaves a file open that is no whole .npz
        try:
            opened = np.load(stream, allow_pickle=False)
        except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise ValueError(f"{path} cannot be read as .npz: {error}; write it with numpy.savez") from error
        if not isinstance(opened, np.lib.npyio.NpzFile):
            raise ValueError(f"{path} holds a single array, not a .npz; write it with numpy.savez")
        yield opened


def _array(path: Path, name: str) -> npt.NDArray[np.generic]:
    with _opened(path) as arrays:
        if name not in arrays.files:
            raise ValueError(f"{path} has no array {name}; it has {', '.join(sorted(arrays.files)) or 'none'}")
        try:
            found: npt.NDArray[np.generic] = arrays[name]
        except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise ValueError(
                f"{path}: {name} cannot be read ({error}); objects are not loaded, only numbers"
            ) from error
    return found


def _colours_first(pixels: npt.NDArray[np.generic], what: str) -> npt.NDArray[np.uint8]:
    if pixels.dtype != np.uint8:
        raise ValueError(f"{what} is {pixels.dtype}; it must be uint8, 0 to 255")
    if pixels.ndim == 3:
        return pixels[:, None].astype(np.uint8, copy=False)
    if pixels.ndim == 4 and pixels.shape[-1] in (1, 3):
        return pixels.transpose(0, 3, 1, 2).astype(np.uint8, copy=False)
    if pixels.ndim == 4 and pixels.shape[1] in (1, 3):
        return pixels.astype(np.uint8, copy=False)
    raise ValueError(
        f"{what} has shape {pixels.shape}; give (N, H, W), (N, H, W, C) or (N, C, H, W) with 1 or 3 colours"
    )


def _labels(path: Path, part: Part) -> npt.NDArray[np.int64]:
    labels = _array(path, f"{part}_labels")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{path}: {part}_labels is {labels.dtype} of shape {labels.shape}; it must be (N,) whole numbers"
        )
    return labels.astype(np.int64)


def _classes(path: Path) -> tuple[str, ...]:
    with _opened(path) as arrays:
        named = "classes" in arrays.files
    if named:
        names = _array(path, "classes")
        if names.ndim != 1 or names.dtype.kind != "U" or len(set(names.tolist())) != len(names):
            raise ValueError(f"{path}: classes is {names.dtype} of shape {names.shape}; it must be different strings")
    count = len(names) if named else int(_labels(path, "train").max(initial=-1)) + 1
    if count < 2:
        raise ValueError(f"{path} has {count} class(es); a classifier needs two or more")
    return tuple(map(str, names)) if named else tuple(str(number) for number in range(count))
