"""Whether pictures tell their labels: by a linear model, by a network that learns some by heart, by the training."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional

from trainers.checks.bench import Bench
from trainers.checks.evidence import ASKED, Evidence, Quiz
from trainers.checks.finding import Finding
from trainers.models.linear import linear
from trainers.precision import switches

__all__ = ["baseline", "labels", "progress"]

LR, BATCH = 3e-4, 64
SIDE = 64  # pixels
PASSES = 40
"""Over the training pictures, after which a linear model is as good as it gets for this purpose."""
BY_HEART_LR, PER_CLASS = 3e-3, 16
"""Of Adam, and how many pictures of each class are learnt by heart at first."""
LOOKS = 8
"""Times that a network is asked while it trains."""


def baseline(bench: Bench, *, seconds: float) -> tuple[Finding, Evidence]:
    """Logistic regression on pixels, by Adam at LR without augmentation: what a network has to beat.

    Pictures larger than SIDE are averaged down to it: of 224x224 and 1,000 classes it would have 150 million weights.
    """
    colours, *sides = bench.trainer.input_shape
    shape = (colours, SIDE, SIDE) if max(sides) > SIDE else bench.trainer.input_shape

    def small(inputs: Tensor) -> Tensor:
        return functional.adaptive_avg_pool2d(inputs, shape[1:])

    model = linear(input_shape=shape, classes=bench.classes).to(bench.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=LR)
    deadline, took = time.perf_counter() + seconds, 0
    for inputs, answers in _passes(bench, len(bench.split.train_labels), PASSES):
        optimizer.zero_grad()
        functional.cross_entropy(model(small(inputs)), answers).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        took += 1
        if time.perf_counter() > deadline:
            break
    found = Quiz(bench.split).ask(lambda images: model(small(bench.trainer.normalise.stored(images))))
    told = f"a linear model reaches val/accuracy {found.val:.3f} in {took} steps, a guess {found.guess:.3f}"
    details = {"accuracy": found.val, "train_accuracy": found.train, "guess": found.guess, "steps": took}
    if found.carries_over:
        return Finding(name="baseline", verdict="pass", said=f"{told}: this is to be beaten", details=details), found
    said = f"{told}: of {found.asked} validation pictures that may be luck"
    do = "see `labels`; more validation pictures would tell more"
    return Finding(name="baseline", verdict="warn", said=said, do=do, details=details), found


def labels(bench: Bench, plain: Evidence, *, seconds: float) -> Finding:
    """What is learnt of training pictures holds for others: else labels have nothing to do with pictures.

    The linear model's evidence settles it where there is any. Else the network learns some pictures by heart, then
    twice as many and so on, until it knows more of the validation pictures than luck explains, or the time is spent.
    Only if it knew some by heart, and would surely have been seen to know a quarter as much of others, is it an error.
    """
    if plain.carries_over:
        return _holds("a linear model", plain)
    found, count = _by_heart(bench, seconds)
    if found.carries_over:
        return _holds(f"the network with {count} pictures learnt by heart", found)
    details = {"val": found.val, "train": found.train, "guess": found.guess, "pictures": count}
    told = (
        f"the network knows {found.train:.3f} of {count} training pictures and {found.val:.3f} of {found.asked} that "
        f"validate, a linear model {plain.val:.3f}, a guess {found.guess:.3f}"
    )
    if found.by_heart:
        said = f"{told}: what is learnt by heart says nothing about other pictures"
        do = "are pictures and labels in the same order? If the task is that hard: --skip-check labels"
        return Finding(name="labels", verdict="fail", said=said, do=do, details=details)
    do = "look at the pictures and their labels; more validation pictures, or a faster device, would tell more"
    return Finding(name="labels", verdict="warn", said=told, do=do, details=details)


def _holds(who: str, found: Evidence) -> Finding:
    said = f"{who} knows {found.val:.3f} of {found.asked} validation pictures, a guess {found.guess:.3f}"
    return Finding(name="labels", verdict="pass", said=said, details={"val": found.val, "guess": found.guess})


def _by_heart(bench: Bench, seconds: float) -> tuple[Evidence, int]:
    """What is known with more and more pictures learnt by heart; the last time that they were, or at the end."""
    began, count, last = time.perf_counter(), PER_CLASS * bench.classes, None
    whole = len(bench.split.train_labels)
    while True:
        count = min(count, whole)
        found = _crammed(bench, count, began + seconds)
        if found.carries_over or last is None or found.by_heart:
            last = found, count
        if found.carries_over or count == whole or time.perf_counter() - began > seconds:
            return last
        count *= 2


def _crammed(bench: Bench, count: int, deadline: float) -> Evidence:
    """Train a copy on so many pictures, without dropout or augmentation, until it knows nine of ten of them."""
    model, quiz = bench.model(training=True), Quiz(bench.split, trained=count, most=ASKED // 2)
    optimizer = torch.optim.Adam([each for each in model.parameters() if each.requires_grad], lr=BY_HEART_LR)
    hits = seen = 0
    for inputs, answers in _passes(bench, count, math.inf):
        optimizer.zero_grad()
        logits = bench.logits(model, inputs)
        bench.loss(logits, answers).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        hits, seen = hits + int((logits.argmax(1) == answers).sum()), seen + len(answers)
        if seen >= count or time.perf_counter() > deadline:
            if hits >= 0.9 * seen or time.perf_counter() > deadline:
                break
            hits = seen = 0
    return quiz.ask(_answers(bench, model.eval()))


def _passes(bench: Bench, count: int, passes: float) -> Iterator[tuple[Tensor, Tensor]]:
    """Shuffled batches of `count` training pictures as the network sees them without augmentation, over and over."""
    split, generator, done = bench.split, torch.Generator().manual_seed(0), 0
    chosen = torch.linspace(0, len(split.train_labels) - 1, count).round().long()
    while done < passes:
        order = chosen[torch.randperm(count, generator=generator)]
        for start in range(0, count, BATCH):
            part = order[start : start + BATCH]
            if len(part) > 1 or count == 1:  # batch norm takes no single picture
                images = split.train_images[part.to(split.train_images.device)].to(bench.device)
                yield bench.trainer.normalise.stored(images), split.train_labels[part.to(split.train_labels.device)]
        done += 1


def progress(bench: Bench, *, seconds: float) -> Finding:
    """The training as configured, with all that it does to pictures and labels, comes to know validation pictures."""
    step = bench.seconds_per_picture * min(bench.config.batch_size, len(bench.split.train_labels))
    if bench.device.type == "cpu" and step > seconds / LOOKS:  # on a GPU a few pictures say little of many
        said = f"too slow here to tell: a step takes about {step:.1f} s"
        return Finding(name="progress", verdict="skip", said=said)
    twin, quiz = bench.copy(), Quiz(bench.split, most=ASKED // 2)
    if bench.device.type == "cuda":
        _warm_up(bench, quiz)
    began = time.perf_counter()
    seen = looks = 0
    found = None
    while found is None or not (found.carries_over or looks >= LOOKS):
        with switches(twin.config, twin.device):
            for _, _, answers in twin.steps():
                seen += len(answers)
                if time.perf_counter() - began > (looks + 1) * seconds / LOOKS:
                    break
        looks = int((time.perf_counter() - began) / seconds * LOOKS)
        found = quiz.ask(_answers(bench, twin.model.eval()))
        twin.epoch = min(twin.epoch + 1, twin.config.epochs - 1)  # its schedule knows no more epochs than it has
    passes = seen / len(bench.split.train_labels)
    rounded = f"{passes:.2g}"
    told = (
        f"after {rounded} pass{'es' * (rounded != '1')} it knows {found.val:.3f} of {found.asked} validation pictures"
    )
    told += f", a guess {found.guess:.3f}"
    details = {"passes": passes, "val": found.val, "train": found.train, "guess": found.guess, "luck": found.luck}
    if found.carries_over:
        return Finding(name="progress", verdict="pass", said=told, details=details)
    if passes < 1:
        return Finding(name="progress", verdict="skip", said=f"too slow here to tell: {told}", details=details)
    told += f": luck explains up to {found.luck:.3f}"
    do = "other ranges, lr first: `hpo lr-find`; if none helps, look at what augmentation does to pictures and labels"
    if found.val > found.guess and found.asked < ASKED // 2:
        do = f"more validation pictures would tell more; then {do}"
    return Finding(name="progress", verdict="warn", said=told, do=do, details=details)


def _warm_up(bench: Bench, quiz: Quiz) -> None:
    """Let libraries choose algorithms, which takes a GPU longer than all that is looked at here."""
    twin = bench.copy()
    next(twin.steps())
    quiz.ask(_answers(bench, twin.model.eval()))
    bench.wait()


def _answers(bench: Bench, model: nn.Module) -> Callable[[Tensor], Tensor]:
    return lambda images: bench.logits(model, bench.trainer.normalise.stored(images))
