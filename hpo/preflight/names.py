"""The checks by name, and which of them are left out."""

from __future__ import annotations

from collections.abc import Sequence

from hpo.errors import SpecError
from hpo.space.document import near
from trainers.checks import names

__all__ = ["ALL", "NAMES", "left_out"]

ALL = "all"
NAMES = {
    "database": "the studies' database takes and gives back a row",
    "mlflow": "MLflow answers and takes a record",
    "checkpoints": "files of checkpoints and artifacts can be written, synced and read",
    "trainer": "data are read and the network is made",
    **names.NAMES,
    "notify": "whom the search is to tell can be told",
    "disk": "room for checkpoints",
    "forecast": "whether the search can end within its budget",
}
"""Name -> what it looks at, in the order in which they are told."""


def left_out(given: Sequence[str]) -> frozenset[str]:
    """The checks that `--skip-check` names, `all` for every one.

    Raises:
        SpecError: there is no check of that name.
    """
    for name in given:
        if name != ALL and name not in NAMES:
            valid = ", ".join([*NAMES, ALL])
            raise SpecError(f"--skip-check {name}: there is no such check{near(name, NAMES)}; valid: {valid}")
    return frozenset(NAMES) if ALL in given else frozenset(given)
