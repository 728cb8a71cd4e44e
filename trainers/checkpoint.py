"""State files: written whole or not at all, and read only when they are what was written."""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any, BinaryIO

from trainers.folders import replaced

__all__ = ["CheckpointError", "digest", "load", "load_hashed", "load_tensors", "save"]

SUFFIXES = (".pt", ".json")


class CheckpointError(ValueError):
    """A state file that is absent, damaged, or not the one that was recorded."""


def save(state: Mapping[str, Any], path: Path) -> str:
    """Write `state` (`.pt`: tensors and plain values, `.json`: JSON values) and return the file's SHA-256 in hex.

    The file is written beside, synced and renamed: whoever opens `path` sees the old content or the new. Only its owner
    may read it. Raises ValueError for another suffix, OSError where the disk is full; `path` then stands as before.
    """
    _check_suffix(path)
    with replaced(path) as beside:
        with beside.open("wb") as file:
            _write(state, file, path.suffix)
        return digest(beside)


def load(path: Path, sha256: str | None) -> dict[str, Any]:
    """Read a state file onto the CPU after checking its SHA-256 (None: not known, not checked).

    No code in the file is ever run. Raises CheckpointError, which says what to do.
    """
    return load_hashed(path, sha256)[0]


def load_hashed(path: Path, sha256: str | None) -> tuple[dict[str, Any], str]:
    """As `load`, with the SHA-256 of what was read."""
    _check_suffix(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read ({error.strerror}): retry the trial from its start") from error
    found = hashlib.sha256(content).hexdigest()
    if sha256 is not None and found != sha256:
        raise CheckpointError(
            f"{path} has SHA-256 {found}, not the recorded {sha256}: it was damaged or replaced; "
            "restore the file from a copy, or delete it and retry the trial from its start"
        )
    return _read(content, path), found


def load_tensors(file: BinaryIO | Path) -> Any:
    """What torch.save wrote, of tensors and plain values: PyTorch's weights_only, without a way around it.

    Raises ValueError for anything else.
    """
    import torch

    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, UnpicklingError) as error:
        raise ValueError(str(error)) from error


def digest(path: Path) -> str:
    """The SHA-256 of a file in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_suffix(path: Path) -> None:
    if path.suffix not in SUFFIXES:
        raise ValueError(f"{path} has suffix {path.suffix!r}; choose {' or '.join(SUFFIXES)}")


def _write(state: Mapping[str, Any], file: BinaryIO, suffix: str) -> None:
    if suffix == ".json":
        file.write(json.dumps(state).encode())
        return
    import torch

    torch.save(state, file)


def _read(content: bytes, path: Path) -> dict[str, Any]:
    try:
        state = json.loads(content) if path.suffix == ".json" else load_tensors(io.BytesIO(content))
    except ValueError as error:
        raise CheckpointError(
            f"{path} is not a readable {path.suffix} state file: delete it and retry the trial from its start"
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} holds {type(state).__name__}, not a mapping: delete it and retry the trial")
    return state
