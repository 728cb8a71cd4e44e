"""DenseNet with bottlenecks and compression (Huang et al., "Densely Connected Convolutional Networks", 2017)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.models.dropout import Dropout
from trainers.models.stem import is_small

__all__ = ["DenseLayer", "DenseNet"]


class DenseLayer(nn.Module):
    """BN-ReLU-1x1 to four times the growth, BN-ReLU-3x3 to the growth, elementwise dropout; appends its output."""

    def __init__(self, entering: int, growth: int, drop_rate: float) -> None:
        super().__init__()
        self.norm1 = nn.BatchNorm2d(entering)
        self.conv1 = nn.Conv2d(entering, 4 * growth, 1, bias=False)
        self.norm2 = nn.BatchNorm2d(4 * growth)
        self.conv2 = nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)
        self.dropout = Dropout(drop_rate)

    def forward(self, features: Tensor) -> Tensor:
        narrow = self.conv1(functional.relu(self.norm1(features)))
        new = self.conv2(functional.relu(self.norm2(narrow)))
        return torch.cat([features, self.dropout(new)], dim=1)


class DenseNet(nn.Module):
    """(N, C, H, W) -> (N, classes) logits.

    Between blocks a 1x1 convolution halves the channels and average pooling the resolution. The stem for pictures
    up to 64 px is one 3x3 convolution; above, a 7x7 convolution of stride 2 and 3x3 max pooling of stride 2.
    Either has batch norm and ReLU.
    """

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        blocks: tuple[int, ...],
        growth: int,
        initial: int,
        drop_rate: float,
    ) -> None:
        super().__init__()
        colours, height, width = input_shape
        smallest = 2 ** (len(blocks) - 1)
        if min(height, width) < smallest:
            raise ValueError(
                f"densenet needs pictures of {smallest} px or more, got {height}x{width}: raise image_size"
            )
        layers = _small_stem(colours, initial) if is_small(height, width) else _stem(colours, initial)
        channels = initial
        starts = [0]
        for index, depth in enumerate(blocks):
            starts.append(len(layers))
            if index:
                layers += _transition(channels, channels // 2)
                channels //= 2
            for _ in range(depth):
                layers.append(DenseLayer(channels, growth, drop_rate))
                channels += growth
        layers += [nn.BatchNorm2d(channels), nn.ReLU(inplace=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        self.stage_starts = tuple(starts)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels, classes)
        self._initialise()

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.features(images))
        return logits

    def _initialise(self) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight)
        nn.init.zeros_(self.head.bias)


def _small_stem(colours: int, initial: int) -> list[nn.Module]:
    return [
        nn.Conv2d(colours, initial, 3, padding=1, bias=False),
        nn.BatchNorm2d(initial),
        nn.ReLU(inplace=True),
    ]


def _stem(colours: int, initial: int) -> list[nn.Module]:
    return [
        nn.Conv2d(colours, initial, 7, stride=2, padding=3, bias=False),
        nn.BatchNorm2d(initial),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(3, stride=2, padding=1),
    ]


def _transition(entering: int, leaving: int) -> list[nn.Module]:
    return [
        nn.BatchNorm2d(entering),
        nn.ReLU(inplace=True),
        nn.Conv2d(entering, leaving, 1, bias=False),
        nn.AvgPool2d(2),
    ]
