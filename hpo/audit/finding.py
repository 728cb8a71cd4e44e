"""One fact on which the records of a study differ, or that is not as it should be."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

__all__ = ["Finding", "Kind"]

Kind = Literal[
    "study",  # it cannot be opened, or Optuna does not have it
    "damaged",  # a column of ours cannot be read
    "place",  # its files are in another home folder
    "orphan",  # open, and no driver lives that would close it
    "outbox",  # records wait for MLflow
    "trials",  # only one of Optuna and our tables knows the trial
    "epochs",  # only one of them has an epoch
    "tally",  # what our tables add up is not what their epochs say
    "value",  # they say different things of the same
    "experiment",  # MLflow's is missing or deleted
    "run",  # MLflow's is missing, deleted, doubled, or of no trial
    "picture",  # MLflow's run lacks something, or has an old state
    "replace",  # MLflow's run says something else that MLflow cannot unsay
    "checkpoint",  # named in SQL, and missing, damaged or out of place
    "leftover",  # a file that SQL does not name
]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was found, and what `hpo doctor --fix` does about it."""

    study: str
    trial: int | None  # None: about the study itself
    kind: Kind
    what: str  # in words
    sides: Mapping[str, Any] = field(default_factory=dict)  # store -> what it says
    mend: str | None  # what --fix does; None: nothing it could do without guessing

    def __str__(self) -> str:
        return f"study {self.study}{': ' if self.trial is None else ', '}{self.about}"

    @property
    def about(self) -> str:
        """The same for who knows which study it is about."""
        place = "" if self.trial is None else f"trial {self.trial}: "
        sides = "; ".join(f"{store}: {said}" for store, said in self.sides.items())
        return f"{place}{self.what}" + (f" ({sides})" if sides else "")

    def plain(self) -> dict[str, Any]:
        """As JSON has it: sides as text, since JSON knows neither NaN nor numbers as keys."""
        return {**asdict(self), "sides": {store: str(said) for store, said in self.sides.items()}}
