"""Folders that are this user's alone, and paths that stay inside theirs."""

from __future__ import annotations

from pathlib import Path

__all__ = ["inside", "private", "private_file"]


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


def inside(root: Path, relative: str) -> Path:
    """The path below `root`; links are followed.

    Raises ValueError where it leads out of `root`.
    """
    path = root / relative
    if not path.resolve().is_relative_to(root.resolve()):
        raise ValueError(f"{relative!r} leads out of {root}")
    return path
