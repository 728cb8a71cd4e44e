"""What the GPUs of this machine do, or its processors where it has none: asked all the while by a process beside."""

from __future__ import annotations

import subprocess
import threading
from types import TracebackType

import psutil

__all__ = ["Usage"]

EVERY = 2  # seconds
SMI = ["nvidia-smi", "--query-gpu=index,utilization.gpu,memory.used,memory.total", "--format=csv,noheader,nounits"]


class Usage:
    """Asks while it is entered."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None
        self._cards: dict[int, tuple[float, float, float]] = {}  # index -> percent busy, MiB used, MiB in all

    def __enter__(self) -> Usage:
        try:
            self._process = subprocess.Popen(
                [*SMI, "-l", str(EVERY)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
            )
        except OSError:  # no NVIDIA driver
            psutil.cpu_percent()  # the next call says what was used since this one
            return self
        self._reader = threading.Thread(target=self._read, args=(self._process,), daemon=True)
        self._reader.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.kill()
            self._reader.join(timeout=5)  # a driver in trouble holds nvidia-smi where no signal reaches it
            if not self._reader.is_alive():
                self._process.__exit__(kind, error, trace)
            self._process = None

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            index, *fields = (each.strip() for each in line.split(","))
            try:
                busy, used, total = (float(each) for each in fields)
            except ValueError:  # a slice of a card has "[N/A]" here, a driver in trouble a sentence
                continue
            self._cards[int(index)] = (busy, used, total)

    def read(self) -> str | None:
        """What they do now, in words; None where nothing is known yet."""
        cards = list(self._cards.values())
        if cards:
            busy = sum(each[0] for each in cards) / len(cards)
            used, total = (sum(each[column] for each in cards) * 2**20 / 1e9 for column in (1, 2))
            names = "GPU" if len(cards) == 1 else f"{len(cards)} GPUs"
            return f"{names} {busy:.0f}% busy, {used:.1f} of {total:.1f} GB"
        if self._process is not None and self._process.poll() is None:
            return None
        return f"CPU {psutil.cpu_percent():.0f}%"
