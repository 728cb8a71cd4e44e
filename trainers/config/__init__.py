"""A training described without torch: pydantic models, what of them may be searched, and what is read."""

from __future__ import annotations

from trainers.config.dataset import FOLDERS, NEED_ROOT, DatasetConfig
from trainers.config.depth import blocks_of
from trainers.config.parts import AugmentConfig, EarlyStopping, LossConfig, TransferConfig
from trainers.config.reading import MODELS_WITHOUT_DROPOUT, paths, unread_paths
from trainers.config.schedule import (
    SCHEDULES,
    ConstantSchedule,
    CosineSchedule,
    MultistepSchedule,
    OnecycleSchedule,
    PlateauSchedule,
    Schedule,
    StepSchedule,
)
from trainers.config.train import FACTS, METRICS, ON_DEMAND, SHORTHAND, TrainConfig, expand, model_names

__all__ = [
    "FACTS",
    "FOLDERS",
    "METRICS",
    "MODELS_WITHOUT_DROPOUT",
    "NEED_ROOT",
    "ON_DEMAND",
    "SCHEDULES",
    "SHORTHAND",
    "AugmentConfig",
    "ConstantSchedule",
    "CosineSchedule",
    "DatasetConfig",
    "EarlyStopping",
    "LossConfig",
    "MultistepSchedule",
    "OnecycleSchedule",
    "PlateauSchedule",
    "Schedule",
    "StepSchedule",
    "TrainConfig",
    "TransferConfig",
    "blocks_of",
    "expand",
    "model_names",
    "paths",
    "unread_paths",
]
