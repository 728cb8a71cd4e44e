"""Which parameters matter."""

from __future__ import annotations

import warnings
from collections.abc import Mapping

import optuna

from hpo.report.axes import label
from hpo.report.plots import Figure, figure
from hpo.study import Study

__all__ = ["bars", "importances"]

FEWEST = 10  # complete trials, below which importances are chance
TOP = 5  # complete trials that PED-ANOVA should find in the best part, as its authors say


def importances(study: Study, complete: int, goal: int = 0) -> tuple[dict[str, float], str]:
    """How much each parameter matters for being among the best (PED-ANOVA), the most important first; and a note.

    `goal` is the place of one of several goals.

    Empty, with the reason, where that cannot be said.
    """
    if complete < FEWEST:
        are = "trial is" if complete == 1 else "trials are"
        return {}, f"{complete} {are} complete; what matters can be told from {FEWEST} on, and well from 50."
    quantile = max(0.1, TOP / complete)
    sign = study.spec.metrics[goal].sign
    target = (lambda trial: -sign * trial.values[goal]) if study.spec.several else None  # the least is the best
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=quantile)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            found = optuna.importance.get_param_importances(study.optuna, evaluator=evaluator, target=target)
    except (ValueError, RuntimeError) as error:  # such as: no parameter varies
        return {}, f"Importances cannot be told: {error}"
    if not any(found.values()):
        return {}, "No parameter tells the best trials from the others."
    rough = " With fewer than 50 complete trials this is a rough guess." if complete < 50 else ""
    return dict(found), f"Share in what tells the best {quantile:.0%} of {complete} complete trials (PED-ANOVA).{rough}"


def bars(found: Mapping[str, float]) -> Figure:
    """Importances as bars, the largest on top."""
    names = list(found)[::-1]
    trace = {
        "type": "bar",
        "orientation": "h",
        "y": [label(each) for each in names],
        "x": [round(found[each], 4) for each in names],
        "text": [f"{found[each]:.0%}" for each in names],
        "textposition": "outside",
        "cliponaxis": False,
        "marker": {"color": "$accent"},
        "hovertemplate": "%{y}: %{x:.1%}<extra></extra>",
    }
    says = "importance of each parameter: " + ", ".join(f"{name} {found[name]:.0%}" for name in found)
    x = {"title": {"text": "importance"}, "tickformat": ".0%", "rangemode": "tozero"}
    return figure([trace], says=says, x=x, y={"automargin": True}, height=90 + 30 * len(names))
