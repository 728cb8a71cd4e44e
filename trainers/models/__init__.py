"""The networks by name. All take (N, C, H, W) floats and return (N, classes) logits."""

from __future__ import annotations

from torch import nn

from trainers.config import model_names
from trainers.models.cnn import CustomCNN, LightweightCNN
from trainers.models.densenet import DenseNet
from trainers.models.linear import linear
from trainers.models.resnet import resnet18

__all__ = ["build"]

# Blocks, growth, channels after the stem.
_DENSENETS: dict[str, tuple[tuple[int, ...], int, int]] = {
    "densenet121": ((6, 12, 24, 16), 32, 64),
    "densenet169": ((6, 12, 32, 32), 32, 64),
    "densenet201": ((6, 12, 48, 32), 32, 64),
    "densenet264": ((6, 12, 64, 48), 32, 64),
}


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
    Raises ValueError for an unknown name, and for pictures too small for the network.
    """
    if name == "linear":
        return linear(input_shape=input_shape, classes=classes)
    if name in ("lightweight_cnn", "lightweight_cnn_gap"):
        pooled = name == "lightweight_cnn_gap"
        return LightweightCNN(
            input_shape=input_shape, classes=classes, dropout=dropout, channels=(width, 2 * width), global_pool=pooled
        )
    if name == "custom_cnn":
        return CustomCNN(colours=input_shape[0], classes=classes, dropout=dropout)
    if name == "resnet18":
        return resnet18(input_shape=input_shape, classes=classes, dropout=dropout)
    blocks: tuple[int, ...]
    if name == "densenet_bc":
        blocks, growth, initial = ((depth - 4) // 6,) * 3, growth, 2 * growth
    elif name in _DENSENETS:
        blocks, growth, initial = _DENSENETS[name]
    else:
        raise ValueError(f"unknown model {name!r}; choose one of {', '.join(model_names())}")
    return DenseNet(
        input_shape=input_shape, classes=classes, blocks=blocks, growth=growth, initial=initial, drop_rate=dropout
    )
