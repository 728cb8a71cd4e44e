"""`hpo export-study`: all of a study in one file, as it stands while nobody runs it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import hpo
from hpo.archive import rows, trials
from hpo.archive.container import Writer, writing
from hpo.errors import SpecError, Unavailable
from hpo.masking import without_passwords
from hpo.settings import person
from hpo.store.lease import Lease
from hpo.store.migrations import REVISIONS
from hpo.store.opening import missing
from hpo.study import Study
from hpo.winner import confirmation
from trainers.checkpoint import digest

__all__ = ["Exported", "export"]

ENDING = ".hpo.zip"


@dataclass(frozen=True, kw_only=True)
class Exported:
    """What a file holds."""

    path: Path
    studies: tuple[str, ...]  # the study, and what confirms its winner
    trials: int
    checkpoints: int
    left_out: tuple[str, ...]  # lines for people: checkpoints that are on record and not in the file


def export(study: Study, out: Path | None, *, checkpoints: bool) -> Exported:
    """Write a study to a new file, by default `NAME.hpo.zip` in the current folder, with what confirms its winner.

    The study is held meanwhile, as by a driver: its checkpoints come and go while it runs, so that no moment of such a
    study could be written down.

    Raises:
        StudyOwned: a driver is at work on it.
        SpecError: it confirms another one, the file is there, or the space holds a password.
        Unavailable: its checkpoints are elsewhere, or the file cannot be written.
    """
    if study.spec.confirms is not None:
        search = study.spec.confirms.study
        raise SpecError(f"study {study.name!r} confirms {search!r}, and goes along when that one is exported")
    path = out if out is not None and not out.is_dir() else (out or Path()) / f"{study.name}{ENDING}"
    if path.exists():
        raise SpecError(f"{path} is there already: name another file with --out, or remove it")
    confirmed = confirmation.find(study)
    parts = [study, *([confirmed.study] if confirmed is not None else [])]
    for each in parts:
        _check(each, checkpoints=checkpoints)
    left_out: list[str] = []
    with ExitStack() as stack:
        leases = [stack.enter_context(Lease(each, spends=False)) for each in parts]
        with writing(path) as writer:
            kept = [
                _write(writer, index, each, leases, left_out, checkpoints=checkpoints)
                for index, each in enumerate(parts)
            ]
            for lease in leases:  # rows and a large checkpoint take their time
                lease.renew()
            writer.close(_facts(parts))
    return Exported(
        path=path,
        studies=tuple(each.name for each in parts),
        trials=sum(len(each.frozen_trials()) for each in parts),
        checkpoints=sum(kept),
        left_out=tuple(left_out),
    )


def _facts(parts: list[Study]) -> dict[str, object]:
    return {
        "hpo": hpo.__version__,
        "revision": REVISIONS[-1],
        "exported": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "by": person(),
        "studies": [each.name for each in parts],
    }


def _check(study: Study, *, checkpoints: bool) -> None:
    for key in ("text", "canonical"):
        if without_passwords(study.row[key]) != study.row[key]:
            raise SpecError(
                f"the space of study {study.name!r} holds what looks like a password: it is not written out"
            )
    found = [each for each in study.ledger.trials(study.id) if each["checkpoint"]]
    if not checkpoints or not found:
        return
    without = "or leave the checkpoints out with --no-checkpoints"
    if not study.is_here:
        raise Unavailable(f"study {study.name!r}: {study.elsewhere}; {without}")
    for folder, numbers in study.missing_folders(found).items():
        raise Unavailable(f"study {study.name!r}: {missing(folder, len(numbers))}; {without}")


def _write(
    writer: Writer, index: int, study: Study, leases: list[Lease], left_out: list[str], *, checkpoints: bool
) -> int:
    """Write one study; returns how many checkpoints."""
    kept: dict[int, str] = {}
    for number, path, sha256 in _checkpoints(study) if checkpoints else ():
        for lease in leases:
            lease.renew()
        if not path.is_file() or digest(path) != sha256:
            left_out.append(f"the checkpoint of trial {number} of {study.name}, which is missing or damaged: {path}")
            continue
        kept[number] = f"{number:06d}/{path.name}"
        writer.copy(f"{index}/checkpoints/{kept[number]}", path)
    for name, found in rows.of_study(study, leases[index].outcome, kept):
        writer.lines(f"{index}/{name}.jsonl", found)
    writer.lines(f"{index}/optuna_study.jsonl", [trials.of_study(study)])
    writer.lines(
        f"{index}/optuna_trial.jsonl", (trials.of_trial(each, study.settings) for each in study.frozen_trials())
    )
    return len(kept)


def _checkpoints(study: Study) -> Iterator[tuple[int, Path, str]]:
    for row in study.ledger.trials(study.id):
        path = study.checkpoint(row["number"])
        if path is not None:
            yield row["number"], path, row["sha256"]
