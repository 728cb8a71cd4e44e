"""What other tools call the keys of a space file. They are recognised only to be corrected, never accepted."""

from __future__ import annotations

from collections.abc import Iterable

from hpo.space.document import near

__all__ = ["VALUES", "correct", "meant"]

_TRIALS = "budget: {trials: ...}"
_SAMPLER = "sampler: {type: ...}"

KEYS = {
    "": {
        "study_name": "name",
        "experiment_name": "name",
        "objective": "metric",
        "objectives": "metrics",
        "goals": "metrics",
        "directions": "metrics: [{name: ..., goal: ...}, ...]",
        "constraint": "constraints",
        "limits": "constraints",
        "direction": "metric: {goal: ...}",
        "goal": "metric: {goal: ...}",
        "mode": "metric: {goal: ...}",
        "method": _SAMPLER,
        "algorithm": _SAMPLER,
        "search_alg": _SAMPLER,
        "seed": "sampler: {seed: ...}",
        "num_samples": _TRIALS,
        "run_cap": _TRIALS,
        "n_trials": _TRIALS,
        "max_trials": _TRIALS,
        "trials": _TRIALS,
        "timeout": "budget: {time: ...}",
        "space": "parameters",
        "search_space": "parameters",
        "params": "parameters",
        "hyperparameters": "parameters",
        "config": "trainer",
        "training": "trainer",
        "model": "trainer: {model: ...}",
        "scheduler": "pruner",
        "early_terminate": "pruner",
        "resources_per_trial": "resources",
        "notifications": "notify",
        "notification": "notify",
        "alerts": "notify",
        "webhook": "notify: {webhook: ...}",
    },
    "parameters": {
        "low": "min",
        "lower": "min",
        "minimum": "min",
        "high": "max",
        "upper": "max",
        "maximum": "max",
        "choices": "values",
        "categories": "values",
        "options": "values",
        "value": "values",
        "q": "step",
        "log_scale": "log",
        "condition": "when",
        "if": "when",
    },
    "metric": {"direction": "goal", "mode": "goal", "metric": "name"},
    "metrics": {"direction": "goal", "mode": "goal", "metric": "name"},
    "sampler": {"name": "type", "method": "type", "n_startup_trials": "startup_trials", "random_state": "seed"},
    "pruner": {
        "name": "type",
        "grace_period": "min_epochs",
        "min_resource": "min_epochs",
        "min_iter": "min_epochs",
        "reduction_factor": "reduction",
        "eta": "reduction",
        "n_startup_trials": "startup_trials",
    },
    "budget": {
        "num_samples": "trials",
        "run_cap": "trials",
        "n_trials": "trials",
        "max_trials": "trials",
        "timeout": "time",
        "max_failures": "failures",
        "patience": "plateau",
        "early_stopping": "plateau",
        "goal": "target",
        "stop_value": "target",
    },
    "resources": {
        "gpus": "gpu",
        "num_gpus": "gpu",
        "cpus": "cpu",
        "num_cpus": "cpu",
        "max_gpu": "max_gpus",
        "gpu_quota": "max_gpus",
        "quota": "max_gpus",
        "max_cpu": "max_cpus",
        "cpu_quota": "max_cpus",
    },
    "notify": {
        "url": "webhook",
        "slack": "webhook",
        "webhook_url": "webhook",
        "cmd": "command",
        "run": "command",
        "events": "on",
        "when": "on",
    },
    "winner": {"top_k": "top", "k": "top", "repeats": "seeds", "num_seeds": "seeds", "n_seeds": "seeds"},
    "gate": {"latency": "latency_ms", "size": "size_mb", "quantized_mb": "quantised_mb", "min_accuracy": "baseline"},
    "trainer": {
        "learning_rate": "lr",
        "lrate": "lr",
        "wd": "weight_decay",
        "l2": "weight_decay",
        "batch": "batch_size",
        "drop_rate": "dropout",
        "dropout_rate": "dropout",
        "num_epochs": "epochs",
        "n_epochs": "epochs",
        "max_epochs": "epochs",
        "optim": "optimizer",
        "scheduler": "lr_schedule.name",
        "schedule": "lr_schedule.name",
        "lr_scheduler": "lr_schedule.name",
        "data": "dataset",
        "arch": "model",
        "architecture": "model",
        "augmentation": "augment",
        "smoothing": "label_smoothing",
    },
}

VALUES = {
    "max": "maximize",
    "min": "minimize",
    "maximise": "maximize",
    "minimise": "minimize",
    "bayes": "gp",
    "bayesian": "gp",
    "gaussian_process": "gp",
    "gpsampler": "gp",
    "botorch": "gp",
    "optuna": "tpe",
    "hyperopt": "tpe",
    "gridsearch": "grid",
    "randomsearch": "random",
    "successive_halving": "asha",
    "sha": "asha",
    "successivehalving": "asha",
    "medianstopping": "median",
    "nopruner": "none",
    "finish": "end",
    "finished": "end",
    "done": "end",
    "fail": "failure",
    "failed": "failure",
    "error": "failure",
    "newbest": "best",
}


def meant(section: str, key: str) -> str | None:
    """Return what this key of another tool is called here."""
    return KEYS.get(section, {}).get(key)


def correct(section: str, key: str, valid: Iterable[str]) -> str:
    """Return the error for a key that the section does not have."""
    valid = sorted(valid)
    right = meant(section, key)
    if right:
        return f"`{key}` is written `{right}` here"
    return f"unknown key `{key}`{near(key, valid)}; valid: {', '.join(valid)}"
