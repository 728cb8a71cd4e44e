"""Every hyperparameter with its unit and range: the `trainer:` section of a space file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import Field, model_validator

from trainers.config.dataset import DatasetConfig
from trainers.config.depth import blocks_of
from trainers.config.parts import AugmentConfig, EarlyStopping, LossConfig, TransferConfig
from trainers.config.schedule import CosineSchedule, Schedule
from trainers.config.section import Float, Int, Section

__all__ = ["FACTS", "METRICS", "ON_DEMAND", "SHORTHAND", "ModelName", "TrainConfig", "expand", "model_names"]

ModelName = Literal[
    "linear",
    "lightweight_cnn",
    "lightweight_cnn_gap",
    "lightweight_cnn_separable",
    "custom_cnn",
    "resnet18",
    "resnet50",
    "mobilenet_v3_small",
    "mobilenet_v3_large",
    "densenet_bc",
    "densenet121",
    "densenet169",
    "densenet201",
    "densenet264",
]

METRICS = (
    "train/loss",
    "train/accuracy",
    "val/loss",
    "val/accuracy",
    "val/top5",
    "val/macro_f1",
    "val/calibration_error",
    "lr",
    "seconds",
    "images_per_second",
    "peak_memory_mb",
    "batch_parts",
)
"""What `Trainer.fit` yields after each epoch."""
ON_DEMAND = ("latency_ms",)
"""What it yields too where it is asked to: measuring takes time."""
FACTS = ("parameters_count", "train_size", "val_size", "classes", "skipped_files")
"""Numbers among what `Trainer.facts` tells once."""
DEFAULT_LR = {"sgd": 0.1, "adam": 1e-3, "adamw": 1e-3}
SHORTHAND = {"dataset": "name", "lr_schedule": "name", "augment": "level", "loss": "name", "early_stopping": "patience"}
"""Section -> the key that a scalar in its place stands for."""


class TrainConfig(Section):
    """One training, fully described but for the trial's seed. `model` and `dataset` have no default."""

    model: ModelName = Field(description="architecture")
    depth: Int = Field(default=100, ge=10, description="of densenet_bc: layers with weights, 6n + 4")
    growth: Int = Field(default=12, ge=1, description="of densenet_bc: channels that each layer adds")
    width: Int = Field(default=10, ge=1, description="of the lightweight_cnn models: channels of the first convolution")
    transfer: TransferConfig | None = Field(default=None, description="weights to begin with; null: fresh ones")
    dataset: DatasetConfig = Field(description="pictures and their split; a bare name is shorthand for {name: ...}")
    epochs: Int = Field(default=3, ge=1, description="passes over the training pictures, from 1")
    max_batches: Int | None = Field(default=None, ge=1, description="cap on batches in an epoch, exact; null: no cap")
    batch_size: Int = Field(default=64, ge=2, description="pictures in a batch, from 2: batch norm needs two")
    accumulate: Int = Field(
        default=1, ge=1, description="parts that a batch is computed in, their gradients added up; needs less memory"
    )
    optimizer: Literal["sgd", "adam", "adamw"] = Field(default="sgd", description="sgd, adam or adamw")
    lr: Float = Field(gt=0, description="peak learning rate, above 0; default 0.1 for sgd, 0.001 for adam and adamw")
    reference_batch: Int | None = Field(
        default=None, ge=1, description="batch size that lr is meant for: lr * batch_size / reference_batch; null: off"
    )
    momentum: Float = Field(default=0.9, ge=0, lt=1, description="of sgd, in [0, 1)")
    nesterov: bool = Field(default=False, description="Nesterov's momentum, sgd only")
    weight_decay: Float = Field(default=1e-4, ge=0, description="L2 penalty; decoupled from the gradient in adamw")
    decay_norms: bool = Field(default=True, description="whether weight decay acts on norms and biases too")
    lr_schedule: Annotated[Schedule, Field(discriminator="name")] = Field(
        default=CosineSchedule(), description="course of the learning rate; a bare name is shorthand for {name: ...}"
    )
    dropout: Float = Field(default=0.0, ge=0, lt=1, description="share of activations dropped in training, in [0, 1)")
    loss: LossConfig = Field(default=LossConfig(), description="what is minimised; a bare name stands for {name: ...}")
    label_smoothing: Float = Field(default=0.0, ge=0, lt=1, description="in the training loss only, in [0, 1)")
    augment: AugmentConfig = Field(
        default=AugmentConfig(), description="random changes to training pictures; a bare level stands for {level: ...}"
    )
    ema: Float | None = Field(
        default=None, gt=0, lt=1, description="decay of an average of the weights, which is then validated; null: none"
    )
    grad_clip: Float | None = Field(default=None, gt=0, description="largest norm of the gradient; null: not clipped")
    early_stopping: EarlyStopping | None = Field(
        default=None, description="end when nothing is gained; a bare number stands for {patience: ...}; null: never"
    )
    precision: Literal["fp32", "tf32", "bf16", "fp16"] = Field(
        default="fp32", description="tf32: faster products on NVIDIA cards; bf16, fp16: autocast, weights stay fp32"
    )
    deterministic: bool = Field(default=False, description="only algorithms that repeat bit for bit, on a GPU too")
    compile: Literal["auto", "always", "never"] = Field(
        default="auto", description="torch.compile for training; auto: on a GPU, once what is to come makes up for it"
    )
    cudnn_benchmark: bool | None = Field(
        default=None,
        description="let cuDNN time its algorithms: steps 0 to 4% faster, 2 to 22 s for each batch size that a process "
        "meets; null: no",
    )

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
        if self.early_stopping is not None and self.early_stopping.patience >= self.epochs - 1:
            raise ValueError(
                f"early_stopping.patience {self.early_stopping.patience} can never end {self.epochs} epochs early: "
                "patience + 1 must be less than epochs; lower it, raise epochs, or leave early_stopping out"
            )
        if self.model == "densenet_bc":
            blocks_of(self.depth)
        if self.accumulate * 2 > self.batch_size:
            raise ValueError(
                f"accumulate {self.accumulate} leaves parts of fewer than two pictures of batch_size {self.batch_size}"
            )
        if self.deterministic and self.cudnn_benchmark:
            raise ValueError("deterministic and cudnn_benchmark exclude each other: timing may choose differently")
        return self


def model_names() -> tuple[str, ...]:
    """Return the names that `model` may have."""
    return get_args(ModelName)


def expand(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a `trainer:` tree in which shorthand is written out: `dataset: digits` as {name: digits}."""
    full = dict(tree)
    for section, key in SHORTHAND.items():
        if isinstance(full.get(section), str | int) and not isinstance(full[section], bool):
            full[section] = {key: full[section]}
    return full
