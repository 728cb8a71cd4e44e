"""What a driver does while its database is away: try again, for a while, instead of losing a search."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Any, TypeVar, cast

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, PendingRollbackError

from hpo.masking import redacted

__all__ = ["SECONDS", "Patience", "patient", "reason"]

SECONDS = 120.0  # that a driver waits for its database
FIRST_PAUSE, LONGEST_PAUSE = 0.05, 1.0
LASTING = ("full", "readonly", "read-only", "no such table", "does not exist", "authentication", "malformed")
"""Words of errors that waiting does not mend."""

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class Patience:
    """How long the calls of one study are tried again; nobody waits unless a driver says so."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.say: Callable[[str], None] = lambda text: None
        self.outages = 0
        """Calls that had to be tried again. What the first try did may have been done without an answer."""

    def call(self, work: Callable[[], T]) -> T:
        """Do `work`, again and again while the database is away; doing it twice must do no harm.

        Raises whatever it raises, once patience is at its end; at once where waiting mends nothing.
        """
        try:
            return work()
        except Exception as error:
            if self.seconds <= 0 or not _passing(error):
                raise
            first = error
        self.outages += 1
        self.say(f"the database does not answer, trying for {self.seconds:.0f} s: {reason(first)}")
        return self._again(work, first)

    def _again(self, work: Callable[[], T], error: Exception) -> T:
        began, pause = time.monotonic(), FIRST_PAUSE
        while time.monotonic() - began < self.seconds:
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE)
            try:
                result = work()
            except Exception as again:
                if not _passing(again):
                    raise
                error = again
            else:
                self.say(f"the database is back after {time.monotonic() - began:.0f} s")
                return result
        self.seconds = 0.0  # who has waited in vain does not begin again with the next call
        raise error


def patient(method: F) -> F:
    """A method that is tried again as the `patience` of its object says."""

    @functools.wraps(method)
    def trying(self: Any, *arguments: Any, **named: Any) -> Any:
        patience: Patience = self.patience
        return patience.call(lambda: method(self, *arguments, **named))

    return cast(F, trying)


def reason(error: BaseException) -> str:
    """What the database's own driver said, in a line."""
    found = _of_database(error) or error
    return redacted(getattr(found, "orig", None) or found).strip().splitlines()[0]


def _of_database(error: BaseException) -> DBAPIError | None:
    """The database's error behind an error; Optuna raises one of its own."""
    return next((each for each in (error, error.__cause__) if isinstance(each, DBAPIError)), None)


def _passing(error: BaseException) -> bool:
    """Whether it may be over in a while: a lock, a lost connection, a server that is not up."""
    if any(isinstance(each, PendingRollbackError) for each in (error, error.__cause__)):
        return True  # its connection broke in a query before, from which Optuna went on to another
    found = _of_database(error)
    if found is None or any(word in reason(error) for word in LASTING):
        return False
    return found.connection_invalidated or isinstance(found, OperationalError | InterfaceError)
