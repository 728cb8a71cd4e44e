"""What a network is given: its scale, its classes, pictures that are there twice, files that could not be read."""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence

import torch
from torch import Tensor

from trainers.checks.bench import Bench
from trainers.checks.finding import Finding, Verdict

__all__ = ["classes", "copies", "files", "inputs"]

LOOKED_AT = 512
"""Pictures whose mean and deviation are taken."""
OFF, WRONG = 0.25, 0.6
"""Of the mean from 0 in deviations, likewise of the logarithm of the deviation from 0: factors of 1.3 and 1.8."""
UNEVEN = 5.0
"""Pictures of the largest class for one of the smallest."""
HASHED = 100_000
"""Pictures of one part that are compared; of more the first."""
LEAKED = 0.05
"""Share of the validation pictures that are trained on too, from which scores mean nothing."""
UNREAD = 0.1
"""Share of files that could not be read, from which something is wrong with the folder."""


@torch.no_grad()
def inputs(bench: Bench) -> Finding:
    """Pictures as the network sees them have mean 0 and deviation 1 in each channel."""
    seen, _ = bench.batch(LOOKED_AT)
    by_channel = seen.double().transpose(0, 1).flatten(1)
    means, deviations = by_channel.mean(1), by_channel.std(1)
    told = f"mean {_list(means)} and deviation {_list(deviations)} of {len(seen)} pictures as the network sees them"
    details = {"mean": means.tolist(), "std": deviations.tolist(), "pictures": len(seen)}
    worst = max(means.abs().max().item(), deviations.clamp(min=1e-9).log().abs().max().item())
    exact = bench.config.dataset.statistics == "pixel"  # ImageNet's, or those of single pictures, fit less closely
    do = "normalise once, by the training pictures' own mean and deviation, on the scale that they have"
    if not worst <= (WRONG if exact else 2 * WRONG):  # NaN is wrong too
        return Finding(name="input", verdict="fail", said=told, do=do, details=details)
    if worst > (OFF if exact else WRONG):
        return Finding(name="input", verdict="warn", said=told, do=do, details=details)
    return Finding(name="input", verdict="pass", said=told, details=details)


def classes(bench: Bench) -> Finding:
    """Every class has pictures in both parts, and about as many as the others."""
    names, split = bench.split.classes, bench.split
    counts = {
        part: torch.bincount(labels, minlength=len(names)).tolist()
        for part, labels in (("train", split.train_labels), ("val", split.val_labels))
    }
    details = {part: dict(zip(names, numbers, strict=False)) for part, numbers in counts.items()}
    train, val = counts["train"], counts["val"]
    if len(train) > len(names) or len(val) > len(names):
        said = f"labels go up to {max(len(train), len(val)) - 1}, and there are {len(names)} classes"
        return Finding(name="classes", verdict="fail", said=said, do="labels are counted from 0", details=details)
    absent = [name for name, count in zip(names, train, strict=True) if count == 0]
    if absent:
        said = f"{_few(absent)} has no training picture"
        return Finding(name="classes", verdict="fail", said=said, do="add some, or drop the class", details=details)
    ratio = max(train) / min(train)
    told = f"{sum(train)} training and {sum(val)} validation pictures of {len(names)} classes"
    told += f", {min(train)} to {max(train)} each to train on"
    unseen = [name for name, count in zip(names, val, strict=True) if count == 0]
    if unseen:
        do = "a larger dataset.val_fraction"
        return Finding(
            name="classes", verdict="warn", said=f"{told}; none of {_few(unseen)} validates", do=do, details=details
        )
    weighted = bench.config.loss.class_weights == "balanced"
    if ratio >= UNEVEN and not weighted:
        said = f"{told}: {ratio:.1f} of the largest class for one of the smallest"
        do = "loss: {class_weights: balanced}, and metric: val/macro_f1, for which each class counts alike"
        return Finding(name="classes", verdict="warn", said=said, do=do, details=details)
    return Finding(name="classes", verdict="pass", said=told, details=details)


def files(bench: Bench) -> Finding:
    """No file had to be left out."""
    skipped, all_of_them = bench.split.skipped_files, len(bench.split.train_labels) + len(bench.split.val_labels)
    if not skipped:
        return Finding(name="files", verdict="pass", said="every picture could be read")
    said = f"{len(skipped)} files could not be read and are left out: {_few(skipped)}"
    verdict: Verdict = "fail" if len(skipped) > UNREAD * (all_of_them + len(skipped)) else "warn"
    do = "replace them or remove them; `hpo data stats` lists them all"
    return Finding(name="files", verdict=verdict, said=said, do=do, details={"files": list(skipped[:100])})


def copies(bench: Bench) -> tuple[Finding, Finding]:
    """`duplicates` within the training part, and `leaks`: pictures that are trained on and validate too."""
    split = bench.split
    parts = [("train", split.train_images, split.train_labels), ("val", split.val_images, split.val_labels)]
    places = _alike([images[:HASHED] for _, images, _ in parts])
    labels = [each[:HASHED].tolist() for _, _, each in parts]
    twice = sum(sum(part == 0 for part, _ in group) - 1 for group in places if sum(part == 0 for part, _ in group) > 1)
    leaked = [group for group in places if {part for part, _ in group} == {0, 1}]
    count = sum(part for group in leaked for part, _ in group)
    torn = sum(len({labels[part][index] for part, index in group}) > 1 for group in places)
    return _duplicates(twice, torn, len(labels[0])), _leaks(count, len(labels[1]))


def _duplicates(twice: int, torn: int, pictures: int) -> Finding:
    details = {"pictures": twice, "of_several_classes": torn}
    said = (
        f"{twice} of {pictures} training pictures are exact copies of others"
        if twice
        else "no training picture is there twice"
    )
    if torn:
        said += f"; {torn} pictures stand in several classes"
    verdict: Verdict = "warn" if torn or twice > 0.01 * pictures else "pass"
    do = "`hpo data stats` lists them; leave one of each, in its right class" if verdict == "warn" else None
    return Finding(name="duplicates", verdict=verdict, said=said, do=do, details=details)


def _leaks(count: int, pictures: int) -> Finding:
    said = f"{count} of {pictures} validation pictures are trained on too, pixel by pixel" if count else ""
    if not count:
        return Finding(
            name="leaks", verdict="pass", said="no validation picture is trained on", details={"pictures": 0}
        )
    do = "remove the copies before the data are split: what is scored must not have been learnt"
    verdict: Verdict = "fail" if count > LEAKED * pictures else "warn"
    return Finding(name="leaks", verdict=verdict, said=said, do=do, details={"pictures": count})


def _alike(parts: Sequence[Tensor]) -> list[list[tuple[int, int]]]:
    """Groups of equal pictures as (part, index). Whole pictures are read only where their middle rows agree."""
    rows: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for part, images in enumerate(parts):
        middle = images[:, :, images.shape[2] // 2].cpu().numpy()
        for index, row in enumerate(middle):
            rows[row.tobytes()].append((part, index))
    found: defaultdict[bytes, list[tuple[int, int]]] = defaultdict(list)
    for group in rows.values():
        for part, index in group if len(group) > 1 else ():
            whole = parts[part][index].cpu().numpy().tobytes()
            found[hashlib.blake2b(whole, digest_size=16).digest()].append((part, index))
    return [group for group in found.values() if len(group) > 1]


def _list(values: Tensor) -> str:
    return ", ".join(f"{value:.2f}" for value in values.tolist())


def _few(names: Sequence[str]) -> str:
    shown = ", ".join(names[:3])
    return f"{shown} and {len(names) - 3} more" if len(names) > 3 else shown
