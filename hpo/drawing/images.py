"""Pictures within a page: pixels as they are, maps of numbers as heat, many of them side by side."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from markupsafe import Markup
from PIL import Image

__all__ = ["gallery", "heat", "image", "strip"]

Bytes = npt.NDArray[np.uint8]

SMALL = 64
"""Side in pixels up to which a picture is kept exactly, and shown with its pixels seen."""


def image(pixels: Bytes, says: str, *, side: int = 96) -> Markup:
    """A picture (H, W) or (H, W, 3), shown `side` CSS pixels wide; a larger one is scaled down to twice that.

    `says` is read to those who cannot see it.
    """
    picture = Image.fromarray(np.ascontiguousarray(pixels))
    small = max(picture.size) <= SMALL
    if not small:
        picture.thumbnail((2 * side, 2 * side))
    data = io.BytesIO()
    picture.save(data, **(_EXACT if small else _COMPACT))
    kind = "png" if small else "jpeg"
    text = base64.b64encode(data.getvalue()).decode()
    return Markup('<img class="{}" width="{}" alt="{}" src="data:image/{};base64,{}">').format(
        "exact" if small else "", side, says, kind, text
    )


_EXACT: dict[str, Any] = {"format": "PNG", "optimize": True}
_COMPACT: dict[str, Any] = {"format": "JPEG", "quality": 85}


def heat(values: npt.NDArray[Any]) -> Bytes:
    """A map of numbers (H, W) in colours (H, W, 3), its smallest dark and its largest bright; all alike: dark."""
    from matplotlib import colormaps

    low, high = float(values.min()), float(values.max())
    scaled = (values - low) / (high - low) if high > low else np.zeros(values.shape)
    colours: Bytes = colormaps["viridis"](scaled, bytes=True)[..., :3]
    return colours


def gallery(cells: Sequence[tuple[Markup, str]]) -> Markup:
    """Pictures side by side, each with what there is to say of it below; as many a line as there is room for."""
    figures = (
        Markup("<figure>{}{}</figure>").format(
            picture, Markup("<figcaption>{}</figcaption>").format(said) if said else ""
        )
        for picture, said in cells
    )
    return Markup('<div class="gallery">{}</div>').format(Markup().join(figures))


def strip(pictures: Sequence[Markup]) -> Markup:
    """Pictures that belong together, as one of a gallery."""
    return Markup('<div class="strip">{}</div>').format(Markup().join(pictures))
