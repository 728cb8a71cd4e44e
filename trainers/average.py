"""An exponential moving average of a network's weights."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Ema"]


class Ema:
    """Averages weights and buffers after every step; `model` is the network that has them.

    average += (1 - d) * (weights - average), d = min(decay, (1 + n) / (10 + n)) after n updates: the first weights,
    which have learnt nothing, must not outlast a short training.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._decay = decay
        self._updates = 0
        self._source = _floats(model)
        self._average = _floats(self.model)
        self._counters = list(zip(_others(self.model), _others(model), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Move the average towards the weights as they are now."""
        self._updates += 1
        decay = min(self._decay, (1 + self._updates) / (10 + self._updates))
        torch._foreach_lerp_(self._average, self._source, 1 - decay)
        for average, source in self._counters:
            average.copy_(source)

    def state_dict(self) -> dict[str, Any]:
        """Return averaged weights and the number of updates."""
        return {"model": self.model.state_dict(), "updates": self._updates}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take up what `state_dict` returned."""
        self.model.load_state_dict(state["model"])
        self._updates = state["updates"]


def _floats(model: nn.Module) -> list[Tensor]:
    return [value for value in model.state_dict(keep_vars=True).values() if value.is_floating_point()]


def _others(model: nn.Module) -> list[Tensor]:
    return [value for value in model.state_dict(keep_vars=True).values() if not value.is_floating_point()]
