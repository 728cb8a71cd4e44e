"""A study of many trials, written to SQL in one go instead of being run."""

import math
import random
from datetime import datetime, timedelta
from pathlib import Path

import sqlalchemy as sql
from optuna.distributions import distribution_to_json
from optuna.storages._rdb import models
from study_samples import TREE

from hpo import settings, spec
from hpo.search.ranges import distribution
from hpo.store import tables
from hpo.study import Study

BEGAN = datetime(2026, 1, 1)
PARAMETERS = {
    "lr": {"min": 1e-4, "max": 1.0, "log": True},
    "momentum": {"min": 0.0, "max": 0.99},
    "width": {"min": 8, "max": 256, "log": True},
    "optimizer": {"values": ["sgd", "adam", "adamw"]},
    "nesterov": {"values": [True, False]},
    "decay": {"min": 1e-6, "max": 1e-2, "log": True},
}
SLOTS = 8


def large(home: Path, trials: int, *, epochs: int = 27, storage: str | None = None) -> Study:
    """A third of the trials are COMPLETE, the others PRUNED earlier, a few FAILed; 8 at a time."""
    tree = {**TREE, "name": "large", "parameters": PARAMETERS, "budget": {"trials": trials}}
    # trusted: its trainer knows nothing of these parameters, and never runs
    study = Study.open(spec.from_mapping(tree, trusted=True), settings.resolve(home=home, storage=storage))
    optuna_id = study.optuna._study_id
    draw = random.Random(1)
    rows: dict[str, list[dict[str, object]]] = {name: [] for name in ("trials", "params", "values", "steps")}
    ours: list[dict[str, object]] = []
    times: list[dict[str, object]] = []
    for number in range(trials):
        point = {
            "lr": 10 ** draw.uniform(-4, 0),
            "momentum": draw.uniform(0, 0.99),
            "width": draw.randint(8, 256),
            "optimizer": draw.randrange(3),
            "nesterov": draw.randrange(2),
            "decay": 10 ** draw.uniform(-6, -2),
        }
        good = 0.95 - 0.08 * abs(math.log10(point["lr"]) + 1.5) - 0.1 * abs(point["momentum"] - 0.8)
        good -= 0.02 * (draw.random() + point["optimizer"])
        state = "FAIL" if number % 97 == 5 else "COMPLETE" if number % 3 == 0 else "PRUNED"
        last = epochs if state == "COMPLETE" else draw.choice((1, 3, 9))
        curve = [good * (1 - 0.6**epoch) + draw.gauss(0, 0.01) for epoch in range(1, last + 1)]
        begins = BEGAN + timedelta(minutes=5 * (number // SLOTS), seconds=number % SLOTS)
        ends = begins + timedelta(seconds=280 * last / epochs)
        known = {"number": number, "study_id": optuna_id, "state": state}
        rows["trials"].append({"trial_id": number + 1, **known, "datetime_start": begins, "datetime_complete": ends})
        for name, value in point.items():
            text = distribution_to_json(distribution(study.spec.parameters[name]))
            new = {"trial_id": number + 1, "param_name": name, "param_value": float(value), "distribution_json": text}
            rows["params"].append(new)
        rows["steps"] += [
            {"trial_id": number + 1, "step": step, "intermediate_value": value, "intermediate_value_type": "FINITE"}
            for step, value in enumerate(curve, start=1)
        ]
        if state != "FAIL":
            rows["values"].append({"trial_id": number + 1, "objective": 0, "value": curve[-1], "value_type": "FINITE"})
        here = {"study": study.id, "number": number, "attempt": 1, "started": begins.timestamp()}
        here["ended"] = ends.timestamp()
        error = "RuntimeError: out of memory </script><script>alert(1)</script>" if state == "FAIL" else None
        ours.append({**here, "seed": number, "seconds": 280 * last / epochs, "epoch": last, "error": error})
        times.append({**here, "from_epoch": 0, "outcome": state.lower()})
    with study.ledger.begin() as connection:
        for table, new in (
            (models.TrialModel.__table__, rows["trials"]),
            (models.TrialParamModel.__table__, rows["params"]),
            (models.TrialIntermediateValueModel.__table__, rows["steps"]),
            (models.TrialValueModel.__table__, rows["values"]),
            (tables.trials, ours),
            (tables.attempts, times),
        ):
            connection.execute(sql.insert(table), new)
    return study.afresh()
