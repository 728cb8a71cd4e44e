"""The checkpoint files of a study against what SQL names."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from pathlib import Path

from hpo.finding import Finding
from hpo.snapshot import Snapshot

__all__ = ["compare", "leftovers", "lies_in", "state_files"]

# as a worker writes them: beside under a name of its own first, then renamed
STATE_FILE = re.compile(r"epoch-(\d+)\.(?:pt|json)|\.epoch-(\d+)\.(?:pt|json)\.[^.]+")


def compare(seen: Snapshot) -> Iterator[Finding]:
    """Checkpoints that are missing, damaged or out of place; then files that SQL does not name, unless it runs."""
    for number in seen.settled:
        name = seen.rows[number]["checkpoint"]
        problem = name and _problem(seen, number)
        if not problem:
            continue
        now = seen.study.ledger.trial(seen.study.id, number)
        if now is None or now["checkpoint"] != name:  # the driver has dropped it meanwhile
            continue
        sides = {"ours": seen.rows[number]["sha256"]}
        again = "" if seen.trials[number].state.is_finished() else "; the trial starts over, with its curve"
        yield seen.finding(number, "checkpoint", f"{name} {problem}", f"clears its record{again}", **sides)
    if seen.owner is None:
        for path in leftovers(seen):
            yield _leftover(seen, path)


def _problem(seen: Snapshot, number: int) -> str | None:
    row = seen.rows[number]
    path = seen.study.settings.checkpoints / row["checkpoint"]
    earlier = seen.study.settings.checkpoints / str(seen.study.id)  # where studies of an earlier version have theirs
    if not lies_in(path, seen.study.folder) and not lies_in(path, earlier):
        return "lies outside of the study's folder"
    try:
        content = path.read_bytes()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    found = hashlib.sha256(content).hexdigest()
    return None if found == row["sha256"] else f"is damaged, its SHA-256 is {found}"


def _leftover(seen: Snapshot, path: Path) -> Finding:
    number = int(path.parent.name) if path.parent.name.isdecimal() else None
    name, size = path.relative_to(seen.study.settings.checkpoints), path.lstat().st_size
    mend = f"removes {size:,} bytes" if lies_in(path, seen.study.folder) else None
    what = f"{name} is not named in SQL" + ("" if mend else " and lies elsewhere")
    return seen.finding(number, "leftover", what, mend, bytes=size)


def leftovers(seen: Snapshot) -> list[Path]:
    """Files with a checkpoint's name that SQL does not name, and that no unfinished trial works with."""
    named = {seen.study.settings.checkpoints / row["checkpoint"] for row in seen.rows.values() if row["checkpoint"]}
    unfinished = {number for number, trial in seen.trials.items() if not trial.state.is_finished()}
    for number in unfinished & seen.rows.keys():
        # its worker keeps the one before the recorded, until it writes the one after, which a kill may cut short
        oldest = (seen.rows[number]["checkpoint_epoch"] or 0) - 1
        named |= {path for path in state_files(seen.study.folder, number) if _epoch(path) >= oldest}
    return sorted(set(state_files(seen.study.folder)) - named)


def state_files(folder: Path, number: int | None = None) -> Iterator[Path]:
    """The files below a study's folder, of one trial or of all, that have a checkpoint's name; others are not ours."""
    for path in folder.glob("*/*" if number is None else f"{number:06d}/*"):
        if STATE_FILE.fullmatch(path.name):
            yield path


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file really lies in a study's folder, and that really in the folder of all checkpoints."""
    root = folder.parent.resolve()
    return path.parent.resolve().is_relative_to(root / folder.name) and folder.resolve() == root / folder.name


def _epoch(path: Path) -> int:
    found = STATE_FILE.fullmatch(path.name)
    assert found is not None
    return int(found[1] or found[2])
