"""A training step captured as one CUDA graph: the processor starts it once instead of kernel by kernel."""

from __future__ import annotations

import copy
import gc
import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Generator, Tensor

__all__ = ["Captured"]

WARM_UP = 3
"""Steps that run kernel by kernel before capture, so that libraries have chosen algorithms and memory is there."""

StepFunction = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class Captured:
    """Calls a step on batches of one shape, from the fourth on as a graph; others, an epoch's last, as they are.

    Every call is a step of the training, those before capture too. What it returns is overwritten by the next call.
    Where a step cannot be captured it goes on kernel by kernel, with a warning.
    """

    def __init__(self, step: StepFunction, *, generators: tuple[Generator, ...], device: torch.device) -> None:
        """`step` maps uint8 pictures and labels on a GPU to mean loss and logits, and waits for nothing.

        `generators` are those that it draws from, torch's default one excepted.
        """
        self._step, self._generators = step, generators
        self._graph: torch.cuda.CUDAGraph | None = None
        self._shape: torch.Size | None = None
        self._images: Tensor | None = None
        self._labels: Tensor | None = None
        self._result: tuple[Tensor, Tensor] | None = None
        self._warm = 0
        self._refused = False
        self._device = device
        self._beside: torch.cuda.Stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        with torch.cuda.device(self._device):
            return self._call(images, labels)

    def _call(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        if self._refused or (self._shape is not None and images.shape != self._shape):
            return self._step(images, labels)
        self._shape = images.shape
        if self._warm < WARM_UP:
            self._warm += 1
            return self._run_beside(images, labels)
        if self._graph is None and not self._capture(images, labels):
            return self._step(images, labels)
        assert self._graph is not None
        assert self._images is not None
        assert self._labels is not None
        assert self._result is not None
        self._images.copy_(images)
        self._labels.copy_(labels)
        self._graph.replay()
        return self._result

    def __deepcopy__(self, memo: dict[int, Any]) -> Captured:
        """One that has captured nothing yet: neither a graph nor a stream can be copied."""
        generators = copy.deepcopy(self._generators, memo)
        return Captured(copy.deepcopy(self._step, memo), generators=generators, device=self._device)

    def forget(self) -> None:
        """Capture anew at the next call: what the step does has changed."""
        self._graph = self._result = self._shape = None
        self._warm = 0

    def _run_beside(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Run on another stream than the default one, whose work cannot be captured."""
        self._beside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self._beside):
            result = self._step(images, labels)
        torch.cuda.current_stream().wait_stream(self._beside)
        return result

    def _capture(self, images: Tensor, labels: Tensor) -> bool:
        self._images, self._labels = images.clone(), labels.clone()
        gc.collect()  # graphs of earlier trials give their memory back
        graph = torch.cuda.CUDAGraph()
        for generator in self._generators:
            graph.register_generator_state(generator)
        try:
            # of this thread alone: another may be copying pictures to the device
            with torch.cuda.graph(graph, stream=self._beside, capture_error_mode="thread_local"):
                self._result = self._step(self._images, self._labels)
        except torch.OutOfMemoryError:
            self.forget()
            raise
        except RuntimeError as error:
            self._refused = True
            self._images = self._labels = self._result = None
            torch.cuda.synchronize()
            reason = str(error).splitlines()[0]
            warnings.warn(f"this step cannot be captured as a CUDA graph and runs slower: {reason}", stacklevel=3)
            return False
        self._graph = graph
        return True
