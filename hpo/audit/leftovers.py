"""Checkpoint files that SQL does not name, and whether they are worthless for sure.

So are those of trials that rightly have none, and older ones than a recorded one that is sound. Any other that can be
read may be all that is left of a training: it stays, and a person decides.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from hpo.audit.checkpoints import WRITTEN, can_be_read, epoch_of, is_regular, lies_in, state_files
from hpo.audit.finding import Finding
from hpo.audit.snapshot import Snapshot
from hpo.goals import points
from hpo.search.retention import worth_keeping

__all__ = ["compare", "worthless"]


def compare(seen: Snapshot, unsound: Collection[int | None]) -> Iterator[Finding]:
    """A finding for each, unless the study runs; the checkpoints on record of `unsound` trials cannot be relied on."""
    if seen.owner is not None:
        return
    for path in _unnamed(seen):
        name, size = path.relative_to(seen.study.settings.checkpoints), path.lstat().st_size
        why = _worth(seen, path, unsound)
        what = f"{name} is not named in SQL" + (f", and {why}" if why else "")
        mend = None if why else f"removes {size:,} bytes"
        yield seen.finding(_number(path), "leftover", what, mend, bytes=size)


def worthless(seen: Snapshot, unsound: Collection[int | None]) -> Iterator[Path]:
    """Those that may be removed."""
    return (path for path in _unnamed(seen) if _worth(seen, path, unsound) is None)


def _unnamed(seen: Snapshot) -> list[Path]:
    """Files with a checkpoint's name that SQL does not name, and that no unfinished trial works with."""
    named = {seen.study.settings.checkpoints / row["checkpoint"] for row in seen.rows.values() if row["checkpoint"]}
    unfinished = {number for number, trial in seen.trials.items() if not trial.state.is_finished()}
    for number in unfinished & seen.rows.keys():
        # its worker keeps the one before the recorded, until it writes the one after, which a kill may cut short
        oldest = (seen.rows[number]["checkpoint_epoch"] or 0) - 1
        named |= {path for path in state_files(seen.study.folder, number) if epoch_of(path) >= oldest}
    return sorted(set(state_files(seen.study.folder)) - named)


def _number(path: Path) -> int | None:
    return int(path.parent.name) if path.parent.name.isdecimal() else None


def _worth(seen: Snapshot, path: Path, unsound: Collection[int | None]) -> str | None:
    """Why a file is not to be removed; None where it is worthless."""
    number = _number(path)
    if not lies_in(path, seen.study.folder):
        return "it lies elsewhere"
    if not is_regular(path):
        return "it is no regular file"
    if number is None or number not in seen.settled:
        return "it is of no trial that SQL knows to be at rest"
    if number in unsound:
        return "the checkpoint on record is in doubt"
    if seen.trials[number].state.name in ("FAIL", "PRUNED") or not WRITTEN.fullmatch(path.name):
        return None
    return _worth_to(seen, path, number)


def _worth_to(seen: Snapshot, path: Path, number: int) -> str | None:
    """The same for a whole file of a trial that may have a checkpoint."""
    recorded = seen.rows[number]["checkpoint"]
    if recorded and WRITTEN.fullmatch(Path(recorded).name):
        newer = epoch_of(path) > epoch_of(Path(recorded))
        return "it is newer than the one on record, and can be read" if newer and can_be_read(path) else None
    if not seen.trials[number].state.is_finished():
        return "its trial is to go on"
    return (
        "its trial is one of the best, and it can be read"
        if number in worth_keeping(points(seen.trials.values()), seen.study.spec) and can_be_read(path)
        else None
    )
