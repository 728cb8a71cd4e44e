"""How numbers are computed: precision, determinism, choice of algorithms."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch

from trainers.config import TrainConfig

__all__ = ["autocast", "fix_cublas_workspace", "grad_scaler", "switches"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


def fix_cublas_workspace(device: torch.device) -> None:
    """Give cuBLAS the workspace with which its products repeat bit for bit; a value that is set already stays.

    torch and cuBLAS read the variable once, at the first product in the process, and torch then refuses deterministic
    products for as long as the process lives. Call this before that on any CUDA device, whether the training is
    deterministic or not: a later one may be. It is torch's own size of 32 MiB on Hopper and Blackwell, 24 MiB more
    elsewhere.
    """
    if device.type == "cuda":
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


def autocast(config: TrainConfig, device: torch.device) -> AbstractContextManager[object]:
    """Return the context of a forward pass."""
    dtype = DTYPES.get(config.precision)
    if dtype is None:
        return nullcontext()
    # every weight is cast once a pass, and a cache of casts must not outlive a captured graph
    return torch.autocast(device.type, dtype=dtype, cache_enabled=False)


def grad_scaler(config: TrainConfig, device: torch.device) -> torch.amp.GradScaler | None:
    """Return the scaler that keeps fp16's small gradients from vanishing; on CUDA only, None where none is needed."""
    return torch.amp.GradScaler("cuda") if config.precision == "fp16" and device.type == "cuda" else None


@contextmanager
def switches(config: TrainConfig, device: torch.device) -> Iterator[None]:
    """Set torch's global switches for this training, and put them back: a process trains one after the other."""
    before = _read()
    try:
        torch.use_deterministic_algorithms(config.deterministic)
        if device.type == "cuda":
            torch.backends.cudnn.benchmark = config.cudnn_benchmark is True
            # the older switches: torch refuses a mixture of these and its newer ones
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = config.precision != "fp32"
        yield
    finally:
        _write(before)


def _read() -> tuple[bool, bool, bool, bool]:
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
        torch.backends.cuda.matmul.allow_tf32,
        torch.backends.cudnn.allow_tf32,
    )


def _write(values: tuple[bool, bool, bool, bool]) -> None:
    torch.use_deterministic_algorithms(values[0])
    torch.backends.cudnn.benchmark = values[1]
    torch.backends.cuda.matmul.allow_tf32 = values[2]
    torch.backends.cudnn.allow_tf32 = values[3]
