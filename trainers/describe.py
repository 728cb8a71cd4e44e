"""What a network is made of and what it costs, without computing a single number of it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils.flop_counter import FlopCounterMode

from trainers.models import build

__all__ = ["Description", "Layer", "Memory", "count_parameters", "describe"]


@dataclass(frozen=True, kw_only=True)
class Layer:
    """A module without modules of its own, in the order of computation; one that is used twice stands there twice."""

    name: str
    """path in the network"""
    kind: str
    """class, such as Conv2d"""
    output_shape: tuple[int, ...]
    """of one picture"""
    parameters: int
    """with bias; of one used twice, where it stands first"""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Bytes in float32. What a library takes for itself, and what its kernels take for a moment, is not in it."""

    weights: int
    """parameters and the statistics of batch norm: the size of a saved state dict"""
    gradients: int
    sgd_state: int
    """momentum, one number for each trainable parameter"""
    adam_state: int
    """two numbers for each trainable parameter"""
    activations: int
    """what the backward pass of one picture keeps of the forward pass, the picture among it; times the batch size"""


@dataclass(frozen=True, kw_only=True)
class Description:
    """A network's layers, parameters, operations and memory."""

    name: str
    input_shape: tuple[int, int, int]
    classes: int
    layers: tuple[Layer, ...]
    parameters: int
    trainable: int
    flops: int
    """of one picture forward: convolutions and matrix products, where multiplying and adding count as two"""
    memory: Memory


def describe(name: str, input_shape: tuple[int, int, int], classes: int, **options: Any) -> Description:
    """Describe a network of `build`, whose options (depth, growth, width, dropout) may be given; dropout is 0 if not.

    Works on torch's meta device: nothing is allocated. Raises what `build` raises.
    """
    with torch.device("meta"):
        model = build(name, input_shape=input_shape, classes=classes, **{"dropout": 0.0} | options)
        layers, flops = _forward(model, input_shape)
        # batch norm refuses a single value per channel, and its own statistics are no matter of the single picture
        activations = (_saved_bytes(model, input_shape, 4) - _saved_bytes(model, input_shape, 2)) // 2
    trainable = [parameter for parameter in model.parameters() if parameter.requires_grad]
    gradients = sum(map(_bytes, trainable))
    return Description(
        name=name,
        input_shape=input_shape,
        classes=classes,
        layers=tuple(layers),
        parameters=sum(parameter.numel() for parameter in model.parameters()),
        trainable=sum(parameter.numel() for parameter in trainable),
        flops=flops,
        memory=Memory(
            weights=sum(map(_bytes, model.state_dict().values())),
            gradients=gradients,
            sgd_state=gradients,
            adam_state=2 * gradients,
            activations=activations,
        ),
    )


def count_parameters(name: str, input_shape: tuple[int, int, int], classes: int, **options: Any) -> int:
    """Return how many parameters a network has; arguments and errors as for `describe`."""
    with torch.device("meta"):
        model = build(name, input_shape=input_shape, classes=classes, **{"dropout": 0.0} | options)
    return sum(parameter.numel() for parameter in model.parameters())


def _forward(model: nn.Module, input_shape: tuple[int, int, int]) -> tuple[list[Layer], int]:
    """Return the layers in order, and the operations of one picture."""
    counter = FlopCounterMode(display=False)
    model.eval()
    with _noted(model) as layers, counter, torch.no_grad():
        model(torch.empty(1, *input_shape))
    return layers, counter.get_total_flops()


@contextmanager
def _noted(model: nn.Module) -> Iterator[list[Layer]]:
    """Fill the list with the leaves of the network as they compute."""
    layers: list[Layer] = []
    names = {module: name for name, module in model.named_modules() if not list(module.children())}

    def note(module: nn.Module, _inputs: Any, output: Tensor) -> None:
        seen = any(layer.name == names[module] for layer in layers)
        count = 0 if seen else sum(parameter.numel() for parameter in module.parameters())
        shape = tuple(output.shape[1:])
        layers.append(Layer(name=names[module], kind=type(module).__name__, output_shape=shape, parameters=count))

    hooks = [module.register_forward_hook(note) for module in names]
    try:
        yield layers
    finally:
        for hook in hooks:
            hook.remove()


def _saved_bytes(model: nn.Module, input_shape: tuple[int, int, int], batch: int) -> int:
    """Return the bytes that autograd keeps of a forward pass in training, without the network's own tensors.

    Tensors that share memory count once: a normalised value, and what an in-place ReLU made of it.
    """
    own = {_memory(tensor) for tensor in [*model.parameters(), *model.buffers()]}
    kept: dict[int, Tensor] = {}

    def note(tensor: Tensor) -> Tensor:
        if _memory(tensor) not in own:
            kept[_memory(tensor)] = tensor
        return tensor

    model.train()
    with saved_tensors_hooks(note, lambda tensor: tensor):
        model(torch.empty(batch, *input_shape))
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def _memory(tensor: Tensor) -> int:
    # tensors without data share the address 0, but not the object that would hold their memory
    return int(tensor.untyped_storage()._cdata)


def _bytes(tensor: Tensor) -> int:
    return math.prod(tensor.shape) * tensor.element_size()
