"""A folder of classes parted into train, val and test."""

from __future__ import annotations

import csv
import math
import os
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.groups import MANIFEST, numbered, sources_of
from trainers.listing import SUFFIXES, class_folders, walk
from trainers.pictures import held_of

__all__ = ["PARTS", "assign", "part_folder"]

PARTS = ("train", "val", "test")


def part_folder(
    source: Path, out: Path, *, ratios: Sequence[float], seed: int, link: bool = False
) -> dict[str, dict[str, int]]:
    """Copy (or hard-link) `source/<class>/*` to `out/{train,val,test}/<class>/*`; returns part -> class -> pictures.

    Stratified by class; pictures of one source in `source/groups.csv` stay together, and the manifest is written anew.
    Two ratios make no test part. `out` appears whole or not at all. Raises ValueError for ratios that do not sum to 1
    and for a class that cannot be in every part, FileNotFoundError for no source, FileExistsError where `out` has
    content.
    """
    _check(source, out, ratios)
    classes = class_folders(source)
    files, labels = [], []
    for label, name in enumerate(classes):
        found = sorted(path for path, _, _ in walk(source / name, f"{name}/"))
        if not found:
            raise ValueError(f"class {name!r} in {source} has no picture; add some ({', '.join(sorted(SUFFIXES))})")
        files += found
        labels += [label] * len(found)
    sources = sources_of(source, files)
    groups = None if sources is None else numbered(sources)
    parts = assign(np.array(labels), ratios, seed=seed, classes=classes, groups=groups)
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        places = [f"{PARTS[part]}/{file}" for part, file in zip(parts, files, strict=True)]
        for file, place in zip(files, places, strict=True):
            _put(source / file, beside / place, link=link)
        if sources is not None:
            _write_manifest(beside / MANIFEST, places, sources)
        if out.exists():
            out.rmdir()
        beside.chmod(0o777 & ~_umask())
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise
    counts = np.zeros((len(ratios), len(classes)), dtype=int)
    np.add.at(counts, (parts, np.array(labels)), 1)
    return {PARTS[part]: dict(zip(classes, row.tolist(), strict=True)) for part, row in enumerate(counts)}


def assign(
    labels: npt.NDArray[np.int64],
    ratios: Sequence[float],
    *,
    seed: int,
    classes: tuple[str, ...],
    groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the number of the part of each picture: every class in every part, whole groups together."""
    parts = np.zeros(len(labels), dtype=np.int64)
    rest, share = np.arange(len(labels)), 1.0
    for part in range(len(ratios) - 1, 0, -1):
        held = held_of(
            labels[rest],
            ratios[part] / share,
            seed=seed,
            classes=classes,
            groups=None if groups is None else groups[rest],
            spare=part,
        )
        parts[rest[held]] = part
        rest, share = np.delete(rest, held), share - ratios[part]
    return parts


def _check(source: Path, out: Path, ratios: Sequence[float]) -> None:
    if len(ratios) not in (2, 3) or min(ratios) <= 0 or not math.isclose(sum(ratios), 1, abs_tol=1e-6):
        told = "/".join(f"{ratio:g}" for ratio in ratios)
        raise ValueError(f"ratios {told} must be three (or two, without test) above 0 that sum to 1, like .8/.1/.1")
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder; give one that holds <class>/ with pictures")
    parted = [part for part in PARTS if (source / part).is_dir()]
    if parted:
        raise ValueError(f"{source} holds {', '.join(parted)} and is parted already; give a folder of classes")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; nothing is overwritten, give another folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies inside {source} and would be taken for a class; give a folder elsewhere")


def _put(file: Path, place: Path, *, link: bool) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not link:
        shutil.copy2(file, place)
        return
    try:
        os.link(file, place)
    except OSError as error:
        raise OSError(
            error.errno, f"{file} cannot be linked from {place.parent} ({error.strerror}); use --copy"
        ) from error


def _write_manifest(path: Path, files: Sequence[str], sources: Sequence[str]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "source"))
        writer.writerows(zip(files, sources, strict=True))


def _umask() -> int:
    umask = os.umask(0)
    os.umask(umask)
    return umask
