"""Which paths there are to search, and which of them a configuration reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from trainers.config.dataset import BUNDLED, DOWNLOADED, FOLDERS, DatasetConfig
from trainers.config.parts import AugmentConfig, EarlyStopping, LossConfig, TransferConfig
from trainers.config.schedule import SCHEDULES, ScheduleName
from trainers.config.train import TrainConfig, expand

__all__ = ["MODELS_WITHOUT_DROPOUT", "paths", "unread_paths"]

MODELS_WITHOUT_DROPOUT = frozenset({"linear"})
WIDE = ("lightweight_cnn", "lightweight_cnn_gap", "lightweight_cnn_separable")
SECTIONS: dict[str, type[BaseModel]] = {
    "dataset": DatasetConfig,
    "augment": AugmentConfig,
    "loss": LossConfig,
    "transfer": TransferConfig,
    "early_stopping": EarlyStopping,
}
NOT_SEARCHABLE = frozenset({"dataset.download", "cudnn_benchmark", "deterministic", "accumulate", "compile"})
"""They decide where files come from or how fast and exactly it is computed, not what is trained."""


def paths() -> dict[str, FieldInfo]:
    """Return every dotted path that may be searched, with its field (description, type, range).

    A schedule's own fields stand there once, whichever schedules have them.
    """
    sections = {*SECTIONS, "lr_schedule"}
    found = {name: field for name, field in TrainConfig.model_fields.items() if name not in sections}
    for section, model in SECTIONS.items():
        found |= {f"{section}.{name}": field for name, field in model.model_fields.items()}
    for schedule in SCHEDULES.values():
        for name, field in schedule.model_fields.items():
            found.setdefault(f"lr_schedule.{name}", field)
    found["lr_schedule.name"] = FieldInfo(annotation=ScheduleName, description=", ".join(SCHEDULES))
    return {path: field for path, field in found.items() if path not in NOT_SEARCHABLE}


def unread_paths(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted path -> reason for what stands in a `trainer:` tree but is not read by that configuration.

    The tree need not be valid: a schedule's field under another schedule is named here, though TrainConfig refuses it.
    Looks on disk whether an image folder has a val/ of its own; where the folder is elsewhere, that goes unsaid.
    """
    tree = expand(tree)
    present = set(_leaves(tree))
    reasons = _unread_of_model(tree) | _unread_of_optimizer(tree)
    reasons |= _unread_of_dataset(tree.get("dataset"))
    reasons |= _unread_of_schedule(tree.get("lr_schedule"))
    reasons |= _unread_of_loss(tree.get("loss"))
    return {path: reason for path, reason in reasons.items() if path in present}


def _unread_of_model(tree: Mapping[str, Any]) -> dict[str, str]:
    model = tree.get("model")
    reasons = {}
    if model in MODELS_WITHOUT_DROPOUT:
        reasons["dropout"] = f"model {model} has no dropout"
    if model != "densenet_bc":
        for path in ("depth", "growth"):
            reasons[path] = f"{path} is read by model densenet_bc only, and the model is {model}"
    if model not in WIDE:
        reasons["width"] = f"width is read by {', '.join(WIDE)} only, and the model is {model}"
    return reasons


def _unread_of_optimizer(tree: Mapping[str, Any]) -> dict[str, str]:
    optimizer = tree.get("optimizer", "sgd")
    if optimizer == "sgd":
        return {}
    return {
        path: f"{path} is read by optimizer sgd only, and the optimizer is {optimizer}"
        for path in ("momentum", "nesterov")
    }


def _unread_of_dataset(section: Any) -> dict[str, str]:
    name = section.get("name") if isinstance(section, Mapping) else None
    reasons = {}
    if name in BUNDLED:
        reasons = {f"dataset.{key}": f"{name} are bundled and need no {key}" for key in ("root", "download")}
    elif name not in DOWNLOADED:
        reasons["dataset.download"] = f"{name} is never downloaded"
    if (
        name in FOLDERS
        and section.get("root") is not None
        and (own := Path(section["root"]).expanduser() / "val").is_dir()
    ):
        reasons["dataset.val_fraction"] = f"val_fraction is not read, for {own} is the validation part"
        if section.get("limit") is None:
            reasons["dataset.seed"] = f"seed is not read, for {own} is the validation part and limit is not set"
    return reasons


def _unread_of_schedule(section: Any) -> dict[str, str]:
    name = section.get("name", "cosine") if isinstance(section, Mapping) else "cosine"
    if name not in SCHEDULES:
        return {}
    read = SCHEDULES[name].model_fields
    others = {key for schedule in SCHEDULES.values() for key in schedule.model_fields} - set(read)
    return {f"lr_schedule.{key}": f"lr_schedule {name} does not read {key}" for key in sorted(others)}


def _unread_of_loss(section: Any) -> dict[str, str]:
    name = section.get("name", "cross_entropy") if isinstance(section, Mapping) else "cross_entropy"
    if name == "focal":
        return {}
    return {f"loss.{key}": f"{key} is read by loss focal only, and the loss is {name}" for key in ("gamma", "alpha")}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
