"""Transfer learning: weights of an earlier training to begin with, and which of them may move in which epoch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from trainers import checkpoint
from trainers.config import TransferConfig
from trainers.models import stages

__all__ = ["Loaded", "WeightsError", "freeze", "load_weights", "stages"]

SUFFIXES = (".pt", ".pth", ".safetensors")
_COUNTER = "num_batches_tracked"
"""Batch norm's count of batches, which old files lack and nothing reads."""
_TORCHVISION_HEAD = {"fc.weight": "fc.1.weight", "fc.bias": "fc.1.bias"}
_WAY_OUT = "set model, depth, growth and width to those that the weights were trained with"
_SHOWN = 4


class WeightsError(ValueError):
    """A file of weights that is absent, unreadable or of another network. The message says what to do."""


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """What a network got from a file of weights."""

    count: int
    """tensors taken from the file"""
    fresh: tuple[str, ...]
    """names of the tensors that keep the values they had: of the head, of a stem of another shape"""


def load_weights(model: nn.Module, path: Path) -> Loaded:
    """Copy into a network of `build` every tensor of a local file that has a name and shape of its own.

    The file holds a state dict, or a checkpoint with one under `model`, over which an average under `ema` goes; names
    may have the prefix of DataParallel or torch.compile. ImageNet weights of torchvision fit ResNet and MobileNetV3.
    The head may differ, and so may the shape of the first convolution (other colours, other size of pictures). Raises
    WeightsError where anything else does; the network is then as before.
    """
    tensors = _read(path.expanduser())
    mine = model.state_dict()
    found = {name: tensor for name, tensor in tensors.items() if name in mine and tensor.shape == mine[name].shape}
    head, stem = _head_names(model, {*mine, *tensors}), next(iter(mine))
    # the linear model is its head
    body = [name for name in mine if name not in head and _COUNTER not in name] or list(mine)
    if not tensors.keys() & set(body):
        raise WeightsError(
            f"nothing in {path} fits this {type(model).__name__}: the file has {_first(tensors)}, the network "
            f"{_first(body)}; {_WAY_OUT}"
        )
    missing = [name for name in body if name not in found]
    if stem in missing and stem in tensors and stem not in head:
        missing.remove(stem)
    foreign = [name for name in tensors if name not in mine and name not in head and _COUNTER not in name]
    if missing or foreign:
        raise WeightsError(f"{path} holds weights of another network: {_differences(missing, foreign, tensors, mine)}")
    model.load_state_dict(found, strict=False)
    return Loaded(count=len(found), fresh=tuple(name for name in mine if name not in found and _COUNTER not in name))


def freeze(model: nn.Module, config: TransferConfig, epoch: int) -> None:
    """Let those stages of the network train that may in `epoch`, counted from 1, and hold the others still.

    Call it at the start of each epoch, after model.train(): batch norm of stages that are held goes into evaluation, so
    that its running statistics stay. Held parameters need no gradient and have none, so that no optimizer moves them.
    A function of the epoch alone: nothing has to be stored for resuming.
    """
    row = stages(model)
    held = len(row) - _thawed(len(row), config, epoch)
    for index, stage in enumerate(row):
        moves = index >= held
        for parameter in stage.parameters():
            parameter.requires_grad_(moves)
            if not moves:
                parameter.grad = None
        for module in stage.modules():
            if isinstance(module, _BatchNorm):
                module.train(moves and model.training)


def _thawed(count: int, config: TransferConfig, epoch: int) -> int:
    """Return how many stages train, from the head down."""
    since = epoch - config.freeze_epochs - 1
    if since < 0:
        return 1
    if config.unfreeze_every is None:
        return count
    return min(count, 2 + since // config.unfreeze_every)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise WeightsError(
            f"{path} is not there. Weights are never downloaded: fetch the file yourself and give its path in "
            "transfer.weights"
        )
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} has suffix {path.suffix!r}; weights are read from {', '.join(SUFFIXES)}")
    content = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    tensors = {}
    for name, tensor in _state_dict(content, path).items():
        plain = str(name).removeprefix("module.").removeprefix("_orig_mod.")
        tensors[_TORCHVISION_HEAD.get(plain, plain)] = tensor
    return tensors


def _read_torch(path: Path) -> Any:
    try:
        return checkpoint.load_tensors(path)
    except ValueError as error:
        raise WeightsError(
            f"{path} cannot be read with weights_only=True, and nothing else is run: it is damaged or holds more than "
            "tensors; save it anew with torch.save(model.state_dict(), path)"
        ) from error


def _read_safetensors(path: Path) -> Any:
    try:
        return load_file(path)
    except SafetensorError as error:
        raise WeightsError(f"{path} is not a readable safetensors file ({error}): fetch it anew") from error


def _state_dict(content: Any, path: Path) -> dict[Any, Tensor]:
    if isinstance(content, Mapping):
        averaged = content.get("ema")
        if isinstance(averaged, Mapping) and isinstance(averaged.get("model"), Mapping):
            averaged = averaged["model"]  # as Trainer.state_dict() has it
        parts = [part for part in (content.get("model"), averaged) if isinstance(part, Mapping)]
        merged = {name: tensor for part in parts or [content] for name, tensor in part.items()}
        # averages count their updates beside the tensors
        tensors = {
            name: tensor for name, tensor in merged.items() if isinstance(tensor, Tensor) and name != "n_averaged"
        }
        if tensors:
            return tensors
    held = f"keys {_first(content)}" if isinstance(content, Mapping) else type(content).__name__
    raise WeightsError(f"{path} holds {held}: expected a state dict, or a checkpoint with one under `model` or `ema`")


def _head_names(model: nn.Module, names: Iterable[str]) -> set[str]:
    head = stages(model)[-1]
    prefix = next(name for name, module in model.named_modules() if module is head)
    return {name for name in names if not prefix or name.startswith(f"{prefix}.")}


def _differences(
    missing: list[str], foreign: list[str], tensors: Mapping[str, Tensor], mine: Mapping[str, Tensor]
) -> str:
    said = []
    if missing:
        shapes = {
            name: f"{name} ({_shape(tensors[name])} in the file, {_shape(mine[name])} here)"
            if name in tensors
            else name
            for name in missing
        }
        said.append(f"{len(missing)} tensors are absent or of another shape, {_first(shapes.values())}")
    if foreign:
        said.append(f"{len(foreign)} tensors have no place here, {_first(foreign)}")
    return "; ".join([*said, _WAY_OUT])


def _shape(tensor: Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _first(names: Iterable[Any]) -> str:
    listed = [str(name) for name in names]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
