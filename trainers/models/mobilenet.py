"""torchvision's MobileNetV3 with smaller strides for small pictures and statistics for short trainings."""

from __future__ import annotations

from functools import partial

import torchvision.models
from torch import nn

from trainers.models.dropout import Dropout
from trainers.models.stem import is_small

__all__ = ["mobilenet"]

_STAGE_STARTS = {"mobilenet_v3_small": (0, 1, 2, 4, 9), "mobilenet_v3_large": (0, 2, 4, 7, 13)}
"""Blocks that halve the resolution, the stem among them."""


def mobilenet(name: str, *, input_shape: tuple[int, int, int], classes: int, dropout: float) -> nn.Module:
    """Build mobilenet_v3_small or mobilenet_v3_large, (N, C, H, W) -> (N, classes) logits.

    Up to 64 px the stem and the first block that halves the resolution keep it: five halvings would leave one cell of
    32 px, on which 5x5 convolutions see nothing but padding; three leave 4x4, as with ResNet and DenseNet. Strides are
    no weights, so ImageNet's fit either way. Names of tensors are torchvision's.
    """
    colours, height, width = input_shape
    # torchvision's momentum of 0.01 is for 10^5 steps: after 69 on digits, half of what the running statistics hold is
    # from before the first, and validation accuracy 0.09 where 0.1 gives 0.69 to 0.81 (3 seeds).
    norm = partial(nn.BatchNorm2d, eps=0.001, momentum=0.1)
    model: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=classes, norm_layer=norm)
    starts = _STAGE_STARTS[name]
    features = model.get_submodule("features")
    assert isinstance(features, nn.Sequential)
    stride = 1 if is_small(height, width) else 2
    stem = nn.Conv2d(colours, 16, 3, stride=stride, padding=1, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out")
    model.set_submodule("features.0.0", stem)
    if stride == 1:
        _keep_resolution(features[starts[1]])
    model.set_submodule("classifier.2", Dropout(dropout))
    model.stage_starts = starts  # type: ignore[assignment]  # torch knows of tensors and modules only
    return model


def _keep_resolution(block: nn.Module) -> None:
    for module in block.modules():
        if isinstance(module, nn.Conv2d):
            module.stride = (1, 1)
