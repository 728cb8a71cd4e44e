"""Which checkpoints stay: the last of a running trial, and those of the best few that are finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from hpo.goals import Point, front, points, ranked
from hpo.spec import SearchSpec
from trainers.folders import inside

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["Held", "Retention", "Verdict", "judge", "look", "worth_keeping"]


@dataclass(frozen=True, kw_only=True)
class Held:
    """The checkpoint files of one trial."""

    number: int
    finished: bool
    point: Point | None = None  # of a COMPLETE trial
    recorded: Path | None = None  # the one that SQL names
    files: Mapping[Path, int]  # in the trial's folder, with their bytes; one that is being written among them

    @property
    def bytes(self) -> int:
        return sum(self.files.values())

    @property
    def spare(self) -> Sequence[Path]:
        """Of a finished trial, all but the one on record: a worker keeps the epoch before until the last is there."""
        if not self.finished or self.recorded not in self.files:  # without that one the others may be wanted
            return []
        return [path for path in self.files if path != self.recorded]


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is to become of a study's checkpoints."""

    stays: Sequence[Held]  # of finished trials, the best first; their spare files go
    goes: Sequence[Held]  # of finished trials
    working: Sequence[Held]  # of unfinished trials, as they are

    @property
    def freed(self) -> int:
        """Bytes of all that goes."""
        spare = sum(each.files[path] for each in self.stays for path in each.spare)
        return spare + sum(each.bytes for each in self.goes)


def judge(held: Iterable[Held], space: SearchSpec) -> Verdict:
    """Say what stays under a space's budget: the best as long as they are few enough and fit, the front anyhow.

    Of one goal that is the very best. Where no trial keeps the constraints those that are nearest to it stay.

    Changes nothing; what it says of what `look` has seen is what a run does at its beginning.
    """
    there = list(held)
    found = {each.number: each for each in there if each.point is not None and each.recorded}
    points = [each.point for each in found.values() if each.point is not None]
    stays = [found[number] for number in worth_keeping(points, space)]
    least = max(1, len(front(points, space.metrics)))
    while len(stays) > least and space.budget.disk is not None and sum(map(_kept_bytes, stays)) > space.budget.disk:
        del stays[-1]
    return Verdict(
        stays=stays,
        goes=[each for each in there if each.finished and each not in stays],
        working=[each for each in there if not each.finished],
    )


def worth_keeping(points: Iterable[Point], space: SearchSpec) -> list[int]:
    """Trials whose checkpoints stay where there is room: as many as a space keeps, and the whole front; best first."""
    there = list(points)
    most = max(space.checkpoints_kept, len(front(there, space.metrics)))
    return [each.number for each in ranked(there, space.metrics)[:most]]


def _kept_bytes(held: Held) -> int:
    return held.files.get(held.recorded, 0) if held.recorded is not None else 0


def look(study: Study) -> list[Held]:
    """The checkpoint files of every trial that has any, or has one on record."""
    found, recorded = [], _recorded(study)
    for trial in study.frozen_trials():
        folder = study.trial_folder(trial.number)
        if folder.exists() or trial.number in recorded:
            held = Held(
                number=trial.number,
                finished=trial.state.is_finished(),
                point=next(iter(points([trial])), None),
                recorded=recorded.get(trial.number),
                files=_files(folder),
            )
            found.append(held)
    return found


def _files(folder: Path) -> dict[Path, int]:
    """A worker that was killed while it wrote leaves a file with a dot in front."""
    found = {}
    for path in (*folder.glob("epoch-*"), *folder.glob(".epoch-*")):
        with suppress(FileNotFoundError):  # a worker at work
            if path.is_file():
                found[path] = path.stat().st_size
    return found


def _recorded(study: Study) -> dict[int, Path]:
    """Paths that SQL names, by trial; nobody may have files elsewhere removed by a line in it."""
    found = {}
    for row in study.ledger.trials(study.id):
        if row["checkpoint"]:
            with suppress(ValueError):
                found[row["number"]] = inside(study.settings.checkpoints, row["checkpoint"])
    return found


class Retention:
    """The kept checkpoints of one study; the record of one is cleared before its file goes."""

    def __init__(self, study: Study) -> None:
        """Bring what is there in order: what a driver that died had no time to remove, or a lower budget has no room
        for, goes."""
        self._study = study
        self._kept: list[Held] = []
        self._apply(look(study))

    def keep(self, point: Point) -> None:
        """Keep a finished trial's last checkpoint and drop what it displaces."""
        number = point.number
        recorded = self._study.checkpoint(number)
        if recorded is not None:
            files = _files(self._study.trial_folder(number))
            mine = Held(number=number, finished=True, point=point, recorded=recorded, files=files)
            self._apply([*self._kept, mine])

    def _apply(self, held: Iterable[Held]) -> None:
        verdict = judge(held, self._study.spec)
        for each in verdict.goes:
            self.drop(each.number)
        for each in verdict.stays:
            for path in each.spare:
                path.unlink(missing_ok=True)
        self._kept = list(verdict.stays)

    def drop(self, number: int) -> None:
        """Remove a trial's checkpoints."""
        folder = self._study.trial_folder(number)
        if not folder.exists():
            return
        self._study.ledger.forget_checkpoint(self._study.id, number)
        shutil.rmtree(folder, ignore_errors=True)
