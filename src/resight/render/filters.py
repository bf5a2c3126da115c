"""Filters of a first layer as tiles, each next to the function fitted to it."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from resight.render.sheet import GAP, INK, MARGIN, PAPER, SOFT, fitted, font

TILE = 72
"""The side of a tile, about this many pixels, is a whole multiple of the filter's."""
WIDTH = 1280
WORDS = 30
"""Height of the text below a filter."""
MOST = 128
"""Largest number of filters drawn."""


@dataclass(frozen=True)
class Filter:
    """A filter (C, k, k) and the two short lines below it.

    Attributes:
        weights: signed.
        fitted: the function fitted to it, (C, k, k); None without a fit.
        words: the lines below the tiles.
    """

    weights: NDArray[np.float32]
    fitted: NDArray[np.float32] | None
    words: tuple[str, str]


def tile(weights: NDArray[np.float32], scale: float | None = None) -> NDArray[np.uint8]:
    """Return a filter (C, k, k) as colours (k, k, 3): grey is zero, the largest absolute weight is full.

    Colours are scaled together, so that their proportions and signs show. With one channel the tile is grey;
    with other than one or three channels, the mean is shown.

    Args:
        weights: signed.
        scale: the value drawn at full strength; by default the largest absolute value.
    """
    if len(weights) not in (1, 3):
        weights = weights.mean(0, keepdims=True)
    shown = np.broadcast_to(weights, (3, *weights.shape[1:])).transpose(1, 2, 0)
    scale = float(np.abs(shown).max()) if scale is None else scale
    return np.round(255 * np.clip(0.5 + 0.5 * shown / max(scale, 1e-12), 0, 1)).astype(np.uint8)


def draw_filters(filters: Sequence[Filter], title: str, footer: Sequence[str]) -> Image.Image:
    """Draw filters in rows; with a fitted function each is a pair of tiles.

    Args:
        filters: in the order in which they are shown.
        title: above the figure.
        footer: lines below it.
    """
    side = filters[0].weights.shape[-1]
    enlarged = side * max(1, round(TILE / side))
    pair = 2 if filters[0].fitted is not None else 1
    words = WORDS if any(any(f.words) for f in filters) else 0
    across, high = pair * (enlarged + 2) + GAP + 6, enlarged + words + GAP
    columns = max(1, min(len(filters), (WIDTH - 2 * MARGIN) // across))
    rows = -(-len(filters) // columns)
    width = max(2 * MARGIN + columns * across, min(WIDTH, 760))
    footer = [line for text in footer for line in wrapped(text, width - 2 * MARGIN)]
    top, foot = MARGIN + 30, 18 * len(footer) + 8
    sheet = Image.new("RGB", (width, top + rows * high + foot + MARGIN), PAPER)
    draw = ImageDraw.Draw(sheet)
    draw.text(
        (MARGIN, MARGIN), fitted(title, font(15, bold=True), width - 2 * MARGIN), INK, font(15, bold=True)
    )
    for number, one in enumerate(filters):
        x, y = MARGIN + number % columns * across, top + number // columns * high
        scale = float(np.abs(one.weights).max())
        for place, weights in enumerate((one.weights, one.fitted)[:pair]):
            assert weights is not None  # all have a fit, or none has
            image = Image.fromarray(tile(weights, scale)).resize(
                (enlarged, enlarged), Image.Resampling.NEAREST
            )
            sheet.paste(image, (x + place * (enlarged + 2), y))
        for place, text in enumerate(one.words):
            draw.text((x, y + enlarged + 2 + 14 * place), fitted(text, font(11), across - 4), SOFT, font(11))
    for number, line in enumerate(footer):
        draw.text((MARGIN, sheet.height - MARGIN - foot + 8 + 18 * number), line, SOFT, font(13))
    return sheet


def wrapped(text: str, width: int, size: int = 13) -> list[str]:
    """Return a text as lines of at most `width` pixels."""
    face, lines = font(size), [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if face.getlength(longer) <= width or not lines[-1]:
            lines[-1] = longer
        else:
            lines.append(word)
    return lines
