"""Pictures in folders named by class, decoded once into one array on disk."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import PIL

from trainers.cache import Allocate, cached, shrink
from trainers.decoding import DECODE_VERSION, decode_all
from trainers.groups import numbered, sources_of
from trainers.listing import SUFFIXES, Listing, Part, list_part
from trainers.pictures import Pictures

__all__ = ["read_folder"]

_NAMED_IN_A_WARNING = 5


def read_folder(root: Path, part: Part, *, size: int, threads: int, cache: Path) -> Pictures | None:
    """Read `root/<part>/<class>/*`, for train also `root/<class>/*` where `root/train` is absent.

    Pictures are (N, 3, size, size) RGB, as `trainers.decoding.decode` makes them, kept in the folder `cache` until a
    file changes. Unreadable files are left out, with one warning that counts and names them. Groups come from
    `root/groups.csv`. Returns None when there is no `root/val` or `root/test`. Raises what `list_part` and
    `sources_of` raise, and ValueError for a class without readable pictures.
    """
    listing = list_part(root, part)
    if listing is None:
        return None
    place = hashlib.sha256(str(root.resolve()).encode("utf-8", "surrogatepass")).hexdigest()[:8]
    key = hashlib.sha256(f"{listing.stamp} {DECODE_VERSION} {PIL.__version__}".encode()).hexdigest()[:16]
    pictures = cached(
        cache,
        f"folder-{place}-{part}-{size}",
        key,
        lambda allocate: _decoded(listing, allocate, size=size, threads=threads),
    )
    if pictures.skipped_files:
        _warn(pictures.skipped_files, len(listing.files), root)
    left_out = frozenset(pictures.skipped_files)
    files = tuple(file for file in listing.files if file not in left_out) if left_out else listing.files
    sources = sources_of(root, files)
    return replace(pictures, files=files, groups=None if sources is None else numbered(sources))


def _decoded(listing: Listing, allocate: Allocate, *, size: int, threads: int) -> Pictures:
    images = allocate((len(listing.files), 3, size, size))
    readable = decode_all(listing.files, listing.root, images, size=size, work=listing.size, threads=threads)
    labels = listing.labels[readable]
    for label, name in enumerate(listing.classes):
        if label not in labels:
            raise ValueError(f"class {name!r} has no readable picture; add some ({', '.join(sorted(SUFFIXES))})")
    if not readable.all():
        images = shrink(images, readable)
    skipped = tuple(file for file, kept in zip(listing.files, readable, strict=True) if not kept)
    return Pictures(images=images, labels=labels, classes=listing.classes, skipped_files=skipped)


def _warn(skipped: Sequence[str], count: int, root: Path) -> None:
    named = ", ".join(skipped[:_NAMED_IN_A_WARNING]) + (", ..." if len(skipped) > _NAMED_IN_A_WARNING else "")
    warnings.warn(
        f"{len(skipped)} of {count} pictures cannot be read and are left out: {named} (in {root})", stacklevel=3
    )
