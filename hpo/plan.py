"""What a search would do, told before it is done."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.errors import SpecError
from hpo.masking import masked
from hpo.settings import Settings
from hpo.space.parameters import Choice, Parameter
from hpo.spec import SearchSpec
from hpo.wording import literal, number, plain

__all__ = ["plan"]


def plan(space: SearchSpec, settings: Settings, *, as_json: bool) -> None:
    """Print how many trials will run, over which parameters, and where everything will be stored."""
    facts = _facts(space, settings)
    if as_json:
        print(json.dumps({**facts, "space": space.canonical()}, indent=2))
        return
    console = Console(highlight=False, soft_wrap=True)
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        table.add_row(key, Text(plain(value)))
    console.print(table)
    console.print()
    varied = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("parameter", "values"):
        varied.add_column(column)
    for name, parameter in space.parameters.items():
        when = ", ".join(
            f"{key} is {' or '.join(map(literal, values))}" for key, values in (parameter.when or {}).items()
        )
        varied.add_row(Text(plain(name)), Text(plain(_values(parameter) + (f", where {when}" if when else ""))))
    console.print(varied)


def _facts(space: SearchSpec, settings: Settings) -> dict[str, str]:
    return {
        "study": space.name,
        "objective": f"{space.metric.goal} {space.metric.name} at a trial's last epoch",
        "sampler": f"{space.sampler.type}, seed {space.sampler.seed}",
        "trials": _trials(space),
        "early stopping": _pruner(space),
        "trainer": _trainer(space.trainer),
        "per trial": f"{space.resources.cpu:g} CPU, {space.resources.gpu} GPU",
        "studies": masked(settings.storage),
        "MLflow": masked(settings.mlflow),
        "checkpoints": f"{settings.checkpoints}, {_kept(space)}",
        "datasets": str(settings.datasets),
        "Ray": masked(settings.ray) if settings.ray else "a local cluster, for the run",
        "identity": f"{space.hash()} (a study of this name runs with this space only)",
        **_missing(space),
    }


def _missing(space: SearchSpec) -> dict[str, str]:
    """What has to be said before it can run, and may be said as late as then."""
    try:
        space.require_sources()
    except SpecError as error:
        return {"missing": str(error)}
    return {}


def _trials(space: SearchSpec) -> str:
    if space.sampler.type == "grid":
        cells = len(space.grid())
        most = space.budget.trials
        return f"{cells} grid points" + (f", {most} of them" if most is not None and most < cells else "")
    budget = space.budget
    limits = {
        f"{budget.trials} trials": budget.trials,
        str(timedelta(seconds=budget.time or 0)): budget.time,
        f"{number(budget.gpu_hours)} GPU-hours": budget.gpu_hours,
        f"a cost of {number(budget.cost)}": budget.cost,
        f"{budget.failures} failures": budget.failures,
    }
    return "until " + " or ".join(text for text, limit in limits.items() if limit is not None)


def _kept(space: SearchSpec) -> str:
    disk = space.budget.disk
    limit = f" up to {disk / 1e9:g} GB" if disk is not None else ""
    return f"of the best {space.checkpoints_kept} finished trials{limit} and of those at work"


def _pruner(space: SearchSpec) -> str:
    pruner = space.pruner
    if pruner.type == "none":
        return "none"
    if pruner.type == "median":
        return f"median after {pruner.startup_trials} trials, from epoch {pruner.min_epochs}"
    return f"{pruner.type}: the best 1/{pruner.reduction} go on, first judged after epoch {pruner.min_epochs}"


def _trainer(trainer: dict[str, Any]) -> str:
    return ", ".join(f"{key}={_flat(value)}" for key, value in trainer.items())


def _flat(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}={_flat(inner)}" for key, inner in value.items()) + "}"
    return literal(value)


def _values(parameter: Parameter) -> str:
    if isinstance(parameter, Choice):
        return ", ".join(map(literal, parameter.values()))
    step = f" in steps of {parameter.step:g}" if parameter.step is not None else ""
    return f"{parameter.min:g} .. {parameter.max:g}{step}{', logarithmic' if parameter.log else ''}"
