"""A checkpoint on the validation part: what it confuses, how sure it is, where it is surely wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model.evaluation import validation
from hpo.model.inspection import pixels
from hpo.settings import Settings

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    from torch import Tensor

    from trainers.data import Split
    from trainers.metrics import Scores

__all__ = ["Mistake", "Scored", "score"]

MISTAKES = 12


@dataclass(frozen=True, kw_only=True)
class Mistake:
    """A picture that the network took for another class."""

    index: int  # within the validation part
    pixels: npt.NDArray[np.uint8]  # (H, W) or (H, W, 3)
    true: str
    predicted: str
    probability: float  # of the class that it took it for


@dataclass(frozen=True, kw_only=True)
class Scored:
    """Scores as `hpo evaluate --json` has them, and what they do not tell."""

    scores: dict[str, Any]
    mistakes: tuple[Mistake, ...]  # the most confident first
    wrong: int  # mistakes in all
    bins: tuple[tuple[float, float, int], ...]  # as `trainers.views.confidence` has them


def score(path: Path, settings: Settings, *, device: str | None = None) -> Scored:
    """Classify the validation part by a checkpoint of the built-in trainer.

    Raises:
        SpecError: it cannot be used, or the pictures are not there or not those it was trained on.
    """
    import torch

    from trainers import views
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
    probabilities, labels = torch.cat(seen).exp().cpu(), split.val_labels.cpu()
    wrong = views.mistakes(probabilities, labels, len(labels))
    return Scored(
        scores=_told(found, predictor.classes),
        mistakes=tuple(_mistake(index, probabilities, split) for index in wrong[:MISTAKES]),
        wrong=len(wrong),
        bins=views.confidence(probabilities, labels).bins,
    )


def _told(found: Scores, names: Sequence[str]) -> dict[str, Any]:
    return {
        "accuracy": found.accuracy,
        "interval": found.interval(),
        "loss": found.loss,
        "top5": found.top5,
        "calibration_error": found.calibration_error,
        "pictures": found.count,
        "classes": list(zip(names, found.precision, found.recall, found.f1, found.support, strict=True)),
        "confusion": found.confusion.tolist(),
    }


def _mistake(index: int, probabilities: Tensor, split: Split) -> Mistake:
    predicted = int(probabilities[index].argmax())
    return Mistake(
        index=index,
        pixels=pixels(split.val_images[index]),
        true=split.classes[int(split.val_labels[index])],
        predicted=split.classes[predicted],
        probability=float(probabilities[index, predicted]),
    )
