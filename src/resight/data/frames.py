"""A picture's frame: the pixels that its annotations speak of, and how the decoder turns them."""

import io
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags

from resight.data.files import opened
from resight.data.formats import open_picture

TURNS = {
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
"""EXIF orientation: whether x and y swap, and whether x, and y, then run backwards."""

PNG_METADATA = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")
"""What a PNG holds if it may be turned. Pillow decodes the whole picture to look for it."""


@dataclass(frozen=True)
class Frame:
    """What annotations of a picture mean.

    Attributes:
        size: (width, height) that the annotations count in; None if nobody knows.
        turn: how the decoder turns the picture after that, as in TURNS.
    """

    size: tuple[int, int] | None
    turn: tuple[bool, bool, bool] = (False, False, False)

    def turned_size(self) -> tuple[int, int] | None:
        """Return (width, height) of the picture as `decode` returns it."""
        return _swapped(self.size) if self.size and self.turn[0] else self.size

    def turned_box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Return a box's edges in the picture as `decode` returns it."""
        size = self.turned_size()
        swap, backwards_x, backwards_y = self.turn
        if size is None or not any(self.turn):
            return x0, y0, x1, y1
        if swap:
            x0, y0, x1, y1 = y0, x0, y1, x1
        if backwards_x:
            x0, x1 = size[0] - x1, size[0] - x0
        if backwards_y:
            y0, y1 = size[1] - y1, size[1] - y0
        return x0, y0, x1, y1

    def stored_box(self, x0: float, y0: float, x1: float, y1: float) -> tuple[float, float, float, float]:
        """Return the edges that annotations give to a box in the picture as `decode` returns it."""
        size = self.turned_size()
        swap, backwards_x, backwards_y = self.turn
        if size is None or not any(self.turn):
            return x0, y0, x1, y1
        if backwards_x:
            x0, x1 = size[0] - x1, size[0] - x0
        if backwards_y:
            y0, y1 = size[1] - y1, size[1] - y0
        return (y0, x0, y1, x1) if swap else (x0, y0, x1, y1)

    def stored_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask of the picture as `decode` returns it in the frame of its annotations."""
        swap, backwards_x, backwards_y = self.turn
        mask = mask[:, ::-1] if backwards_x else mask
        mask = mask[::-1] if backwards_y else mask
        return np.ascontiguousarray(mask.T if swap else mask)

    def turned_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return a mask (height, width) of the frame in the picture as `decode` returns it."""
        swap, backwards_x, backwards_y = self.turn
        mask = mask.T if swap else mask
        mask = mask[:, ::-1] if backwards_x else mask
        return np.ascontiguousarray(mask[::-1] if backwards_y else mask)


def read_frame(path: Path | bytes, stated: tuple[int, int] | None) -> Frame:
    """Read a picture's header for its frame.

    Annotations count in the picture as it is stored, before EXIF turns it. Some tools turn first: where
    the size that they state fits the turned picture only, the annotations are of that.

    Args:
        path: the picture, or its encoded bytes.
        stated: (width, height) by the annotations.
    """
    stored, turn = _header(path)
    if stored is None:
        return Frame(stated)
    frame = Frame(stored, turn)
    if stated != stored and stated == frame.turned_size():
        return Frame(stated)
    return frame


def _header(path: Path | bytes) -> tuple[tuple[int, int] | None, tuple[bool, bool, bool]]:
    as_stored = (False, False, False)
    try:
        whole = nullcontext(io.BytesIO(path)) if isinstance(path, bytes) else opened(path)
        with whole as file:
            image = open_picture(file, "" if isinstance(path, bytes) else str(path))
            if image.format == "PNG" and not _may_turn(path):
                return image.size, as_stored
            turn = TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1), as_stored)
            # Pillow opens a TIFF with its sides as turned.
            return (_swapped(image.size) if image.format == "TIFF" and turn[0] else image.size), turn
    except Exception:  # noqa: BLE001 - the decoder names the fault where the picture is read
        return None, as_stored


def _may_turn(path: Path | bytes) -> bool:
    content = path if isinstance(path, bytes) else path.read_bytes()
    return any(mark in content for mark in PNG_METADATA)


def _swapped(size: tuple[int, int]) -> tuple[int, int]:
    return size[1], size[0]
