"""Pictures that somebody has already put into arrays: one .npz file."""

from __future__ import annotations

from pathlib import Path
from typing import Literal
from zipfile import BadZipFile

import numpy as np
import numpy.typing as npt

from trainers.pictures import Pictures

__all__ = ["read_arrays"]


def read_arrays(path: Path, part: Literal["train", "val", "test"]) -> Pictures | None:
    """Read `<part>_images`, uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) of 1 or 3 colours, and `<part>_labels` (N,).

    Labels are whole numbers from 0; `classes` (C,) names them, else their numbers do. Nothing is unpickled. Returns
    None where the file has no such part; raises FileNotFoundError or ValueError, which say what is wrong.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset.root {path} is no file; npz needs one with train_images and train_labels")
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files if name.startswith(part) or name == "classes"}
            train_labels = file["train_labels"] if "train_labels" in file.files else None
    except (ValueError, OSError, BadZipFile) as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error
    names = [f"{part}_images", f"{part}_labels"]
    absent = [name for name in names if name not in arrays]
    if len(absent) == 2 and part != "train":
        return None
    if absent or train_labels is None:
        raise ValueError(f"{path} lacks {', '.join(absent or ['train_labels'])}; it holds {', '.join(sorted(arrays))}")
    images, labels = _images(arrays[names[0]], f"{names[0]} of {path}"), arrays[names[1]]
    if labels.shape != (len(images),) or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{names[1]} of {path} is {labels.dtype} {labels.shape}; it must be a whole number for each of "
            f"{len(images)} pictures"
        )
    classes = _classes(arrays.get("classes"), train_labels, path)
    if labels.size == 0 or labels.min() < 0 or labels.max() >= len(classes):
        raise ValueError(f"{names[1]} of {path} must lie in 0..{len(classes) - 1}, one for each class")
    return Pictures(images=images, labels=labels.astype(np.int64), classes=classes)


def _images(stored: npt.NDArray[np.uint8], what: str) -> npt.NDArray[np.uint8]:
    if stored.dtype == np.uint8:
        if stored.ndim == 3:
            return stored[:, None]
        if stored.ndim == 4 and stored.shape[1] in (1, 3):
            return stored
        if stored.ndim == 4 and stored.shape[3] in (1, 3):
            return np.ascontiguousarray(stored.transpose(0, 3, 1, 2))
    raise ValueError(
        f"{what} is {stored.dtype} {stored.shape}; it must be uint8 (N, H, W), (N, H, W, C) or (N, C, H, W) of 1 or 3 "
        "colours"
    )


def _classes(named: npt.NDArray[np.str_] | None, labels: npt.NDArray[np.int64], path: Path) -> tuple[str, ...]:
    count = int(labels.max()) + 1 if labels.size else 0
    if named is None:
        return tuple(str(number) for number in range(count))
    if named.ndim != 1 or len(named) < count:
        raise ValueError(f"classes of {path} names {named.shape} classes, and train_labels has {count}")
    return tuple(str(name) for name in named)
