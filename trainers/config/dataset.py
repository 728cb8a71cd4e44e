"""Which pictures, and how they are parted into training and validation."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from trainers.config.section import Fraction, Int, Section

__all__ = ["BUNDLED", "DOWNLOADED", "FOLDERS", "NEED_ROOT", "DatasetConfig", "DatasetName"]

DatasetName = Literal["digits", "mnist", "fashion_mnist", "cifar10", "cifar100", "imagefolder", "imagenet", "npz"]

BUNDLED = frozenset({"digits"})
DOWNLOADED = frozenset({"mnist", "fashion_mnist", "cifar10", "cifar100"})
FOLDERS = frozenset({"imagefolder", "imagenet"})
NEED_ROOT = {
    "imagefolder": "the folder that holds train/<class>/ or <class>/ with pictures",
    "imagenet": "the folder that holds train/<class>/ and val/<class>/",
    "npz": "the file that holds the arrays train_images and train_labels",
}
"""Dataset -> what its root is, which it cannot do without."""


class DatasetConfig(Section):
    """The `dataset:` section; a bare name is shorthand for {name: ...}."""

    name: DatasetName = Field(
        description="digits (bundled, 8x8 grey), mnist, fashion_mnist, cifar10, cifar100, imagefolder, imagenet or npz"
    )
    root: Path | None = Field(
        default=None,
        description="folder of the pictures, or the .npz file; required by imagefolder, imagenet and npz, else the "
        "data folder",
    )
    val_fraction: Fraction = Field(
        default=0.1, description="share of the training pictures held for validation, in (0, 1); unused beside root/val"
    )
    image_size: Int | None = Field(
        default=None, ge=8, le=1024, description="side in pixels, 8..1024; null: as stored, 224 for folders"
    )
    limit: Int | None = Field(
        default=None, ge=2, description="train on so many pictures at most, stratified by class; null: on all"
    )
    statistics: Literal["pixel", "picture", "imagenet"] = Field(
        default="pixel",
        description="mean and deviation that pictures are scaled by: over all training pixels, with the mean of the "
        "pictures' own deviations, or ImageNet's for pretrained weights",
    )
    download: bool = Field(default=True, description="fetch files that are absent, where the dataset has an address")
    seed: Int = Field(default=0, ge=0, description="seed of the split; apart from the trial's, so that trials compare")

    @model_validator(mode="after")
    def _root_is_named(self) -> Self:
        if self.root is None and self.name in NEED_ROOT:
            raise ValueError(f"{self.name} needs root: {NEED_ROOT[self.name]}")
        return self
