"""Maps drawn over the pictures of a call: over the original, or over the part of it that the network saw."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.preprocessing import Preprocessing
from resight.data.decode import decode
from resight.data.prepare import FILTERS, seen_window
from resight.render.overlay import Window, overlay, placed
from resight.render.sheet import SMALL
from resight.service.pictures import LEAST_SIDE


class Original:
    """A picture as it is, over which maps are drawn.

    Pictures below `LEAST_SIDE` are enlarged by a whole factor without smoothing; others keep their size.

    Args:
        path: the picture.
        card: says which part of it the network sees.

    Raises:
        PictureError: if it cannot be read.
    """

    def __init__(self, path: Path, card: Preprocessing) -> None:
        image = decode(path, levels=card.levels)
        factor = max(1, LEAST_SIDE // max(image.size))
        left, top, right, bottom = seen_window(image.size, card)
        self.window: Window = (left * factor, top * factor, right * factor, bottom * factor)
        self.pixels: NDArray[np.uint8] = np.asarray(image).repeat(factor, 0).repeat(factor, 1)

    def under(self, heat: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the picture with a map (S, S) of what the network saw over it, (H, W, 3)."""
        height, width = self.pixels.shape[:2]
        x0, y0, x1, y1 = self.window
        whole = x0 <= 0 and y0 <= 0 and x1 >= width and y1 >= height
        return overlay(
            self.pixels, placed(heat, self.window, (width, height)), None if whole else self.window
        )


def seen_part(path: Path, card: Preprocessing, square: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return what the network sees of a picture in the picture's own sharpness, at most `side` pixels.

    Args:
        path: the picture.
        card: says which part the network sees.
        square: that part as the network sees it, (S, S, 3); taken where the picture has no more to show.
        side: S or more.

    Raises:
        PictureError: if it cannot be read.
    """
    image = decode(path, levels=card.levels)
    window = seen_window(image.size, card)
    shown = round(window[2] - window[0])
    beyond = min(window[:2]) < 0 or window[2] > image.width or window[3] > image.height
    if beyond or min(shown, side) <= max(len(square), SMALL):
        return square
    count, kind = min(side, shown), FILTERS["bicubic"]
    return np.asarray(image.resize((count, count), kind, box=window, reducing_gap=3.0))
