"""A comparison sheet as one picture: one row per picture, one column per method."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

TILE = 192
"""Side of the tile of a picture or map, in pixels."""
SMALL = 64
"""Pictures up to this side are enlarged without smoothing."""
GAP, MARGIN = 8, 16
HEADER, CAPTION, FOOTER = 34, 28, 30
"""Heights of the lines of text, in pixels."""
PAPER, INK, SOFT, EMPTY = "#ffffff", "#1c1d1f", "#61656c", "#f1f1ee"


@dataclass(frozen=True)
class Row:
    """A row: the text above it, and its pictures, square (S, S, 3) uint8, one per column."""

    caption: str
    tiles: Sequence[NDArray[np.uint8]]


def draw_sheet(header: Sequence[str], rows: Sequence[Row], footer: str) -> Image.Image:
    """Draw a sheet; text that is too long ends in an ellipsis.

    Args:
        header: the text above each column.
        rows: with a tile for each column.
        footer: one line below.
    """
    width = 2 * MARGIN + len(header) * (TILE + GAP) - GAP
    height = 2 * MARGIN + HEADER + len(rows) * (CAPTION + TILE + GAP) + FOOTER
    sheet = Image.new("RGB", (width, height), PAPER)
    draw = ImageDraw.Draw(sheet)
    bold, plain, small = font(15, bold=True), font(14), font(13)
    for column, name in enumerate(header):
        draw.text((left(column), MARGIN), fitted(name, bold, TILE), INK, bold)
    for number, row in enumerate(rows):
        y = top(number)
        draw.text((MARGIN, y - CAPTION + 6), fitted(row.caption, plain, width - 2 * MARGIN), INK, plain)
        for column, pixels in enumerate(row.tiles):
            x = left(column)
            draw.rectangle((x, y, x + TILE - 1, y + TILE - 1), EMPTY)
            image = scaled(pixels)
            sheet.paste(image, (x + (TILE - image.width) // 2, y + (TILE - image.height) // 2))
    y = height - MARGIN - FOOTER + 10
    draw.text((MARGIN, y), fitted(footer, small, width - 2 * MARGIN), SOFT, small)
    return sheet


def left(column: int) -> int:
    """Return the left edge of a column's tiles, in pixels."""
    return MARGIN + column * (TILE + GAP)


def top(row: int) -> int:
    """Return the top edge of a row's tiles, in pixels."""
    return MARGIN + HEADER + row * (CAPTION + TILE + GAP) + CAPTION


def scaled(pixels: NDArray[np.uint8]) -> Image.Image:
    """Return a picture that fills a tile; a small one is enlarged by a whole factor without smoothing."""
    image = Image.fromarray(pixels)
    longer = max(image.size)
    if longer <= SMALL:
        size = (image.width * (TILE // longer), image.height * (TILE // longer))
        return image.resize(size, Image.Resampling.NEAREST)
    size = (max(1, round(image.width * TILE / longer)), max(1, round(image.height * TILE / longer)))
    return image.resize(size, Image.Resampling.LANCZOS)


def fitted(text: str, face: ImageFont.FreeTypeFont, width: int) -> str:
    """Return a text as one line of at most `width` pixels, cut with an ellipsis if needed."""
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    if face.getlength(text) <= width:
        return text
    while text and face.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def font(size: int, *, bold: bool = False) -> ImageFont.FreeTypeFont:
    """Return the font that comes with matplotlib, DejaVu Sans, which covers most alphabets."""
    name = "DejaVuSans-Bold.ttf" if bold else "DejaVuSans.ttf"
    return ImageFont.truetype(Path(mpl.get_data_path()) / "fonts" / "ttf" / name, size)
