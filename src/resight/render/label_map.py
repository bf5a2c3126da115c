"""Label maps as pictures: with a palette, over their picture, and beside the truth with a legend."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

VOID = (224, 224, 192)
"""Colour of what does not count, as in Pascal VOC's masks."""
OPACITY = 0.6
LEAST_SIDE, GAP, CHIP = 240, 6, 12
PAPER, INK = (255, 255, 255), (40, 40, 40)


def palette() -> NDArray[np.uint8]:
    """Return a colour for each class number, (256, 3): Pascal VOC's, whose bits spread over the channels.

    The development kit of 2012 gives the rule: bits 0, 1 and 2 of a number are the highest of red, green and
    blue, bits 3, 4 and 5 the next, and so on. Number 0 is black, 255 what does not count.
    """
    numbers, colours = np.arange(256), np.zeros((256, 3), np.int64)
    for place in range(8):
        for channel in range(3):
            colours[:, channel] |= (numbers >> (3 * place + channel) & 1) << (7 - place)
    colours[255] = VOID
    return colours.astype(np.uint8)


def index_image(labels: NDArray[np.uint8]) -> Image.Image:
    """Return class numbers (H, W) as a picture with a palette: saved as PNG, its values are the numbers."""
    image = Image.fromarray(np.ascontiguousarray(labels))
    image.putpalette(palette().reshape(-1).tolist())
    return image


def tinted(picture: NDArray[np.uint8], labels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return a picture (H, W, 3) under the colours of its label map (H, W)."""
    mixed = (1 - OPACITY) * picture + OPACITY * palette()[labels]
    return np.round(mixed).astype(np.uint8)


def draw_maps(
    picture: Image.Image,
    maps: Sequence[tuple[str, NDArray[np.uint8]]],
    names: Sequence[str],
) -> Image.Image:
    """Return a picture, and beside it once more under each label map, with the names of the classes below.

    Args:
        picture: RGB.
        maps: a title and class numbers for all of the picture, (H, W) of any size; 255 does not count.
        names: of the classes.
    """
    factor = max(1, -(-LEAST_SIDE // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    pixels = np.asarray(picture.convert("RGB").resize(size, Image.Resampling.BILINEAR))
    font = ImageFont.load_default(CHIP)
    panels = [("picture", pixels)]
    shown: set[int] = set()
    for title, labels in maps:
        fitted = np.asarray(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
        panels.append((title, tinted(pixels, fitted)))
        shown |= set(np.unique(labels).tolist())
    chips: list[tuple[NDArray[np.uint8], str]] = [
        (palette()[n], "void" if n == 255 else names[n]) for n in sorted(shown) if n == 255 or n < len(names)
    ]
    width, head = len(panels) * (size[0] + GAP) - GAP, CHIP + 2 * GAP
    rows = _rows([name for _, name in chips], width, font)
    sheet = Image.new("RGB", (width, head + size[1] + GAP + (CHIP + GAP) * len(rows)), PAPER)
    pen = ImageDraw.Draw(sheet)
    for number, (title, drawn) in enumerate(panels):
        left = number * (size[0] + GAP)
        pen.text((left + 2, 2), title, fill=INK, font=font)
        sheet.paste(Image.fromarray(drawn), (left, head))
    for row, places in enumerate(rows):
        top = head + size[1] + GAP + (CHIP + GAP) * row
        for number, left in places:
            colour, name = chips[number]
            pen.rectangle((left, top, left + CHIP, top + CHIP), fill=tuple(colour.tolist()), outline=INK)
            pen.text((left + CHIP + 4, top - 1), name, fill=INK, font=font)
    return sheet


def _rows(names: Sequence[str], width: int, font: ImageFont.ImageFont | ImageFont.FreeTypeFont) -> list[list]:
    """Return the place of each name, (number, left), row by row."""
    rows: list[list[tuple[int, int]]] = [[]]
    left = 0
    for number, name in enumerate(names):
        wide = CHIP + 4 + round(font.getlength(name)) + 2 * GAP
        if left and left + wide > width:
            rows.append([])
            left = 0
        rows[-1].append((number, left))
        left += wide
    return rows
