"""A trainer that costs nothing: what a search over it takes is the service's own time."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

__all__ = ["METRICS", "curve"]

METRICS = (
    "val_acc",
    "val_loss",
    "train_acc",
    "train_loss",
    "lr_now",
    "pid",
)  # six numbers an epoch, as the stock script


def curve(
    lr: float, momentum: float, bs: int, epochs: int, sleep: float = 0.0, torch: bool = False
) -> Iterator[dict[str, float]]:
    """Yield a saturating curve whose ceiling lies at lr 0.1 and momentum 0.9.

    Args:
        bs: searched and not read, as a real search's least important parameter.
        sleep: seconds an epoch.
        torch: import PyTorch in the worker first, as every real trainer does.
    """
    if torch:
        import torch as pytorch

        pytorch.zeros(1)
    ceiling = 1.0 - abs(lr - 0.1) - 0.2 * abs(momentum - 0.9)
    for epoch in range(1, epochs + 1):
        if sleep:
            time.sleep(sleep)
        accuracy = ceiling * (1.0 - 0.7**epoch)
        values = (accuracy, 1 - accuracy, accuracy, 1 - accuracy, lr, float(os.getpid()))
        yield dict(zip(METRICS, values, strict=True))
