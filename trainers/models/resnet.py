"""torchvision's ResNet-18 with a stem for small pictures and dropout before its head."""

from __future__ import annotations

from torch import nn

from trainers.models.densenet import SMALL_STEM_PX

__all__ = ["resnet18"]


def resnet18(*, input_shape: tuple[int, int, int], classes: int, dropout: float) -> nn.Module:
    """(N, C, H, W) -> (N, classes) logits; up to 64 px the stem is one 3x3 convolution without pooling."""
    # torchvision costs four seconds to import, which users of the other models need not pay.
    from torchvision.models import resnet18 as torchvision_resnet18

    colours, height, width = input_shape
    model: nn.Module = torchvision_resnet18(weights=None, num_classes=classes)
    if max(height, width) <= SMALL_STEM_PX:
        model.conv1 = nn.Conv2d(colours, 64, 3, padding=1, bias=False)
        model.maxpool = nn.Identity()
    else:
        model.conv1 = nn.Conv2d(colours, 64, 7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(model.conv1.weight, mode="fan_out", nonlinearity="relu")
    model.fc = nn.Sequential(nn.Dropout(dropout), nn.Linear(512, classes))
    return model
