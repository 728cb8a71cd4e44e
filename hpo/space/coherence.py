"""What the sections of a space file have to agree on with each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo.space import constraints
from hpo.space.defaults import DRAWN, longest
from hpo.space.document import Document
from hpo.space.entries import check_grid
from hpo.space.hints import meant
from hpo.space.parameters import Parameter
from hpo.space.sections import READ_BY, Winner
from hpo.space.stages import check_order

__all__ = ["check"]


def check(document: Document, parameters: Mapping[str, Parameter]) -> None:
    """Record what does not fit together: options that are not read, an order of others, a search without an end."""
    constraints.check(document)
    _check_options(document)
    check_order(document)
    _check_end(document, parameters)


def _check_options(document: Document) -> None:
    """Refuse options that the chosen type of sampler or pruner does not read."""
    for section, readers in READ_BY.items():
        tree = document.tree.get(section)
        kind = tree.get("type", "none" if section == "pruner" else None) if isinstance(tree, dict) else None
        known = [each for kinds in readers.values() for each in kinds] + ["none", "grid", *DRAWN]
        for key, kinds in readers.items():
            if isinstance(tree, dict) and key in tree and kind in known and kind not in kinds:
                fix = f"it belongs to {', '.join(kinds)}; remove it"
                document.refuse((section, key), f"`{key}` is not read by {section} {kind}: {fix}", key=True)


def _check_end(document: Document, parameters: Mapping[str, Parameter]) -> None:
    """Refuse a search that would not end, and a grid that cannot be listed."""
    sampler, budget = document.tree.get("sampler"), document.tree.get("budget", {})
    kind = sampler.get("type") if isinstance(sampler, dict) else None
    if kind == "grid" and "confirms" not in document.tree:
        check_grid(document, parameters)
    pruner, trainer = document.tree.get("pruner"), document.tree.get("trainer")
    epochs = longest(trainer, parameters) if isinstance(trainer, dict) else None
    winner = document.tree.get("winner")
    known = {*trainer, *parameters} if isinstance(trainer, dict) else {"epochs"}
    if isinstance(winner, dict) and "epochs" in winner and "epochs" not in known:
        document.refuse(("winner", "epochs"), "`epochs` needs a trainer with a key of that name", key=True)
    _check_reserve(document, winner, budget)
    first = pruner.get("min_epochs") if isinstance(pruner, dict) else None
    if isinstance(first, int) and epochs is not None and first >= epochs:
        never = f"{first} is not below the {epochs} epochs of the longest trial: none could be stopped early"
        document.refuse(("pruner", "min_epochs"), f"{never}; lower it, or remove the pruner")
    if kind in DRAWN and isinstance(budget, dict) and not _limits(document.tree, budget):
        document.refuse(
            ("budget",), f"sampler {kind} does not end by itself; give budget: {{trials: 50}}, time or gpu_hours"
        )


def _check_reserve(document: Document, winner: Any, budget: Any) -> None:
    """Refuse a budget that the winner's trainings use up, or that keeps some of it for no winner."""
    if not isinstance(budget, dict) or budget.get("with_winner") is not True:
        return
    trail = ("budget", "with_winner")
    if not isinstance(winner, dict):
        document.refuse(trail, "`with_winner` needs a `winner`, such as winner: {top: 3, seeds: 3}", key=True)
        return
    if budget.get("trials") is None and budget.get("gpu_hours") is None:
        document.refuse(trail, "`with_winner` is about trials or gpu_hours, and neither is given; add one", key=True)
    again = [winner.get(key, Winner.model_fields[key].default) for key in ("top", "seeds")]
    trials = budget.get("trials")
    if all(isinstance(each, int) for each in (*again, trials)) and trials <= again[0] * again[1]:
        said = f"{trials} trials leave none to search with: the winner's {again[0]} x {again[1]} come out of them"
        document.refuse(("budget", "trials"), f"{said}; give more, or lower winner.top or winner.seeds")


def _limits(tree: Mapping[str, Any], budget: Mapping[str, Any]) -> bool:
    """Whether anything is given that ends a search, be it under the name that another tool has for it."""
    keys = {meant("budget", key) or key for key, value in budget.items() if value is not None}
    return bool(keys & {"trials", "time", "gpu_hours", "cost", "plateau"}) or any(
        "budget" in (meant("", key) or "") for key in tree
    )
