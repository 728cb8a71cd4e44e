"""What a trained network has learnt to look at, in numbers and pictures; nothing is changed by looking."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any

from hpo.errors import SpecError
from hpo.model.evaluation import require_same_split
from hpo.model.export import Source
from hpo.settings import Settings
from hpo.store import columns
from hpo.wording import counted

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy as np
    import numpy.typing as npt

    from hpo.study import Study

__all__ = ["Epoch", "Inspection", "Stage", "Subject", "Wrong", "inspect", "of_trial"]

MISTAKES = 16
"""That are shown, the most confident first."""


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A checkpoint to look into, and what a study knows of its training."""

    source: Source
    seconds: float | None = None  # of an epoch of its training; None: not on record
    threads: int | None = None  # that it was trained with, likewise
    curve: Mapping[int, float] = field(default_factory=dict)  # epoch -> objective on record
    metric: str | None = None  # name of that


@dataclass(frozen=True, kw_only=True)
class Stage:
    """What a stage makes of the pictures that are looked at; maps are arrays of floats."""

    name: str
    shape: tuple[int, int, int]  # channels, height, width
    silent: float  # share of its channels that are 0 everywhere on all of these pictures
    maps: npt.NDArray[np.float32]  # (B, H, W), means over channels
    strongest: npt.NDArray[np.float32]  # (K, H, W), channels of the first picture


@dataclass(frozen=True, kw_only=True)
class Wrong:
    """A wrong answer of which the network is sure."""

    picture: int  # place in the validation part
    true: str
    predicted: str
    probability: float
    of_true: float  # probability that it gives the true class
    pixels: npt.NDArray[np.uint8]  # (H, W) or (H, W, 3)


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """What the network thought of the pictures after an epoch of a training from the beginning."""

    epoch: int  # 0: before any training
    objective: float | None
    probabilities: list[list[float]]  # for each picture, of each class


@dataclass(frozen=True, kw_only=True)
class Inspection:
    """Everything that the page shows."""

    subject: Subject
    model: str
    classes: tuple[str, ...]
    data: str
    trained: int  # epochs of the checkpoint
    validated: int  # pictures of the validation part
    pictures: tuple[int, ...]  # those looked at: places in the validation part
    pixels: list[npt.NDArray[np.uint8]]
    true: tuple[str, ...]
    probabilities: list[list[float]]  # for each of these pictures, of each class
    filters: npt.NDArray[np.float32] | None  # (out, in, H, W)
    stages: tuple[Stage, ...]
    saliency: npt.NDArray[np.float32]  # (B, H, W)
    confidence: Mapping[str, Any]
    mistakes: tuple[Wrong, ...]
    wrong: int  # mistakes in all
    epochs: tuple[Epoch, ...] = ()
    metric: str = "val/accuracy"  # the objective in `epochs`
    same: float | None = None  # largest difference of probabilities, checkpoint to its own epoch trained again

    def facts(self) -> dict[str, Any]:
        """The numbers alone."""
        return {
            "checkpoint": str(self.subject.source.checkpoint),
            "study": self.subject.source.study,
            "trial": self.subject.source.trial,
            "model": self.model,
            "classes": list(self.classes),
            "data": self.data,
            "epochs_trained": self.trained,
            "validation_pictures": self.validated,
            "pictures": [
                {"picture": place, "true": true, "probabilities": dict(zip(self.classes, row, strict=True))}
                for place, true, row in zip(self.pictures, self.true, self.probabilities, strict=True)
            ],
            "filters": list(self.filters.shape) if self.filters is not None else None,
            "stages": [{"name": each.name, "shape": list(each.shape), "silent": each.silent} for each in self.stages],
            "confidence": dict(self.confidence),
            "wrong": self.wrong,
            "mistakes": [
                {key: value for key, value in asdict(each).items() if key != "pixels"} for each in self.mistakes
            ],
            "epochs": [asdict(each) for each in self.epochs],
            "retrained_differs_by": self.same,
        }


def of_trial(study: Study, trial: int | None) -> Subject:
    """The checkpoint of a study's winner, or of one of its trials, with what is on record of its training.

    Raises:
        SpecError: the study's trainer is the user's own, or there is no complete trial of that number.
        NoUsableTrial: no trial is complete, or the checkpoint is kept no more.
    """
    from hpo.winner.candidate import candidate, require_built_in

    require_built_in(study, "inspected")
    found = candidate(study, trial)
    name = study.spec.metric.name
    rows = {row["epoch"]: columns.metrics(row) for row in found.runs.ledger.epochs(found.runs.id, found.run)}
    seconds = [each["seconds"] for each in rows.values() if "seconds" in each]
    return Subject(
        source=Source(checkpoint=found.checkpoint, sha256=found.sha256, study=study.name, trial=found.trial),
        seconds=median(seconds) if seconds else None,
        threads=max(1, int(found.runs.spec.resources.cpu)),
        metric=name,
        curve={epoch: each[name] for epoch, each in rows.items() if name in each},
    )


def inspect(subject: Subject, *, pictures: int, epochs: int, device: str | None, settings: Settings) -> Inspection:
    """Look into a checkpoint: at so many pictures of the validation part, and at all of it for confidence.

    `epochs` is how many of its training are gone through again, to see predictions change; 0: none, which costs
    nothing. What that takes is said on stderr before.

    Raises:
        SpecError: the checkpoint or its pictures cannot be used, or it was trained for fewer epochs.
    """
    from trainers.views import quiet

    with quiet():
        return _inspect(subject, pictures, epochs, device, settings)


