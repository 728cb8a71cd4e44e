"""What a network answers before it is trained: shape, numbers, the first loss, and whether samples stay apart."""

from __future__ import annotations

import math

import torch

from trainers.checks.bench import FEW, Bench
from trainers.checks.finding import Finding

__all__ = ["expected_loss", "output", "samples", "start"]

WARN_BEYOND, FAIL_BEYOND = 1.25, 2.0
"""Times the loss of a guess, or one in so many, beyond which the first loss is odd, and wrong."""
AT_ONCE = 256
"""Pictures that the first loss is the mean over, at most."""


@torch.no_grad()
def output(bench: Bench) -> Finding:
    """One finite number for each class, which is no probability yet: the loss takes the softmax itself."""
    inputs, _ = bench.batch(FEW)
    answer = bench.logits(bench.model(training=False), inputs)
    wanted = (len(inputs), bench.classes)
    if tuple(answer.shape) != wanted:
        said = f"{len(inputs)} pictures give an output of shape {tuple(answer.shape)}, not {wanted}"
        return Finding(name="output", verdict="fail", said=said, do="let the network end with one logit for each class")
    finite = torch.isfinite(answer).float().mean().item()
    if finite < 1:
        said = f"{1 - finite:.0%} of the outputs are not finite"
        do = "look at `input` first; then precision: fp32 tells whether it is the precision"
        return Finding(name="output", verdict="fail", said=said, do=do)
    low, high = answer.min().item(), answer.max().item()
    if low >= 0 and bool(torch.isclose(answer.sum(1), torch.ones(len(inputs), device=answer.device), atol=1e-3).all()):
        said = (
            f"outputs lie in {low:.3g} to {high:.3g} and add up to 1: they are probabilities, and the loss wants logits"
        )
        do = "take the softmax out of the network: after a second one its gradients nearly vanish"
        return Finding(name="output", verdict="fail", said=said, do=do)
    said = f"{bench.classes} finite logits a picture, {low:.3g} to {high:.3g}"
    return Finding(name="output", verdict="pass", said=said, details={"low": low, "high": high})


def expected_loss(bench: Bench) -> float:
    """The loss of a network that knows nothing: ln C, which focal loss scales by alpha * (1 - 1/C)^gamma.

    Class weights do not change it, for the mean divides by them, and neither does smoothing.
    """
    loss, classes = bench.config.loss, bench.classes
    scale = loss.alpha * (1 - 1 / classes) ** loss.gamma if loss.name == "focal" else 1.0
    return math.log(classes) * scale


@torch.no_grad()
def start(bench: Bench) -> Finding:
    """The first loss is near that of a guess."""
    inputs, labels = bench.batch(bench.affordable(AT_ONCE, 1.0))
    loss, guess = bench.loss(bench.logits(bench.model(training=True), inputs), labels).item(), expected_loss(bench)
    ratio = loss / guess
    told = f"the first loss is {loss:.3f}, that of a guess among {bench.classes} classes {guess:.3f}"
    details = {"loss": loss, "expected": guess, "pictures": len(labels)}
    learnt = bench.config.transfer is not None and ratio < 1
    if learnt or 1 / WARN_BEYOND <= ratio <= WARN_BEYOND:
        return Finding(name="start", verdict="pass", said=told, details=details)
    wrong = not 1 / FAIL_BEYOND <= ratio <= FAIL_BEYOND  # NaN is wrong too
    do = (
        "fresh weights should know nothing: is the last layer initialised too large, or the input not scaled?"
        if not ratio < 1
        else "a network that knows before it learns has seen the labels, or the loss is scaled"
    )
    return Finding(name="start", verdict="fail" if wrong else "warn", said=told, do=do, details=details)


def samples(bench: Bench) -> Finding:
    """In evaluation the answer to a picture depends on that picture alone: found by the gradient of one logit."""
    model, (inputs, _) = bench.model(training=False), bench.batch(FEW)
    inputs = inputs.detach().requires_grad_()
    one = len(inputs) // 2
    answer = bench.logits(model, inputs)
    for logit in range(min(3, bench.classes)):  # one alone may rest on dead units
        (slope,) = torch.autograd.grad(answer[one, logit], inputs, retain_graph=True, allow_unused=True)
        sizes = torch.zeros(len(inputs)) if slope is None else slope.flatten(1).abs().amax(1).cpu()
        own = sizes[one].item()
        if own > 0:
            break
    others = [index for index in range(len(inputs)) if index != one and sizes[index].item() != 0]
    details = {"own": own, "others": len(others), "pictures": len(inputs)}
    if others:
        most = max(sizes[index].item() for index in others)
        said = f"a logit of one picture depends on {len(others)} of {len(inputs) - 1} others, "
        said += f"by {most:.2g} to its own {own:.2g}"
        do = "look for what works along the batch axis: a reshape, a mean or norm over dimension 0"
        return Finding(name="samples", verdict="fail", said=said, do=do, details=details)
    if not own > 0:
        said = "no logit of a picture depends on the picture"
        do = "look for a layer whose output is constant, or dead from the start"
        return Finding(name="samples", verdict="fail", said=said, do=do, details=details)
    said = f"each of {len(inputs)} pictures is answered by itself"
    return Finding(name="samples", verdict="pass", said=said, details=details)
