"""The trials of a study as plain values, a row each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hpo.goals import in_words, missed
from hpo.rungs import states
from hpo.store.history import origin

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial
    from sqlalchemy.engine import RowMapping

    from hpo.study import Study

__all__ = ["last_value", "row"]


def row(study: Study, trial: FrozenTrial, ours: RowMapping | None) -> dict[str, Any]:
    """A trial with its parameters under their own names; `ours` is its row of hpo_trial."""
    extra: Any = ours or dict.fromkeys(
        ("epoch", "best_epoch", "best_value", "seconds", "attempt", "error", "traceback", "run_id")
    )
    params = study.params(trial)
    checkpoint = study.kept(ours)
    return {
        "number": trial.number,
        "state": states(study.spec, [trial])[0],
        "value": trial.values[0] if trial.state.name == "COMPLETE" else last_value(trial),
        **_beside(study, trial),
        **{name: params.get(name) for name in study.spec.parameters},
        "epoch": extra["epoch"],
        "best_epoch": extra["best_epoch"],
        "best_value": extra["best_value"],
        "seconds": extra["seconds"],
        "attempt": extra["attempt"],
        "error": extra["error"],
        "traceback": extra["traceback"],
        "checkpoint": str(checkpoint) if checkpoint else None,
        "mlflow_run_id": extra["run_id"],
        "origin": origin(trial.user_attrs),
    }


def _beside(study: Study, trial: FrozenTrial) -> dict[str, Any]:
    """What a row says of the other goals, and of constraints, where there are any."""
    others = [f"value of {each.name}" for each in study.spec.metrics[1:]]
    values = trial.values[1:] if trial.state.name == "COMPLETE" else [None] * len(others)
    found: dict[str, Any] = dict(zip(others, values, strict=True))
    return found | ({"misses": in_words(missed(trial))} if study.spec.constraints else {})


def last_value(trial: FrozenTrial) -> float | None:
    """The objective at the last epoch on record."""
    return trial.intermediate_values[trial.last_step] if trial.last_step is not None else None
