"""Every opening of a test part: written down before a network is scored on it, and counted by its pictures."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

from hpo.settings import Settings
from trainers.folders import private_file

__all__ = ["FILE", "note", "of"]

FILE = "test-openings.jsonl"


def note(settings: Settings, *, command: str, data: str, checkpoints: Mapping[Path, str], **more: Any) -> Path:
    """Append an opening of the test pictures `data`, by networks with these SHA-256; on disk when it returns.

    `more` is kept beside it, such as study and trial. Returns the file.
    """
    settings.make_home()
    line = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": command,
        "data": data,
        **more,
        "checkpoints": [{"path": str(path), "sha256": sha256} for path, sha256 in checkpoints.items()],
    }
    path = private_file(settings.home / FILE)
    with path.open("ab+") as file:
        cut_short = file.tell() > 0 and _last_byte(file) != b"\n"  # by a kill or a full disk
        file.write(b"\n" * cut_short + json.dumps(line).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    return path


def of(settings: Settings, data: str) -> Sequence[Mapping[str, Any]]:
    """All openings of the test pictures `data`, the oldest first; a line that was cut short is passed over."""
    path = settings.home / FILE
    if not path.exists():
        return []
    return [line for line in map(_read, path.read_text().splitlines()) if line.get("data") == data]


def _last_byte(file: BinaryIO) -> bytes:
    file.seek(-1, os.SEEK_END)
    return file.read(1)


def _read(text: str) -> dict[str, Any]:
    try:
        line = json.loads(text)
    except ValueError:
        return {}
    return line if isinstance(line, dict) else {}
