"""A picture for people."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

__all__ = ["Shown"]


@dataclass(frozen=True, kw_only=True)
class Shown:
    """A picture with its label."""

    label: str
    pixels: npt.NDArray[np.uint8]
    """(H, W), or (H, W, 3) for colours"""
