"""Image classifiers to train: configuration without torch, training with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from trainers.config import TrainConfig
    from trainers.train import Trainer

__all__ = ["TrainConfig", "Trainer"]


def __getattr__(name: str) -> Any:
    """Import on first use: a driver that only checks a file must not pay three seconds for torch."""
    if name == "TrainConfig":
        from trainers.config import TrainConfig

        return TrainConfig
    if name == "Trainer":
        from trainers.train import Trainer

        return Trainer
    raise AttributeError(f"module 'trainers' has no attribute {name!r}; it has {', '.join(__all__)}")
