"""A folder of classes parted into train, val and test."""

from __future__ import annotations

import csv
import math
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from trainers.groups import MANIFEST, numbered, sources_of
from trainers.listing import Listing, Part, list_part
from trainers.pictures import held_of

__all__ = ["PARTS", "assign", "part_folder"]

PARTS: tuple[Part, ...] = ("train", "val", "test")


def part_folder(
    source: Path, out: Path, *, ratios: Sequence[float], seed: int, link: bool = False
) -> dict[str, dict[str, int]]:
    """Copy (or hard-link) `source/<class>/*` to `out/{train,val,test}/<class>/*`; returns part -> class -> pictures.

    Where `source` holds `train/<class>/*`, that is parted: its val/ and test/ go over as they are, and of the ratios
    only those of train and of what is missing count, one to the other. Stratified by class; pictures of one source in
    `source/groups.csv` stay together, and the manifest is written anew. Two ratios make no test part. `out` appears
    whole or not at all.
    Raises ValueError for ratios that do not sum to 1, where no part is missing, for a class that cannot be in every
    part, and for a source whose pictures are in several already; FileNotFoundError for no source, FileExistsError where
    `out` has content.
    """
    _check(source, out, ratios)
    train = _listed(source, "train")
    kept: dict[Part, Listing] = {part: _listed(source, part) for part in PARTS[1:] if (source / part).is_dir()}
    shares = {part: ratio for part, ratio in zip(PARTS, ratios, strict=False) if part not in kept}
    if len(shares) == 1:
        raise ValueError(_all_there(source, kept, ratios))
    files = [*train.files, *(file for listing in kept.values() for file in listing.files)]
    sources = sources_of(source, files)
    groups = None if sources is None else numbered(sources)
    if groups is not None:
        _refuse_shared(groups, files, len(train.files))
        groups = groups[: len(train.files)]
    chosen = assign(train.labels, list(shares.values()), seed=seed, classes=train.classes, groups=groups)
    names = list(shares)
    prefix = "train/" if (source / "train").is_dir() else ""
    places = [
        f"{names[part]}/{file.removeprefix(prefix)}" for part, file in zip(chosen, train.files, strict=True)
    ] + files[len(train.files) :]
    _write(source, out, dict(zip(files, places, strict=True)), sources, link=link)
    counts = Counter(tuple(place.split("/", 2)[:2]) for place in places)
    return {part: {name: counts[part, name] for name in train.classes} for part in PARTS if part in {*shares, *kept}}


def _listed(source: Path, part: Part) -> Listing:
    listing = list_part(source, part)
    assert listing is not None
    return listing


def _all_there(source: Path, kept: Mapping[Part, Listing], ratios: Sequence[float]) -> str:
    if len(ratios) == 2 and "test" not in kept:
        return f"{source} holds train and val: give three ratios, like .8/.1/.1, to cut a test part out of train"
    return f"{source} holds {', '.join(['train', *kept])} and is parted already; give a folder that lacks one of them"


def _refuse_shared(groups: npt.NDArray[np.int64], files: Sequence[str], count: int) -> None:
    """Refuse a source in train, the first `count` files, and in a part that is there: it could go to a third."""
    shared = np.flatnonzero(np.isin(groups[count:], groups[:count]))
    if len(shared):
        twin = count + int(shared[0])
        first = int(np.flatnonzero(groups == groups[twin])[0])
        raise ValueError(
            f"{files[first]} and {files[twin]} are variants of one source by {MANIFEST} and lie in two parts; move one"
        )


def _write(source: Path, out: Path, places: Mapping[str, str], sources: list[str] | None, *, link: bool) -> None:
    """Put each file of `source` in its place below `out`, which appears whole or not at all."""
    out.parent.mkdir(parents=True, exist_ok=True)
    beside = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    try:
        for file, place in places.items():
            _put(source / file, beside / place, link=link)
        if sources is not None:
            _write_manifest(beside / MANIFEST, list(places.values()), sources)
        if out.exists():
            out.rmdir()
        beside.chmod(0o777 & ~_umask())
        beside.rename(out)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def assign(
    labels: npt.NDArray[np.int64],
    ratios: Sequence[float],
    *,
    seed: int,
    classes: tuple[str, ...],
    groups: npt.NDArray[np.int64] | None = None,
) -> npt.NDArray[np.int64]:
    """Return the number of the part of each picture: every class in every part, whole groups together.

    `ratios` are sizes of the parts in any unit.
    """
    parts = np.zeros(len(labels), dtype=np.int64)
    rest, share = np.arange(len(labels)), sum(ratios)
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
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; nothing is overwritten, give another folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies inside {source} and would be read the next time; give a folder elsewhere")


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
