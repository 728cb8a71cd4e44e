"""Plain convolutional networks."""

from __future__ import annotations

from torch import Tensor, nn

from trainers.models.dropout import Dropout, Dropout2d

__all__ = ["CustomCNN", "DepthwiseSeparable", "LightweightCNN"]


class DepthwiseSeparable(nn.Module):
    """An unpadded 3x3 convolution of each channel by itself, then a 1x1 convolution across channels, both with bias.

    Stands in for a 3x3 convolution with fewer parameters: 32 to 64 channels take 2,432 instead of 18,496.
    """

    def __init__(self, entering: int, leaving: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(entering, entering, 3, groups=entering)
        self.pointwise = nn.Conv2d(entering, leaving, 1)

    def forward(self, features: Tensor) -> Tensor:
        mixed: Tensor = self.pointwise(self.depthwise(features))
        return mixed


class LightweightCNN(nn.Module):
    """Two unpadded 3x3 convolutions with batch norm and ReLU, 2x2 pooling, Dropout2d, one linear layer.

    (N, C, H, W) -> (N, classes) logits. With channels (10, 20) at 1x28x28 and 10 classes: 30,790 parameters
    with a flattened head, 2,190 with global pooling. `separable` makes the second convolution a DepthwiseSeparable.
    """

    stage_starts = (0, 3)

    def __init__(
        self,
        *,
        input_shape: tuple[int, int, int],
        classes: int,
        dropout: float,
        channels: tuple[int, int] = (10, 20),
        global_pool: bool = False,
        separable: bool = False,
    ) -> None:
        super().__init__()
        colours, height, width = input_shape
        if min(height, width) < 6:
            raise ValueError(f"lightweight_cnn needs pictures of 6 px or more, got {height}x{width}: raise image_size")
        first, second = channels
        self.features = nn.Sequential(
            nn.Conv2d(colours, first, 3),
            nn.BatchNorm2d(first),
            nn.ReLU(inplace=True),
            DepthwiseSeparable(first, second) if separable else nn.Conv2d(first, second, 3),
            nn.BatchNorm2d(second),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2),
            Dropout2d(dropout),
        )
        cells = 1 if global_pool else ((height - 4) // 2) * ((width - 4) // 2)
        self.pool = nn.AdaptiveAvgPool2d(1) if global_pool else nn.Identity()
        self.head = nn.Linear(second * cells, classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


class CustomCNN(nn.Module):
    """Four stages of 3x3 convolution, batch norm, ReLU and 2x2 pooling; global pooling, dropout, linear head.

    (N, C, H, W) -> (N, classes) logits, for pictures of any size from 1 px: pooling rounds up.
    """

    stage_starts = (0, 4, 8, 12)

    def __init__(self, *, colours: int, classes: int, dropout: float) -> None:
        super().__init__()
        widths = (32, 64, 128, 256)
        stages: list[nn.Module] = []
        for entering, leaving in zip((colours, *widths), widths, strict=False):
            stages += [
                nn.Conv2d(entering, leaving, 3, padding=1, bias=False),
                nn.BatchNorm2d(leaving),
                nn.ReLU(inplace=True),
                nn.MaxPool2d(2, ceil_mode=True),
            ]
        self.features = nn.Sequential(*stages, nn.AdaptiveAvgPool2d(1), nn.Flatten())
        self.dropout = Dropout(dropout)
        self.head = nn.Linear(widths[-1], classes)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(self.features(images)))
        return logits
