"""What a space file need not say of how to search: the sampler and pruner that measured best, and where rungs are."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hpo.errors import SpecError
from hpo.space import own
from hpo.space.document import Document
from hpo.space.parameters import Choice, IntRange, Parameter

__all__ = ["DRAWN", "fill", "longest"]

SHORTEST = 3
"""Epochs of a schedule in which there is something to stop."""
DRAWN = ("random", "tpe", "gp")
"""Samplers that go on without end."""


def fill(document: Document, parameters: Mapping[str, Parameter], folder: Path | None) -> None:
    """Write out the sampler and the pruner of a search that names none, and what an asha leaves out."""
    one = document.tree.get("metrics") is None
    sampler = document.tree.setdefault("sampler", {})
    if isinstance(sampler, dict):
        sampler.setdefault("type", "gp" if one else "tpe")
    tree = document.tree.get("trainer")
    if not isinstance(tree, dict):
        return
    epochs = longest(tree, parameters)
    drawn = isinstance(sampler, dict) and sampler["type"] in DRAWN
    if one and drawn and epochs is not None and epochs >= SHORTEST:  # of several goals no curve tells who is weak
        document.tree.setdefault("pruner", {"type": "asha"})
    pruner = document.tree.get("pruner")
    if not isinstance(pruner, dict) or pruner.get("type") != "asha":
        return
    pruner.setdefault("mode", "promote" if _keeps_state(tree, folder) else "stop")
    part = {"promote": 27, "stop": 9}.get(str(pruner["mode"]))
    if epochs is not None and part is not None:  # earlier rungs may mislead, for which stopping for good has no cure
        pruner.setdefault("min_epochs", max(1, math.ceil(epochs / part)))


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
