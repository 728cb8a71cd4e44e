"""Spots, smears and stains painted on a picture of a clean plate."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from numpy.random import Generator
from PIL import Image, ImageDraw, ImageFilter

__all__ = ["LEVELS", "Level", "Plate", "find_plate", "soil"]

Level = Literal["light", "medium", "heavy"]
LEVELS: tuple[Level, ...] = ("light", "medium", "heavy")
Floats = npt.NDArray[np.float64]
Colour = tuple[int, int, int]
_SIDE = 48
"""pixels of the small copy in which a plate is looked for"""


@dataclass(frozen=True, kw_only=True)
class Amount:
    """How much dirt a level has: ranges, both ends included."""

    crumbs: tuple[int, int]
    smears: tuple[int, int]
    stains: tuple[int, int]
    cover: float
    """opacity of the smears and stains, at most"""


AMOUNTS: dict[Level, Amount] = {
    "light": Amount(crumbs=(8, 20), smears=(0, 1), stains=(0, 1), cover=0.5),
    "medium": Amount(crumbs=(18, 45), smears=(1, 3), stains=(1, 2), cover=0.7),
    "heavy": Amount(crumbs=(40, 90), smears=(3, 5), stains=(2, 4), cover=0.88),
}
# Sauce, then crumbs of the same meal.
MEALS: tuple[tuple[Colour, tuple[Colour, ...]], ...] = (
    ((196, 76, 22), ((158, 58, 20), (214, 150, 60), (86, 104, 40))),
    ((146, 92, 40), ((112, 72, 36), (176, 128, 70), (70, 46, 28))),
    ((214, 160, 36), ((186, 132, 40), (222, 190, 110), (96, 112, 48))),
    ((92, 52, 28), ((62, 38, 26), (128, 86, 52), (40, 28, 22))),
    ((168, 148, 112), ((150, 118, 66), (92, 116, 52), (120, 84, 46))),
)


@dataclass(frozen=True, kw_only=True)
class Plate:
    """The ellipse that a plate fills, in pixels."""

    x: float
    y: float
    across: float
    down: float
    """half axes, along the picture's own"""


def soil(picture: Image.Image, level: Level, generator: Generator) -> Image.Image:
    """Return an RGB copy of the picture with dirt on its plate."""
    clean = picture.convert("RGB")
    plate, amount = find_plate(clean), AMOUNTS[level]
    pixels = np.asarray(clean, dtype=np.float64)
    sauce, bits = MEALS[generator.integers(len(MEALS))]
    inside = _inside(plate, clean.size)
    # Dirt lies in the plate's own light: darker where the plate is in shadow.
    light = _blurred(np.asarray(clean.convert("L"), dtype=np.float64), 0.03 * plate.across)
    light = 0.45 + 0.55 * np.clip(light / max(1.0, float(np.quantile(light[inside > 0.5], 0.9))), 0, 1)

    def paint(mask: Floats, colour: Colour) -> None:
        nonlocal pixels
        cover = (mask * inside)[..., None]
        tone = np.array(colour) * generator.uniform(0.85, 1.15)
        # Half opaque, half like a filter: sauce lets the plate's pattern through.
        tone = np.clip(tone, 0, 255) * (0.5 * light[..., None] + 0.5 * pixels / 235)
        pixels = pixels * (1 - cover) + tone * cover

    for _ in range(_between(generator, amount.stains)):
        paint(_stain(plate, clean.size, generator) * amount.cover, sauce)
    for _ in range(_between(generator, amount.smears)):
        paint(_smear(plate, clean.size, generator) * amount.cover, sauce)
    crumbs = _between(generator, amount.crumbs)
    for colour, share in zip(bits, generator.multinomial(crumbs, (0.5, 0.35, 0.15)), strict=True):
        mask = _crumbs(plate, clean.size, int(share), generator)
        shadow = np.roll(_blurred(mask, 1.0), (1, 1), axis=(0, 1))
        pixels *= 1 - 0.35 * (shadow * inside)[..., None]
        paint(mask, colour)
    return Image.fromarray(np.clip(pixels.round(), 0, 255).astype(np.uint8))


def find_plate(picture: Image.Image) -> Plate:
    """Estimate where the plate is: what differs in colour from the picture's border, around the middle.

    Where the table is as colourful as the plate, the estimate falls back towards the middle of the picture.
    """
    width, height = picture.size
    small = np.asarray(picture.convert("RGB").resize((_SIDE, _SIDE)), dtype=np.float64)
    edges = small[:3], small[-3:], small[:, :3], small[:, -3:]
    rim = np.concatenate([edge.reshape(-1, 3) for edge in edges])
    distance = np.sqrt(((small[:, :, None, :] - rim[None, None, ::12, :]) ** 2).sum(axis=-1)).min(axis=-1)
    rows, columns = np.mgrid[:_SIDE, :_SIDE] / (_SIDE - 1) - 0.5
    weight = np.clip(distance - np.quantile(distance, 0.35), 0, 60) * np.exp(
        -((rows / 0.35) ** 2 + (columns / 0.35) ** 2)
    )
    weight = weight + 1e-3 * weight.max() + 1e-9
    x, y = (float((weight * axis).sum() / weight.sum()) for axis in (columns, rows))
    across, down = (
        float(np.clip(1.9 * np.sqrt((weight * (axis - middle) ** 2).sum() / weight.sum()), 0.15, 0.36))
        for axis, middle in ((columns, x), (rows, y))
    )
    return Plate(x=(x + 0.5) * width, y=(y + 0.5) * height, across=across * width, down=down * height)


def _inside(plate: Plate, size: tuple[int, int]) -> Floats:
    """1 on the plate, falling to 0 at its rim."""
    radius = _radius(plate, size)
    inside: Floats = np.clip((1.0 - radius) / 0.12, 0, 1)
    return inside


