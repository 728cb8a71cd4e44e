"""Optuna's pruner for each kind of early stopping that is its own."""

from __future__ import annotations

from optuna.pruners import BasePruner, HyperbandPruner, MedianPruner, NopPruner, SuccessiveHalvingPruner

from hpo.spec import SearchSpec

__all__ = ["pruner_of"]


def pruner_of(space: SearchSpec) -> BasePruner:
    """The pruner of a space; of one that promotes, whose rungs are ours, one that stops nothing."""
    pruner = space.pruner
    if pruner.type == "asha" and pruner.mode == "stop":
        return SuccessiveHalvingPruner(min_resource=pruner.min_epochs, reduction_factor=pruner.reduction)
    if pruner.type == "median":
        return MedianPruner(n_startup_trials=pruner.startup_trials, n_warmup_steps=pruner.min_epochs)
    if pruner.type == "hyperband":
        return HyperbandPruner(
            min_resource=pruner.min_epochs,
            max_resource=space.trainer.get("epochs", "auto"),
            reduction_factor=pruner.reduction,
        )
    return NopPruner()
