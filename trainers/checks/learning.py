"""Whether a network can learn: its gradients, the weights that move, and one batch learnt by heart."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from trainers.checks.bench import FEW, Bench
from trainers.checks.finding import Finding, Verdict
from trainers.train import Trainer
from trainers.transfer import freeze

__all__ = ["floor", "gradients", "overfit", "weights"]

SMALL, LARGE = 1e-6, 100.0
"""Norm of all gradients together, beyond which it is said."""
MANY = 0.25
"""Share of the weights without a gradient, from which it is an error."""
STEPS, BATCH, LR = 1000, 32, 3e-3


def gradients(bench: Bench) -> Finding:
    """They are finite and of sane size, and every weight that is trained has one."""
    model, (inputs, labels) = bench.model(training=True), bench.batch(bench.affordable(64, 1.0))
    loss = bench.loss(bench.logits(model, inputs), labels)
    if not loss.requires_grad:
        said = "the loss depends on no weight that is trained"
        return Finding(
            name="gradients", verdict="fail", said=said, do="something detaches it, or all weights are frozen"
        )
    loss.backward()  # type: ignore[no-untyped-call]
    trained = {name: each for name, each in model.named_parameters() if each.requires_grad}
    slopes = {name: each.grad for name, each in trained.items() if each.grad is not None}
    norm = math.sqrt(sum(float(each.float().square().sum()) for each in slopes.values()))
    without = [name for name in trained if name not in slopes or not slopes[name].any()]
    share = _size({name: trained[name] for name in without}) / max(1, _size(trained))
    details = {"norm": norm, "without": without, "pictures": len(labels)}
    told = f"gradients of {len(trained)} tensors have norm {norm:.3g}"
    if not math.isfinite(norm):
        return Finding(
            name="gradients",
            verdict="fail",
            said="gradients are not finite",
            do="look at `input` and `start` first; then precision: fp32 tells whether it is the precision",
            details=details,
        )
    if without:
        said = f"{told}; {len(without)} tensors, {share:.0%} of the weights, have none: {_few(without)}"
        do = "use them in the forward pass, or take them out of the network"
        verdict: Verdict = "fail" if share >= MANY else "warn"
        return Finding(name="gradients", verdict=verdict, said=said, do=do, details=details)
    if not SMALL <= norm <= LARGE:
        do = "a smaller lr, grad_clip: 1, or another initialisation" if norm > LARGE else "look at `output` and `start`"
        return Finding(name="gradients", verdict="warn", said=told, do=do, details=details)
    return Finding(name="gradients", verdict="pass", said=told, details=details)


def weights(bench: Bench) -> Finding:
    """Every weight that should be trained is, and one real step of the training moves them."""
    twin = bench.copy(batch_size=bench.affordable(min(64, bench.config.batch_size), 1.0))
    if bench.config.transfer is not None:
        freeze(twin.model, bench.config.transfer, bench.config.epochs)
    named = dict(twin.model.named_parameters())
    held = {id(each) for group in twin.optimizer.param_groups for each in group["params"]}
    frozen = [name for name, each in named.items() if not each.requires_grad and bench.config.transfer is None]
    strange = [name for name, each in named.items() if each.requires_grad and id(each) not in held]
    details = {"tensors": len(named), "frozen": frozen, "not_in_optimizer": strange}
    if frozen or strange:
        share = _size({name: named[name] for name in frozen + strange}) / _size(named)
        said = f"{len(frozen + strange)} of {len(named)} tensors, {share:.0%} of the weights, will never move: "
        said += f"{_few(frozen)} are frozen" if frozen else f"the optimizer has no {_few(strange)}"
        do = "set requires_grad" if frozen else "give the optimizer the parameters of the network that is trained"
        return Finding(name="weights", verdict="fail", said=said, do=do, details=details)
    moved = _moved(twin, named)
    if not moved:
        said = "one step of the training moves no weight at all"
        do = "is the learning rate so small, or is the optimizer that of another network?"
        return Finding(name="weights", verdict="fail", said=said, do=do, details=details)
    said = f"all {len(named)} tensors are trained, {moved} moved in the first step"
    if bench.config.transfer is not None:
        said = f"{moved} of {len(named)} tensors moved in the first step, the others are held as `transfer` says"
    return Finding(name="weights", verdict="pass", said=said, details={**details, "moved": moved})


def _moved(twin: Trainer, named: Mapping[str, Tensor]) -> int:
    """How many tensors are others after one step of the training."""
    before = {name: each.detach().clone() for name, each in named.items()}
    next(twin.steps())
    return sum(not torch.equal(before[name], each.detach()) for name, each in named.items())


def floor(bench: Bench) -> float:
    """The least mean cross entropy that smoothed labels allow: their entropy, .500 of 10 classes smoothed by 0.1."""
    smoothing, classes = bench.config.label_smoothing, bench.classes
    other = smoothing / classes
    own = 1 - smoothing + other
    return -sum(each * math.log(each) for each in (own, *[other] * (classes - 1)) if each > 0)


def overfit(bench: Bench, *, seconds: float) -> Finding:
    """One batch is learnt by heart within STEPS steps of Adam, without dropout or augmentation.

    Judged by an accuracy of 1 on that batch, or by the floor of the loss. Where the time runs out before, by whether
    the loss is on its way.
    """
    count = BATCH if bench.seconds_per_picture * BATCH * 100 < seconds else FEW
    model, (inputs, labels) = bench.model(training=True), bench.batch(count)
    trained = [each for each in model.parameters() if each.requires_grad]
    if not trained:
        return Finding(name="overfit", verdict="fail", said="no weight is trained", do="see `weights`")
    took, losses, accuracy = _learn(bench, model, trained, inputs, labels, seconds)
    least = floor(bench) if bench.config.loss.name == "cross_entropy" else 0.0
    told = f"{accuracy:.0%} of {len(labels)} pictures after {took} steps, loss {losses[0]:.3g} to {losses[-1]:.3g}"
    details = {"steps": took, "accuracy": accuracy, "loss": losses[-1], "floor": least, "pictures": len(labels)}
    if accuracy == 1 or losses[-1] <= least + 0.05:
        return Finding(name="overfit", verdict="pass", said=f"one batch is learnt by heart: {told}", details=details)
    if took < STEPS:
        on_its_way = losses[-1] - least < 0.7 * (losses[0] - least)
        if on_its_way:
            said = f"one batch is being learnt, in the {seconds:.0f} s there are: {told}"
            return Finding(name="overfit", verdict="pass", said=said, details=details)
        said = f"time ran out after {took} steps of one batch, which says little: {told}"
        do = "try it on a GPU, or look at the first trial's train/loss"
        return Finding(name="overfit", verdict="warn", said=said, do=do, details=details)
    held = bench.config.transfer is not None and len(trained) < len(list(model.parameters()))
    do = (
        "what is trained is only the head"
        if held
        else "look for a detached layer, labels that differ for equal pictures"
    )
    said = f"one batch cannot be learnt by heart: {told}"
    return Finding(name="overfit", verdict="warn" if held else "fail", said=said, do=do, details=details)


def _learn(
    bench: Bench, model: nn.Module, trained: list[nn.Parameter], inputs: Tensor, labels: Tensor, seconds: float
) -> tuple[int, list[float], float]:
    """Train until the batch is known; returns steps, the loss of each, the last accuracy."""
    optimizer = torch.optim.Adam(trained, lr=LR)
    losses: list[float] = []
    deadline, accuracy = time.perf_counter() + seconds, 0.0
    while len(losses) < STEPS and (time.perf_counter() < deadline or len(losses) < 2):
        optimizer.zero_grad()
        logits = bench.logits(model, inputs)
        loss = bench.loss(logits, labels)
        losses.append(loss.item())
        accuracy = (logits.argmax(1) == labels).float().mean().item()
        if accuracy == 1 or not math.isfinite(losses[-1]):
            break
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    return len(losses), losses, accuracy


def _size(named: Mapping[str, Tensor]) -> int:
    return sum(each.numel() for each in named.values())


def _few(names: list[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
