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
WRITTEN = re.compile(r"epoch-(\d+)\.(pt|json)")
BESIDE = re.compile(r"\.epoch-\d+\.(pt|json)\.[^.]+")
WORKING = 2  # files of an unfinished trial that its worker keeps; SQL may name either


def compare(seen: Snapshot) -> Iterator[Finding]:
    """Checkpoints that are missing, damaged or out of place; then files that SQL does not name, unless it runs."""
    if not seen.study.is_here:
        yield seen.finding(None, "place", seen.study.elsewhere, None)
        return
    missing = _missing(seen)
    for folder, numbers in missing.items():
        count = f"{len(numbers)} trial{'s' if len(numbers) > 1 else ''}"
        what = f"{folder} is missing, with the checkpoints of {count}: is its disk there? "
        yield seen.finding(None, "checkpoint", f"{what}If they are gone for good: mkdir -p {folder}", None)
    away = {number for numbers in missing.values() for number in numbers}
    for number in seen.settled:
        name = seen.rows[number]["checkpoint"]
        problem = name and number not in away and _problem(seen, number)
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


def _missing(seen: Snapshot) -> dict[Path, list[int]]:
    """Folders of whole studies that SQL names and that are not there, with the trials that it names in them.

    A disk that is not mounted is no reason to forget what lies on it.
    """
    found: dict[Path, list[int]] = {}
    for number in seen.settled:
        name = seen.rows[number]["checkpoint"]
        if not name:
            continue
        folder = seen.study.settings.checkpoints.joinpath(*Path(name).parts[:1])
        if not folder.is_dir():
            found.setdefault(folder, []).append(number)
    return found


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
        written = [path for path in seen.study.trial_folder(number).glob("epoch-*") if WRITTEN.fullmatch(path.name)]
        named |= set(sorted(written, key=_epoch)[-WORKING:])
    return sorted(set(state_files(seen.study.folder)) - named)


def state_files(folder: Path) -> Iterator[Path]:
    """All files below a study's folder that have a checkpoint's name; others are not ours to judge."""
    for path in folder.glob("*/*"):
        if WRITTEN.fullmatch(path.name) or BESIDE.fullmatch(path.name):
            yield path


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file really lies in a study's folder, and that really in the folder of all checkpoints."""
    root = folder.parent.resolve()
    return path.parent.resolve().is_relative_to(root / folder.name) and folder.resolve() == root / folder.name


def _epoch(path: Path) -> int:
    found = WRITTEN.fullmatch(path.name)
    assert found is not None
    return int(found[1])
