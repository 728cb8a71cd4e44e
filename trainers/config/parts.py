"""The smaller sections: augmentation, loss, transfer, early stopping."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from trainers.config.section import Float, Int, Section

__all__ = ["AugmentConfig", "EarlyStopping", "LossConfig", "TransferConfig"]


class AugmentConfig(Section):
    """The `augment:` section; a bare level is shorthand for {level: ...}. Switches are null where the level decides."""

    level: Literal["none", "light", "standard", "heavy"] = Field(
        default="light",
        description="light: crop and flip; standard: and rotation, jitter, blur, affine, erasing; heavy: more of them",
    )
    crop: bool | None = Field(
        default=None, description="shift by up to an eighth of the side; null: as the level has it"
    )
    flip: bool | None = Field(
        default=None, description="mirror left to right; null: as the level has it where mirrored pictures make sense"
    )
    cutout: bool | None = Field(
        default=None, description="blank a square of a quarter of the side; null: as the level has it"
    )
    mixup: Float = Field(default=0.0, ge=0, description="alpha of the Beta distribution that blends pairs; 0: off")
    cutmix: Float = Field(default=0.0, ge=0, description="alpha of the Beta distribution that pastes pairs; 0: off")


class LossConfig(Section):
    """The `loss:` section; a bare name is shorthand for {name: ...}."""

    name: Literal["cross_entropy", "focal"] = Field(default="cross_entropy", description="cross_entropy or focal")
    gamma: Float = Field(
        default=2.0, ge=0, description="focal only: how much sure pictures lose weight; 0: cross entropy"
    )
    alpha: Float = Field(default=1.0, gt=0, description="focal only: factor of the whole loss")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="balanced: N / (classes * pictures of the class), from the training labels"
    )


class TransferConfig(Section):
    """The `transfer:` section: weights of an earlier training to begin with, and when they may move."""

    weights: Path = Field(description="local file with a state dict (.pt, .pth or .safetensors); its head may differ")
    freeze_epochs: Int = Field(default=0, ge=0, description="epochs in which the new head alone is trained")
    unfreeze_every: Int | None = Field(
        default=None,
        ge=1,
        description="epochs between unfreezing one stage and the one before it, from the head down; null: all at once",
    )


class EarlyStopping(Section):
    """The `early_stopping:` section: end a training that gets no better."""

    patience: Int = Field(
        default=5, ge=1, description="epochs without a gain before the training ends; less than epochs - 1"
    )
    min_delta: Float = Field(default=0.001, ge=0, description="least gain that counts, in the metric's unit")
    monitor: Literal["val/accuracy", "val/loss", "val/macro_f1"] = Field(
        default="val/accuracy", description="metric that is watched"
    )

    @property
    def mode(self) -> Literal["min", "max"]:
        """Which way is better."""
        return "min" if self.monitor == "val/loss" else "max"
