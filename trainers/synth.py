"""Dirty pictures made of clean ones, with a manifest that keeps variants of one plate together."""

from __future__ import annotations

import csv
import hashlib
import math
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from trainers.dirt import LEVELS, Level, soil
from trainers.groups import MANIFEST
from trainers.listing import walk

__all__ = ["LEVEL_SHARES", "Made", "synthesise"]

LEVEL_SHARES = (0.3, 0.5, 0.2)
"""Of light, medium and heavy."""
PER_PICTURE = 2
_UNREADABLE = (OSError, SyntaxError, ValueError, Image.DecompressionBombError)


@dataclass(frozen=True, kw_only=True)
class Made:
    """What `synthesise` wrote."""

    clean: int
    kept_dirty: int
    """real dirty pictures that were there"""
    levels: dict[str, int]
    """level -> pictures made"""
    skipped_files: tuple[str, ...]
    """clean files that could not be read"""

    @property
    def counts(self) -> dict[str, dict[str, int]]:
        """Before and after -> class -> pictures."""
        after = self.kept_dirty + sum(self.levels.values())
        return {
            "before": {"cleaned": self.clean, "dirty": self.kept_dirty},
            "after": {"cleaned": self.clean, "dirty": after},
        }


def synthesise(
    source: Path, out: Path, *, per_picture: int | None = None, ratio: float | None = None, seed: int = 0
) -> Made:
    """Write `out/cleaned`, `out/dirty` and the manifest `out/groups.csv` (file, source, level).

    `source` holds clean pictures, or cleaned/ and perhaps dirty/; what is there is copied. Each clean picture gets
    `per_picture` dirty ones (2), however many are there; or as many are made, in turn, as are missing to `ratio` dirty
    ones per clean one, none where there are enough. One file's variants depend on its path and the seed only. `out`
    appears whole or not at all.
    Raises ValueError for arguments, FileNotFoundError for no clean pictures, FileExistsError where `out` has content.
    """
    _check(source, out, per_picture, ratio)
    clean_folder = source / "cleaned" if (source / "cleaned").is_dir() else source
    clean, skipped = _readable(clean_folder)
    dirty_folder = source / "dirty"
    real = sorted(path for path, _, _ in walk(dirty_folder, "")) if dirty_folder.is_dir() else []
    if not clean:
        raise FileNotFoundError(f"{clean_folder} holds no readable picture of a clean plate")
    wanted = (per_picture or PER_PICTURE) * len(clean)
    if ratio is not None:
        wanted = max(0, math.ceil(ratio * len(clean) - 1e-9) - len(real))
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as private:
        beside = Path(private) / out.name
        rows = []
        for kind, folder, files in (("cleaned", clean_folder, clean), ("dirty", dirty_folder, real)):
            for file in files:
                _copy(folder / file, beside / kind / file)
                rows.append((f"{kind}/{file}", f"{kind}/{file}", "none" if kind == "cleaned" else "real"))
        for file, number in _turns(clean, wanted):
            name, level = _soiled(clean_folder, file, number, beside, seed)
            rows.append((name, f"cleaned/{file}", level))
        with (beside / MANIFEST).open("w", newline="", encoding="utf-8") as stream:
            csv.writer(stream).writerows([("file", "source", "level"), *rows])
        if out.exists():
            out.rmdir()
        beside.rename(out)
    made = Counter(level for _, _, level in rows)
    return Made(
        clean=len(clean),
        kept_dirty=len(real),
        levels={level: made[level] for level in LEVELS},
        skipped_files=tuple(skipped),
    )


def _check(source: Path, out: Path, per_picture: int | None, ratio: float | None) -> None:
    if per_picture is not None and ratio is not None:
        raise ValueError("per-picture and ratio exclude each other: give the one or the other")
    if per_picture is not None and per_picture < 1:
        raise ValueError(f"per-picture {per_picture} must be 1 or more")
    if ratio is not None and not 0 < ratio < math.inf:
        raise ValueError(f"ratio {ratio:g} must be above 0: dirty pictures for each clean one")
    if not source.is_dir():
        raise FileNotFoundError(f"{source} is not a folder; give one with pictures of clean plates")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not empty; nothing is overwritten, give another folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise ValueError(f"{out} lies inside {source} and would be read the next time; give a folder elsewhere")


def _readable(folder: Path) -> tuple[list[str], list[str]]:
    """Return (files, skipped); dirty/ beside clean pictures is left out."""
    files, skipped = [], []
    for file in sorted(path for path, _, _ in walk(folder, "") if not path.startswith("dirty/")):
        try:
            with Image.open(folder / file) as picture:
                picture.load()
            files.append(file)
        except _UNREADABLE:
            skipped.append(file)
    return files, skipped


def _turns(clean: list[str], wanted: int) -> Iterator[tuple[str, int]]:
    """Yield (file, number of the variant from 1), every file once before any twice."""
    for turn in range(wanted):
        yield clean[turn % len(clean)], turn // len(clean) + 1


def _soiled(folder: Path, file: str, number: int, out: Path, seed: int) -> tuple[str, Level]:
    words = np.frombuffer(
        hashlib.sha256(f"{seed} {number} {file}".encode("utf-8", "surrogatepass")).digest(), np.uint32
    )
    generator = np.random.default_rng(words)
    level = LEVELS[generator.choice(len(LEVELS), p=LEVEL_SHARES)]
    # The suffix stays in the name: plate.jpg and plate.png are two plates.
    stem, _, suffix = file.rpartition(".")
    name = f"dirty/{stem}_{suffix.lower()}_synth{number}.jpg"
    if (out / name).exists():
        raise FileExistsError(f"{name} is there already; rename that picture")
    (out / name).parent.mkdir(parents=True, exist_ok=True)
    with Image.open(folder / file) as opened:
        soil(ImageOps.exif_transpose(opened), level, generator).save(out / name, quality=92, subsampling=0)
    return name, level


def _copy(file: Path, place: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy2(file, place)
