"""What the commands print about studies and trials: tables for people, JSON for programs."""

from __future__ import annotations

import json
import math
import shlex
import sys
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from hpo.errors import HpoError, NoUsableTrial
from hpo.lease import holder
from hpo.masking import masked
from hpo.opening import open_ledger
from hpo.settings import Settings, is_server, program
from hpo.study import Study
from hpo.wording import assignments, number, plain, words

__all__ = ["best", "closing", "status", "trials"]


def status(name: str | None, settings: Settings, *, as_json: bool) -> None:
    """One study in detail, or all in a table."""
    if name is None:
        names = [row["name"] for row in open_ledger(settings).studies()]
        rows = [_line(each, settings) for each in names]
        _print(rows, ("study", "state", "trials", "best", "waiting_for_mlflow"), as_json)
        return
    facts = _status(Study.load(name, settings))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        if value is not None or key == "best":
            table.add_row(key.replace("_", " "), Text(_cell(value)))
    Console(highlight=False, soft_wrap=True).print(table)


def trials(study: Study, *, as_json: bool) -> None:
    """All trials of a study."""
    rows = study.rows()
    if as_json:
        print(json.dumps([{key: _finite(value) for key, value in row.items()} for row in rows], indent=2))
        return
    # a row has None for a parameter that is null, and for one that a condition kept out
    params = {trial.number: study.params(trial) for trial in study.frozen_trials()}
    for row in rows:
        row["parameters"] = assignments(params[row["number"]])
    _print(rows, ("number", "state", "value", "epoch", "best_value", "seconds", "parameters", "error"), as_json=False)


def best(study: Study, *, as_json: bool) -> None:
    """The best trial."""
    found = _best(study)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    reached = f"{study.spec.metric.name} {number(found['value'])} after {found['epoch']} epochs"
    if found["best_epoch"] != found["epoch"]:
        reached += f" ({number(found['best_value'])} at epoch {found['best_epoch']})"
    print(f"best trial  {found['number']}: {plain(reached)}")
    print(f"parameters  {plain(assignments(found['params']))}")
    if found["checkpoint"]:
        print(f"checkpoint  {plain(found['checkpoint'])}")


def closing(study: Study, *, as_json: bool) -> None:
    """The last words of a run: the best trial, where to look, what to type next."""
    best(study, as_json=as_json)
    if as_json:
        return
    name, settings = study.name, study.settings
    print(f"trials      {words(study.counts())}")
    print()
    print(f"curves      {plain(_mlflow_ui(settings))}")
    print(f"study       {shlex.join([program('optuna-dashboard'), masked(settings.storage)])}")
    print(f"next        {settings.command('trials', name)}")
    print(f"            {plain(settings.command('resume', name))} --set budget.trials=N")


def _mlflow_ui(settings: Settings) -> str:
    """The command that opens the curves; for a server, its address."""
    if is_server(settings.mlflow):
        return masked(settings.mlflow)
    return shlex.join([program("mlflow"), "ui", "--backend-store-uri", masked(settings.mlflow)])


def _line(name: str, settings: Settings) -> dict[str, Any]:
    """A study in the table of all; one that cannot be opened hides no other."""
    try:
        return _status(Study.load(name, settings))
    except HpoError as error:
        return {"study": name, "state": str(error), "trials": {}, "best": None, "waiting_for_mlflow": None}


def _status(study: Study) -> dict[str, Any]:
    row = study.row
    owner = holder(row)
    counts = study.counts()
    try:
        value = _best(study)["value"]
    except NoUsableTrial:
        value = None
    lost = f"its driver is gone; go on with: {study.settings.command('resume', study.name)}"
    return {
        "study": study.name,
        "state": f"running: {owner}" if owner else row["outcome"] or lost,
        "trials": counts,
        "best": value,
        "objective": f"{study.spec.metric.goal} {study.spec.metric.name}",
        "wall_seconds": round(row["seconds"], 1),
        **_spent(study),
        **_packing(study),
        "waiting_for_mlflow": study.ledger.pending_count(study.id),
        "storage": masked(study.settings.storage),
        "mlflow": masked(study.settings.mlflow),
    }


def _spent(study: Study) -> dict[str, Any]:
    """GPU-hours so far, and what they cost where a price is given."""
    hours, price = study.ledger.gpu_seconds(study.id) / 3600, study.spec.budget.price_per_gpu_hour
    return {"gpu_hours": round(hours, 3), "cost": round(hours * price, 2) if price is not None else None}


def _packing(study: Study) -> dict[str, Any]:
    """How many trials share a card, if that was ever decided, and why."""
    found = study.ledger.packings(study.id)
    return {
        "trials_per_card": found[-1]["per_card"] if found else None,
        "packing": found[-1]["reason"] if found else None,
    }


def _best(study: Study) -> dict[str, Any]:
    trial = study.best_trial
    row = next(each for each in study.rows() if each["number"] == trial.number)
    keys = ("number", "value", "epoch", "best_epoch", "best_value", "seconds", "checkpoint", "mlflow_run_id")
    return {**{key: row[key] for key in keys}, "params": trial.params}


def _print(rows: list[dict[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print(json.dumps(rows, indent=2))
        return
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column.replace("_", " "), overflow="fold")
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    # a file or a pipe has no margin; a terminal's is kept by folding, never by cutting
    Console(highlight=False, width=None if sys.stdout.isatty() else 10_000).print(table)


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, dict):
        return words(value)
    return number(value) if isinstance(value, float) else plain(str(value))


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
