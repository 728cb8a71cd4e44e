"""What is printed of a search with several goals: its front, in place of a best trial."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from hpo.goals import points, reached
from hpo.store.history import defaults
from hpo.study import Study
from hpo.tables import printed
from hpo.wording import assignments, counted, number, plain

__all__ = ["facts", "show"]


def show(study: Study, *, as_json: bool) -> None:
    """Print the front, what the defaults came to, and how a trial of the front is taken.

    Raises:
        NoUsableTrial: no trial is COMPLETE and keeps the constraints.
    """
    found = facts(study)
    if as_json:
        print(json.dumps(found, indent=2))
        return
    count = len(found["front"])
    print(f"front       {counted(count, 'trial')} of {len(study.complete())} complete: no other is as good in every")
    print("            goal and better in one\n")
    _table(found["front"])
    print()
    if found["defaults"] is not None:
        values = reached(list(found["defaults"]["values"].values()), study.spec.metrics)
        print(plain(f"defaults    trial {found['defaults']['number']}: {values}"))
    if found["left_out"]:
        out = counted(len(found["left_out"]), "trial")
        why = study.settings.command("trials", study.name)
        print(f"left out    {out} that missed a constraint: `{plain(why)}` says by how much")
    if study.spec.sampler.caveat:
        print(f"mind        {study.spec.sampler.caveat}")
    print("            each number is of one training: what is close together may have changed places by luck")


def facts(study: Study) -> dict[str, Any]:
    """The same as plain values."""
    there = {trial.number: trial for trial in study.best_trials}
    rows = [each for each in study.rows() if each["number"] in there]
    rows.sort(key=lambda row: list(there).index(row["number"]))
    keys = ("number", "epoch", "seconds", "checkpoint", "mlflow_run_id")
    complete, tried = points(study.frozen_trials()), defaults(study)
    return {
        "front": [
            {
                **{key: row[key] for key in keys},
                "values": _named(study, there[row["number"]].values),
                "params": study.params(there[row["number"]]),
            }
            for row in rows
        ],
        "defaults": {"number": tried.number, "values": _named(study, tried.values)} if tried is not None else None,
        "left_out": [each.number for each in complete if each.excess],
    }


def _named(study: Study, values: Any) -> dict[str, float]:
    return {each.name: value for each, value in zip(study.spec.metrics, values, strict=True)}


def _table(rows: list[Mapping[str, Any]]) -> None:
    table = Table(box=None, padding=(0, 2, 0, 0))
    for column in ("trial", *rows[0]["values"], "epoch", "parameters", "checkpoint"):
        table.add_column(Text(plain(column)), overflow="fold")
    for row in rows:
        kept = "kept" if row["checkpoint"] else "none"
        values = map(number, row["values"].values())
        cells = (str(row["number"]), *values, str(row["epoch"]), assignments(row["params"]), kept)
        table.add_row(*(Text(plain(cell)) for cell in cells))
    printed(table)
