"""A checkpoint on the validation part: what it confuses, how sure it is, where it is surely wrong."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model.evaluation import validation
from hpo.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["Bin", "Mistake", "Scored", "score"]

MISTAKES = 12
SIDE = 128  # pixels of a mistake's picture, at most
BINS = 10


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A picture that the network took for another class."""

    index: int  # within the validation part
    picture: str  # data: URL of a PNG
    true: str
    predicted: str
    probability: float  # of the class that it took it for


@dataclass(frozen=True, kw_only=True)
class Bin:
    """Pictures of about the same confidence."""

    confidence: float  # mean of them
    accuracy: float
    count: int


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores as `hpo evaluate --json` has them, and what they do not tell."""

    scores: dict[str, Any]
    mistakes: tuple[Mistake, ...]  # the most confident first
    wrong: int  # mistakes in all
    bins: tuple[Bin, ...]  # those with pictures, by confidence


def score(path: Path, settings: Settings, *, device: str | None = None) -> Scored:
    """Classify the validation part by a checkpoint of the built-in trainer.

    Raises:
        SpecError: it cannot be used, or the pictures are not there or not those it was trained on.
    """
    import torch

    from trainers.evaluate import evaluate

    predictor, split = validation([path], tta=False, device=device, settings=settings)
    seen: list[Tensor] = []

    def log_probabilities(images: Tensor) -> Tensor:
        seen.append(predictor.log_probabilities(images))
        return seen[-1]

    try:
        found = evaluate(
            log_probabilities,
            split.val_images,
            split.val_labels,
            classes=len(predictor.classes),
            device=predictor.device,
        )
    except RuntimeError as error:  # such as a card without room
        raise SpecError(str(error)) from error
    confidence, predicted = (each.cpu() for each in torch.cat(seen).exp().max(dim=1))
    labels = split.val_labels.cpu()
    wrong = (predicted != labels).nonzero().flatten()
    worst = wrong[confidence[wrong].argsort(descending=True, stable=True)][:MISTAKES].tolist()
    names = predictor.classes
    low, high = found.interval()
    return Scored(
        scores={
            "accuracy": found.accuracy,
            "interval": (low, high),
            "loss": found.loss,
            "top5": found.top5,
            "calibration_error": found.calibration_error,
            "pictures": found.count,
            "classes": list(zip(names, found.precision, found.recall, found.f1, found.support, strict=True)),
            "confusion": found.confusion.tolist(),
        },
        mistakes=tuple(
            Mistake(
                index=index,
                picture=_png(split.val_images[index].cpu()),
                true=names[int(labels[index])],
                predicted=names[int(predicted[index])],
                probability=float(confidence[index]),
            )
            for index in worst
        ),
        wrong=len(wrong),
        bins=tuple(_bins(confidence.tolist(), (predicted == labels).tolist())),
    )


def _bins(confidence: Sequence[float], right: Sequence[bool]) -> list[Bin]:
    parts: list[list[tuple[float, bool]]] = [[] for _ in range(BINS)]
    for pair in zip(confidence, right, strict=True):
        parts[min(BINS - 1, int(pair[0] * BINS))].append(pair)
    return [
        Bin(
            confidence=sum(sure for sure, _ in part) / len(part),
            accuracy=sum(hit for _, hit in part) / len(part),
            count=len(part),
        )
        for part in parts
        if part
    ]


def _png(image: Tensor) -> str:
    """A stored picture (C, H, W), uint8, as a data: URL."""
    from PIL import Image

    array = image.permute(1, 2, 0).numpy()
    picture = Image.fromarray(array[:, :, 0] if array.shape[2] == 1 else array)
    picture.thumbnail((SIDE, SIDE))
    stored = io.BytesIO()
    picture.save(stored, format="PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(stored.getvalue()).decode('ascii')}"
