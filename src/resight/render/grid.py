"""A grid of pictures, one row per class, with the names at the left."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resight.render.sheet import GAP, INK, MARGIN, PAPER, fitted, font

TILE = 64
"""Smallest side of a tile, in pixels; small pictures are enlarged by a whole factor."""
NAMES = 140
"""Largest width of the names, in pixels."""
BETWEEN = 2
"""Pixels between two tiles."""


def draw_grid(names: Sequence[str], pictures: NDArray[np.uint8]) -> Image.Image:
    """Draw pictures in rows under one another.

    Args:
        names: of the rows, (R,).
        pictures: (R, columns, S, S, 3) uint8.
    """
    rows, columns, side = pictures.shape[:3]
    tile = side * max(1, -(-TILE // side))
    face = font(14)
    labels = [fitted(name, face, NAMES) for name in names]
    left = MARGIN + round(max(face.getlength(label) for label in labels)) + GAP
    size = (left + columns * (tile + BETWEEN) + MARGIN, 2 * MARGIN + rows * (tile + BETWEEN))
    sheet = Image.new("RGB", size, PAPER)
    draw = ImageDraw.Draw(sheet)
    for row, label in enumerate(labels):
        y = MARGIN + row * (tile + BETWEEN)
        draw.text((left - GAP, y + tile // 2), label, INK, face, anchor="rm")
        for column in range(columns):
            image = Image.fromarray(pictures[row, column]).resize((tile, tile), Image.Resampling.NEAREST)
            sheet.paste(image, (left + column * (tile + BETWEEN), y))
    return sheet
