"""Every hyperparameter with its unit and range: the `trainer:` section of a space file. Imports pydantic only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator
from pydantic.fields import FieldInfo

__all__ = ["METRICS", "DatasetConfig", "Schedule", "TrainConfig", "expand", "model_names", "paths", "unread_paths"]

ModelName = Literal[
    "linear",
    "lightweight_cnn",
    "lightweight_cnn_gap",
    "custom_cnn",
    "resnet18",
    "densenet_bc_16_12",
    "densenet_bc_40_12",
    "densenet121",
    "densenet169",
    "densenet201",
    "densenet264",
]
DatasetName = Literal["digits", "mnist", "cifar10", "imagefolder"]
ScheduleName = Literal["constant", "step", "multistep", "cosine", "onecycle"]

METRICS = ("train/loss", "train/accuracy", "val/loss", "val/accuracy", "lr", "seconds", "images_per_second")
"""What `Trainer.fit` yields after each epoch."""
DEFAULT_LR = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3}
MODELS_WITHOUT_DROPOUT = frozenset({"linear"})
NOT_SEARCHABLE = frozenset({"dataset.download"})
"""It decides where files come from, not what is trained."""


def _no_switch(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"{str(value).lower()} is a switch, which this field does not take; write a number")
    return value


# pydantic reads true as 1, which nobody means who writes `lr: true`.
Int = Annotated[int, BeforeValidator(_no_switch)]
Float = Annotated[float, BeforeValidator(_no_switch)]
Fraction = Annotated[Float, Field(gt=0, lt=1)]


class Section(BaseModel):
    """What all sections share: immutable, no unknown keys, no infinite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class DatasetConfig(Section):
    """Which pictures, and how they are parted into training and validation."""

    name: DatasetName = Field(description="digits (bundled, 8x8 grey), mnist, cifar10, or imagefolder")
    root: Path | None = Field(
        default=None, description="folder of the pictures; required by imagefolder, else the data folder"
    )
    val_fraction: Fraction = Field(
        default=0.1, description="share of the training pictures held for validation, in (0, 1); unused beside root/val"
    )
    image_size: Int | None = Field(
        default=None, ge=8, le=1024, description="side in pixels, 8..1024; null: as stored, 224 for imagefolder"
    )
    limit: Int | None = Field(
        default=None, ge=2, description="train on so many pictures at most, stratified by class; null: on all"
    )
    download: bool = Field(default=True, description="fetch mnist or cifar10 when the files are absent")
    seed: Int = Field(default=0, ge=0, description="seed of the split; apart from the trial's, so that trials compare")

    @model_validator(mode="after")
    def _folder_is_named(self) -> Self:
        if self.name == "imagefolder" and self.root is None:
            raise ValueError("imagefolder needs root: the folder that holds train/<class>/ or <class>/ with pictures")
        return self


class ConstantSchedule(Section):
    """The learning rate stays lr."""

    name: Literal["constant"] = "constant"


class StepSchedule(Section):
    """lr is multiplied by gamma after every step_epochs."""

    name: Literal["step"] = "step"
    step_epochs: Int = Field(default=5, ge=1, description="epochs between two drops, from 1")
    gamma: Float = Field(default=0.1, gt=0, le=1, description="factor of each drop, in (0, 1]")


class MultistepSchedule(Section):
    """lr is multiplied by gamma at each milestone."""

    name: Literal["multistep"] = "multistep"
    milestones: tuple[Fraction, ...] = Field(
        default=(0.5, 0.75), min_length=1, description="when to drop, as fractions of all epochs, rising, in (0, 1)"
    )
    gamma: Float = Field(default=0.1, gt=0, le=1, description="factor of each drop, in (0, 1]")

    @field_validator("milestones")
    @classmethod
    def _rising(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if list(value) != sorted(set(value)):
            raise ValueError(f"milestones {list(value)} must rise, as [0.5, 0.75] does")
        return value


class CosineSchedule(Section):
    """Linear warm-up, then half a cosine from lr down to final_lr_fraction * lr over the remaining epochs."""

    name: Literal["cosine"] = "cosine"
    warmup_epochs: Float = Field(default=0, ge=0, description="epochs of linear warm-up, less than epochs; 0: none")
    final_lr_fraction: Float = Field(default=0, ge=0, lt=1, description="where the cosine ends, as a fraction of lr")


class OnecycleSchedule(Section):
    """Half a cosine up from lr/25 to lr over the warm-up, then down to lr/250,000 at the last batch."""

    name: Literal["onecycle"] = "onecycle"
    warmup_epochs: Float = Field(default=1, gt=0, description="epochs until lr is reached, less than epochs")


Schedule = ConstantSchedule | StepSchedule | MultistepSchedule | CosineSchedule | OnecycleSchedule
_SCHEDULES: dict[str, type[Section]] = {
    "constant": ConstantSchedule,
    "step": StepSchedule,
    "multistep": MultistepSchedule,
    "cosine": CosineSchedule,
    "onecycle": OnecycleSchedule,
}


class TrainConfig(Section):
    """One training, fully described but for the trial's seed. `model` and `dataset` have no default."""

    model: ModelName = Field(description="architecture")
    dataset: DatasetConfig = Field(description="pictures and their split; a bare name is shorthand for {name: ...}")
    epochs: Int = Field(default=3, ge=1, description="passes over the training pictures, from 1")
    max_batches: Int | None = Field(default=None, ge=1, description="cap on batches in an epoch, exact; null: no cap")
    batch_size: Int = Field(default=64, ge=2, description="pictures in a batch, from 2: batch norm needs two")
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="sgd, adam or adamw")
    lr: Float = Field(gt=0, description="peak learning rate, above 0; default 0.1 for sgd, 0.001 for adam and adamw")
    momentum: Float = Field(default=0.9, ge=0, lt=1, description="of sgd, in [0, 1)")
    nesterov: bool = Field(default=False, description="Nesterov's momentum, sgd only")
    weight_decay: Float = Field(default=1e-4, ge=0, description="L2 penalty; decoupled from the gradient in adamw")
    lr_schedule: Annotated[Schedule, Field(discriminator="name")] = Field(
        default=CosineSchedule(), description="course of the learning rate; a bare name is shorthand for {name: ...}"
    )
    dropout: Float = Field(default=0.0, ge=0, lt=1, description="share of activations dropped in training, in [0, 1)")
    label_smoothing: Float = Field(default=0.0, ge=0, lt=1, description="in the training loss only, in [0, 1)")
    augment: Literal["none", "light", "standard"] = Field(
        default="light", description="light: crop, and flip where mirrored pictures make sense; standard: and cutout"
    )
    grad_clip: Float | None = Field(default=None, gt=0, description="largest norm of the gradient; null: not clipped")
    precision: Literal["fp32", "bf16"] = Field(default="fp32", description="bf16: autocast, weights stay fp32")

    @model_validator(mode="before")
    @classmethod
    def _defaults_that_depend(cls, tree: Any) -> Any:
        if not isinstance(tree, Mapping):
            return tree
        tree = expand(tree)
        optimizer = tree.get("optimizer", "sgd")
        if isinstance(optimizer, str) and optimizer in DEFAULT_LR:
            tree.setdefault("lr", DEFAULT_LR[optimizer])
        return tree

    @model_validator(mode="after")
    def _fields_agree(self) -> Self:
        if self.optimizer == "sgd" and self.nesterov and self.momentum == 0:
            raise ValueError("nesterov needs a momentum above 0: set momentum: 0.9 or nesterov: false")
        warmup = getattr(self.lr_schedule, "warmup_epochs", 0)
        if warmup >= self.epochs:
            raise ValueError(f"lr_schedule.warmup_epochs {warmup:g} must be less than epochs {self.epochs}")
        return self


