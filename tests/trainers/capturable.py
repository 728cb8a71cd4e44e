"""Watches a computation for what a CUDA graph cannot hold; it works on a CPU, by the names of torch's operations."""

from __future__ import annotations

from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode

# Read a value on the host, size their result by one, or copy a number or a list from the host.
WAITING = {
    "_local_scalar_dense",
    "_unique2",
    "bincount",
    "equal",
    "lift_fresh",
    "masked_select",
    "nonzero",
    "repeat_interleave",
    "scalar_tensor",
    "unique_consecutive",
    "unique_dim",
}


class Capturable(TorchDispatchMode):
    """Fails where an operation would wait for the device, or draws from another generator than `generator`."""

    def __init__(self, generator: torch.Generator | None = None) -> None:
        super().__init__()
        self._generator = generator

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func._schema.name.removeprefix("aten::")
        assert name not in WAITING, f"{name} waits for the device, or copies from the host"
        if name.startswith("index"):
            indices = [item for arg in args if isinstance(arg, list) for item in arg if item is not None]
            assert all(index.dtype != torch.bool for index in indices), f"{name} by a mask has a shape that depends"
        if torch.Tag.nondeterministic_seeded in func.tags:
            # torch hands over the same generator in a new wrapper.
            drawn, allowed = (getattr(each, "_cdata", None) for each in (kwargs.get("generator"), self._generator))
            assert drawn is not None and drawn == allowed, f"{name} draws from another generator"  # noqa: PT018
        return func(*args, **kwargs)
