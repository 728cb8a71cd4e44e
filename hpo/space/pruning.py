"""What a space file need not say of early stopping: the pruner that measured best, and where its rungs are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.space import own
from hpo.space.document import Document
from hpo.space.parameters import Choice, IntRange, Parameter

__all__ = ["fill", "longest"]

RUNGS = 9
"""The first rung is at 1/9 of the schedule: two rungs with a reduction of 3. Earlier ones find no more."""
SHORTEST = 3
"""Epochs of a schedule in which there is something to stop."""


def fill(document: Document, parameters: Mapping[str, Parameter], folder: Path | None) -> None:
    """Write out the pruner of a search that names none, and what an asha leaves out."""
    tree, sampler = document.tree.get("trainer"), document.tree.get("sampler")
    if not isinstance(tree, dict):
        return
    epochs = longest(tree, parameters)
    kind = sampler.get("type") if isinstance(sampler, dict) else None
    one = document.tree.get("metrics") is None  # of several no curve tells who is weak
    if (
        one
        and "pruner" not in document.tree
        and kind in ("random", "tpe")
        and epochs is not None
        and epochs >= SHORTEST
    ):
        document.tree["pruner"] = {"type": "asha"}
    pruner = document.tree.get("pruner")
    if not isinstance(pruner, dict) or pruner.get("type") != "asha":
        return
    pruner.setdefault("mode", "promote" if _keeps_state(tree, folder) else "stop")
    if epochs is not None:
        pruner.setdefault("min_epochs", max(1, math.ceil(epochs / RUNGS)))


def longest(trainer: Mapping[str, Any], parameters: Mapping[str, Parameter]) -> int | None:
    """Epochs of the longest trial; None where there is no key of that name, or nothing sensible in it."""
    searched = parameters.get("epochs")
    if isinstance(searched, IntRange):
        return searched.max
    if isinstance(searched, Choice):
        return max((each for each in searched.options if isinstance(each, int)), default=None)
    if searched is None and "epochs" not in trainer and "import" not in trainer:
        from hpo.space import builtin  # reads the trainer's keys

        return int(builtin.default(trainer, "epochs"))
    given = trainer.get("epochs")
    return given if isinstance(given, int) and not isinstance(given, bool) else None


def _keeps_state(trainer: Mapping[str, Any], folder: Path | None) -> bool:
    """Whether a trial can go on from a checkpoint; the built-in trainer's can."""
    if "import" not in trainer:
        return True
    try:
        return hasattr(own.find(trainer["import"], folder), "load_state_dict")
    except (SpecError, AttributeError):  # which is said elsewhere
        return False
