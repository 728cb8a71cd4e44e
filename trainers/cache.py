"""Decoded pictures on disk, so that a dataset is decoded once and not once a process."""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from trainers.pictures import Pictures

__all__ = ["cached"]

VERIFIED_TO = 2**29
"""Bytes up to which pixels are held against their digest whenever they are opened."""


def cached(folder: Path, key: str, make: Callable[[], Pictures]) -> Pictures:
    """Return what lies under `key`, mapped into memory; where it is absent or damaged, what `make` returns, stored.

    Of processes that start together one makes it and the others wait. A disk that is full costs a warning and the next
    process the same work.
    """
    found = _read(folder, key)
    if found is not None:
        return found
    lock = FileLock(folder / f"{key}.lock")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        _say(folder, error)
        return make()
    with lock:
        return _read(folder, key) or _keep(folder, key, make())


def _keep(folder: Path, key: str, made: Pictures) -> Pictures:
    try:
        _write(folder, key, made)
    except OSError as error:
        _say(folder, error)
        return made
    return _read(folder, key) or made


def _say(folder: Path, error: OSError) -> None:
    warnings.warn(f"decoded pictures cannot be kept in {folder}: {error}", stacklevel=3)


def _read(folder: Path, key: str) -> Pictures | None:
    try:
        facts: dict[str, Any] = json.loads((folder / f"{key}.json").read_text())
        # "c": pages are shared and read-only on disk, while torch gets an array it may call writable
        images = np.load(folder / f"{key}.npy", mmap_mode="c", allow_pickle=False)
        pictures = Pictures(
            images=images,
            labels=np.array(facts["labels"], dtype=np.int64),
            classes=tuple(facts["classes"]),
            skipped=tuple(facts["skipped"]),
            groups=np.array(facts["groups"], dtype=np.int64) if facts["groups"] is not None else None,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = images.dtype == np.uint8 and images.ndim == 4 and len(images) == len(pictures.labels)
    if not whole or (images.nbytes <= VERIFIED_TO and pictures.digest() != facts["digest"]):
        return None
    return Pictures(**{**vars(pictures), "known_digest": facts["digest"]})


def _write(folder: Path, key: str, pictures: Pictures) -> None:
    """Write both files beside and rename; the facts last, for without them the pixels are not looked at."""
    facts = {
        "labels": pictures.labels.tolist(),
        "classes": pictures.classes,
        "skipped": pictures.skipped,
        "groups": pictures.groups.tolist() if pictures.groups is not None else None,
        "digest": pictures.digest(),
    }
    for suffix, content in (("npy", pictures.images), ("json", json.dumps(facts).encode())):
        descriptor, name = tempfile.mkstemp(prefix=f".{key}.", dir=folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    np.save(file, content)
            Path(name).replace(folder / f"{key}.{suffix}")
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise
