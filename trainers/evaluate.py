"""How good a network is on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional

from trainers.data import batches
from trainers.metrics import Scores, Tally

__all__ = ["evaluate", "evaluation_batch"]

_PIXELS = 512 * 32 * 32


def evaluation_batch(height: int, width: int) -> int:
    """Pictures in a batch, from 16 to 512, so that activations stay about as large as for 512 pictures of 32x32."""
    return max(16, min(512, _PIXELS // (height * width)))


@torch.no_grad()
def evaluate(
    logits_of: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, *, classes: int, device: torch.device
) -> Scores:
    """Score a network on uint8 pictures (N, C, H, W) with labels (N,); nothing is augmented or smoothed.

    `logits_of` maps a batch of stored pictures on `device` to float logits (B, classes).
    """
    tally = Tally(classes, device)
    size = evaluation_batch(*images.shape[-2:])
    for part, part_labels in batches(images, labels, batch_size=size):
        logits = logits_of(part)
        tally.add(functional.cross_entropy(logits, part_labels), logits, part_labels)
    return tally.read()
