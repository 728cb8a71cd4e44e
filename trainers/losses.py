"""What a training minimises: cross entropy or focal loss, with class weights, smoothing and mixed labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional

from trainers.config import LossConfig, TrainConfig
from trainers.pictures import balanced_weights

__all__ = ["Loss", "loss_for"]


class Loss:
    """Loss of a batch, a sum and what to divide it by, from logits (B, C), float32, and labels (B,).

    Focal loss is alpha * (1 - p)^gamma * cross entropy, where p is the probability of the true class without class
    weights or smoothing (Lin et al., "Focal Loss for Dense Object Detection", 2017); with gamma 0 and alpha 1 it is
    cross entropy. A picture's loss is multiplied by the weight of its class, and the mean divides by the sum of these
    weights, as torch's does. A mixed picture has two labels, and a loss and weight of each in proportion to `share`.
    """

    def __init__(self, config: LossConfig, *, label_smoothing: float, weights: Tensor | None) -> None:
        self._config, self._smoothing, self._weights = config, label_smoothing, weights

    def sum(self, logits: Tensor, labels: Tensor, others: Tensor | None = None, share: Tensor | None = None) -> Tensor:
        """Return the sum over pictures; over parts of a batch it adds up to that of the whole."""
        if others is None or share is None:
            return self._each(logits, labels).sum()
        return (share * self._each(logits, labels) + (1 - share) * self._each(logits, others)).sum()

    def weight(self, labels: Tensor, others: Tensor | None = None, share: Tensor | None = None) -> Tensor | int:
        """Return what the sum is divided by: the sum of the pictures' weights, or their number."""
        if self._weights is None:
            return len(labels)
        if others is None or share is None:
            return self._weights[labels].sum()
        return (share * self._weights[labels] + (1 - share) * self._weights[others]).sum()

    def _each(self, logits: Tensor, labels: Tensor) -> Tensor:
        losses = functional.cross_entropy(
            logits, labels, weight=self._weights, label_smoothing=self._smoothing, reduction="none"
        )
        if self._config.name == "cross_entropy":
            return losses
        unsure = -torch.expm1(-functional.cross_entropy(logits, labels, reduction="none"))
        # At 0 the slope of a power below 1 is infinite, and times a gradient of 0 it would be NaN: none flows there.
        tiny = torch.finfo(unsure.dtype).tiny
        return self._config.alpha * functional.threshold(unsure, tiny, tiny) ** self._config.gamma * losses


def loss_for(config: TrainConfig, counts: Sequence[int], classes: Sequence[str], *, device: torch.device) -> Loss:
    """The loss of a training on so many pictures of each class."""
    weights = None
    if config.loss.class_weights == "balanced":
        weights = torch.tensor(balanced_weights(counts, classes), device=device)
    return Loss(config.loss, label_smoothing=config.label_smoothing, weights=weights)
