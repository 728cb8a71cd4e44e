"""Pictures that are nearly the same: candidates by a difference hash, then by their pixels."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Sequence
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from trainers.measures import HASH_BITS, reduced

__all__ = ["BITS_APART", "LEVELS_APART", "equal_groups", "near_groups"]

Places = npt.NDArray[np.int64]

BITS_APART = 6
"""Of 64, at most: what makes two pictures candidates."""
LEVELS_APART = 20.0
"""Root of the mean square difference of two candidates at 16x16 pixels, in levels of 255, at most. On CIFAR-10 nearly
all pairs within both are one photograph, cut or coloured otherwise."""
_SIDE = 16
_VALUES = 1 << 22
"""Of a table of hashes, at a time."""
_PIXELS = 1 << 23
"""Values of pictures, at a time."""


def equal_groups(keys: Sequence[Hashable]) -> list[list[int]]:
    """Return the places of equal keys, where there are two or more."""
    places: defaultdict[Hashable, list[int]] = defaultdict(list)
    for place, each in enumerate(keys):
        places[each].append(place)
    return [each for each in places.values() if len(each) > 1]


def near_groups(
    hashes: npt.NDArray[np.uint64], take: Callable[[Places], npt.NDArray[np.uint8]], among: Places
) -> list[list[int]]:
    """Return groups of pictures of which each is near another one of its group.

    `hashes` (N,) are those of all pictures, `take` maps places to pictures (B, C, H, W), `among` are the places that
    are compared: of pictures with equal pixels one is enough.
    """
    leader = {int(each): int(each) for each in among}
    rows = max(1, _PIXELS // max(1, take(among[:1]).size))

    def root(place: int) -> int:
        while leader[place] != place:
            leader[place] = leader[leader[place]]
            place = leader[place]
        return place

    for one, other in _candidates(hashes[among]):
        for start in range(0, len(one), rows):
            pair = [among[each[start : start + rows]] for each in (one, other)]
            for a, b in zip(*(each[_near(take, *pair)].tolist() for each in pair), strict=True):
                leader[max(root(a), root(b))] = min(root(a), root(b))
    groups: defaultdict[int, list[int]] = defaultdict(list)
    for place in leader:
        groups[root(place)].append(place)
    return [sorted(each) for each in groups.values() if len(each) > 1]


def _near(take: Callable[[Places], npt.NDArray[np.uint8]], one: Places, other: Places) -> npt.NDArray[np.bool_]:
    apart = reduced(take(one), _SIDE, _SIDE) - reduced(take(other), _SIDE, _SIDE)
    near: npt.NDArray[np.bool_] = np.sqrt(np.square(apart).mean(axis=(1, 2, 3))) <= LEVELS_APART
    return near


def _candidates(hashes: npt.NDArray[np.uint64]) -> Iterator[tuple[Places, Places]]:
    """Yield places of pairs that are `BITS_APART` or less, each pair once.

    Where so few bits differ, one of one more bands of bits is the same in both: only pictures that share a band are
    compared.
    """
    edges = np.linspace(0, HASH_BITS, BITS_APART + 2).astype(int)
    bands = [((1 << int(end - start)) - 1) << int(start) for start, end in pairwise(edges)]
    for index, band in enumerate(bands):
        keys = hashes & np.uint64(band)
        order = np.argsort(keys, kind="stable")
        cuts = np.flatnonzero(np.diff(keys[order])) + 1
        for bucket in np.split(order, cuts):
            for one, other in _pairs(hashes, bucket):
                both = hashes[one] ^ hashes[other]
                fresh = np.ones(len(one), dtype=bool)
                for before in bands[:index]:  # those found by an earlier band
                    fresh &= (both & np.uint64(before)) != 0
                if fresh.any():
                    yield one[fresh], other[fresh]


def _pairs(hashes: npt.NDArray[np.uint64], bucket: Places) -> Iterator[tuple[Places, Places]]:
    rows = max(1, _VALUES // len(bucket))
    for start in range(0, len(bucket) - 1, rows):
        block = bucket[start : start + rows]
        bits = np.bitwise_count(hashes[block, None] ^ hashes[None, bucket[start:]])
        one, other = np.nonzero(np.triu(bits <= BITS_APART, k=1))
        if len(one):
            yield block[one], bucket[start:][other]
