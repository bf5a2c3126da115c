"""A gallery of operations: one row per operation, with its name and description at the left."""

from collections.abc import Sequence
from dataclasses import dataclass
from textwrap import wrap

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resight.render.sheet import GAP, INK, MARGIN, PAPER, SMALL, SOFT, fitted, font

TILE = 128
"""Side of a picture, in pixels."""
NAMES = 168
"""Width of the names."""
CAPTION = 18
LETTERS, LINES = 26, 5
"""Of the description below a name: letters per line, and largest number of lines."""
LONG = 12
"""More rows than this are drawn in two columns."""
BOX = (0, 200, 120)


@dataclass(frozen=True)
class Tile:
    """A picture (S, S, 3) uint8, the text below it, and boxes (x0, y0, x1, y1) in its pixels."""

    pixels: NDArray[np.uint8]
    caption: str = ""
    boxes: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Line:
    """A row: its name, its description, and its pictures."""

    name: str
    words: str
    tiles: Sequence[Tile]


def draw_gallery(title: str, lines: Sequence[Line]) -> Image.Image:
    """Draw rows of pictures under one another, in two columns if there are many.

    Args:
        title: above the figure.
        lines: with the same number of tiles each.
    """
    columns = 2 if len(lines) > LONG else 1
    deep = -(-len(lines) // columns)
    across = NAMES + max(len(line.tiles) for line in lines) * (TILE + GAP)
    high = TILE + CAPTION + GAP
    size = (columns * (across + 2 * MARGIN), 3 * MARGIN + 18 + deep * high)
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text((MARGIN, MARGIN), fitted(title, font(15), size[0] - 2 * MARGIN), INK, font(15))
    for number, line in enumerate(lines):
        left = MARGIN + number // deep * (across + 2 * MARGIN)
        top = 2 * MARGIN + 18 + number % deep * high
        draw.text((left, top), fitted(line.name, font(15, bold=True), NAMES - GAP), INK, font(15, bold=True))
        words = "\n".join(wrap(line.words, LETTERS)[:LINES])
        draw.multiline_text((left, top + 24), words, SOFT, font(12), spacing=4)
        for column, tile in enumerate(line.tiles):
            _paste(sheet, draw, tile, left + NAMES + column * (TILE + GAP), top)
    return sheet


def _paste(sheet: Image.Image, draw: ImageDraw.ImageDraw, tile: Tile, left: int, top: int) -> None:
    image = Image.fromarray(tile.pixels)
    way = Image.Resampling.NEAREST if image.width <= SMALL else Image.Resampling.LANCZOS
    sheet.paste(image.resize((TILE, TILE), way), (left, top))
    factor = TILE / image.width
    for x0, y0, x1, y1 in tile.boxes:
        edges = (round(v * factor) for v in (x0, y0, x1, y1))
        x0, y0, x1, y1 = (min(max(v, 0), TILE - 1) for v in edges)
        draw.rectangle((left + x0, top + y0, left + x1, top + y1), outline=BOX, width=2)
    draw.text((left + TILE // 2, top + TILE + 2), tile.caption, SOFT, font(12), anchor="ma")
