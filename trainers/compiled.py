"""Compiled networks, and when they pay."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["Compiled", "worth_compiling"]

SECONDS_A_LAYER = 1.2
"""Of compiling, per convolution or linear layer: 130 s for DenseNet-121's 121, 30 s for ResNet-18's 21, on an H100."""
SAVED = 0.15
"""Share of the time that compiling saves at least, beside CUDA graphs: 0.15 for ResNet-18, 0.32 for DenseNet-121."""
MARGIN = 2.0
"""It has to save so many times what it costs, for forecasts err."""
VERSIONS = 64
"""Batch shapes and dtypes that one process may compile a network for; torch gives up at 8."""


class Compiled:
    """A network's forward pass through torch.compile; what cannot be compiled runs as it is, with a warning.

    Trials that differ in learning rate, weight decay or dropout share what was compiled: these are no constants in it.
    """

    def __init__(self, model: nn.Module, *, backend: str | Any = "inductor") -> None:
        torch._dynamo.config.recompile_limit = max(VERSIONS, torch._dynamo.config.recompile_limit)
        self._plain = model
        self._compiled: Any = torch.compile(model, backend=backend, dynamic=False)

    def __call__(self, images: Tensor) -> Tensor:
        if self._compiled is not None:
            try:
                result: Tensor = self._compiled(images)
                return result
            except torch.OutOfMemoryError:
                raise
            except Exception as error:  # noqa: BLE001 - the compiler and its own compilers raise of every kind
                self._compiled = None
                reason = str(error).strip().splitlines()[0]
                warnings.warn(f"the network cannot be compiled here and runs as it is: {reason}", stacklevel=2)
        plain: Tensor = self._plain(images)
        return plain


def worth_compiling(model: nn.Module, *, epoch_seconds: float, epochs: float) -> bool:
    """Whether compiling now saves more than it costs over `epochs` epochs that are forecast for this process."""
    layers = sum(isinstance(module, nn.Conv2d | nn.Linear) for module in model.modules())
    return SAVED * epoch_seconds * epochs > MARGIN * SECONDS_A_LAYER * layers
