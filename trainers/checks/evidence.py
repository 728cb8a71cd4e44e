"""How much better than a guess: an accuracy, how often luck alone would reach it, and what was learnt by heart."""

from __future__ import annotations

import math
from bisect import bisect
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from trainers.data import Split, batches

__all__ = ["Evidence", "Quiz", "tail"]

SURE = 1e-5
"""How often luck may look like skill; small, for it is asked several times."""
ASKED = 1000
"""Pictures of each part that are asked for, at most."""


def tail(hits: int, of: int, chance: float) -> float:
    """The probability of `hits` or more among so many tries that each succeed by `chance` (binomial, exact)."""
    if hits <= 0 or chance >= 1:
        return 1.0
    log = math.log
    terms = (
        math.lgamma(of + 1)
        - math.lgamma(k + 1)
        - math.lgamma(of - k + 1)
        + k * log(chance)
        + (of - k) * log(1 - chance)
        for k in range(hits, of + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What a trained network knows of pictures that it was trained on, and of those that it was not."""

    train: float
    val: float
    guess: float
    """accuracy of the best answer that looks at no picture"""
    asked: int
    """validation pictures"""
    asked_train: int

    @property
    def luck(self) -> float:
        """The best accuracy on validation pictures that luck would explain."""
        hits = bisect(range(self.asked + 1), False, key=lambda hits: tail(hits, self.asked, self.guess) < SURE)
        return (hits - 1) / self.asked

    @property
    def carries_over(self) -> bool:
        """Whether it knows more of validation pictures than luck explains."""
        return tail(round(self.val * self.asked), self.asked, self.guess) < SURE

    @property
    def by_heart(self) -> bool:
        """Whether it knows the training pictures, and would surely be seen to know a quarter as much of the others."""
        known = tail(round(self.train * self.asked_train), self.asked_train, self.guess) < SURE
        quarter = self.guess + (self.train - self.guess) / 4
        return known and tail(round(quarter * self.asked), self.asked, self.guess) < SURE


class Quiz:
    """The same pictures of both parts for whoever is asked."""

    def __init__(self, split: Split, *, trained: int | None = None, most: int = ASKED) -> None:
        """`trained`: how many of the training pictures, spread over all, were trained on; None: all."""
        self._train = _spread(split.train_images, split.train_labels, trained or most)
        self._val = _spread(split.val_images, split.val_labels, most)
        shares = [torch.bincount(labels).max().item() / len(labels) for _, labels in (self._train, self._val)]
        self._guess = max(shares)

    @torch.no_grad()
    def ask(self, logits_of: Callable[[Tensor], Tensor]) -> Evidence:
        """`logits_of` maps stored pictures on the device of the labels to logits."""
        train, val = (self._accuracy(part, logits_of) for part in (self._train, self._val))
        asked, asked_train = len(self._val[1]), len(self._train[1])
        return Evidence(train=train, val=val, guess=self._guess, asked=asked, asked_train=asked_train)

    @staticmethod
    def _accuracy(part: tuple[Tensor, Tensor], logits_of: Callable[[Tensor], Tensor]) -> float:
        hits = 0
        for images, labels in batches(*part, batch_size=250):
            hits += int((logits_of(images).argmax(1) == labels).sum())
        return hits / len(part[1])


def _spread(images: Tensor, labels: Tensor, most: int) -> tuple[Tensor, Tensor]:
    chosen = torch.linspace(0, len(labels) - 1, min(most, len(labels))).round().long()
    return images[chosen.to(images.device)].to(labels.device), labels[chosen.to(labels.device)]
