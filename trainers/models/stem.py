"""Which pictures are so small that a network made for 224 px would leave nothing of them."""

from __future__ import annotations

__all__ = ["SMALL_STEM_PX", "is_small"]

SMALL_STEM_PX = 64
"""Largest side, in pixels, for which the stem keeps the resolution."""


def is_small(height: int, width: int) -> bool:
    """Whether a picture gets the stem of stride 1 without pooling: a network then divides its side by 8, not 32."""
    return max(height, width) <= SMALL_STEM_PX
