"""A trial as a worker executes it, an epoch at a time; needs neither Ray nor a database."""

from __future__ import annotations

import errno
import importlib
import inspect
import json
import math
import os
import posixpath
import re
import socket
import sys
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import psutil

import trainers
from hpo.workers.imports import uncollected
from hpo.workers.provenance import provenance
from trainers import checkpoint
from trainers.folders import inside, private

__all__ = ["Assignment", "Attempt", "Checkpoint", "Report", "bad_metric", "build", "failure", "load_object"]

END: Any = object()  # of a trainer's epochs
MESSAGE = 4000  # characters of an error that are kept
WARNING = 300  # likewise of a warning
OUT_OF_MEMORY = (
    "CUDA out of memory",
    "CUDA error: out of memory",
    "STATUS_ALLOC_FAILED",
    "CUBLAS_STATUS_NOT_INITIALIZED",  # no memory for its workspace
    "nable to find an engine",  # cuDNN: none whose workspace fits
)
"""How CUDA and the libraries on top of it say that a card has no memory left."""
METRIC_NAME = re.compile(r"[A-Za-z0-9_\-. /]{1,250}")  # what MLflow takes


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A state on disk, as recorded in SQL."""

    path: str  # below the checkpoint folder of all studies
    sha256: str
    epoch: int


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """All that a worker needs to run a trial."""

    number: int
    attempt: int
    seed: int
    trainer: dict[str, Any]  # the space file's section with the trial's parameters in place
    recorded: int  # last epoch that is on record; 0 for a new trial
    checkpoint: Checkpoint | None  # where to go on from
    checkpoints: Path  # checkpoint folder of all studies
    folder: str  # the trial's own, below it
    datasets: Path
    cpu: float  # threads follow it
    gpu: float  # share of a card, or number of them
    import_paths: tuple[str, ...]  # where the user's own trainers are looked for
    driver: tuple[str, int] = field(default_factory=lambda: (socket.gethostname(), os.getpid()))  # host and process
    latency: bool = False  # whether the built-in trainer's network is to be timed
    forecast_trials: float | None = None  # trials that this process is to run, this one among them

    @property
    def is_orphaned(self) -> bool:
        """Whether its driver is known to be gone; on another machine Ray ends the worker by itself."""
        host, pid = self.driver
        return host == socket.gethostname() and not psutil.pid_exists(pid)

    @property
    def may_compile(self) -> bool:
        """Whether the trainer may take minutes to compile its network."""
        return self.gpu > 0 and "import" not in self.trainer and self.trainer.get("compile") != "never"

    @property
    def shares_card(self) -> bool:
        """Whether others may train on its card at the same time."""
        return 0 < self.gpu <= 0.5


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a worker has to say after an epoch, or about the end of a trial."""

    number: int
    attempt: int
    epoch: int | None = None  # None: the trainer has ended without another epoch
    metrics: dict[str, float] = field(default_factory=dict)
    seconds: float = 0.0
    last: bool = False  # the trainer's own last epoch
    checkpoint: Checkpoint | None = None
    facts: dict[str, Any] | None = None  # with the first report of an attempt
    config: dict[str, Any] | None = None  # likewise: the trainer's configuration with its defaults
    error: str | None = None  # "Type: message"; the trial has failed
    traceback: str | None = None  # last 20 lines
    warnings: tuple[str, ...] = ()  # what was warned of since the last report
    full: Literal["card", "disk"] | None = None  # what had no room left, where that is not the trial's fault


