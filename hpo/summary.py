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

from hpo.errors import NoUsableTrial
from hpo.lease import holder
from hpo.progress import assignments, number
from hpo.settings import Settings, masked
from hpo.study import Study, open_ledger

__all__ = ["best", "closing", "status", "trials"]


def status(name: str | None, settings: Settings, *, as_json: bool) -> None:
    """One study in detail, or all in a table."""
    if name is None:
        names = [row["name"] for row in open_ledger(settings).studies()]
        rows = [_status(Study.load(each, settings)) for each in names]
        _print(rows, ("study", "state", "trials", "best", "waiting_for_mlflow"), as_json)
        return
    facts = _status(Study.load(name, settings))
    if as_json:
        print(json.dumps(facts, indent=2))
        return
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for key, value in facts.items():
        table.add_row(key.replace("_", " "), Text(_cell(value)))
    Console(highlight=False, soft_wrap=True).print(table)


def trials(study: Study, *, as_json: bool) -> None:
    """All trials of a study."""
    rows = study.rows()
    if as_json:
        print(json.dumps([{key: _finite(value) for key, value in row.items()} for row in rows], indent=2))
        return
    for row in rows:
        row["parameters"] = assignments({name: row[name] for name in study.spec.parameters if row[name] is not None})
    _print(rows, ("number", "state", "value", "epoch", "best_value", "seconds", "parameters", "error"), as_json=False)


def best(study: Study, *, as_json: bool) -> None:
    """The best trial."""
    found = _best(study)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    reached = f"{study.spec.metric.name} {number(found['value'])} after {found['epoch']} epochs"
    print(f"best trial  {found['number']}: {reached}")
    print(f"parameters  {assignments(found['params'])}")
    if found["checkpoint"]:
        print(f"checkpoint  {found['checkpoint']}")


def closing(study: Study, *, as_json: bool) -> None:
    """The last words of a run: the best trial, where to look, what to type next."""
    best(study, as_json=as_json)
    if as_json:
        return
    name, settings = study.name, study.settings
    print(f"trials      {', '.join(f'{count} {state.lower()}' for state, count in sorted(study.counts().items()))}")
    print()
    print(f"curves      {_tool('mlflow')} ui --backend-store-uri {shlex.quote(masked(settings.mlflow))}")
    print(f"study       {_tool('optuna-dashboard')} {shlex.quote(masked(settings.storage))}")
    print(f"next        hpo trials {name}{settings.flags()}")
    print(f"            hpo resume {name}{settings.flags()} --set budget.trials=N")


def _tool(command: str) -> str:
    """The command as it can be typed: with its path when it stands beside this Python and not on PATH."""
    import shutil
    from pathlib import Path

    beside = Path(sys.executable).with_name(command)
    return command if shutil.which(command) or not beside.exists() else shlex.quote(str(beside))


def _status(study: Study) -> dict[str, Any]:
    row = study.row
    owner = holder(row)
    counts = study.counts()
    try:
        value = _best(study)["value"]
    except NoUsableTrial:
        value = None
    unfinished = counts.get("WAITING", 0) + counts.get("RUNNING", 0)
    return {
        "study": study.name,
        "state": f"running: {owner}" if owner else (row["outcome"] or ("not running" if unfinished else "not started")),
        "trials": ", ".join(f"{count} {state.lower()}" for state, count in sorted(counts.items())) or "none",
        "best": value,
        "objective": f"{study.spec.metric.goal} {study.spec.metric.name}",
        "wall_seconds": round(row["seconds"], 1),
        "waiting_for_mlflow": study.ledger.pending_count(study.id),
        "storage": masked(study.settings.storage),
        "mlflow": masked(study.settings.mlflow),
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
        table.add_column(column.replace("_", " "))
    for row in rows:
        table.add_row(*(Text(_cell(row[column])) for column in columns))
    console = Console(highlight=False)
    console.print(table, width=None if console.is_terminal else 10_000)  # a file or a pipe has no margin


def _cell(value: Any) -> str:
    if value is None:
        return ""
    return number(value) if isinstance(value, float) else str(value)


def _finite(value: Any) -> Any:
    """JSON has no NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value
