"""One training without a search: the trial that a worker would run, here, with a folder of its own."""

from __future__ import annotations

import inspect
import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from hpo.errors import HpoError, Interrupted, SpecError
from hpo.settings import Settings
from hpo.space.constraints import LATENCY
from hpo.space.document import near
from hpo.space.reader import scalar
from hpo.space.tree import place
from hpo.spec import SearchSpec, checked_name
from hpo.workers.trial import Assignment, Attempt, Checkpoint, Report, bad_metric, load_object
from trainers import checkpoint
from trainers.folders import private

__all__ = ["Journal", "Training", "split_overrides", "values"]

SECTIONS = {field.alias or name for name, field in SearchSpec.model_fields.items()} - {"trainer"}
"""First step of an override that is about the space file rather than about the training."""


def split_overrides(overrides: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part `--set` into those for the space file (metric=val/loss) and those for the training (lr=0.1)."""
    of_file = [each for each in overrides if each.partition("=")[0].split(".")[0] in SECTIONS]
    return of_file, [each.removeprefix("trainer.") for each in overrides if each not in of_file]


def values(space: SearchSpec, overrides: Sequence[str]) -> dict[str, Any]:
    """The trainer section to train with: the file's, with `path=value` in place; what is searched and not given here
    keeps the trainer's default.

    Raises:
        SpecError: an override is no assignment, its value is not allowed, or it would not be read.
    """
    given: dict[str, Any] = {}
    for override in overrides:
        path, equals, text = override.partition("=")
        if not equals or not all(path.split(".")):
            raise SpecError(f"--set {override}: this is no override; write path=value, such as lr=0.1")
        given[path] = scalar(text, source=f"--set {override}")
    tree = place(space.trainer, given)
    if "import" in tree:
        known = {*space.trainer, *space.parameters}
        for path in given:
            if path.split(".")[0] not in known:
                raise SpecError(f"--set {path}=...: the trainer has no `{path}`{near(path, known)}")
        return tree
    from hpo.space import builtin

    builtin.refuse(tree)
    return tree


@dataclass(kw_only=True)
class Journal:
    """What is on record about a training, in `training.json` beside its checkpoints."""

    trainer: dict[str, Any]
    seed: int
    metric: str
    goal: str
    epochs: list[dict[str, Any]] = field(default_factory=list)  # epoch, seconds, metrics
    checkpoint: dict[str, Any] | None = None  # path, sha256, epoch of the newest
    best_epoch: int | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    done: bool = False
    failure: str | None = None  # why it ended before its time

    @classmethod
    def load(cls, path: Path) -> Journal:
        return cls(**json.loads(path.read_text()))

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        checkpoint.save(asdict(self), path)

    @property
    def best_value(self) -> float | None:
        """The objective at the best epoch."""
        found = [each["metrics"][self.metric] for each in self.epochs if each["epoch"] == self.best_epoch]
        return found[0] if found else None

    def improves(self, value: float) -> bool:
        """Whether the value is better than all before."""
        best = self.best_value
        return best is None or (value > best if self.goal == "maximize" else value < best)


class Training:
    """Trains to the end, or from where it was left; `best.pt` and `last.pt` in its folder are whole at any moment."""

    def __init__(
        self, space: SearchSpec, trainer: Mapping[str, Any], settings: Settings, *, name: str, seed: int
    ) -> None:
        """Raises SpecError for a name that is none."""
        try:
            self.name = checked_name(name)
        except ValueError as error:
            raise SpecError(f"--name: {error}") from error
        self._space, self._settings = space, settings
        self.folder = settings.home / "trainings" / name
        self._path = self.folder / "training.json"
        self.journal = Journal(trainer=dict(trainer), seed=seed, metric=space.metric.name, goal=space.metric.goal)

    def open(self, *, resume: bool, as_recorded: bool = False) -> None:
        """Make the folder, or take up what is in it; `as_recorded`: with the values it was begun with.

        Raises:
            SpecError: there is a training of that name and it was not to be resumed, or the other way round, or what is
            there was configured differently.
        """
        if not self._path.exists():
            if resume:
                raise SpecError(f"there is no training {self.name!r} in {self.folder.parent} to resume")
            private(self.folder)
            return
        if not resume:
            raise SpecError(
                f"there is a training {self.name!r} in {self.folder}: go on with --resume, or give another --name"
            )
        there = Journal.load(self._path)
        mine = (self.journal.trainer, self.journal.seed)
        if not as_recorded and (there.trainer, there.seed) != mine:
            from hpo.spec import changes

            lines = changes({"trainer": there.trainer, "seed": there.seed}, {"trainer": mine[0], "seed": mine[1]})
            raise SpecError(
                f"training {self.name!r} was begun with other values: {'; '.join(lines)}. --resume without --set goes "
                "on as it was begun; other values, more epochs too, are another training: give it a --name"
            )
        self.journal = there

    def run(self, say: Callable[[dict[str, Any]], None]) -> Journal:
        """Train; `say` is called with each epoch's record.

        Raises:
            SpecError: the pictures or weights cannot be used.
            HpoError: a loss or the objective was not finite.
            Interrupted: Ctrl-C; what was recorded stays.
        """
        if self.journal.failure is not None:
            raise HpoError(self.journal.failure)
        if self.journal.done:
            return self.journal
        try:
            attempt = self._begin()
            while not self.journal.done:
                self._record(attempt.next_report(), say)
        except KeyboardInterrupt as error:
            raise Interrupted(f"interrupted; the same command with --resume goes on from {self.folder}") from error
        return self.journal

    def _begin(self) -> Attempt:
        try:
            return Attempt(self._assignment())
        except (OSError, ValueError) as error:
            raise SpecError(str(error)) from error

    def _assignment(self) -> Assignment:
        saved = self.journal.checkpoint
        cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        beside = [str(self._space.folder.absolute())] if self._space.folder else []
        import_paths = (*beside, str(Path.cwd()))
        return Assignment(
            number=0,
            attempt=1,
            seed=self.journal.seed,
            trainer=self.journal.trainer,
            recorded=len(self.journal.epochs),
            checkpoint=Checkpoint(**saved) if saved else None,
            checkpoints=self.folder.parent,
            folder=self.name,
            datasets=self._settings.datasets,
            cpu=cpus,
            gpu=_gpus(self.journal.trainer, import_paths),
            import_paths=import_paths,
            latency=self._space.asks_for(LATENCY),
        )

    def _record(self, report: Report, say: Callable[[dict[str, Any]], None]) -> None:
        journal = self.journal
        if report.epoch is not None:
            record = {"epoch": report.epoch, "seconds": report.seconds, "metrics": report.metrics}
            value = report.metrics.get(journal.metric)
            bad = bad_metric(report.metrics, journal.metric)
            best = bad is None and value is not None and journal.improves(value)
            journal.epochs.append(record)
            journal.facts = report.facts or journal.facts
            if best:
                journal.best_epoch = report.epoch
            if report.checkpoint is not None:
                journal.checkpoint = asdict(report.checkpoint)
                self._link(report.checkpoint, best=best)
            say(record)
            if bad:
                journal.failure = f"{bad} was {report.metrics[bad]} at epoch {report.epoch}: try a smaller lr"
                journal.save(self._path)
                raise HpoError(journal.failure)
        journal.done = report.last
        journal.save(self._path)

    def _link(self, saved: Checkpoint, *, best: bool) -> None:
        """Give the newest checkpoint its lasting names; a link is whole where a copy may be half."""
        source = self.folder.parent / saved.path
        for name in ("last", "best") if best else ("last",):
            beside = self.folder / f".{name}{source.suffix}"
            beside.unlink(missing_ok=True)
            beside.hardlink_to(source)
            beside.replace(self.folder / f"{name}{source.suffix}")


def _gpus(trainer: Mapping[str, Any], import_paths: tuple[str, ...]) -> float:
    """One where there is one and the user's trainer asks for its device; the built-in one finds out by itself."""
    if "import" not in trainer or "device" in trainer:
        return 0.0
    if "device" not in inspect.signature(load_object(trainer["import"], import_paths)).parameters:
        return 0.0  # and torch, which it may do without, is not imported to look
    import torch

    return float(torch.cuda.is_available())
