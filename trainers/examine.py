"""Everything that a look at a dataset can find before anything is trained on it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from trainers.config import FOLDERS, DatasetConfig
from trainers.doubts import Doubts, doubts
from trainers.measures import Measures, joined, measure
from trainers.near import equal_groups, near_groups
from trainers.outliers import Outlier, outliers
from trainers.seen import Seen, seen
from trainers.survey import stored_size

__all__ = ["Findings", "Group", "examine"]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Pictures that are the same, or nearly."""

    places: tuple[int, ...]
    leaks: bool
    """whether they are in both parts: what is validated was trained on"""
    labels: tuple[int, ...]
    """indices into classes, each once; more than one: a label is wrong, or the class cannot be told"""


@dataclass(frozen=True, kw_only=True)
class Findings:
    """What was found; places count through training and validation pictures."""

    seen: Seen
    measures: Measures
    sizes: dict[str, int]
    """width x height as stored -> pictures, the most frequent first"""
    equal: tuple[Group, ...]
    """all pixels are, once decoded"""
    near: tuple[Group, ...]
    """nearly, and not all of them equal"""
    outliers: tuple[Outlier, ...]
    doubts: Doubts

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Part -> class -> pictures."""
        found = self.seen
        return {
            part: dict(
                zip(
                    found.classes,
                    np.bincount(found.labels[found.part == index], minlength=len(found.classes)).tolist(),
                    strict=True,
                )
            )
            for index, part in enumerate(found.PARTS)
        }

    @property
    def imbalance(self) -> float | None:
        """Training pictures of the largest class per one of the smallest; None where that has none."""
        counts = self.counts["train"].values()
        return max(counts) / min(counts) if min(counts) else None


def examine(config: DatasetConfig, folder: Path) -> Findings:
    """Look at the training and validation pictures of a dataset; its test part is not read.

    Pictures are compared as decoded at the configured size. Raises what `seen` raises.
    """
    found = seen(config, folder)
    measures = joined([measure(each) for each in found.parts if len(each)])
    equal = equal_groups(measures.contents)
    later = {place for group in equal for place in group[1:]}
    first = np.array([place for place in range(len(found.labels)) if place not in later])
    return Findings(
        seen=found,
        measures=measures,
        sizes=_sizes(config, found),
        equal=_groups(found, equal),
        near=_groups(found, near_groups(measures.hashes, found.take, first)),
        outliers=tuple(outliers(measures)),
        doubts=doubts(measures.small, found.labels, len(found.classes)),
    )


def _groups(found: Seen, groups: Sequence[Sequence[int]]) -> tuple[Group, ...]:
    """Those that matter most first: labelled differently, in both parts, large."""
    made = [
        Group(
            places=tuple(group),
            leaks=len(set(found.part[list(group)].tolist())) > 1,
            labels=tuple(sorted(set(found.labels[list(group)].tolist()))),
        )
        for group in groups
    ]
    return tuple(sorted(made, key=lambda each: (-len(each.labels), not each.leaks, -len(each.places), each.places)))


def _sizes(config: DatasetConfig, found: Seen) -> dict[str, int]:
    """Sizes as stored; of files the headers tell."""
    if config.name in FOLDERS:
        assert config.root is not None
        root = config.root.expanduser()
        return dict(Counter(stored_size(root / name) for name in found.names).most_common())
    sizes: Counter[str] = Counter()
    for part in found.parts:
        sizes[f"{part.shape[3]}x{part.shape[2]}"] += len(part)
    return dict(sizes.most_common())