class Attempt:
    """One start of one trial: builds the trainer, restores its state, yields reports."""

    def __init__(self, assignment: Assignment) -> None:
        self._assignment = assignment
        self._warned: list[str] = []
        with _noting(self._warned):
            self._trainer = build(assignment)
            self._epoch = self._restore()
            self._epochs = iter(self._trainer.fit() if hasattr(self._trainer, "fit") else self._trainer)
        self._introduced = False
        self._saved = False
        self._latency: float | None = None

    def _restore(self) -> int:
        """Load the recorded checkpoint; without one that can be used the trial starts over. Returns the epoch."""
        saved = self._assignment.checkpoint
        if saved is None or not hasattr(self._trainer, "load_state_dict"):
            return 0
        try:
            path = inside(self._assignment.checkpoints, saved.path)
            if not path.exists():
                return 0
            state = checkpoint.load(path, saved.sha256)
        except ValueError:  # damaged, or elsewhere: what is recorded is trained again, and the curve goes on
            return 0
        self._trainer.load_state_dict(state)
        return saved.epoch

    def next_report(self, *, keep_from: int | None = None) -> Report:
        """Train to the next epoch that is not on record yet.

        Of the checkpoints before it those from epoch `keep_from` on stay, by default the last one.
        """
        while True:
            started = time.perf_counter()
            with _noting(self._warned):
                metrics = next(self._epochs, END)
            if metrics is END:
                return self._report(epoch=None, last=True)
            self._epoch += 1
            if self._epoch > self._assignment.recorded:  # a trainer without state repeats what is on record
                break
        checked = {**_checked(metrics), **self._timed()}
        saved = self._save(self._epoch - 1 if keep_from is None else keep_from)
        seconds = time.perf_counter() - started
        return self._report(epoch=self._epoch, metrics=checked, seconds=seconds, last=self._is_last(), checkpoint=saved)

    def _timed(self) -> dict[str, float]:
        """How fast the network answers, where that is asked for: measured once, as weights do not matter to it."""
        if self._latency is None and self._assignment.latency and "import" not in self._assignment.trainer:
            from trainers.latency import in_training

            self._latency = in_training(self._trainer)
        return {} if self._latency is None else {"latency_ms": self._latency}

    def _report(self, **values: Any) -> Report:
        if not self._introduced:
            self._introduced = True
            said = self._trainer.facts() if hasattr(self._trainer, "facts") else {}
            with_it = provenance(_code_of(self._assignment), gpu=self._assignment.gpu)
            # the trainer knows best where it computes
            facts = {**dict(said), **with_it, "device": said.get("device", with_it["device"])}
            values["facts"] = json.loads(json.dumps(facts, default=str))
            if "import" not in self._assignment.trainer:
                values["config"] = self._trainer.config.model_dump(mode="json")
        warned, self._warned = tuple(dict.fromkeys(self._warned)), []
        return Report(number=self._assignment.number, attempt=self._assignment.attempt, warnings=warned, **values)

    def _is_last(self) -> bool:
        return bool(self._assignment.trainer.get("epochs") == self._epoch)

    def _save(self, keep_from: int) -> Checkpoint | None:
        """Write this epoch's state and drop those before epoch `keep_from`, the one that SQL may still name."""
        if not hasattr(self._trainer, "state_dict"):
            return None
        state = self._trainer.state_dict()
        folder = self._assignment.checkpoints / self._assignment.folder
        path = folder / f"epoch-{self._epoch:04d}{'.json' if _is_json(state) else '.pt'}"
        digest = checkpoint.save(state, path)
        if not self._saved:  # a state that cannot be loaded is found now and not after an interruption
            checkpoint.load(path, digest)
            self._saved = True
        for old in folder.glob("epoch-*"):
            if _epoch_of(old) < keep_from:
                old.unlink()
        return Checkpoint(path=f"{self._assignment.folder}/{path.name}", sha256=digest, epoch=self._epoch)


def build(assignment: Assignment) -> Any:
    """The built-in trainer, an instance of the user's class, or what the user's generator function returns."""
    if "import" not in assignment.trainer:
        with uncollected():
            import torch

            from trainers import TrainConfig, Trainer

        torch.set_num_threads(max(1, int(assignment.cpu)))
        # what one trial has compiled serves the others of the study, in other processes too
        os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(private(assignment.checkpoints.parent / "compiled")))
        if assignment.gpu and not torch.cuda.is_available():
            warnings.warn("PyTorch finds no GPU where this trial was given one; it trains on the CPU", stacklevel=2)
        config = TrainConfig.model_validate(assignment.trainer)
        forecast = assignment.forecast_trials * config.epochs if assignment.forecast_trials else None
        return Trainer(
            config,
            seed=assignment.seed,
            data_folder=assignment.datasets,
            device=None if assignment.gpu else "cpu",  # Ray 2.60 hides no card from who has none of them
            forecast=forecast,
            shares_device=assignment.shares_card,
        )
    target = load_object(assignment.trainer["import"], assignment.import_paths)
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(max(1, int(assignment.cpu)))
    device = "cuda" if assignment.gpu else "cpu"
    offered = {"seed": assignment.seed, "data_folder": assignment.datasets, "device": device}
    wanted = inspect.signature(target).parameters
    given = {name: value for name, value in assignment.trainer.items() if name != "import"}
    given |= {name: value for name, value in offered.items() if name in wanted and name not in given}
    return target(**given)


