"""Trainers without torch, whose curves are known, and which keep a journal of what they really did."""

import json
import os
import random
import signal
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

Metrics = dict[str, float]


def curve(
    lr: float, epochs: int = 5, journal: str | None = None, sleep: float = 0.0, seed: int = 0
) -> Iterator[Metrics]:
    """Approach 1 - |lr - 0.1| as epochs pass; a trainer as small as they get."""
    for epoch in range(1, epochs + 1):
        time.sleep(sleep)
        note(journal, lr=lr, epoch=epoch, seed=seed)
        reached = accuracy(lr, 0.0, epoch)
        yield {"val/accuracy": reached, "val/loss": 1 - reached, "lr": lr}


def accuracy(lr: float, weight_decay: float, epoch: int) -> float:
    """What Resumable comes to."""
    return (1 - abs(lr - 0.1)) * (1 - 0.5**epoch) - weight_decay


class Resumable:
    """The same curve from a class whose state is kept; every epoch is noted in the journal with pid and card."""

    def __init__(
        self,
        lr: float,
        weight_decay: float = 0.0,
        epochs: int = 5,
        journal: str | None = None,
        sleep: float = 0.0,
        ballast: int = 0,
    ) -> None:
        self.lr, self.weight_decay, self.epochs, self.journal, self.sleep = lr, weight_decay, epochs, journal, sleep
        self.ballast = ballast  # bytes that its state takes
        self.epoch = 0

    def fit(self) -> Iterator[Metrics]:
        while self.epoch < self.epochs:
            began = time.time()
            time.sleep(self.sleep)
            self.epoch += 1
            card = os.environ.get("CUDA_VISIBLE_DEVICES")
            place = {"pid": os.getpid(), "card": card, "began": began, "ended": time.time()}
            note(self.journal, lr=self.lr, weight_decay=self.weight_decay, epoch=self.epoch, **place)
            yield {"val/accuracy": accuracy(self.lr, self.weight_decay, self.epoch)}

    def state_dict(self) -> dict[str, Any]:
        return {"epoch": self.epoch, "ballast": "x" * self.ballast}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.epoch = state["epoch"]


class Traded(Resumable):
    """The wider, the more accurate, the slower and the larger."""

    def __init__(self, lr: float, width: int, epochs: int = 2, **options: Any) -> None:
        super().__init__(lr, epochs=epochs, **options)
        self.width = width

    def fit(self) -> Iterator[Metrics]:
        for metrics in super().fit():
            yield traded(metrics["val/accuracy"], self.width)

    def facts(self) -> dict[str, Any]:
        return {"parameters_count": 1000 * self.width**2}


def traded(accuracy: float, width: int) -> Metrics:
    """What Traded comes to."""
    return {"val/accuracy": accuracy * width / (width + 1), "latency_ms": 0.5 * width}


class Mortal(Resumable):
    """Its worker is killed in the third epoch, once per learning rate; with `always`, each time."""

    def __init__(self, lr: float, marks: str, always: bool = False, **options: Any) -> None:
        super().__init__(lr, **options)
        self.mark, self.always = Path(marks, str(lr)), always

    def fit(self) -> Iterator[Metrics]:
        for metrics in super().fit():
            if self.epoch == 3 and (self.always or not self.mark.exists()):
                self.mark.touch()
                os.kill(os.getpid(), signal.SIGKILL)
            yield metrics


def departing(delay: float, marks: str, epochs: int = 2) -> Iterator[Metrics]:
    """Once its process is killed so many seconds after the last epoch, when another trial may have it already."""
    mark = Path(marks) / str(delay)
    for epoch in range(1, epochs + 1):
        if epoch == epochs and not mark.exists():
            mark.touch()
            threading.Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()
        yield {"val/accuracy": 0.1 * epoch}


class Unwell(Resumable):
    """With some learning rates goes wrong in the third epoch, as `kinds` says; notes when beside the journal."""

    def __init__(self, lr: float, kinds: dict[str, str], **options: Any) -> None:
        super().__init__(lr, **options)
        self.kind = kinds.get(str(lr))

    def fit(self) -> Iterator[Metrics]:
        for metrics in super().fit():
            if self.kind is not None and self.epoch == 3:
                Path(str(self.journal)).with_name("unwell").touch()
                match self.kind:
                    case "hangs":
                        time.sleep(10_000)
                    case "raises":
                        raise ValueError("the data has a hole")
                    case "exits":
                        sys.exit(3)
                    case "segfaults":
                        os.kill(os.getpid(), signal.SIGSEGV)
                    case "diverges":
                        metrics["val/accuracy"] = float("nan")
            yield metrics


