"""Carries messages to one receiver, in a thread of its own: however long that takes, no search waits for it."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import subprocess
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from hpo.masking import redacted
from hpo.settings import open_environment
from hpo.wording import plain, without_nan

__all__ = ["Message", "Messenger", "Undelivered", "run_command", "send"]

TRIES = 4
PAUSES = (1.0, 4.0, 15.0)  # seconds between them; a run that ends waits less
SECONDS = 10.0  # for one try
AGAIN = frozenset({408, 429})  # of a server's refusals those that pass: too slow, too often
GRACE = 0.5  # seconds after the deadline, for a command to be killed and not left behind
LOOK = 0.2  # between two looks whether a command has ended
SPOKEN = 200  # letters of what a command said of its failure


@dataclass(frozen=True, kw_only=True)
class Message:
    """One thing that happened."""

    event: str  # end | failure | best
    text: str  # a sentence for people
    study: str
    metric: str
    host: str  # of the driver
    facts: dict[str, Any] = field(default_factory=dict)
    last: bool = False  # of the run: nothing waits any more, and it does not wait for others

    def plain(self) -> dict[str, Any]:
        """As JSON has it; `text` is what Slack and its like show."""
        head = {"text": self.text, "event": self.event, "study": self.study, "metric": self.metric, "host": self.host}
        told: dict[str, Any] = without_nan({**head, **self.facts})
        return told


Deliver = Callable[[Message, Callable[[], float]], None]
"""Takes a message, and what tells the seconds that are left for it; raises Undelivered."""


class Undelivered(Exception):
    """A message that did not arrive; `lasting`: another try would end alike."""

    def __init__(self, why: str, *, lasting: bool) -> None:
        super().__init__(why)
        self.lasting = lasting


class Messenger:
    """The thread of one receiver, which starts with the first message.

    Of messages of a kind that wait the newest counts, so that a receiver that is slow or away holds back two at most.
    """

    def __init__(self, where: str, deliver: Deliver, every: float) -> None:
        """`where` it is, in words; `every`: seconds between two messages of a kind, at least."""
        self._where, self._deliver, self._every = where, deliver, every
        self._thread = threading.Thread(target=self._work, name=where, daemon=True)
        self._changed = threading.Condition()
        self._waiting: dict[str, Message] = {}  # kind -> the newest
        self._told: dict[str, float] = {}  # kind -> when the last one was
        self._deadline: float | None = None  # of a run that has ended
        self._heard: list[str] = []
        self._silent = False  # it was said that the receiver cannot be reached

    def post(self, message: Message) -> None:
        """Have it delivered; returns at once."""
        with self._changed:
            if message.last:
                self._waiting.clear()
            self._waiting[message.event] = message
            self._changed.notify()
        if self._thread.ident is None:
            self._thread.start()

    def heard(self) -> list[str]:
        """What is to be said of the receiver, each sentence once."""
        with self._changed:
            said, self._heard = self._heard, []
        return said

    def finish(self, deadline: float) -> None:
        """Deliver what waits, without pauses between messages, and end by then, by the clock of `time.monotonic`."""
        with self._changed:
            self._deadline = deadline
            self._changed.notify()

    def join(self) -> None:
        """Wait for the end after `finish`, until its deadline."""
        if self._thread.ident is None:
            return
        assert self._deadline is not None
        self._thread.join(max(0.0, self._deadline - time.monotonic()) + GRACE)
        if self._thread.is_alive():
            self._say("did not take its last message in time: that is given up")

    # -- in the thread ------------------------------------------------------------------------------------------------

    def _work(self) -> None:
        while (message := self._next()) is not None:
            try:
                self._try(message)
            except Exception as error:  # noqa: BLE001 - whatever it is, later messages are not lost with this one
                self._say(f"did not take a message: {redacted(error)}")

    def _next(self) -> Message | None:
        """Wait for a message that is due; None: there will be none."""
        with self._changed:
            while self._deadline is None or time.monotonic() < self._deadline:
                if self._waiting:
                    kind, wait = min(((each, self._due(each)) for each in self._waiting), key=lambda pair: pair[1])
                    if wait <= 0:
                        self._told[kind] = time.monotonic()
                        return self._waiting.pop(kind)
                elif self._deadline is not None:
                    return None
                self._changed.wait(wait if self._waiting else None)
            return None

    def _due(self, kind: str) -> float:
        """Seconds until a message of the kind may be told."""
        if self._deadline is not None or self._waiting[kind].last or kind not in self._told:
            return 0.0
        return self._told[kind] + self._every - time.monotonic()

    def _try(self, message: Message) -> None:
        for index in range(TRIES):
            try:
                self._deliver(message, self._left(time.monotonic() + SECONDS))
            except Undelivered as error:
                more = not error.lasting and index + 1 < TRIES
                if not self._silent:
                    self._silent = True
                    self._say(f"did not take a message: {error}" + ("; it is tried again" if more else ""))
                if not more or not self._pause(PAUSES[index]):
                    return
            else:
                self._silent = False
                return

    def _left(self, end: float) -> Callable[[], float]:
        """Tells the seconds until then, or until the deadline of a run that has ended meanwhile."""

        def left() -> float:
            ends = end if self._deadline is None else min(end, self._deadline)
            return ends - time.monotonic()

        return left

    def _pause(self, seconds: float) -> bool:
        """Wait between two tries, shorter once the run has ended; returns whether another is worth while."""
        until = time.monotonic() + seconds
        with self._changed:
            while (now := time.monotonic()) < until:
                if self._deadline is not None:
                    until = min(until, now + PAUSES[0], self._deadline)
                    self._changed.wait(max(0.0, until - now))
                    break
                self._changed.wait(until - now)
            return self._deadline is None or time.monotonic() < self._deadline

    def _say(self, what: str) -> None:
        with self._changed:
            self._heard.append(f"{self._where} {what}; the search is not touched by it")


def run_command(command: Sequence[str], message: Message, left: Callable[[], float]) -> None:
    """Run a command that is told: JSON on its standard input, the essentials as variables, no password among them.

    Raises Undelivered; what takes longer than there is time left is killed, with all that it started.
    """
    with tempfile.TemporaryFile() as told, tempfile.TemporaryFile() as said:  # no pipe: its children may keep one open
        told.write(json.dumps(message.plain()).encode())
        told.seek(0)
        try:
            process = subprocess.Popen(
                command,
                stdin=told,
                stdout=subprocess.DEVNULL,
                stderr=said,
                env={**open_environment(), **_variables(message)},
                start_new_session=True,  # Ctrl-C is the driver's to handle
            )
        except (OSError, ValueError) as error:
            raise Undelivered(redacted(error), lasting=True) from None
        while process.poll() is None and left() > 0:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(timeout=min(left(), LOOK))
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise Undelivered("it did not end in time", lasting=True)
        if process.returncode:
            said.seek(0)
            words = said.read().decode(errors="replace").strip().splitlines()[-1:]
            why = ", ".join([f"exit status {process.returncode}", *(plain(redacted(each))[:SPOKEN] for each in words)])
            raise Undelivered(why, lasting=False)


def _variables(message: Message) -> dict[str, str]:
    told = {"event": message.event, "text": message.text, "study": message.study, "metric": message.metric}
    told |= {key: str(value) for key, value in message.facts.items() if key in ("trial", "value") and value is not None}
    return {f"HPO_{key.upper()}": value for key, value in told.items()}


class _Stay(urllib.request.HTTPRedirectHandler):
    """A message goes to the address that was given and to no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: Any, newurl: str
    ) -> None:
        return None


def send(address: str, message: Message, left: Callable[[], float]) -> None:
    """POST the message as JSON; raises Undelivered, whose words do not have the address."""
    if not address.startswith(("http://", "https://")):
        raise Undelivered("its address does not begin with https:// or http://", lasting=True)
    try:
        request = urllib.request.Request(
            address,
            data=json.dumps(message.plain()).encode(),
            headers={"Content-Type": "application/json", "User-Agent": "hpo"},
            method="POST",
        )
        with urllib.request.build_opener(_Stay).open(request, timeout=max(left(), LOOK)):
            pass
    except urllib.error.HTTPError as error:
        lasting = error.code < 500 and error.code not in AGAIN
        error.close()
        raise Undelivered(f"it answers {error.code}", lasting=lasting) from None
    except (OSError, http.client.HTTPException, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        said = "no answer" if isinstance(reason, TimeoutError) else redacted(reason) or type(error).__name__
        raise Undelivered(said, lasting=isinstance(error, ValueError)) from None
