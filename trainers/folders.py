"""Folders that are this user's alone, and paths that stay inside theirs."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["inside", "owner_only", "private", "private_file", "replaced"]


def private(folder: Path) -> Path:
    """Make a folder, and those above it that are missing, for this user only (0700); what is there stays as it is."""
    # mkdir(mode=..., parents=True) would give its mode to the last folder alone
    missing = [each for each in (folder, *folder.parents) if not each.exists()]
    for each in reversed(missing):
        each.mkdir(mode=0o700, exist_ok=True)
    return folder


def private_file(path: Path) -> Path:
    """Make an empty file that this user alone may read (0600), whatever the umask; one that is there stays as it is."""
    path.touch(mode=0o600)
    return path


@contextmanager
def owner_only() -> Iterator[None]:
    """Files and folders that this process makes meanwhile, those of libraries too, are this user's alone."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def replaced(path: Path) -> Iterator[Path]:
    """Yield an empty file beside `path`, for this user only (0600), to be written whole; it then takes its place.

    It is synced and renamed: whoever opens `path` sees the old content or the new. An error, of the disk too, leaves
    `path` as it stands.
    """
    private(path.parent)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600
    os.close(descriptor)
    beside = Path(name)
    try:
        yield beside
        _sync(beside)
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    _sync(path.parent)


def inside(root: Path, relative: str) -> Path:
    """The path below `root`; links are followed.

    Raises ValueError where it leads out of `root`.
    """
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{relative!r} leads out of {root}")
    return path


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
