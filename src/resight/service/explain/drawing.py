"""Maps drawn over pictures: over the original, or over the part that the network saw."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.preprocessing import Preprocessing
from resight.data.decode import decode
from resight.data.prepare import FILTERS, seen_window
from resight.render.original import Original
from resight.render.sheet import SMALL


def original_of(path: Path, card: Preprocessing) -> Original:
    """Return a picture as it is, over which maps are drawn.

    Args:
        path: the picture.
        card: determines the part that the network sees.

    Raises:
        PictureError: if it cannot be read.
    """
    return Original(decode(path, levels=card.levels), card)


def seen_part(path: Path, card: Preprocessing, square: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return what the network sees of a picture in the picture's own sharpness, at most `side` pixels.

    Args:
        path: the picture.
        card: determines the part that the network sees.
        square: that part as the network sees it, (S, S, 3); used if the picture has no finer detail.
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
