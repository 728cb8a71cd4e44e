"""Classes of pictures, from one trained network or several whose probabilities are averaged."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from trainers import checkpoint
from trainers.config import TrainConfig
from trainers.decoding import UNREADABLE, decode
from trainers.evaluate import evaluation_batch
from trainers.models import configured
from trainers.normalise import Normalise
from trainers.precision import autocast, fix_cublas_workspace, switches

__all__ = ["Member", "Prediction", "Predictor", "chosen_device"]

_UNREADABLE_PICTURE = "this is no picture, or a damaged one"


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """What is in one picture."""

    image: str
    label: str | None
    """the most probable class; None for a file that cannot be read"""
    probability: float | None
    probabilities: dict[str, float]
    error: str | None = None


class Member:
    """One trained network with all that its pictures need: shape, scale, classes."""

    def __init__(self, state: Mapping[str, Any], *, device: torch.device, sha256: str | None = None) -> None:
        """Build the network of a `Trainer.state_dict()`; the averaged one where there is an average.

        `sha256` is that of the checkpoint it was read from.
        """
        fix_cublas_workspace(device)
        self.config = TrainConfig.model_validate(state["config"])
        self.classes: tuple[str, ...] = tuple(state["classes"])
        colours, height, width = state["input"]["shape"]
        self.shape = (int(colours), int(height), int(width))
        self.data: str = state["data"]
        """fingerprint of the pictures and split it was trained on"""
        self.mirrored: bool = state["input"]["mirrored"]
        """whether a mirrored picture keeps its class"""
        self.mean: tuple[float, ...] = tuple(state["input"]["mean"])
        """per channel, on the scale [0, 1], as `std` is"""
        self.std: tuple[float, ...] = tuple(state["input"]["std"])
        self.sha256 = sha256
        """of the checkpoint; None where it is not known"""
        self.normalise = Normalise(self.mean, self.std, device=device)
        self.model = self._build(state).to(device).to(memory_format=self.normalise.layout).eval()
        self.device = device

    def _build(self, state: Mapping[str, Any]) -> nn.Module:
        model = configured(self.config, input_shape=self.shape, classes=len(self.classes))
        model.load_state_dict(state["ema"]["model"] if state["ema"] is not None else state["model"])
        return model

    @classmethod
    def load(cls, path: Path, sha256: str | None = None, *, device: torch.device) -> Member:
        """Load the network of a state file that a training has written, after checking its SHA-256 where one is given.

        Raises CheckpointError for a file that cannot be read or is another, ValueError for one that holds no training
        of ours.
        """
        state, found = checkpoint.load_hashed(path, sha256)
        if not {"config", "classes", "input", "model", "ema"} <= state.keys():
            raise ValueError(
                f"{path} is no state of a built-in training; give a checkpoint of `hpo train` or a trial: what a "
                "trainer of your own has saved, that trainer alone can read"
            )
        return cls(state, device=device, sha256=found)

    def state_dict(self) -> dict[str, Any]:
        """Return all that a member is built from, without what only a training needs; weights are not copied."""
        return {
            "config": self.config.model_dump(mode="json"),
            "classes": list(self.classes),
            "data": self.data,
            "input": {
                "shape": list(self.shape),
                "mean": list(self.mean),
                "std": list(self.std),
                "mirrored": self.mirrored,
            },
            "model": self.model.state_dict(),
            "ema": None,
        }

    @torch.no_grad()
    def log_probabilities(self, images: Tensor, *, tta: bool) -> Tensor:
        """Map stored pictures (B, C, H, W), uint8 on the device, to (B, classes); tta averages over views."""
        views = list(_views(images, self.mirrored)) if tta else [images]
        with switches(self.config, self.device), autocast(self.config, self.device):
            logits = [self.model(self.normalise.stored(view)) for view in views]
        return _mean([each.float().log_softmax(dim=1) for each in logits])


def _mean(logs: Sequence[Tensor]) -> Tensor:
    """The logarithm of the mean of probabilities, which may be too small to be numbers themselves."""
    return logs[0] if len(logs) == 1 else torch.stack(list(logs)).logsumexp(dim=0) - math.log(len(logs))


def _views(images: Tensor, mirrored: bool) -> Iterator[Tensor]:
    """A picture as it is and mirrored; where mirroring changes its class, moved by a pixel to each side instead."""
    yield images
    if mirrored:
        yield images.flip(-1)
        return
    padded = nn.functional.pad(images.float(), (1, 1, 1, 1), mode="replicate").to(images.dtype)
    height, width = images.shape[-2:]
    for top, left in ((0, 1), (2, 1), (1, 0), (1, 2)):
        yield padded[..., top : top + height, left : left + width]


def chosen_device(device: str | None) -> torch.device:
    """The device of that name; without one a GPU where there is one, else the CPU.

    Raises ValueError for one that is not here.
    """
    cards = torch.cuda.device_count() if torch.cuda.is_available() else 0
    there = ["cpu", *(["cuda"] if cards else []), *(f"cuda:{index}" for index in range(cards))]
    if device is not None and device not in there:
        raise ValueError(f"device {device!r} is not here; there is {', '.join(there)}")
    return torch.device(device or ("cuda" if cards else "cpu"))


class Predictor:
    """One network or several of the same classes and input; probabilities are averaged over networks and views."""

    def __init__(self, members: Sequence[Member], *, tta: bool = False) -> None:
        """Raises ValueError where the members differ in what they see or tell."""
        first = members[0]
        for member in members[1:]:
            if (member.classes, member.shape) != (first.classes, first.shape):
                raise ValueError(
                    f"checkpoints of one ensemble must agree: {len(first.classes)} classes of {first.shape} pictures "
                    f"and {len(member.classes)} classes of {member.shape} pictures do not"
                )
        self.members = tuple(members)
        self.tta = tta
        self.classes, self.shape, self.device = first.classes, first.shape, first.device

    @classmethod
    def load(cls, paths: Sequence[Path], *, device: str | None = None, tta: bool = False) -> Predictor:
        """Load the networks of state files that a training has written.

        Raises CheckpointError for a file that cannot be read, ValueError for one that holds no training of ours.
        """
        where = chosen_device(device)
        return cls([Member.load(path, device=where) for path in paths], tta=tta)

    @property
    def passes(self) -> int:
        """Forward passes that one picture costs."""
        views = (2 if self.members[0].mirrored else 5) if self.tta else 1
        return len(self.members) * views

    def probabilities(self, images: Tensor) -> Tensor:
        """Map stored pictures (B, C, H, W), uint8 on the device, to probabilities (B, classes)."""
        return self.log_probabilities(images).exp()

    def log_probabilities(self, images: Tensor) -> Tensor:
        """The logarithms of `probabilities`."""
        return _mean([each.log_probabilities(images, tta=self.tta) for each in self.members])

    def predict(self, files: Sequence[Path]) -> list[Prediction]:
        """Classify picture files; one that cannot be read gets an error in place of a class."""
        size = evaluation_batch(*self.shape[1:])
        return [
            prediction
            for start in range(0, len(files), size)
            for prediction in self._predict_batch(files[start : start + size])
        ]

    def _predict_batch(self, files: Sequence[Path]) -> list[Prediction]:
        pictures: list[np.ndarray[Any, np.dtype[np.uint8]]] = []
        errors: dict[Path, str] = {}
        for file in files:
            try:
                pictures.append(decode(file.read_bytes(), self.shape))
            except UNREADABLE as error:
                absent = isinstance(error, FileNotFoundError)
                errors[file] = "there is no such file" if absent else _UNREADABLE_PICTURE
        rows: Iterator[Tensor] = iter(
            self.probabilities(torch.from_numpy(np.stack(pictures)).to(self.device)).cpu() if pictures else []
        )
        return [self._tell(file, next(rows) if file not in errors else None, errors.get(file)) for file in files]

    def _tell(self, file: Path, row: Tensor | None, error: str | None) -> Prediction:
        if row is None:
            return Prediction(image=str(file), label=None, probability=None, probabilities={}, error=error)
        named = dict(zip(self.classes, row.tolist(), strict=True))
        best = int(row.argmax())
        return Prediction(image=str(file), label=self.classes[best], probability=float(row[best]), probabilities=named)
