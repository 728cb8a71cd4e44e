"""A trial trained once more from its record alone, and whether the same comes of it."""

from __future__ import annotations

import fcntl
import math
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Literal

from hpo.errors import HpoError, Interrupted, SpecError
from hpo.space.constraints import LATENCY
from hpo.store import columns
from hpo.study import Study
from hpo.wording import number as rounded
from hpo.wording import plain
from hpo.workers.provenance import differences
from hpo.workers.trial import Assignment, Attempt, Report
from trainers.folders import private

__all__ = ["CLOSE", "Reproduction", "judge", "reproduce", "show"]

CLOSE = 0.02
"""What other hardware or versions do to a sound training: of 1 for a share; for any other metric of its recorded value,
or of the median of its curve where that is larger."""

SHARES = ("accuracy", "top5", "precision", "recall", "f1")
"""How metrics end that lie between 0 and 1."""

MEASURED = ("seconds", "_per_second", "_mb", "_ms")
"""How metrics end that are of the machine and not of the training."""

Curve = Mapping[int, Mapping[str, float]]
"""Epoch -> its metrics."""


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Something that is not as it was."""

    what: str
    recorded: Any
    now: Any


@dataclass(frozen=True, kw_only=True)
class Reproduction:
    """How a second training of a trial compares with what is on record of the first."""

    verdict: Literal["identical", "close", "different"]
    epochs: int  # that were compared
    metric: str
    value: float | None  # on record, at the last epoch
    now: float | None
    first: Difference | None  # the first metric that differs, with its epoch
    largest: float  # difference of the objective over all epochs, as `CLOSE` has it
    lost: bool  # whether an epoch or a metric is missing now
    surroundings: tuple[Difference, ...]  # code, data, versions, device that differ

    def facts(self) -> dict[str, Any]:
        """The same as plain values."""
        return asdict(self)


def reproduce(study: Study, number: int, say: Callable[[int, float | None], None]) -> Reproduction:
    """Train a trial again, here and now, for as many epochs as are on record; nothing of the study is touched.

    `say` is told each epoch with its objective.

    Raises:
        SpecError: there is no such trial, no epoch of it is on record, or pictures or weights cannot be used.
        HpoError: the training ended before that.
        Interrupted: Ctrl-C.
    """
    row = study.ledger.trial(study.id, number)
    curve = {each["epoch"]: columns.metrics(each) for each in study.ledger.epochs(study.id, number)}
    if row is None or not curve:
        known = ", ".join(str(each["number"]) for each in study.ledger.trials(study.id) if each["epoch"])
        raise SpecError(
            f"study {study.name!r} has no epoch of trial {number} on record; there are of: {known or 'none'}"
        )
    study.spec.require_sources()
    now: dict[int, Mapping[str, float]] = {}
    facts: dict[str, Any] = {}
    with _scratch(study.settings.home) as folder:
        for report in _train(_assignment(study, number, folder), max(curve)):
            facts |= report.facts or {}
            if report.epoch is not None:
                now[report.epoch] = report.metrics
                say(report.epoch, report.metrics.get(study.spec.metric.name))
    return judge(curve, now, columns.facts(row), facts, metric=study.spec.metric.name)


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """An empty folder, gone at the end; those of processes that were killed, whose locks are free, go first."""
    root = private(home / ".reproduce")
    with _locked(root):  # none is taken for a dead one's between its making and its lock
        for each in root.iterdir():
            with suppress(BlockingIOError), _locked(each, fcntl.LOCK_NB):
                shutil.rmtree(each)
        folder = Path(tempfile.mkdtemp(dir=root))
        own = ExitStack()
        own.enter_context(_locked(folder))
    with own:
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _locked(folder: Path, how: int = 0) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | how)
        yield
    finally:
        os.close(descriptor)


def _assignment(study: Study, number: int, folder: Path) -> Assignment:
    row = study.ledger.trial(study.id, number)
    assert row is not None
    trial = next(each for each in study.frozen_trials() if each.number == number)
    return Assignment(
        number=number,
        attempt=1,
        seed=row["seed"],
        trainer=study.spec.resolve(trial.params),
        recorded=0,
        checkpoint=None,
        checkpoints=folder,
        folder="again",
        datasets=study.settings.datasets,
        cpu=study.spec.resources.cpu,  # as many threads: sums in another order are other numbers
        gpu=row["gpu"],
        import_paths=study.import_paths,
        latency=study.spec.asks_for(LATENCY),
    )


def _train(assignment: Assignment, epochs: int) -> Iterator[Report]:
    done = 0
    try:
        attempt = Attempt(assignment)
    except (OSError, ValueError) as error:
        raise SpecError(str(error)) from error
    try:
        while done < epochs:
            report = attempt.next_report()
            yield report
            if report.epoch is None:  # it has ended early, which the comparison says
                return
            done = report.epoch
    except KeyboardInterrupt as error:
        raise Interrupted("interrupted; nothing was kept") from error
    except Exception as error:
        how = f"{type(error).__name__}: {error}"
        raise HpoError(f"the training ended after {done} of {epochs} epochs: {how}") from error


def judge(
    recorded: Curve, now: Curve, facts: Mapping[str, Any], facts_now: Mapping[str, Any], *, metric: str
) -> Reproduction:
    """Compare two curves and what they were trained with.

    Identical: every metric of every epoch is, but for those that measure the machine. Close: none is missing, and the
    objective never differs by more than `CLOSE`.
    """
    first, largest, lost = None, 0.0, False
    sizes = [abs(each[metric]) for each in recorded.values() if math.isfinite(each.get(metric, math.nan))]
    usual = median(sizes or [0.0])
    for epoch in sorted(recorded):
        for name in sorted(recorded[epoch]):
            mine, yours = recorded[epoch][name], now.get(epoch, {}).get(name)
            if name.endswith(MEASURED) or repr(mine) == repr(yours):  # NaN is not equal to itself
                continue
            first = first or Difference(what=f"{name} at epoch {epoch}", recorded=mine, now=yours)
            lost = lost or yours is None
            if name == metric:
                largest = max(largest, _apart(mine, yours, 1.0 if metric.endswith(SHARES) else max(abs(mine), usual)))
    last = max(recorded)
    return Reproduction(
        verdict="identical" if first is None else "close" if largest <= CLOSE and not lost else "different",
        epochs=len(recorded),
        metric=metric,
        value=recorded[last].get(metric),
        now=now.get(last, {}).get(metric),
        first=first,
        largest=largest,
        lost=lost,
        surroundings=tuple(
            Difference(what=what, recorded=mine, now=yours)
            for what, (mine, yours) in differences(facts, facts_now).items()
        ),
    )


def _apart(recorded: float, now: float | None, scale: float) -> float:
    """The difference as a part of `scale`; infinite where there is no saying."""
    if now is None or not math.isfinite(recorded) or not math.isfinite(now):
        return math.inf
    return abs(recorded - now) / scale if scale else math.inf


def show(found: Reproduction) -> None:
    """Print it for people."""
    share = "" if found.metric.endswith(SHARES) else " of its size"
    how = {
        "identical": "every metric of every epoch is the same",
        "close": f"{found.metric} differs by {rounded(found.largest)}{share} at most, {CLOSE:g} is close",
        "different": f"{found.metric} differs by {rounded(found.largest)}{share}, {CLOSE:g} would be close",
    }
    if found.lost and found.largest <= CLOSE:
        how["different"] = "a metric is missing"
    print(f"{found.verdict:<11} {plain(how[found.verdict])}, over {found.epochs} epochs")
    print(f"{'value':<11} {rounded(found.value)} on record, {rounded(found.now)} now")
    if found.first is not None:
        print(f"{'first':<11} {plain(found.first.what)}: {found.first.recorded!r} on record, {found.first.now!r} now")
    for each in found.surroundings:
        print(plain(f"{'differs':<11} {each.what}: {each.recorded} then, {each.now} now"))
    if not found.surroundings:
        print(f"{'same':<11} code, data, versions and device, as far as they are on record")
