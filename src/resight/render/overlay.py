"""Heat maps over pictures. The picture is desaturated, so that the map's colours show on any picture."""

import base64
import io

import matplotlib as mpl
import numpy as np
from numpy.typing import NDArray
from PIL import Image

COLORMAP = "inferno"  # perceptually even, readable with every common colour blindness
OPACITY = 0.75
COLOUR, LIGHT = 0.35, 0.55
"""Share of its saturation and of its brightness that a picture keeps under a map."""
OUTSIDE = 0.6
"""Share of this that is left outside the part that the network saw."""
FRAME = (40, 200)
"""Grey of the frame around what the network saw: dark on the outside, light on the inside."""
LEVEL = 0.5
"""Height of the contour, as a share of the map's maximum."""
AT_ONCE = 2**20
"""Pixels that are blended at a time."""

Window = tuple[float, float, float, float]
"""(x0, y0, x1, y1) in pixels of a picture."""


def overlay(
    picture: NDArray[np.uint8], heat: NDArray[np.float32], seen: Window | None = None
) -> NDArray[np.uint8]:
    """Lay a heat map over a picture.

    The picture is desaturated and darkened; the map's colours are blended in by its value, and a white line
    surrounds the area above half the map's maximum. A map that is zero everywhere leaves the picture
    unchanged.

    Args:
        picture: (H, W, 3) uint8.
        heat: (H, W) in [0, 1]; also the opacity, so that cold places show the desaturated picture.
        seen: the part of the picture that the network saw, drawn with a frame of two greys; the rest is
            darker. By default all.

    Returns:
        (H, W, 3) uint8.
    """
    if not heat.any():
        return picture.copy()
    drawn = np.empty_like(picture)
    kept = _seen(heat.shape, seen)
    rows = max(1, AT_ONCE // heat.shape[1])
    for start in range(0, len(heat), rows):
        part = slice(start, start + rows)
        drawn[part] = _blend(picture[part], heat[part], kept[part])
    width = max(1, round(max(heat.shape) / 300))
    if seen is not None:
        inside = kept == 1
        drawn[_grown(inside, width) & ~inside] = FRAME[0]
        drawn[inside & _grown(~inside, width)] = FRAME[1]
    line = contour(heat, width)
    drawn[_grown(line, width)] = 0
    drawn[line] = 255
    return drawn


def over(picture: NDArray[np.uint8], heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Lay a map (h, w) over the whole of a picture (H, W, 3) of any other size, see `overlay`."""
    height, width = picture.shape[:2]
    return overlay(picture, placed(heat, (0, 0, width, height), (width, height)))


def _blend(
    picture: NDArray[np.uint8], heat: NDArray[np.float32], kept: NDArray[np.float32]
) -> NDArray[np.uint8]:
    shown = picture.astype(np.float32)
    grey = shown @ np.array([0.299, 0.587, 0.114], np.float32)
    dull = (COLOUR * shown + (1 - COLOUR) * grey[..., None]) * (LIGHT * kept)[..., None]
    weight = OPACITY * heat[..., None]
    tint = mpl.colormaps[COLORMAP](heat)[..., :3].astype(np.float32)
    return np.round((1 - weight) * dull + weight * 255 * tint).astype(np.uint8)


def _seen(shape: tuple[int, ...], seen: Window | None) -> NDArray[np.float32]:
    """Return 1 where the network looked and `OUTSIDE` elsewhere, (H, W)."""
    kept = np.ones(shape, np.float32)
    if seen is not None:
        rows, columns = np.arange(shape[0]) + 0.5, np.arange(shape[1]) + 0.5
        kept[(rows < seen[1]) | (rows > seen[3])] = OUTSIDE
        kept[:, (columns < seen[0]) | (columns > seen[2])] = OUTSIDE
    return kept


def contour(heat: NDArray[np.float32], width: int) -> NDArray[np.bool_]:
    """Return the inner edge, `width` pixels wide, of the area above half of a map's maximum, (H, W)."""
    inside = heat > LEVEL * heat.max(initial=0)
    return inside & _grown(~inside, width)


def _grown(mask: NDArray[np.bool_], width: int) -> NDArray[np.bool_]:
    """Return a mask (H, W) grown by `width` pixels up, down, left and right."""
    grown = mask.copy()
    for _ in range(width):
        before = grown.copy()
        grown[1:] |= before[:-1]
        grown[:-1] |= before[1:]
        grown[:, 1:] |= before[:, :-1]
        grown[:, :-1] |= before[:, 1:]
    return grown


def placed(heat: NDArray[np.float32], window: Window, size: tuple[int, int]) -> NDArray[np.float32]:
    """Return the map of a part of a picture as one of the whole picture, (H, W); zero outside the part.

    Args:
        heat: (h, w).
        window: the part, in pixels of the picture.
        size: (W, H) of the picture.
    """
    x0, y0, x1, y1 = window
    low_y, high_y, up, inside_y = _between(size[1], y0, y1, heat.shape[0])
    low_x, high_x, right, inside_x = _between(size[0], x0, x1, heat.shape[1])
    rows = heat[low_y] * (1 - up)[:, None] + heat[high_y] * up[:, None]
    full = np.asarray(rows[:, low_x] * (1 - right) + rows[:, high_x] * right, np.float32)
    full[~inside_y], full[:, ~inside_x] = 0, 0
    return full


def _between(
    pixels: int, start: float, end: float, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32], NDArray[np.bool_]]:
    """Return for each pixel the cells around its centre, the second one's share, and whether it is inside."""
    centres = np.arange(pixels) + 0.5
    at = ((centres - start) / (end - start) * cells - 0.5).clip(0, cells - 1)
    low = np.minimum(at.astype(np.int64), max(cells - 2, 0))
    return (
        low,
        np.minimum(low + 1, cells - 1),
        (at - low).astype(np.float32),
        (centres >= start) & (centres <= end),
    )


def colours(heat: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Return a heat map (H, W) in [0, 1] as colours only, (H, W, 3) uint8."""
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
