"""The networks by name. All take (N, C, H, W) floats and return (N, classes) logits."""

from __future__ import annotations

from torch import nn

from trainers.config import TrainConfig, blocks_of, model_names
from trainers.models.cnn import CustomCNN, LightweightCNN
from trainers.models.densenet import DenseNet
from trainers.models.linear import linear
from trainers.models.stages import stages

__all__ = ["build", "configured", "stages"]

_DENSENETS: dict[str, tuple[int, ...]] = {
    "densenet121": (6, 12, 24, 16),
    "densenet169": (6, 12, 32, 32),
    "densenet201": (6, 12, 48, 32),
    "densenet264": (6, 12, 64, 48),
}
"""Layers in each block."""


def configured(config: TrainConfig, *, input_shape: tuple[int, int, int], classes: int) -> nn.Module:
    """Build the network that a training's configuration describes; arguments and errors as for `build`."""
    return build(
        config.model,
        input_shape=input_shape,
        classes=classes,
        dropout=config.dropout,
        depth=config.depth,
        growth=config.growth,
        width=config.width,
    )


def build(
    name: str,
    *,
    input_shape: tuple[int, int, int],
    classes: int,
    dropout: float,
    depth: int = 100,
    growth: int = 12,
    width: int = 10,
) -> nn.Module:
    """Build a network with fresh weights drawn from torch's global generator.

    `input_shape` is (channels, height, width) in pixels, `dropout` a probability in [0, 1). `depth` (6n + 4 layers with
    weights) and `growth` are read by densenet_bc, `width` (channels of the first convolution) by the lightweight CNNs.
    Raises ValueError for an unknown name, another depth, and pictures too small for the network.
    """
    if name not in model_names():
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(model_names())}")
    if name == "linear":
        return linear(input_shape=input_shape, classes=classes)
    if name == "custom_cnn":
        return CustomCNN(colours=input_shape[0], classes=classes, dropout=dropout)
    if name.startswith("lightweight_cnn"):
        return LightweightCNN(
            input_shape=input_shape,
            classes=classes,
            dropout=dropout,
            channels=(width, 2 * width),
            global_pool=name == "lightweight_cnn_gap",
            separable=name == "lightweight_cnn_separable",
        )
    if name.startswith("densenet"):
        own = name == "densenet_bc"
        return DenseNet(
            input_shape=input_shape,
            classes=classes,
            blocks=blocks_of(depth) if own else _DENSENETS[name],
            growth=growth if own else 32,
            initial=2 * growth if own else 64,
            drop_rate=dropout,
        )
    return _of_torchvision(name, input_shape, classes, dropout)


def _of_torchvision(name: str, input_shape: tuple[int, int, int], classes: int, dropout: float) -> nn.Module:
    # torchvision costs seconds to import, which users of the other models need not pay.
    if name.startswith("resnet"):
        from trainers.models.resnet import resnet

        return resnet(name, input_shape=input_shape, classes=classes, dropout=dropout)
    from trainers.models.mobilenet import mobilenet

    return mobilenet(name, input_shape=input_shape, classes=classes, dropout=dropout)
