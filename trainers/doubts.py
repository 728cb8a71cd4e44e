"""Labels that a cheap model doubts: a linear one over random features of small copies, asked about unseen pictures."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedKFold

__all__ = ["TRUSTED", "Doubt", "Doubts", "doubts"]

TRUSTED = 0.8
"""Accuracy on unseen pictures from which the model's doubts are worth a look."""
SURE = 0.4
"""How much higher than the label's the score of another class has to be; scores are near 1 for the class, else 0."""
MOST = 50_000
"""Pictures, beyond which every k-th is taken."""
FOLDS = 5
FEATURES = 512
PENALTIES = (1e-3, 1e-2, 1e-1)
"""Of the weights, for one picture."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Doubt:
    """A picture that the model takes for another class."""

    place: int
    suggested: int
    """index into classes"""
    margin: float
    """score of that class less the label's"""


@dataclass(frozen=True, kw_only=True)
class Doubts:
    """What the model makes of the labels."""

    accuracy: float | None
    """share of labels that it finds for pictures that it has not seen; None: a class has too few pictures"""
    asked: int
    """pictures that it was asked about"""
    doubts: tuple[Doubt, ...]
    """the surest first; empty where the model is not to be trusted"""

    @property
    def trusted(self) -> bool:
        """Whether the model is good enough for its doubts to mean anything."""
        return self.accuracy is not None and self.accuracy >= TRUSTED


def doubts(small: npt.NDArray[np.uint8], labels: npt.NDArray[np.int64], classes: int) -> Doubts:
    """Ask a ridge regression on the classes, five-fold cross-validated, about small copies (N, C, h, w), labels (N,).

    It sees them through 512 random rectified features. The same pictures give the same answer.
    """
    places = np.arange(0, len(labels), -(-len(labels) // MOST))
    labels = labels[places]
    if np.bincount(labels, minlength=classes).min() < FOLDS:
        return Doubts(accuracy=None, asked=len(labels), doubts=())
    features, wanted = _features(small[places]), np.eye(classes, dtype=np.float32)[labels]
    scores = max(_scores(features, wanted, labels), key=lambda each: float((each.argmax(axis=1) == labels).mean()))
    said = scores.argmax(axis=1)
    rows = np.arange(len(labels))
    margin = scores[rows, said] - scores[rows, labels]
    accuracy = float((said == labels).mean())
    order = [int(each) for each in np.argsort(-margin, kind="stable") if margin[each] >= SURE]
    return Doubts(
        accuracy=accuracy,
        asked=len(labels),
        doubts=tuple(
            Doubt(place=int(places[each]), suggested=int(said[each]), margin=float(margin[each])) for each in order
        )
        if accuracy >= TRUSTED
        else (),
    )


def _features(small: npt.NDArray[np.uint8]) -> Floats:
    flat = small.reshape(len(small), -1).astype(np.float32)
    flat = (flat - flat.mean(axis=0)) / (flat.std(axis=0) + 1)
    generator = np.random.default_rng(0)
    weights = generator.normal(0, flat.shape[1] ** -0.5, (flat.shape[1], FEATURES)).astype(np.float32)
    shift = generator.normal(0, 0.5, FEATURES).astype(np.float32)
    made: Floats = np.concatenate(
        [np.maximum(flat @ weights + shift, 0), flat, np.ones((len(flat), 1), np.float32)], axis=1
    )
    return made


def _scores(features: Floats, wanted: Floats, labels: npt.NDArray[np.int64]) -> list[Floats]:
    """(N, classes) for each penalty: what a model that has not seen a picture says of it."""
    folds = [asked for _, asked in StratifiedKFold(FOLDS, shuffle=True, random_state=0).split(features, labels)]
    squares = [features[each].T @ features[each] for each in folds]
    products = [features[each].T @ wanted[each] for each in folds]
    square, product = np.sum(squares, axis=0), np.sum(products, axis=0)
    scores = [np.empty_like(wanted) for _ in PENALTIES]
    for index, asked in enumerate(folds):
        of_others = square - squares[index]
        for penalty, said in zip(PENALTIES, scores, strict=True):
            ridge = penalty * (len(labels) - len(asked)) * np.eye(len(square), dtype=np.float32)
            said[asked] = features[asked] @ np.linalg.solve(of_others + ridge, product - products[index])
    return scores
