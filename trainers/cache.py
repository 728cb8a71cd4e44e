"""Decoded pictures on disk: `<folder>/<name>-<key>.npy` with a .json beside it, opened as a memory map.

`name` says which part of which dataset at which size, `key` changes with any file of it. The .json is renamed into
place last, so that a reader who finds it finds the array whole.
"""

from __future__ import annotations

import json
import os
import tempfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from filelock import FileLock

from trainers.folders import private, private_file
from trainers.pictures import Pictures

__all__ = ["Allocate", "Build", "cached", "derived_name", "new_array", "remembered", "shrink"]

Array = np.memmap[Any, np.dtype[np.uint8]]
Allocate = Callable[[tuple[int, ...]], Array]
Build = Callable[[Allocate], Pictures]
"""Makes an array with the function it is given, fills it, and returns pictures whose images are that array."""
_FORMAT = 1
_SAMPLES, _SAMPLE = 64, 4096


def cached(folder: Path, name: str, key: str, build: Build) -> Pictures:
    """Return the pictures stored under name and key; build and store them where they are absent or damaged.

    One process builds while others wait for it. Arrays of the same name and another key are removed, and what was
    derived from them. Where `folder` cannot be written to, the pictures are built in memory, each time.
    Raises OSError, with the room needed, where the disk is too small, and what `build` raises.
    """
    stored = folder / f"{name}-{key}.npy"
    found = _open(stored)
    if found is not None:
        return found
    try:
        private(folder)
        lock = FileLock(folder / f"{name}.lock", mode=0o600)
        lock.acquire()
    except OSError:
        return _in_memory(build)
    try:
        found = _open(stored)
        if found is None:
            _remove(folder, name)
            _store(stored, build)
            found = _open(stored)
            assert found is not None, f"{stored} was written and cannot be read"
    finally:
        lock.release()
    return found


def remembered(folder: Path, name: str, compute: Callable[[], Any]) -> Any:
    """Return what `compute` returned, as JSON stores it, when it was last called under this name."""
    path = folder / f"{name}.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text())
    value = compute()
    with suppress(OSError):
        private(folder)
        _write(path, json.dumps(value))
    return value


def derived_name(content: str) -> str:
    """Return the name for whatever is computed from pictures with this digest."""
    return f"derived-{content[:16]}"


def new_array(path: Path, shape: tuple[int, ...]) -> Array:
    """Make a .npy file of bytes and map it for writing; raises OSError where the disk has no room for it."""
    needed = int(np.prod(shape, dtype=np.int64))
    try:
        array = np.lib.format.open_memmap(private_file(path), mode="w+", dtype=np.uint8, shape=shape)
        if hasattr(os, "posix_fallocate"):  # a full disk would kill the process on writing to the map
            with path.open("r+b") as stream:
                os.posix_fallocate(stream.fileno(), 0, max(path.stat().st_size, 1))
    except OSError as error:
        path.unlink(missing_ok=True)
        raise OSError(
            error.errno, f"{shape[0]} decoded pictures need {needed / 1e9:.2f} GB in {path.parent}: {error.strerror}"
        ) from error
    return array


def shrink(images: Array, keep: npt.NDArray[np.bool_]) -> Array:
    """Drop the rows that are not kept, in place on disk, and map the file anew."""
    assert images.filename is not None
    path, row_size = Path(images.filename), images[0].nbytes
    rows = np.flatnonzero(keep)
    for new, old in enumerate(rows):
        if new != old:
            images[new] = images[old]
    images.flush()
    with path.open("r+b") as stream:
        header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), *images.shape[1:])}
        np.lib.format.write_array_header_1_0(stream, header)
        assert stream.tell() == images.offset, "NumPy leaves room in a header for the first axis to change"
        stream.truncate(images.offset + len(rows) * row_size)
    return _map(path, "r+")


def _open(stored: Path) -> Pictures | None:
    """Return what is stored, None where it is absent, cut short, damaged or of another format."""
    try:
        facts = json.loads(stored.with_suffix(".json").read_text())
        images = _map(stored, "r")
        labels = np.array(facts["labels"], dtype=np.int64)
        whole = (
            facts["format"] == _FORMAT
            and stored.stat().st_size == facts["bytes"]
            and len(labels) == len(images)
            and _sampled(images) == facts["sampled"]
        )
        if not whole:
            return None
        return Pictures(
            images=images,
            labels=labels,
            classes=tuple(facts["classes"]),
            skipped_files=tuple(facts["skipped_files"]),
            content=facts["content"],
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _store(stored: Path, build: Build) -> None:
    partial = stored.with_suffix(".npy.part")
    try:
        pictures = build(lambda shape: new_array(partial, shape))
        assert isinstance(pictures.images, np.memmap)
        pictures.images.flush()
        facts = {
            "format": _FORMAT,
            "content": pictures.digest(),
            "classes": pictures.classes,
            "skipped_files": pictures.skipped_files,
            "bytes": partial.stat().st_size,
            "sampled": _sampled(pictures.images),
            "labels": pictures.labels.tolist(),
        }
        with partial.open("r+b") as stream:
            os.fsync(stream.fileno())
        partial.replace(stored)
        _write(stored.with_suffix(".json"), json.dumps(facts))
    finally:
        partial.unlink(missing_ok=True)


def _in_memory(build: Build) -> Pictures:
    with tempfile.TemporaryDirectory(prefix="hpo-") as private:
        stored = Path(private) / "pictures.npy"
        _store(stored, build)
        found = _open(stored)
        assert found is not None
        return Pictures(
            images=np.array(found.images),
            labels=found.labels,
            classes=found.classes,
            skipped_files=found.skipped_files,
            content=found.content,
        )


def _remove(folder: Path, name: str) -> None:
    """Delete every array of this name, what a killed process left half written, and what was derived from them."""
    for path in [*folder.glob(f"{name}-*.json"), *folder.glob(f"{name}-*.npy*")]:
        if path.suffix == ".json" and not name.startswith("derived-"):
            with suppress(OSError, ValueError, KeyError, TypeError):
                for derived in folder.glob(derived_name(json.loads(path.read_text())["content"]) + "-*.[jn]*"):
                    derived.unlink(missing_ok=True)
        path.unlink(missing_ok=True)


def _map(path: Path, mode: str) -> Array:
    mapped = np.load(path, mmap_mode=mode, allow_pickle=False)  # type: ignore[arg-type]
    if not isinstance(mapped, np.memmap) or mapped.dtype != np.uint8 or mapped.ndim != 4:
        raise ValueError(f"{path} holds no pictures")
    return mapped


def _sampled(images: npt.NDArray[np.uint8]) -> int:
    """A checksum over evenly spaced pieces, the last included: a map of zeros or of other pictures shows."""
    flat = images.reshape(-1)
    checksum = 0
    for start in np.linspace(0, max(0, flat.size - _SAMPLE), _SAMPLES, dtype=np.int64):
        checksum = zlib.crc32(flat[start : start + _SAMPLE].data, checksum)
    return checksum


def _write(path: Path, text: str) -> None:
    partial = path.with_suffix(f".{os.getpid()}.part")
    with private_file(partial).open("w") as stream:
        stream.write(text)
        stream.flush()
        os.fsync(stream.fileno())
    partial.replace(path)
