"""What can go wrong, and the exit code each kind ends a command with.

HpoError                    1  our fault, or something nobody foresaw
+-- SpecError               2  the space file or the command line is wrong; carries every error at once
+-- CheckFailed             3  a check before the search says that nothing good can come of it; nothing was started
+-- NoUsableTrial           3  the search ended without a trial that may win
+-- Unavailable             4  a store cannot be reached; the study is whole and can be resumed
|   `-- StudyOwned          4  another driver holds the study's lease
`-- Interrupted           130  stopped by the user; the study is whole and can be resumed

`hpo doctor` ends with 3 too, without an error, where the records differ.
"""

from __future__ import annotations

__all__ = ["CheckFailed", "HpoError", "Interrupted", "NoUsableTrial", "SpecError", "StudyOwned", "Unavailable"]


class HpoError(Exception):
    """Base of every error this package raises on purpose; the message is written for the user."""

    exit_code = 1


class SpecError(HpoError):
    """A space file or an argument that cannot be used. The message holds one line per error."""

    exit_code = 2


class CheckFailed(HpoError):
    """A check before a search has failed. The message says which, and what to do."""

    exit_code = 3


class NoUsableTrial(HpoError):
    """No trial finished with a finite value, or the budget of failures is spent."""

    exit_code = 3


class Unavailable(HpoError):
    """A database or server does not answer; the same command can be typed again later."""

    exit_code = 4


class StudyOwned(Unavailable):
    """Another driver is at work on the study."""


class Interrupted(HpoError):
    """The user stopped the search; unfinished trials wait in the study's queue."""

    exit_code = 130
