"""What a trained network has learnt to look at: filters, activations, gradients, and what it is sure of.

Nothing here changes the network: neither weights, nor its mode, nor gradients, nor random numbers of others.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from trainers.data import batches
from trainers.evaluate import evaluation_batch
from trainers.models import stages
from trainers.predict import Member

__all__ = [
    "Confidence",
    "StageView",
    "activations",
    "chosen",
    "confidence",
    "filters",
    "mistakes",
    "probabilities_of",
    "quiet",
    "saliency",
]

BINS = 10
"""Of confidence, over [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class StageView:
    """What one stage of a network makes of some pictures."""

    name: str
    """stage and the kind of layer that was looked at, such as "stage 2: ReLU" """
    channels: int
    height: int
    width: int
    mean_map: Tensor
    """(B, H, W) mean over the channels of the absolute activation"""
    strongest: Tensor
    """(K, H, W) of the first picture: the channels with the largest mean absolute activation, the first the largest"""
    silent: float
    """share of channels that are 0 everywhere, for all of these pictures"""


@dataclass(frozen=True, kw_only=True)
class Confidence:
    """How sure a network is of its answers, and how often it is right; shares in [0, 1]."""

    mean: float
    """mean probability of the predicted class"""
    of_right: float | None
    """the same over the pictures that it is right about; None where there is none"""
    of_wrong: float | None
    accuracy: float
    bins: tuple[tuple[float, float, int], ...]
    """for each tenth of probability that has pictures: mean probability, accuracy, pictures"""


def filters(model: nn.Module) -> Tensor | None:
    """Return the weights (out, in, H, W) of the first convolution; None for a network without one."""
    found = next((each for each in model.modules() if isinstance(each, nn.Conv2d)), None)
    return None if found is None else found.weight.detach().float().cpu().clone()


def chosen(labels: Tensor, count: int, classes: int) -> list[int]:
    """Choose so many pictures by their labels (N,): the first of each class in turn, then the second, and so on."""
    places = [torch.nonzero(labels.cpu() == label).flatten().tolist() for label in range(classes)]
    longest = max(map(len, places), default=0)
    return [each[turn] for turn in range(longest) for each in places if turn < len(each)][:count]


def activations(model: nn.Module, inputs: Tensor, *, channels: int = 8) -> list[StageView]:
    """Look at what each stage gives for normalised pictures (B, C, H, W): at its last map of more than one cell.

    Stages are those of `trainers.models.stages`; one without such a map, as the head, is left out.
    """
    seen: list[tuple[str, Tensor] | None] = []
    hooks = []
    own = set(model.modules())
    for index, stage in enumerate(stages(model)):
        seen.append(None)
        hooks += [layer.register_forward_hook(_keeper(seen, index)) for layer in _layers(stage, own)]
    try:
        with _evaluating(model), torch.no_grad():
            model(inputs)
    finally:
        for hook in hooks:
            hook.remove()
    named = [(f"stage {index}: {each[0]}", each[1]) for index, each in enumerate(seen) if each is not None]
    return [_view(name, maps, channels) for name, maps in named]


def _layers(stage: nn.Module, own: set[nn.Module]) -> Iterator[nn.Module]:
    """The layers of a stage that the network calls; a row of them that was cut out for a stage is called by nobody."""
    for layer in stage.children() if isinstance(stage, nn.Sequential) else [stage]:
        if layer in own:
            yield layer
        else:
            yield from _layers(layer, own)


def _keeper(seen: list[tuple[str, Tensor] | None], index: int) -> Callable[[nn.Module, object, Tensor], None]:
    def keep(layer: nn.Module, given: object, maps: Tensor) -> None:
        if isinstance(maps, Tensor) and maps.ndim == 4 and maps.shape[-1] * maps.shape[-2] > 1:
            # a copy: the next layer may write into it
            seen[index] = type(layer).__name__, maps.detach().float().cpu().clone()

    return keep


def _view(name: str, maps: Tensor, channels: int) -> StageView:
    strength = maps.abs()
    order = strength[0].mean(dim=(1, 2)).argsort(descending=True, stable=True)[:channels]
    return StageView(
        name=name,
        channels=maps.shape[1],
        height=maps.shape[2],
        width=maps.shape[3],
        mean_map=strength.mean(dim=1),
        strongest=maps[0, order],
        silent=float((strength.amax(dim=(0, 2, 3)) == 0).float().mean()),
    )


def saliency(model: nn.Module, inputs: Tensor) -> Tensor:
    """Vanilla saliency (Simonyan et al., 2013) of normalised pictures (B, C, H, W).

    Returns (B, H, W): the gradient of the predicted class's logit by each pixel, its largest absolute value over the
    colours. Parameters get no gradient.
    """
    leaf = inputs.detach().clone().requires_grad_(True)
    with _evaluating(model), torch.enable_grad():
        logits = model(leaf)
        # in evaluation no sample depends on another, so that the sum's gradient is each one's own
        (gradient,) = torch.autograd.grad(logits.float().amax(dim=1).sum(), leaf)
    return gradient.abs().amax(dim=1).float().cpu()


def probabilities_of(member: Member, images: Tensor, labels: Tensor) -> Tensor:
    """Map stored pictures (N, C, H, W), uint8, with labels (N,) on the member's device, to probabilities (N, classes).

    They are on the CPU, in float32.
    """
    size = evaluation_batch(*images.shape[-2:])
    parts = batches(images, labels, batch_size=size)
    return torch.cat([member.log_probabilities(part, tta=False).exp().cpu() for part, _ in parts])


def mistakes(probabilities: Tensor, labels: Tensor, count: int) -> list[int]:
    """Return the places of so many wrong answers at most, those with the highest probability first."""
    sure, predicted = probabilities.max(dim=1)
    wrong = torch.nonzero(predicted != labels.cpu()).flatten()
    order = sure[wrong].argsort(descending=True, stable=True)
    return [int(each) for each in wrong[order][:count]]


def confidence(probabilities: Tensor, labels: Tensor) -> Confidence:
    """Sum up how sure the answers (N, classes) are, N at least 1."""
    sure, predicted = probabilities.double().max(dim=1)
    right = predicted == labels.cpu()
    place = (sure * BINS).long().clamp(max=BINS - 1)
    bins = [
        (float(sure[place == each].mean()), float(right[place == each].double().mean()), int((place == each).sum()))
        for each in range(BINS)
        if bool((place == each).any())
    ]
    return Confidence(
        mean=float(sure.mean()),
        of_right=_mean(sure[right]),
        of_wrong=_mean(sure[~right]),
        accuracy=float(right.double().mean()),
        bins=tuple(bins),
    )


def _mean(values: Tensor) -> float | None:
    return float(values.mean()) if len(values) else None


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode meanwhile; each module has its own mode again afterwards, also after an error."""
    before: Sequence[tuple[nn.Module, bool]] = [(each, each.training) for each in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for each, training in before:
            each.training = training


@contextmanager
def quiet() -> Iterator[None]:
    """Put Python's, NumPy's and torch's global generators back to where they were, those of all GPUs too."""
    python, numpy = random.getstate(), np.random.get_state()
    cards = range(torch.cuda.device_count()) if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    with torch.random.fork_rng(devices=list(cards)):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(numpy)
