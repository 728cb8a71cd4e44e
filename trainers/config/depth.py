"""What the depth of a DenseNet-BC may be, and what it is made of."""

from __future__ import annotations

__all__ = ["blocks_of"]


def blocks_of(depth: int) -> tuple[int, int, int]:
    """Return the layers of the three blocks of a DenseNet-BC with `depth` layers with weights, 6n + 4.

    A dense layer has two, each of the two transitions one, the stem and the head one each. Raises ValueError for
    another depth.
    """
    layers, left = divmod(depth - 4, 6)
    if left or layers < 1:
        near = max(10, 6 * round((depth - 4) / 6) + 4)
        raise ValueError(f"depth {depth} of densenet_bc must be 6n + 4, three blocks of n layers: try {near}")
    return layers, layers, layers
