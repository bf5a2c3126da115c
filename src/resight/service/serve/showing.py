"""Pictures as they are shown: pixels only, without EXIF, GPS, comments or profiles."""

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

QUALITY = 88


def jpeg(image: Image.Image, side: int) -> bytes:
    """Return a picture as JPEG whose longer side is at most `side` pixels.

    Args:
        image: RGB, upright, as `decode` returns it.
        side: in pixels.
    """
    if max(image.size) > side:
        ratio = side / max(image.size)
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        image = image.resize(size, Image.Resampling.LANCZOS, reducing_gap=3.0)
    stream = io.BytesIO()
    # A new picture of the pixels: Pillow's own keeps comments and profiles, and would write them.
    Image.fromarray(np.asarray(image)).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def png(pixels: NDArray[np.uint8]) -> bytes:
    """Return pixels (H, W, 3) as PNG."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", compress_level=3)
    return stream.getvalue()
