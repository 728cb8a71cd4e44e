"""Early stopping: the end of a training that gains nothing any more."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from trainers.config import EarlyStopping

__all__ = ["Patience"]


class Patience:
    """Watches a metric; `lost` once it has not gained `min_delta` over its best for `patience` epochs."""

    def __init__(self, config: EarlyStopping) -> None:
        self._config = config
        self._sign = 1.0 if config.mode == "max" else -1.0
        self._best: float | None = None
        self._waited = 0

    def watch(self, metrics: Mapping[str, float]) -> None:
        """Take in an epoch's metrics."""
        value = metrics[self._config.monitor]
        if self._best is None or self._sign * (value - self._best) > self._config.min_delta:
            self._best, self._waited = value, 0
        else:
            self._waited += 1

    @property
    def lost(self) -> bool:
        """Whether the training should end."""
        return self._waited >= self._config.patience

    def state_dict(self) -> dict[str, Any]:
        """Return the best value and the epochs since."""
        return {"best": self._best, "waited": self._waited}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self._best, self._waited = state["best"], state["waited"]
