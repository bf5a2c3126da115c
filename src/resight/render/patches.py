"""What activates units: one row per unit with its strongest patches, and below each its back-projection."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resight.render.filters import wrapped
from resight.render.sheet import EMPTY, GAP, INK, MARGIN, PAPER, SOFT, fitted, font

TILE = 96
NAMES = 104
"""Width of the column at the left."""
CAPTION = 34
LINES = ("picture", "deconvnet", "guided")
PERCENTILE = 99.5
"""Quantile of a projection's absolute values that is drawn at full strength."""


@dataclass(frozen=True)
class Patch:
    """A part of a picture that activates a unit.

    Attributes:
        pixels: (h, w, 3) uint8.
        projections: the back-projection of each rule, by name, signed, (h, w, 3) float32; may be empty.
        activation: of the unit.
        label: the picture's class.
    """

    pixels: NDArray[np.uint8]
    projections: dict[str, NDArray[np.float32]]
    activation: float
    label: str


@dataclass(frozen=True)
class Unit:
    """A unit: its layer, its number, its receptive field, and its patches, strongest first."""

    layer: str
    number: int
    sees: str
    patches: Sequence[Patch]


def shown(projection: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a projection (h, w, 3) as pixels: grey is zero, its extremes have full strength."""
    scale = float(np.percentile(np.abs(projection), PERCENTILE))
    return np.round(255 * np.clip(0.5 + 0.5 * projection / max(scale, 1e-12), 0, 1)).astype(np.uint8)


def square(pixels: NDArray[np.uint8], side: int = TILE) -> Image.Image:
    """Return pixels on a square of `side`; small ones are enlarged without smoothing."""
    height, width = pixels.shape[:2]
    ratio = side / max(height, width)
    size = (max(1, round(width * ratio)), max(1, round(height * ratio)))
    way = Image.Resampling.NEAREST if ratio >= 1 else Image.Resampling.LANCZOS
    image = Image.fromarray(pixels).resize(size, way)
    tile = Image.new("RGB", (side, side), EMPTY)
    tile.paste(image, ((side - size[0]) // 2, (side - size[1]) // 2))
    return tile


def draw_units(units: Sequence[Unit], title: str, footer: Sequence[str] = ()) -> Image.Image:
    """Draw units under one another: patches in a line, projections in lines below.

    Args:
        units: with at least one patch each.
        title: above the figure.
        footer: lines below it.
    """
    rules = [name for name in LINES[1:] if name in units[0].patches[0].projections]
    columns = max(len(unit.patches) for unit in units)
    width = max(2 * MARGIN + NAMES + columns * (TILE + 4), 700)
    footer = [line for text in footer for line in wrapped(text, width - 2 * MARGIN)]
    deep = (1 + len(rules)) * (TILE + 2) + CAPTION + GAP
    top, foot = MARGIN + 32, 18 * len(footer) + 6
    sheet = Image.new("RGB", (width, top + len(units) * deep + foot + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN), fitted(title, font(15, bold=True), width - 2 * MARGIN), INK, font(15, bold=True)
    )
    for number, unit in enumerate(units):
        y = top + number * deep
        draw.text((MARGIN, y), f"unit {unit.number}", INK, font(14, bold=True))
        draw.text((MARGIN, y + 18), fitted(unit.layer, font(12), NAMES - 6), INK, font(12))
        draw.text((MARGIN, y + 34), fitted(unit.sees, font(11), NAMES - 6), SOFT, font(11))
        for place, name in enumerate(("picture", *rules)):
            draw.text((MARGIN, y + 60 + place * (TILE + 2)), name, SOFT, font(12))
        for column, patch in enumerate(unit.patches):
            x = MARGIN + NAMES + column * (TILE + 4)
            tiles = [patch.pixels, *(shown(patch.projections[name]) for name in rules)]
            for place, pixels in enumerate(tiles):
                sheet.paste(square(pixels), (x, y + place * (TILE + 2)))
            below = y + len(tiles) * (TILE + 2)
            draw.text((x, below), fitted(patch.label, font(11), TILE), INK, font(11))
            draw.text((x, below + 14), f"{patch.activation:.3g}", SOFT, font(11))
    for number, line in enumerate(footer):
        draw.text((MARGIN, sheet.height - MARGIN - foot + 6 + 18 * number), line, SOFT, font(13))
    return sheet
