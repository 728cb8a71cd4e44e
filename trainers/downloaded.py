"""The datasets that torchvision knows the addresses of."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from trainers.cache import Allocate, cached
from trainers.config import DatasetConfig
from trainers.downloads import DownloadError, fetch, has_md5, unpack
from trainers.folders import private
from trainers.pictures import Pictures

__all__ = ["read_downloaded"]

_FOLDERS = {
    "cifar10": "cifar-10-batches-py",
    "cifar100": "cifar-100-python",
    "mnist": "MNIST/raw",
    "fashion_mnist": "FashionMNIST/raw",
}
"""Where torchvision unpacks each dataset."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One file to fetch."""

    path: Path
    urls: tuple[str, ...]
    md5: str


def read_downloaded(config: DatasetConfig, root: Path, *, train: bool, cache: Path) -> Pictures:
    """Read a part from `root`, fetching what is absent where the configuration allows it.

    Raises FileNotFoundError, naming the files and their folder, where they are not there and cannot be fetched.
    """
    folder = root / _FOLDERS[config.name]
    place = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    name = f"{config.name}-{place}-{'train' if train else 'test'}"
    key = _stamp(folder)
    if key is None:
        _make_whole(config, root)
        key = _stamp(folder) or "whole"
    return cached(cache, name, key, lambda allocate: _stored(config, root, train, allocate))


def _stored(config: DatasetConfig, root: Path, train: bool, allocate: Allocate) -> Pictures:
    dataset = _dataset(config.name)
    try:
        stored = dataset(root, train=train, download=False)
    except (RuntimeError, OSError):  # some file is absent or damaged
        _make_whole(config, root)
        stored = dataset(root, train=train, download=False)
    pixels = np.asarray(stored.data)
    pixels = pixels.transpose(0, 3, 1, 2) if pixels.ndim == 4 else pixels[:, None]
    images = allocate(pixels.shape)
    images[:] = pixels
    return Pictures(
        images=images, labels=np.asarray(stored.targets, dtype=np.int64), classes=tuple(map(str, stored.classes))
    )


def _make_whole(config: DatasetConfig, root: Path) -> None:
    """Fetch and unpack. Archives that are there already are unpacked without a network."""
    from filelock import FileLock

    dataset = _dataset(config.name)
    archives = list(_archives(dataset, root))
    absent = [archive for archive in archives if not has_md5(archive.path, archive.md5)]
    cause = "dataset.download is false"
    try:
        if config.download:
            for archive in archives:
                if config.root is None:
                    private(archive.path.parent)
                else:
                    archive.path.parent.mkdir(parents=True, exist_ok=True)
        if config.download or not absent:
            # Workers start together; two that download into one folder would spoil each other's files.
            with (
                FileLock(root / f".{config.name}.lock", mode=0o600 if config.root is None else 0o644)
                if config.download
                else nullcontext()
            ):
                for archive in absent:
                    fetch(archive.urls, archive.path, md5=archive.md5)
                _unpack(config, archives, root)
                return
    except DownloadError as error:
        cause = f"could not be downloaded ({error})"
    except OSError as error:
        cause = f"could not be written there ({error})"
    wanted = ", ".join(f"{archive.path} (from {archive.urls[0]})" for archive in absent)
    raise FileNotFoundError(
        f"{config.name} is not whole in {root}, and {cause}: put there {wanted}, "
        "or use dataset: {name: imagefolder, root: ...} with pictures of your own"
    )


def _unpack(config: DatasetConfig, archives: Sequence[Archive], root: Path) -> None:
    """Unpack what was fetched. In the home folder it is this user's alone; a `root` of the user's may be for many."""
    tars = [archive.path for archive in archives if archive.path.name.endswith(".tar.gz")]
    folder = root / _FOLDERS[config.name]
    if config.root is None:
        private(folder)
    for path in tars:
        unpack(path, root)  # torchvision would extract it without a filter
    if not tars:
        _dataset(config.name)(root, train=True, download=True)  # single files under names that it knows
    if config.root is None:
        for path in (*(archive.path for archive in archives), *folder.iterdir()):
            path.chmod(0o600)


def _archives(dataset: Any, root: Path) -> Iterator[Archive]:
    if hasattr(dataset, "resources"):
        for name, md5 in dataset.resources:
            path = root / dataset.__name__ / "raw" / name
            yield Archive(path=path, urls=tuple(mirror + name for mirror in dataset.mirrors), md5=md5)
    else:
        yield Archive(path=root / dataset.filename, urls=(dataset.url,), md5=dataset.tgz_md5)


def _dataset(name: str) -> Any:
    from torchvision import datasets

    return {
        "cifar10": datasets.CIFAR10,
        "cifar100": datasets.CIFAR100,
        "mnist": datasets.MNIST,
        "fashion_mnist": datasets.FashionMNIST,
    }[name]


def _stamp(folder: Path) -> str | None:
    """Sixteen hex digits over names, sizes and times of change of the files; None where there are none."""
    if not folder.is_dir():
        return None
    files = sorted(
        (path.name, path.stat().st_size, path.stat().st_mtime_ns)
        for path in folder.iterdir()
        if path.is_file() and path.suffix not in (".gz", ".part")
    )
    return hashlib.sha256(repr(files).encode()).hexdigest()[:16] if files else None