def model_names() -> tuple[str, ...]:
    """Return the names that `model` may have."""
    return get_args(ModelName)


def expand(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a `trainer:` tree in which shorthand is written out: `dataset: digits` as {name: digits}."""
    full = dict(tree)
    for key in ("dataset", "lr_schedule"):
        if isinstance(full.get(key), str):
            full[key] = {"name": full[key]}
    return full


def paths() -> dict[str, FieldInfo]:
    """Return every dotted path that may be searched, with its field (description, type, range).

    A schedule's own fields stand there once, whichever schedules have them.
    """
    found = {name: field for name, field in TrainConfig.model_fields.items() if name not in ("dataset", "lr_schedule")}
    found |= {f"dataset.{name}": field for name, field in DatasetConfig.model_fields.items()}
    for schedule in _SCHEDULES.values():
        for name, field in schedule.model_fields.items():
            found.setdefault(f"lr_schedule.{name}", field)
    found["lr_schedule.name"] = FieldInfo(annotation=ScheduleName, description=", ".join(_SCHEDULES))
    return {path: field for path, field in found.items() if path not in NOT_SEARCHABLE}


def unread_paths(tree: Mapping[str, Any]) -> dict[str, str]:
    """Return dotted path -> reason for what stands in a `trainer:` tree but is not read by that configuration.

    The tree need not be valid: a schedule's field under another schedule is named here, though TrainConfig refuses it.
    Looks on disk whether an image folder has a val/ of its own; where the folder is elsewhere, that goes unsaid.
    """
    tree = expand(tree)
    present = set(_leaves(tree))
    reasons: dict[str, str] = {}
    optimizer = tree.get("optimizer", "sgd")
    if optimizer != "sgd":
        for path in ("momentum", "nesterov"):
            reasons[path] = f"{path} is read by optimizer sgd only, and the optimizer is {optimizer}"
    if tree.get("model") in MODELS_WITHOUT_DROPOUT:
        reasons["dropout"] = f"model {tree['model']} has no dropout"
    reasons |= _unread_of_dataset(tree.get("dataset"))
    reasons |= _unread_of_schedule(tree.get("lr_schedule"))
    return {path: reason for path, reason in reasons.items() if path in present}


def _unread_of_dataset(section: Any) -> dict[str, str]:
    name = section.get("name") if isinstance(section, Mapping) else None
    if name == "digits":
        return {f"dataset.{key}": f"digits are bundled and need no {key}" for key in ("root", "download")}
    if name != "imagefolder":
        return {}
    reasons = {"dataset.download": "an image folder is never downloaded"}
    if section.get("root") is not None and (own := Path(section["root"]).expanduser() / "val").is_dir():
        reasons["dataset.val_fraction"] = f"val_fraction is not read, for {own} is the validation part"
        if section.get("limit") is None:
            reasons["dataset.seed"] = f"seed is not read, for {own} is the validation part and limit is not set"
    return reasons


def _unread_of_schedule(section: Any) -> dict[str, str]:
    name = section.get("name", "cosine") if isinstance(section, Mapping) else "cosine"
    if name not in _SCHEDULES:
        return {}
    read = _SCHEDULES[name].model_fields
    others = {key for schedule in _SCHEDULES.values() for key in schedule.model_fields} - set(read)
    return {f"lr_schedule.{key}": f"lr_schedule {name} does not read {key}" for key in sorted(others)}


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    for key, value in tree.items():
        if isinstance(value, Mapping):
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}"