def _radius(plate: Plate, size: tuple[int, int]) -> Floats:
    rows, columns = np.mgrid[: size[1], : size[0]].astype(np.float64)
    radius: Floats = np.sqrt(((columns - plate.x) / plate.across) ** 2 + ((rows - plate.y) / plate.down) ** 2)
    return radius


def _place(plate: Plate, generator: Generator, reach: float) -> tuple[float, float]:
    """A point on the plate, more often near its middle."""
    angle, radius = generator.uniform(0, 2 * np.pi), reach * generator.uniform(0, 1) ** 0.7
    return plate.x + radius * plate.across * np.cos(angle), plate.y + radius * plate.down * np.sin(angle)


def _stain(plate: Plate, size: tuple[int, int], generator: Generator) -> Floats:
    """A dried puddle: ragged, thin within, darker along its edge."""
    x, y = _place(plate, generator, 0.5)
    spot = Plate(
        x=x, y=y, across=plate.across * generator.uniform(0.12, 0.35), down=plate.down * generator.uniform(0.12, 0.35)
    )
    ragged = sum(
        share * (_noise(size, spot.across / cells, generator) - 0.5)
        for share, cells in ((0.9, 1.3), (0.6, 4), (0.35, 10))
    )
    height = 0.9 - _radius(spot, size) + ragged
    body = np.clip(height / 0.3, 0, 1)
    edge = np.exp(-((height - 0.15) ** 2) / 0.02)
    grain = _noise(size, max(2.0, spot.across / 12), generator)
    return np.clip(body * (0.45 + 0.5 * grain) + 0.3 * edge * grain, 0, 1)


def _smear(plate: Plate, size: tuple[int, int], generator: Generator) -> Floats:
    """Streaks that a fork or a piece of bread leaves: near-parallel curves that thin out."""
    start, bend, end = (np.array(_place(plate, generator, 0.75)) for _ in range(3))
    along = np.linspace(0, 1, 40)[:, None]
    curve = (1 - along) ** 2 * start + 2 * along * (1 - along) * bend + along**2 * end
    across = np.array([-(end - start)[1], (end - start)[0]]) / max(1.0, float(np.hypot(*(end - start))))
    width = plate.across * generator.uniform(0.05, 0.16)

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        for _ in range(int(generator.integers(10, 26))):
            offset, first, last = generator.normal(0, width / 2), generator.integers(0, 15), generator.integers(22, 40)
            line = [tuple(2 * point) for point in (curve + offset * across)[first:last]]
            thickness = max(1, round(2 * generator.uniform(0.1, 0.35) * width))
            canvas.line(line, fill=int(generator.integers(60, 230)), width=thickness, joint="curve")

    streaks = _blurred(_drawn(size, draw), max(0.8, width / 6))
    return np.clip(streaks * (0.35 + 0.9 * _noise(size, max(2.0, width / 2), generator)), 0, 1)


def _crumbs(plate: Plate, size: tuple[int, int], count: int, generator: Generator) -> Floats:
    """Small ragged bits, in clusters."""
    heaps = [_place(plate, generator, 0.7) for _ in range(3)]
    unit = min(plate.across, plate.down)

    def draw(canvas: ImageDraw.ImageDraw) -> None:
        for _ in range(count):
            x, y = heaps[generator.integers(3)] if generator.random() < 0.6 else _place(plate, generator, 0.85)
            x, y = x + generator.normal(0, 0.12 * unit), y + generator.normal(0, 0.12 * unit)
            radius = unit * 0.016 * generator.lognormal(0, 0.6)
            angles = np.sort(generator.uniform(0, 2 * np.pi, 7))
            lengths = 2 * radius * generator.uniform(0.5, 1.5, 7)
            stretch = generator.uniform(0.5, 1.0)
            canvas.polygon(
                [
                    (2 * x + length * np.cos(angle), 2 * y + stretch * length * np.sin(angle))
                    for angle, length in zip(angles, lengths, strict=True)
                ],
                fill=int(generator.integers(150, 250)),
            )

    return _drawn(size, draw)


def _drawn(size: tuple[int, int], draw: Callable[[ImageDraw.ImageDraw], None]) -> Floats:
    """What is drawn on a canvas of twice the size, scaled down for smooth edges, in [0, 1]."""
    canvas = Image.new("L", (2 * size[0], 2 * size[1]))
    draw(ImageDraw.Draw(canvas))
    return np.asarray(canvas.resize(size, Image.Resampling.BOX), dtype=np.float64) / 255


def _noise(size: tuple[int, int], scale: float, generator: Generator) -> Floats:
    """Smooth noise in [0, 1] with features of about `scale` pixels."""
    cells = max(2, round(size[0] / scale)), max(2, round(size[1] / scale))
    coarse = Image.fromarray((255 * generator.random((cells[1] + 2, cells[0] + 2))).astype(np.uint8))
    shift = generator.uniform(0, 2, 2)  # or the cells of every noise would end on the same lines
    box = (float(shift[0]), float(shift[1]), float(shift[0]) + cells[0], float(shift[1]) + cells[1])
    return np.asarray(coarse.resize(size, Image.Resampling.BICUBIC, box=box), dtype=np.float64) / 255


def _blurred(values: Floats, radius: float) -> Floats:
    top = max(1e-9, float(values.max()))
    picture = Image.fromarray((255 * values / top).astype(np.uint8)).filter(ImageFilter.GaussianBlur(radius))
    return np.asarray(picture, dtype=np.float64) / 255 * top


def _between(generator: Generator, ends: tuple[int, int]) -> int:
    return int(generator.integers(ends[0], ends[1] + 1))
