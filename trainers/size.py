"""How large the state of a training will be on disk, told before a picture is read or a weight drawn."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from trainers.config import FOLDERS, DatasetConfig, TrainConfig
from trainers.models import build

__all__ = ["pictures_of", "state_bytes", "undrawn"]

STORED: Mapping[str, tuple[tuple[int, int, int], int]] = {
    "digits": ((1, 8, 8), 10),
    "mnist": ((1, 28, 28), 10),
    "fashion_mnist": ((1, 28, 28), 10),
    "cifar10": ((3, 32, 32), 10),
    "cifar100": ((3, 32, 32), 100),
}
"""Dataset -> colours, height and width of its pictures, and its classes."""
PER_TENSOR = 290
"""Bytes of a file for the name, shape and place of each tensor; 254 to 301 measured with torch 2.14."""
PER_FILE = 8200
"""Bytes of a file for all else: the state of torch's generator is 5056 of them, the configuration about 3000."""
SECOND_MOMENTS = 2
"""Tensors that Adam keeps for each weight, beside a counter."""


def state_bytes(config: TrainConfig) -> int:
    """Return the bytes of a checkpoint of this training, within a few percent of the file.

    The network is built without memory. Raises ValueError or FileNotFoundError where the pictures' size or their
    classes cannot be told, or are none that the network takes.
    """
    shape, classes = pictures_of(config.dataset)
    weights, tensors, trained, parameters = _network(
        config.model, config.depth, config.growth, config.width, shape, classes
    )
    size = PER_FILE + (1 + (config.ema is not None)) * (weights + tensors * PER_TENSOR)
    if config.optimizer != "sgd":
        counter = torch.empty((), device="meta").nbytes + PER_TENSOR
        return size + SECOND_MOMENTS * (trained + parameters * PER_TENSOR) + parameters * counter
    return size + (trained + parameters * PER_TENSOR if config.momentum else 0)


def pictures_of(dataset: DatasetConfig) -> tuple[tuple[int, int, int], int]:
    """Return colours, height and width of the pictures a network is given, and the number of classes.

    Of pictures of the user's own only the names of their folders or the head of their file are read. Raises ValueError
    or FileNotFoundError where they are not there or not as they should be.
    """
    if dataset.name in FOLDERS:
        return _of_folder(dataset)
    if dataset.name == "npz":
        from trainers.arrays import sketch

        assert dataset.root is not None
        shape, classes = sketch(dataset.root.expanduser())
    else:
        shape, classes = STORED[dataset.name]
    side = dataset.image_size
    return (shape[0], side, side) if side else shape, classes


def _of_folder(dataset: DatasetConfig) -> tuple[tuple[int, int, int], int]:
    from trainers.listing import class_names
    from trainers.sources import FOLDER_IMAGE_SIZE

    assert dataset.root is not None
    side = dataset.image_size or FOLDER_IMAGE_SIZE
    return (3, side, side), len(class_names(dataset.root.expanduser()))


class _Undrawn(TorchFunctionMode):
    """Draws no normal numbers: for those of the meta device torch imports its compiler, which takes 1.3 s."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func is torch.Tensor.normal_ else func(*args, **(kwargs or {}))


def undrawn() -> AbstractContextManager[object]:
    """Networks that are built meanwhile draw no weights: for those that are described only."""
    return _Undrawn()


@lru_cache(maxsize=256)
def _network(
    model: str, depth: int, growth: int, width: int, shape: tuple[int, int, int], classes: int
) -> tuple[int, int, int, int]:
    """Bytes and number of all tensors of a network, and of those that are trained."""
    with torch.device("meta"), _Undrawn():
        network = build(model, input_shape=shape, classes=classes, dropout=0.0, depth=depth, growth=growth, width=width)
    kept, trained = list(network.state_dict().values()), list(network.parameters())
    return sum(each.nbytes for each in kept), len(kept), sum(each.nbytes for each in trained), len(trained)