def _code_of(assignment: Assignment) -> Path | None:
    """The file that trains; None where what the user named is in none."""
    if "import" not in assignment.trainer:
        return Path(str(trainers.__file__))
    module = sys.modules.get(assignment.trainer["import"].partition(":")[0])
    file = getattr(module, "__file__", None)
    return Path(file).absolute() if file else None


@contextmanager
def _noting(said: list[str]) -> Iterator[None]:
    """Add to `said` what is warned of meanwhile and concerns this training; all of it goes to stderr too."""
    caught: list[warnings.WarningMessage] = []
    try:
        with warnings.catch_warnings(record=True) as caught:
            yield
    finally:
        for each in caught:
            sys.stderr.write(warnings.formatwarning(each.message, each.category, each.filename, each.lineno))
            if issubclass(each.category, UserWarning | RuntimeWarning):  # others are for the developer
                said.append(_storable(str(each.message))[:WARNING])


def load_object(name: str, import_paths: tuple[str, ...] = ()) -> Any:
    """The object that "package.module:Name" names, looked for in `import_paths` first."""
    for path in reversed(import_paths):
        if path not in sys.path:
            sys.path.insert(0, path)
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)


def _checked(metrics: Mapping[str, float]) -> dict[str, float]:
    """Metrics as floats under names that every store takes."""
    if not isinstance(metrics, Mapping):
        raise TypeError(f"the trainer yielded {metrics!r}; it must yield a dict of metric name -> number per epoch")
    for name in metrics:
        if not isinstance(name, str) or not _is_metric_name(name):
            raise ValueError(f"metric name {name!r}: use letters, digits, and _ - . / or space, as in 'val/accuracy'")
    try:
        return {name: float(value) for name, value in metrics.items()}
    except (TypeError, ValueError) as error:
        raise TypeError(f"every metric must be a number, got {dict(metrics)!r}") from error


def _is_metric_name(name: str) -> bool:
    """Whether MLflow takes the name: no path that leads anywhere else than it says."""
    return bool(METRIC_NAME.fullmatch(name)) and posixpath.normpath(name) == name and name[0] not in "/."


def bad_metric(metrics: Mapping[str, float], objective: str) -> str | None:
    """The first metric that ends a trial by not being finite: the objective, or any loss."""
    for name, value in metrics.items():
        if (name == objective or name.rsplit("/", 1)[-1] == "loss") and not math.isfinite(value):
            return name
    return None


def _is_json(state: object) -> bool:
    """Whether JSON gives back the very same: not so for tuples, or for keys that are numbers."""
    try:
        return bool(json.loads(json.dumps(state)) == state)
    except (TypeError, ValueError):
        return False


def _epoch_of(path: Path) -> int:
    return int(path.stem.removeprefix("epoch-"))


def failure(assignment: Assignment, error: BaseException) -> Report:
    """The report of a trial that raised."""
    try:
        message = f"{type(error).__name__}: {error}"
    except Exception:  # noqa: BLE001 - even its text may raise
        message = type(error).__name__
    lines = "".join(traceback.format_exception(error)).splitlines()[-20:]
    return Report(
        number=assignment.number,
        attempt=assignment.attempt,
        error=_storable(message),
        traceback=_storable("\n".join(line[:500] for line in lines)),
        full=_full(assignment, error, message),
    )


def _full(assignment: Assignment, error: BaseException, message: str) -> Literal["card", "disk"] | None:
    """What was full, of that which trials share: another trial, or this one elsewhere, would have fared no better."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return "disk"
    crowded = assignment.shares_card and any(words in message for words in OUT_OF_MEMORY)
    return "card" if crowded else None


def _storable(text: str) -> str:
    """Text that every database takes: no lone surrogates, no NUL, not without end."""
    return text[:MESSAGE].encode("utf-8", "backslashreplace").decode().replace("\0", "\\0")
