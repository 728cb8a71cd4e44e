"""Pictures that are variants of one source, and splits that keep them together."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["MANIFEST", "held_groups", "numbered", "sources_of"]

MANIFEST = "groups.csv"
_ROUNDS = 4


def sources_of(root: Path, files: Sequence[str]) -> list[str] | None:
    """Return the source of each file by `root/groups.csv`; a file without a row is its own. None without a manifest.

    The manifest has columns file (relative to root) and source; others are ignored. Rows of files that are gone do no
    harm. Raises ValueError for other columns, a file with two sources, and when no row names a file that exists.
    """
    path = root / MANIFEST
    if not path.is_file():
        return None
    found: dict[str, str] = {}
    with path.open(newline="", encoding="utf-8-sig") as stream:
        rows = csv.DictReader(stream)
        if not {"file", "source"} <= set(rows.fieldnames or ()):
            raise ValueError(f"{path} has columns {rows.fieldnames}; it needs file and source")
        for row in rows:
            file, source = (row["file"] or "").replace("\\", "/"), row["source"] or ""
            if not file or not source:
                raise ValueError(f"{path}, line {rows.line_num}: file and source must both be given")
            if found.setdefault(file, source) != source:
                raise ValueError(f"{path} gives {file} two sources, {found[file]} and {source}; keep one")
    if found and not found.keys() & set(files) and not any((root / file).is_file() for file in found):
        raise ValueError(f"{path} names no file in {root}, for instance not {next(iter(found))}; paths are relative")
    return [found.get(file, file) for file in files]


def numbered(sources: Iterable[str]) -> npt.NDArray[np.int64]:
    """Return sources as numbers from 0, equal ones alike."""
    numbers: dict[str, int] = {}
    return np.array([numbers.setdefault(source, len(numbers)) for source in sources], dtype=np.int64)


def held_groups(
    labels: npt.NDArray[np.int64],
    groups: npt.NDArray[np.int64],
    fraction: float,
    *,
    seed: int,
    classes: tuple[str, ...],
    spare: int,
) -> npt.NDArray[np.int64]:
    """Choose whole groups so that about `fraction` of each class is held; returns sorted indices of pictures.

    Groups come in seeded order, large and small alike. One is taken where that brings the classes nearer to their
    shares (squared distance over class size); later rounds also put back. Each class keeps `spare` groups or more and
    has one held. Raises ValueError, naming the class, where there are too few groups.
    """
    pairs, counts = np.unique(groups * len(classes) + labels, return_counts=True)
    owner, kind = pairs // len(classes), pairs % len(classes)
    members = {int(group): slice(*np.searchsorted(owner, [group, group + 1])) for group in np.unique(owner)}
    groups_of = np.bincount(kind, minlength=len(classes))
    for label, name in enumerate(classes):
        if groups_of[label] < 1 + spare:
            raise ValueError(
                f"class {name!r} has pictures of {groups_of[label]} source(s), too few to be split; "
                f"it needs {1 + spare}"
            )
    sizes = np.bincount(labels, minlength=len(classes))
    excess, held = -fraction * sizes, np.zeros(len(classes), dtype=np.int64)
    """pictures above each class's share, and groups held of it"""
    taken: set[int] = set()

    def gain(group: int) -> float:
        which, more = kind[members[group]], counts[members[group]] * (-1 if group in taken else 1)
        return float(((excess[which] ** 2 - (excess[which] + more) ** 2) / sizes[which]).sum())

    def may_move(group: int) -> bool:
        which = kind[members[group]]
        return bool(((held[which] > 1) if group in taken else (groups_of[which] - held[which] > spare)).all())

    def move(group: int) -> None:
        sign = -1 if group in taken else 1
        excess[kind[members[group]]] += sign * counts[members[group]]
        held[kind[members[group]]] += sign
        taken.symmetric_difference_update({group})

    order = [int(group) for group in np.random.default_rng(seed).permutation(list(members))]
    for _ in range(_ROUNDS):
        for group in order:
            if gain(group) > 0 and may_move(group):
                move(group)
    for label, name in enumerate(classes):
        if held[label] == 0:
            fitting = [group for group in order if label in kind[members[group]] and may_move(group)]
            if not fitting:
                raise ValueError(f"class {name!r} shares its sources with others, so that it cannot be split")
            move(max(fitting, key=gain))
    return np.flatnonzero(np.isin(groups, list(taken)))
