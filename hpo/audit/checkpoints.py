"""The checkpoints that SQL names against the files."""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from hpo.audit.finding import Finding
from hpo.audit.snapshot import Snapshot
from hpo.store.opening import missing

__all__ = ["WRITTEN", "can_be_read", "compare", "epoch_of", "is_regular", "lies_in", "state_files", "unsound"]

# as a worker writes them: beside under a name of its own first, then renamed
WRITTEN = re.compile(r"epoch-\d+\.(pt|json)")
BESIDE = re.compile(r"\.epoch-\d+\.(pt|json)\.[^.]+")
EPOCH = re.compile(r"\.?epoch-(\d+)")


def compare(seen: Snapshot) -> Iterator[Finding]:
    """Checkpoints that are in another home, missing, damaged or out of place."""
    if not seen.study.is_here:
        yield seen.finding(None, "place", seen.study.elsewhere, None)
        return
    away = _missing(seen)
    for folder, numbers in away.items():
        yield seen.finding(None, "checkpoint", missing(folder, len(numbers)), None)
    gone = {number for numbers in away.values() for number in numbers}
    for number in seen.settled:
        if seen.rows[number]["checkpoint"] and number not in gone:
            yield from _recorded(seen, number)


def unsound(seen: Snapshot, found: Iterable[Finding]) -> set[int]:
    """Trials whose checkpoint on record cannot be relied on, by what `compare` found."""
    away = {number for numbers in _missing(seen).values() for number in numbers}
    return away | {each.trial for each in found if each.kind == "checkpoint" and each.trial is not None}


def _missing(seen: Snapshot) -> Mapping[Path, list[int]]:
    return seen.study.missing_folders(seen.rows[number] for number in seen.settled)


def _recorded(seen: Snapshot, number: int) -> Iterator[Finding]:
    """A checkpoint that is not what its record says; the record stays where the file may be the one that is right."""
    name, problem = seen.rows[number]["checkpoint"], _problem(seen, number)
    if problem is None:
        return
    now = seen.study.ledger.trial(seen.study.id, number)
    if now is None or now["checkpoint"] != name:  # the driver has dropped it meanwhile
        return
    sides = {"ours": seen.rows[number]["sha256"]}
    whole = _whole(seen, number)
    if whole is not None:
        what = (
            f"{name} {problem}; {whole} can be read, and the record may be what is wrong: remove one or mend the other"
        )
        yield seen.finding(number, "checkpoint", what, None, **sides)
        return
    again = "" if seen.trials[number].state.is_finished() else "; the trial starts over, with its curve"
    yield seen.finding(number, "checkpoint", f"{name} {problem}", f"clears its record{again}", **sides)


def _problem(seen: Snapshot, number: int) -> str | None:
    row = seen.rows[number]
    path = seen.study.settings.checkpoints / row["checkpoint"]
    earlier = seen.study.settings.checkpoints / str(seen.study.id)  # where studies of an earlier version have theirs
    if not lies_in(path, seen.study.folder) and not lies_in(path, earlier):
        return "lies outside of the study's folder"
    try:
        if not is_regular(path):
            return "is no regular file"
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return None if found == row["sha256"] else f"is damaged, its SHA-256 is {found}"


def _whole(seen: Snapshot, number: int) -> Path | None:
    """A file of the epoch on record or a later one that can be read, of a trial that may have one."""
    if seen.trials[number].state.name in ("FAIL", "PRUNED"):
        return None
    first = seen.rows[number]["checkpoint_epoch"] or 0
    for path in sorted(seen.study.trial_folder(number).glob("epoch-*"), reverse=True):
        if WRITTEN.fullmatch(path.name) and epoch_of(path) >= first and can_be_read(path):
            return path.relative_to(seen.study.settings.checkpoints)
    return None


def state_files(folder: Path, number: int | None = None) -> Iterator[Path]:
    """All that has a checkpoint's name below a study's folder, of one trial or of all; others are not ours to judge."""
    for path in folder.glob("*/*" if number is None else f"{number:06d}/*"):
        if WRITTEN.fullmatch(path.name) or BESIDE.fullmatch(path.name):
            yield path


def lies_in(path: Path, folder: Path) -> bool:
    """Whether a file really lies in a study's folder, and that really in the folder of all checkpoints."""
    root = folder.parent.resolve()
    return path.parent.resolve().is_relative_to(root / folder.name) and folder.resolve() == root / folder.name


def is_regular(path: Path) -> bool:
    """Whether it is a file and nothing else: to open a pipe would wait for ever, and a link leads elsewhere.

    Raises:
        OSError: there is nothing.
    """
    return stat.S_ISREG(path.lstat().st_mode)


def can_be_read(path: Path) -> bool:
    """Whether a worker could load it, whatever its hash."""
    from trainers import checkpoint  # reads them with PyTorch, for the few that are in doubt

    if not is_regular(path):
        return False
    try:
        checkpoint.load(path, None)
    except Exception:  # noqa: BLE001 - PyTorch documents no list of what it raises for bytes that are no state
        return False
    return True


def epoch_of(path: Path) -> int:
    """Of a file with a checkpoint's name."""
    found = EPOCH.match(path.name)
    assert found is not None
    return int(found[1])
