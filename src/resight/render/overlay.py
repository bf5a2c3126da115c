"""Heat maps over pictures. The picture keeps its brightness where the map is zero."""

import base64
import io

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORMAP = "inferno"  # perceptually even, readable with every common colour blindness
OPACITY = 0.65


def overlay(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a heat map over a picture.

    Args:
        picture: (H, W, 3) uint8.
        heat: (H, W) in [0, 1]; also the opacity, so that cold places show the picture untouched.

    Returns:
        (H, W, 3) uint8.
    """
    weight = OPACITY * heat[..., None]
    tint = mpl.colormaps[COLORMAP](heat)[..., :3]
    return np.round((1 - weight) * picture + weight * 255 * tint).astype(np.uint8)


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a heat map (H, W) in [0, 1] in colours alone, (H, W, 3) uint8."""
    return np.round(255 * mpl.colormaps[COLORMAP](heat)[..., :3]).astype(np.uint8)


def thumbnail(pixels: NDArray[np.uint8], side: int) -> str:
    """Return a picture as a data URI whose longer side is about `side` pixels.

    Small pictures are enlarged without smoothing and stay lossless; larger ones become JPEG.
    """
    image = Image.fromarray(pixels)
    longer = max(image.size)
    if longer <= side // 2:
        factor = side // longer
        image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    elif longer > side:
        ratio = side / longer
        size = (max(1, round(image.width * ratio)), max(1, round(image.height * ratio)))
        image = image.resize(size, Image.Resampling.LANCZOS)
    stream = io.BytesIO()
    if longer <= 64:
        image.quantize(128).save(stream, "PNG", optimize=True)
        kind = "png"
    else:
        image.save(stream, "JPEG", quality=80)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(stream.getvalue()).decode()}"
