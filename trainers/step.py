"""One step of training: augment, forward, backward, update."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Generator, Tensor, nn
from torch.optim import Optimizer

from trainers.augment import augment, mix
from trainers.average import Ema
from trainers.compiled import Compiled
from trainers.config import TrainConfig
from trainers.graph import Captured
from trainers.losses import Loss
from trainers.normalise import Normalise
from trainers.precision import autocast, grad_scaler

__all__ = ["Step"]

HOST_OUT_OF_MEMORY = ("can't allocate memory", "could not create a primitive", "could not create a memory")
"""How PyTorch's allocator of a CPU, and oneDNN on top of it, say that there is no memory left."""


class Step:
    """Trains a network on a batch at a time, in as many parts as fit into memory.

    `parts` begins at the configuration's `accumulate` and, where it may, doubles when memory runs out, down to parts of
    two pictures. Gradients of the parts add up to those of the whole batch, but for batch norm, which sees a part at a
    time.
    """

    def __init__(
        self,
        config: TrainConfig,
        *,
        model: nn.Module,
        optimizer: Optimizer,
        loss: Loss,
        normalise: Normalise,
        mirrored: bool,
        ema: Ema | None,
        device: torch.device,
        may_part: bool = True,
    ) -> None:
        self.parts = config.accumulate
        self.scaler = grad_scaler(config, device)
        self.generator = Generator(device)
        """of augmentation; seed it before every epoch"""
        self._config = config
        self._model, self._optimizer, self._loss, self._ema = model, optimizer, loss, ema
        self._normalise, self._mirrored, self._device = normalise, mirrored, device
        self._may_part = may_part
        self._forward: Callable[[Tensor], Tensor] = model
        # fp16's scaler decides on the processor whether to step, and a graph would keep a rate that is no tensor
        fixed = self.scaler is not None or not isinstance(optimizer.param_groups[0]["lr"], Tensor)
        self._run = self._once if fixed else Captured(self._once, generators=(self.generator,), device=device)

    def __call__(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Train on uint8 pictures (B, C, H, W) with labels (B,); returns mean loss and logits (B, classes).

        They may be overwritten by the next call. Raises torch.OutOfMemoryError, on a CPU RuntimeError or MemoryError,
        when not even parts of two pictures fit, or the batch must not be parted.
        """
        while True:
            try:
                result = self._run(images, labels)
                break
            except (RuntimeError, MemoryError) as error:
                if not _is_lack_of_memory(error) or not self._may_part or 4 * self.parts > len(labels):
                    raise
            # not in the handler, where the exception would keep the failed pass's tensors alive
            self.parts *= 2
            self._optimizer.zero_grad(set_to_none=True)
            self._renew_scaler()
            self.forget()
        if self._ema is not None:
            self._ema.update()
        return result

    def _renew_scaler(self) -> None:
        """A scaler that was interrupted in a step would refuse the next."""
        if self.scaler is not None:
            state = self.scaler.state_dict()
            self.scaler = grad_scaler(self._config, self._device)
            assert self.scaler is not None
            self.scaler.load_state_dict(state)

    def forget(self) -> None:
        """Note that the step is another one now: its parts, its network, or what of that is trained."""
        if isinstance(self._run, Captured):
            self._run.forget()
            torch.cuda.empty_cache()

    def compile(self, backend: str = "inductor") -> None:
        """Run the network compiled from now on; evaluation stays as it is."""
        self._forward = Compiled(self._model, backend=backend)
        self.forget()

    def _once(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        return self._update(*self.inputs(images, labels))

    def inputs(self, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
        """What the network is given, the labels, and where pictures are mixed the other labels and the share."""
        config, others, share = self._config.augment, None, None
        inputs = augment(
            self._normalise.unit(images),
            config=config,
            mirrored=self._mirrored,
            mean=self._normalise.mean,
            generator=self.generator,
        )
        if config.mixup or config.cutmix:
            inputs, others, share = mix(inputs, labels, config=config, generator=self.generator)
        return self._normalise(inputs), labels, others, share

    def _update(
        self, inputs: Tensor, labels: Tensor, others: Tensor | None, share: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        self._optimizer.zero_grad(set_to_none=True)
        parts = min(self.parts, max(1, len(labels) // 2))
        weight = self._loss.weight(labels, others, share)
        losses, outputs = [], []
        for part in _split(parts, inputs, labels, others, share):
            with autocast(self._config, self._device):
                logits = self._forward(part[0]).float()
            loss = self._loss.sum(logits, *part[1:]) / weight
            torch.autograd.backward(loss if self.scaler is None else self.scaler.scale(loss))
            losses.append(loss.detach())
            outputs.append(logits.detach())
        self._apply()
        return (losses[0], outputs[0]) if parts == 1 else (torch.stack(losses).sum(), torch.cat(outputs))

    def _apply(self) -> None:
        """Move the weights along the gradients."""
        if self.scaler is not None:
            self.scaler.unscale_(self._optimizer)
        if self._config.grad_clip is not None:
            torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._config.grad_clip)
        if self.scaler is not None:
            self.scaler.step(self._optimizer)
            self.scaler.update()
        else:
            self._optimizer.step()


def _is_lack_of_memory(error: RuntimeError | MemoryError) -> bool:
    """Whether less of it would have done."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return any(words in str(error) for words in HOST_OUT_OF_MEMORY)


def _split(parts: int, inputs: Tensor, labels: Tensor, *mixed: Tensor | None) -> Iterator[tuple[Any, ...]]:
    """Yield the batch in parts of nearly equal size; what is None stays so."""
    columns = [each.tensor_split(parts) if each is not None else [None] * parts for each in (inputs, labels, *mixed)]
    return zip(*columns, strict=True)
