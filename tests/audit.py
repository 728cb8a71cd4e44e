"""Whether Optuna, our tables and MLflow say the same of every trial."""

import hashlib
import json
import math
import sys
from typing import Any

from mlflow import MlflowClient
from optuna.trial import TrialState

from hpo.study import RUN_STATUS, Study


def disagreements(study: Study) -> list[str]:
    """One line for each fact on which the three records differ; empty when they agree."""
    study = Study.load(study.name, study.settings)
    ours = {row["number"]: row for row in study.ledger.trials(study.id)}
    runs = mlflow_runs(study)
    curves: dict[int, dict[int, dict[str, float]]] = {}
    for row in study.ledger.epochs(study.id):
        curves.setdefault(row["number"], {})[row["epoch"]] = json.loads(row["metrics"])
    lines = [f"{study.ledger.pending_count(study.id)} records wait"] if study.ledger.pending_count(study.id) else []
    begun = {trial.number for trial in study.frozen_trials() if trial.state != TrialState.WAITING} | set(ours)
    if not begun == set(ours) == set(runs):
        lines.append(f"trials: Optuna {sorted(begun)}, ours {sorted(ours)}, MLflow {sorted(runs)}")
    for trial in study.frozen_trials():
        number = trial.number
        if number not in ours or number not in runs:
            continue
        curve = curves.get(number, {})
        objective = {
            epoch: metrics[study.spec.metric.name]
            for epoch, metrics in curve.items()
            if study.spec.metric.name in metrics
        }
        facts: dict[str, tuple[Any, Any]] = {
            "state in MLflow": (RUN_STATUS[trial.state], runs[number]["status"]),
            "state tag": (trial.state.name, runs[number]["state"]),
            "curve in Optuna": (repr(sorted(objective.items())), repr(sorted(trial.intermediate_values.items()))),
            "last epoch": (max(curve, default=0), ours[number]["epoch"]),
            "params": ({k: str(v) for k, v in trial.params.items()}, runs[number]["params"]),
            "ended": (trial.state == TrialState.RUNNING, ours[number]["ended"] is None),
        }
        for name in {metric for metrics in curve.values() for metric in metrics}:
            mine = {epoch: _as_mlflow_keeps(metrics[name]) for epoch, metrics in curve.items() if name in metrics}
            facts[f"curve of {name} in MLflow"] = (repr(mine), repr(runs[number]["curve"](name)))
        facts["run id"] = (ours[number]["run_id"], runs[number]["run_id"])
        if ours[number]["checkpoint"]:
            path = study.settings.checkpoints / ours[number]["checkpoint"]
            facts["checkpoint"] = (hashlib.sha256(path.read_bytes()).hexdigest(), ours[number]["sha256"])
        if trial.state == TrialState.COMPLETE:
            facts["value"] = (curve[max(curve)][study.spec.metric.name], trial.value)
        lines += [f"trial {number}, {what}: {one} is not {two}" for what, (one, two) in facts.items() if one != two]
    return lines


def _as_mlflow_keeps(value: float) -> float:
    """MLflow stores an infinite value as the largest float."""
    return math.copysign(sys.float_info.max, value) if math.isinf(value) else value


def mlflow_runs(study: Study) -> dict[int, dict[str, Any]]:
    """The child runs of a study in MLflow by trial number; two of one trial are an error."""
    client = MlflowClient(study.settings.mlflow)
    experiment = client.get_experiment_by_name(study.name)
    assert experiment is not None
    found: dict[int, dict[str, Any]] = {}
    for run in client.search_runs([experiment.experiment_id], "tags.`hpo.trial` != ''", max_results=5000):
        number = int(run.data.tags["hpo.trial"])
        assert number not in found, f"two runs of trial {number}"
        searched = {name: value for name, value in run.data.params.items() if name in study.spec.parameters}
        run_id = run.info.run_id
        found[number] = {
            "status": run.info.status,
            "state": run.data.tags["hpo.state"],
            "params": searched,
            "run_id": run_id,
            "curve": lambda name, run_id=run_id: {
                metric.step: metric.value
                for metric in sorted(client.get_metric_history(run_id, name), key=lambda each: each.step)
            },
        }
    return found