def _inspect(subject: Subject, count: int, epochs: int, device: str | None, settings: Settings) -> Inspection:
    import torch

    from trainers import views
    from trainers.data import load

    state, member = _loaded(subject.source, device)
    trained, config = int(state["epoch"]), member.config
    if epochs > trained:
        raise SpecError(f"--epochs {epochs}: this checkpoint was trained for {counted(trained, 'epoch')}")
    try:
        split = load(config.dataset, settings.datasets, str(member.device))
    except (OSError, ValueError) as error:
        raise SpecError(f"its pictures are needed to look into it: {error}") from error
    require_same_split(member.data, split.fingerprint, subject.source.checkpoint)
    images, labels = split.val_images, split.val_labels
    places = views.chosen(labels, count, len(split.classes))
    picked = images[torch.tensor(places, device=images.device)].to(member.device)
    inputs = member.normalise.stored(picked)
    everything = views.probabilities_of(member, images, labels)
    wrong = views.mistakes(everything, labels, len(labels))
    glances = _retraced(subject, state, places, epochs, member.device, settings) if epochs else []
    metric = subject.metric or "val/accuracy"
    last = glances[-1].probabilities if epochs == trained and glances else None
    return Inspection(
        subject=subject,
        model=config.model,
        classes=split.classes,
        data=member.data,
        trained=trained,
        validated=len(labels),
        pictures=tuple(places),
        pixels=[_pixels(images[place]) for place in places],
        true=tuple(split.classes[int(labels[place])] for place in places),
        probabilities=everything[places].tolist(),
        filters=_array(views.filters(member.model)),
        stages=tuple(_stage(each) for each in views.activations(member.model, inputs)),
        saliency=_array(views.saliency(member.model, inputs)),
        confidence=asdict(views.confidence(everything, labels)),
        mistakes=tuple(_wrong(place, everything, split) for place in wrong[:MISTAKES]),
        wrong=len(wrong),
        epochs=tuple(
            Epoch(epoch=each.epoch, objective=each.metrics.get(metric), probabilities=each.probabilities.tolist())
            for each in glances
        ),
        metric=metric,
        same=float((last - everything[places]).abs().max()) if last is not None else None,
    )


def _loaded(source: Source, device: str | None) -> tuple[dict[str, Any], Any]:
    from trainers import checkpoint
    from trainers.predict import Member, chosen_device

    path = source.checkpoint
    if path.suffix != ".pt":
        raise SpecError(
            f"{path} is no checkpoint of the built-in trainer: those end in .pt, and no other is understood"
        )
    try:
        where = chosen_device(device)
        member = Member.load(path, source.sha256, device=where)
        return checkpoint.load(path, source.sha256), member
    except (ValueError, RuntimeError) as error:
        raise SpecError(str(error)) from error


def _retraced(
    subject: Subject, state: Mapping[str, Any], places: Sequence[int], epochs: int, device: Any, settings: Settings
) -> list[Any]:
    """Go through the first epochs again, telling on stderr what it costs."""
    from trainers.retrace import retrace

    cost = f", about {_seconds(subject.seconds * epochs)} by its record" if subject.seconds is not None else ""
    print(f"training the first {counted(epochs, 'epoch')} again{cost}; Ctrl-C ends it", file=sys.stderr, flush=True)
    found: list[Any] = []
    began = time.monotonic()
    with _threads(subject.threads):
        try:
            for glance in retrace(state, places, epochs=epochs, data_folder=settings.datasets, device=device):
                found.append(glance)
                if glance.epoch == 1 and epochs > 1:
                    left = (time.monotonic() - began) * (epochs - 1)
                    print(f"epoch 1 of {epochs} done, about {_seconds(left)} to go", file=sys.stderr, flush=True)
        except (OSError, ValueError) as error:
            raise SpecError(f"its training cannot be gone through again: {error}") from error
    return found


@contextmanager
def _threads(count: int | None) -> Iterator[None]:
    """Compute with as many threads as the training had: sums in another order are other numbers."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(count or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _seconds(seconds: float) -> str:
    return f"{math.ceil(seconds)} s" if seconds < 120 else f"{math.ceil(seconds / 60)} min"


def _stage(view: Any) -> Stage:
    return Stage(
        name=view.name,
        shape=(view.channels, view.height, view.width),
        silent=view.silent,
        maps=_array(view.mean_map),
        strongest=_array(view.strongest),
    )


def _wrong(place: int, probabilities: Any, split: Any) -> Wrong:
    true, predicted = int(split.val_labels[place]), int(probabilities[place].argmax())
    return Wrong(
        picture=place,
        true=split.classes[true],
        predicted=split.classes[predicted],
        probability=float(probabilities[place, predicted]),
        of_true=float(probabilities[place, true]),
        pixels=_pixels(split.val_images[place]),
    )


def _pixels(stored: Any) -> Any:
    """A stored picture (C, H, W) as (H, W) where it is grey, else (H, W, 3)."""
    array = stored.cpu().numpy()
    return array[0] if len(array) == 1 else array.transpose(1, 2, 0).copy()


def _array(tensor: Any) -> Any:
    return None if tensor is None else tensor.numpy()