def meet(lr: float, company: int, marks: str, journal: str) -> Iterator[Metrics]:
    """End only when so many trials run at the same time."""
    began = time.time()
    Path(marks, str(lr)).touch()
    deadline = time.monotonic() + 60
    while len(list(Path(marks).iterdir())) < company:
        if time.monotonic() > deadline:
            raise TimeoutError(f"fewer than {company} trials at a time")
        time.sleep(0.02)
    place = {"pid": os.getpid(), "card": os.environ.get("CUDA_VISIBLE_DEVICES")}
    note(journal, **place, began=began, ended=time.time())
    yield {"val/accuracy": lr}


def faulty(kind: str, epochs: int = 3) -> Iterator[Metrics]:
    """Go wrong in the second epoch, in the way that `kind` says."""
    for epoch in range(1, epochs + 1):
        good = {"val/accuracy": 0.1 * epoch, "train/loss": 1.0}
        if epoch == 2:
            match kind:
                case "raises":
                    raise ValueError("the data has a hole")
                case "nan":
                    good["val/accuracy"] = float("nan")
                case "infinite loss":
                    good["train/loss"] = float("inf")
                case "ends":
                    return
                case "text":
                    good["val/accuracy"] = "high"  # type: ignore[assignment]
                case "other metric":
                    good = {"accuracy": 0.5}
        yield good


def note(journal: str | None, **facts: Any) -> None:
    """Append a line; small appends of several processes do not mix."""
    if journal:
        with Path(journal).open("a") as file:
            file.write(json.dumps(facts) + "\n")


def read(journal: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in journal.read_text().splitlines()] if journal.exists() else []


def surroundings(lr: float) -> Iterator[Metrics]:
    """Report what kind of process this is."""
    import ray

    environment = ray.get_runtime_context().runtime_env.get("env_vars", {})
    moved = Path.cwd().name.startswith("trial-")
    yield {"val/accuracy": lr, "runtime_env": len(environment), "moved": moved}


def worried(lr: float, epochs: int = 2) -> Iterator[Metrics]:
    """Warn in every epoch."""
    for _ in range(epochs):
        warnings.warn("the step runs slower", stacklevel=1)
        warnings.warn(f"lr {lr} is odd", stacklevel=1)
        yield {"val/accuracy": lr}


def greedy(lr: float, marks: str, room: int, epochs: int = 3) -> Iterator[Metrics]:
    """Run out of the card's memory where more than `room` of its kind are on it; who shares a card waits for others."""
    import ray

    mine = Path(marks, os.environ["CUDA_VISIBLE_DEVICES"], str(os.getpid()))
    mine.parent.mkdir(exist_ok=True)
    mine.touch()
    share = ray.get_runtime_context().get_assigned_resources().get("GPU", 1.0)
    met, deadline = Path(marks, f"met-{share:g}"), time.monotonic() + 60 * (share < 1)
    try:
        for epoch in range(1, epochs + 1):
            time.sleep(0.3)
            while not met.exists() and len(list(mine.parent.iterdir())) <= room and time.monotonic() < deadline:
                time.sleep(0.05)
            if len(list(mine.parent.iterdir())) > room:
                met.touch()
                raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB")
            yield {"val/accuracy": lr * epoch / epochs}
    finally:
        mine.unlink()


def witness(lr: float, journal: str, epochs: int = 3) -> Iterator[Metrics]:
    """Note the environment of the worker; the smallest learning rate goes wrong with an error that steers terminals."""
    note(journal, environment=dict(os.environ), umask=_umask())
    for epoch in range(1, epochs + 1):
        time.sleep(0.4)
        if lr < 0.05 and epoch == 2:
            raise RuntimeError("\x1b[31mred\x1b]0;title\x07 and =cmd()")
        yield {"val/accuracy": lr * epoch}


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask


def noisy(lr: float, noise: float, signal: float = 0.0, seed: int = 0, epochs: int = 1) -> Iterator[Metrics]:
    """An accuracy of 0.5 + signal * lr, and luck that the seed draws."""
    luck = random.Random(f"{lr} {seed}").gauss(0, noise)
    for _ in range(epochs):
        yield {"val/accuracy": 0.5 + signal * lr + luck}


def frail(lr: float, seed: int = 0, epochs: int = 1) -> Iterator[Metrics]:
    """Comes to lr, but only with an even seed."""
    if seed % 2:
        raise RuntimeError("an odd seed")
    yield {"val/accuracy": lr * epochs}
