"""A picture at its own resolution, under the map of the part that a network saw."""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import seen_window
from resight.render.overlay import Window, overlay, placed

LEAST_SIDE = 224
"""Smaller pictures are enlarged to about this side."""
LONGEST_SIDE = 4096
"""Larger pictures are reduced to this side: a map has far fewer cells, and the file would be too large."""


class Original:
    """A picture at its own resolution, over which maps are drawn.

    Pictures below `least` are enlarged by a whole factor without smoothing, those above `longest` are
    reduced; others keep their size.

    Args:
        image: RGB, the whole picture.
        card: gives the part of it that the network sees.
        longest: largest longer side, in pixels.
        least: smallest longer side, in pixels.

    Attributes:
        pixels: the picture, (H, W, 3) uint8.
        window: the part that the network saw, in its pixels.
        cut: whether a part of the picture is outside the window.
    """

    def __init__(
        self, image: Image.Image, card: Preprocessing, longest: int = LONGEST_SIDE, least: int = LEAST_SIDE
    ) -> None:
        left, top, right, bottom = seen_window(image.size, card)
        size = image.size
        if max(size) > longest:
            ratio = longest / max(size)
            image = image.resize(
                (max(1, round(size[0] * ratio)), max(1, round(size[1] * ratio))),
                Image.Resampling.LANCZOS, reducing_gap=3.0,
            )  # fmt: skip
        factor = max(1, min(least, longest) // max(image.size))
        self.pixels: NDArray[np.uint8] = np.asarray(image).repeat(factor, 0).repeat(factor, 1)
        height, width = self.pixels.shape[:2]
        across, down = width / size[0], height / size[1]
        self.window: Window = (left * across, top * down, right * across, bottom * down)
        x0, y0, x1, y1 = self.window
        self.cut = x0 > 0 or y0 > 0 or x1 < width or y1 < height

    def under(self, heat: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Return the picture under a map (S, S) of the part that the network saw, (H, W, 3)."""
        height, width = self.pixels.shape[:2]
        return overlay(
            self.pixels, placed(heat, self.window, (width, height)), self.window if self.cut else None
        )
