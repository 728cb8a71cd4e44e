"""torchvision's ResNets with a stem for small pictures and dropout before their head."""

from __future__ import annotations

import torchvision.models
from torch import nn

from trainers.models.dropout import Dropout
from trainers.models.stem import is_small

__all__ = ["resnet"]


def resnet(name: str, *, input_shape: tuple[int, int, int], classes: int, dropout: float) -> nn.Module:
    """Build resnet18 or resnet50, (N, C, H, W) -> (N, classes) logits.

    Up to 64 px the stem is one 3x3 convolution without pooling. Names of tensors are torchvision's, but for the head's:
    fc.1 instead of fc.
    """
    colours, height, width = input_shape
    model: nn.Module = getattr(torchvision.models, name)(weights=None, num_classes=classes)
    if is_small(height, width):
        stem = nn.Conv2d(colours, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    else:
        stem = nn.Conv2d(colours, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(stem.weight, mode="fan_out", nonlinearity="relu")
    features = 2048 if name == "resnet50" else 512
    model.conv1, model.fc = stem, nn.Sequential(Dropout(dropout), nn.Linear(features, classes))
    return model
