"""What is told of a search to whoever does not look: its end, a trial that failed, a new best."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from hpo.errors import Interrupted
from hpo.goals import reached
from hpo.masking import host_alone, redacted
from hpo.search.messenger import Message, Messenger, run_command, send
from hpo.settings import webhook
from hpo.space.sections import Notify
from hpo.spec import SearchSpec
from hpo.wording import assignments, plain, words

if TYPE_CHECKING:
    from hpo.search.running import Event
    from hpo.study import Study

__all__ = ["Notices", "receivers"]

CLOSING_SECONDS = 10.0  # that the end of a run waits for its last messages
HURRY = 3.0  # the same where somebody waits who has stopped it
LONGEST = 500  # letters of a text


class Notices:
    """Tells the receivers that a space file names, in threads of their own; without any it does nothing."""

    def __init__(self, space: SearchSpec, say: Callable[[str], None]) -> None:
        """`say` gets a sentence where a receiver cannot be reached, in the thread of the caller."""
        self._space, self._say = space, say
        self._failures = 0
        self._seconds = CLOSING_SECONDS
        self._messengers: list[Messenger] = []
        wish = space.notify
        self._on = frozenset(wish.on) if wish is not None else frozenset()
        if wish is not None and wish.command is not None:
            run = partial(run_command, wish.command)
            self._messengers.append(Messenger(f"notify.command {wish.command[0]}", run, wish.every))
        if wish is not None and wish.webhook is not None:
            self._add_webhook(wish.webhook, wish.every)

    def _add_webhook(self, given: str, every: float) -> None:
        address = webhook(given)
        if address is None:
            self._say(f"notify.webhook is {given}, which is not set here: nothing is sent to it")
            return
        self._messengers.append(Messenger(f"notify.webhook {host_alone(address)}", partial(send, address), every))

    def show(self, event: Event) -> None:
        """Take in what happened to a trial."""
        if event.kind != "end" or not self._messengers:
            return
        if event.state == "FAIL" and "failure" in self._on:
            self._failures += 1
            why = (event.error or "").partition("\n")[0]
            so_far = f" ({self._failures} have in this run)" if self._failures > 1 else ""
            self._tell("failure", f"trial {event.number} failed{so_far}: {why}", event, error=why)
        elif event.best and "best" in self._on and self._space.confirms is None:  # there the means count
            values = event.point.values if event.point is not None else ()
            best = f"{reached(values, self._space.metrics)}, trial {event.number}: {assignments(event.params)}"
            self._tell("best", f"new {'on the front' if self._space.several else 'best'} {best}", event)
        self.tick()

    def tick(self) -> None:
        """Pass on what receivers had to say of themselves; called now and then."""
        for each in self._messengers:
            for sentence in each.heard():
                self._say(sentence)

    def ended(self, study: Study, outcome: str) -> None:
        """The run came to its end. Of trainings that confirm a search the winner is what is told, by whoever has it."""
        if not self._messengers or study.spec.confirms is not None:
            return
        front, counts = study.front(), study.counts()
        if study.spec.several:
            numbers = [each.number for each in front]
            self.tell_end(f"{outcome}; {words(counts)}", front=numbers, trials=counts)
            return
        best = study.best_trial
        params, value = study.params(best), best.values[0]
        said = reached(front[0].values, study.spec.metrics)
        text = f"{outcome}; {words(counts)}; best {said}, trial {best.number}: {assignments(params)}"
        if study.spec.winner is not None:
            text += f"; now its best {study.spec.winner.top} are trained again with fresh seeds"
        self.tell_end(text, trial=best.number, value=value, params=params, trials=counts)

    def broke_off(self, outcome: str, error: BaseException) -> None:
        """The run ended with an error, or because somebody stopped it, who is not kept waiting."""
        stopped = isinstance(error, Interrupted)
        self._seconds = HURRY if stopped else CLOSING_SECONDS
        self.tell_end(outcome if stopped else f"failed: {outcome}", failed=not stopped)

    def tell_end(self, text: str, *, failed: bool = False, **facts: Any) -> None:
        """Say how it ended; this takes the place of what waits to be told of trials."""
        if "end" in self._on or (failed and "failure" in self._on):
            self._post("failure" if failed else "end", text, facts, last=True)

    def close(self) -> None:
        """Wait a little for what is still to be told, then give it up, with a sentence."""
        deadline = time.monotonic() + self._seconds
        for each in self._messengers:
            each.finish(deadline)
        try:
            for each in self._messengers:
                each.join()
        except KeyboardInterrupt:  # all else is done
            self._say("what was still to be told by `notify` is not told")
        self.tick()
        self._messengers = []

    def _tell(self, kind: str, text: str, event: Event, **facts: Any) -> None:
        told = {"trial": event.number, "value": event.value, "params": dict(event.params), "epoch": event.epoch}
        self._post(kind, text, {**told, **facts})

    def _post(self, kind: str, text: str, facts: Mapping[str, Any], *, last: bool = False) -> None:
        said = plain(redacted(f"study {self._space.name}: {text}"))
        message = Message(
            event=kind,
            text=said if len(said) <= LONGEST else f"{said[:LONGEST]}...",
            study=self._space.name,
            metric=self._space.metric.name,
            host=socket.gethostname(),
            facts=dict(facts),
            last=last,
        )
        for each in self._messengers:
            each.post(message)


def receivers(wish: Notify | None) -> list[str]:
    """Whom a section names, in words that anybody may read, and what keeps a message from them."""
    if wish is None:
        return []
    found = []
    if wish.command is not None:
        found.append(f"command {wish.command[0]}")
    if wish.webhook is not None:
        address = webhook(wish.webhook)
        where = host_alone(address) if address else "not set here"
        found.append(f"webhook {where}" if wish.secret else f"webhook {wish.webhook}: {where}")
    return found
