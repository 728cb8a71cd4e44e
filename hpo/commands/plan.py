"""What a search would do, told before it is done."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.audit.disk import Forecast, forecast, told
from hpo.errors import SpecError, Unavailable
from hpo.goals import wanted
from hpo.masking import masked
from hpo.rungs import Rungs
from hpo.search.notice import receivers
from hpo.search.retention import Held, Verdict, judge, look
from hpo.settings import Settings
from hpo.space.parameters import Choice, Parameter
from hpo.space.secrets import UNKEPT
from hpo.spec import SearchSpec
from hpo.store import columns
from hpo.store.ledger import Ledger
from hpo.store.opening import difference
from hpo.tables import printed
from hpo.wording import literal, number, plain, size

if TYPE_CHECKING:
    from hpo.study import Study

__all__ = ["plan", "plan_again"]


def plan(
    space: SearchSpec, settings: Settings, *, concurrency: int | None, as_json: bool, prints: bool = True
) -> dict[str, Any]:
    """Print how many trials will run, over which parameters, where everything will be stored, and in how much room.

    Warnings go to stderr. Of a study that exists, what becomes of its checkpoints is told too. Nothing is written.
    Returns the same as plain values; unless it `prints`, that is all.
    """
    warnings = []
    study = None
    try:
        study = _existing(space, settings)
    except Unavailable as error:
        warnings.append(f"{error}; whether the study exists is not known")
    except SpecError as error:
        warnings.append(f"`hpo run` will refuse this file: {error}")
    return _show(space, settings, study, warnings, concurrency=concurrency, as_json=as_json, prints=prints)


def _existing(space: SearchSpec, settings: Settings) -> Study | None:
    """The study of that name, to look at; None where there is none. Raises SpecError where it is over another space."""
    if settings.storage_file is not None and not settings.storage_file.exists():
        return None
    try:
        row = Ledger.read(settings.storage).study(space.name)
    except SpecError:  # the database has no study yet
        return None
    if row is None:
        return None
    if row["hash"] != space.hash():
        raise SpecError(difference(space, columns.canonical(row)))
    from hpo.study import Study  # imports Optuna

    return Study.load(space.name, settings, reading=True)


def plan_again(
    name: str, settings: Settings, overrides: Sequence[str], *, concurrency: int | None, as_json: bool
) -> None:
    """Print the same of a study that exists, with another budget or other resources.

    Raises:
        SpecError: there is no study of that name, or an override would change its space.
        Unavailable: the database does not answer.
    """
    from hpo.study import Study

    study = Study.load(name, settings, overrides, reading=True)
    _show(study.spec, study.settings, study, [], concurrency=concurrency, as_json=as_json)


def _show(
    space: SearchSpec,
    settings: Settings,
    study: Study | None,
    warnings: list[str],
    *,
    concurrency: int | None,
    as_json: bool,
    prints: bool = True,
) -> dict[str, Any]:
    ahead = forecast(space, settings, study, concurrency=concurrency)
    verdict = judge(look(study), space) if study is not None else None
    facts = _facts(space, settings) | {"disk": told(ahead), **_stored(ahead, verdict)}
    everything = {**facts, **_numbers(ahead, verdict), "space": space.canonical()}
    if as_json and prints:
        print(json.dumps(everything, indent=2))
    elif prints:
        _print(space, facts)
    for text in filter(None, [*warnings, ahead.warning]):
        Console(stderr=True, highlight=False, soft_wrap=True).print(Text(f"warning: {plain(text)}", style="yellow"))
    return everything


def _print(space: SearchSpec, facts: Mapping[str, str]) -> None:
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        table.add_row(key, Text(plain(value)))
    varied = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("parameter", "values"):
        varied.add_column(column)
    for name, parameter in space.parameters.items():
        when = ", ".join(
            f"{key} is {' or '.join(map(literal, values))}" for key, values in (parameter.when or {}).items()
        )
        varied.add_row(Text(plain(name)), Text(plain(_values(parameter) + (f", where {when}" if when else ""))))
    printed(table, "", varied)


def _stored(ahead: Forecast, verdict: Verdict | None) -> dict[str, str]:
    """What a study that exists has on the disk, and what the next run makes of it at its beginning."""
    if verdict is None or not ahead.taken:
        return {}
    said = [f"{size(ahead.taken)} now"]
    if verdict.stays:
        said.append(f"kept: {_trials_of(verdict.stays)}")
    if verdict.working:
        said.append(f"to go on with: {_trials_of(verdict.working)}")
    removed = [each for each in verdict.goes if each.files]
    if verdict.freed:
        said.append(f"the next run removes {size(verdict.freed)}{f' of {_trials_of(removed)}' if removed else ''}")
    return {"stored": "; ".join(said)}


def _trials_of(held: Sequence[Held]) -> str:
    return ("trial " if len(held) == 1 else "trials ") + ", ".join(str(each.number) for each in held)


def _numbers(ahead: Forecast, verdict: Verdict | None) -> dict[str, Any]:
    """The same in bytes and numbers of trials, for programs."""
    found: dict[str, Any] = {
        "checkpoint_bytes": ahead.one,
        "checkpoint_bytes_needed": ahead.need,
        "free_bytes": ahead.free,
        "trials_at_once": ahead.at_once,
    }
    if verdict is not None:
        found |= {
            "checkpoint_bytes_taken": ahead.taken,
            "checkpoint_bytes_removed": verdict.freed,
            "kept_trials": [each.number for each in verdict.stays],
            "removed_trials": [each.number for each in verdict.goes if each.files],
        }
    return found


def _facts(space: SearchSpec, settings: Settings) -> dict[str, str]:
    return {
        "study": space.name,
        "objective": f"{wanted(space.metrics)} at a trial's last epoch",
        **({"constraints": "; ".join(map(str, space.constraints))} if space.constraints else {}),
        "sampler": f"{space.sampler.type}, seed {space.sampler.seed}",
        "trials": _trials(space),
        **({"mind": space.sampler.caveat} if space.sampler.caveat else {}),
        "early stopping": _pruner(space),
        "trainer": _trainer(space.trainer),
        "per trial": f"{space.resources.cpu:g} CPU, {space.resources.gpu} GPU",
        **({"all trials": space.resources.quota} if space.resources.quota else {}),
        **_notify(space),
        "studies": masked(settings.storage),
        "MLflow": masked(settings.mlflow),
        "checkpoints": f"{settings.checkpoints}, {_kept(space)}",
        "datasets": str(settings.datasets),
        "Ray": masked(settings.ray) if settings.ray else "a local cluster, for the run",
        "identity": f"{space.hash()} (a study of this name runs with this space only)",
        **_missing(space),
    }


def _notify(space: SearchSpec) -> dict[str, str]:
    if space.notify is None:
        return {}
    told = f"{', '.join(space.notify.on)}: {'; '.join(receivers(space.notify))}"
    if space.notify.secret:
        told += f" (not kept on record: `hpo resume` takes it from {UNKEPT.removeprefix('$')})"
    return {"notify": told}


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
        most = space.trials
        return f"{cells} grid points" + (f", {most} of them" if most is not None and most < cells else "")
    budget = space.budget
    if space.sampler.type == "staged":
        named = ", ".join(f"{name} {len(values)}" for name, values in space.stages.items())
        cells = sum(map(len, space.stages.values()))
        most = space.trials
        cut = f", the first {most} of them" if most is not None and most < cells else ""
        return f"{cells} at most, one stage after the other: {named}{cut}"
    limits = {
        f"{space.trials} trials{_for_winner(space)}": budget.trials,
        str(timedelta(seconds=budget.time or 0)): budget.time,
        f"{number(budget.gpu_hours)} GPU-hours": budget.gpu_hours,
        f"a cost of {number(budget.cost)}": budget.cost,
        f"{budget.failures} failures": budget.failures,
        f"{budget.plateau} trials without a new best": budget.plateau,
        f"{space.metric.name} of {number(budget.target)}": budget.target,
    }
    return "until " + " or ".join(text for text, limit in limits.items() if limit is not None)


def _for_winner(space: SearchSpec) -> str:
    return f" and {space.reserved} trainings for the winner" if space.reserved else ""


def _kept(space: SearchSpec) -> str:
    disk = space.budget.disk
    limit = f" up to {disk / 1e9:g} GB" if disk is not None else ""
    front = ", of the front" if space.several else ""
    return f"of the best {space.checkpoints_kept} finished trials{limit}{front} and of those at work"


def _pruner(space: SearchSpec) -> str:
    pruner = space.pruner
    if pruner.type == "none":
        return "none"
    if pruner.type == "median":
        return f"median after {pruner.startup_trials} trials, from epoch {pruner.min_epochs}"
    pauses = ", others pause until they are" if pruner.mode == "promote" else ""
    first = f"first judged after epoch {pruner.min_epochs}"
    rungs = Rungs.of(space)
    if rungs is not None and rungs.unasked:
        first += f", which 1 in {pruner.reduction} passes unasked"
    return f"{pruner.type}: the best 1/{pruner.reduction} go on{pauses}, {first}"


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
