"""Resize and crop as two products with matrices, which every runtime computes, equal to `data.prepare.fit`.

Pillow resizes in integers: each weight of its antialiased filter is rounded to 22 bits after the point, the
columns are summed and rounded to 8 bits, then the rows. Here a matrix holds these weights as whole numbers in
float64, in which their sums are exact, so the pixels are Pillow's. The matrices are computed inside the graph
from the height and width of the pictures.

Source: Pillow's `Resample.c` (`precompute_coeffs`, `normalize_coeffs_8bpc`), as a formula.
"""

from functools import cache

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import FILTERS, MOST_ASPECT

BITS = 22
"""After the point, of Pillow's weights for pictures of 8 bits."""
SUPPORT = {"bilinear": 1.0, "bicubic": 2.0}
"""Half the width of each filter, in pixels of the smaller picture."""


def squares(pictures: Tensor, card: Preprocessing) -> Tensor:
    """Return the squares that the network sees.

    Args:
        pictures: (B, H, W, 3) uint8.
        card: size, resize and interpolation.

    Returns:
        (B, 3, S, S) float32, whole numbers from 0 to 255: those of `data.prepare.fit`, in every frame.
    """
    height, width = length(pictures.shape[1]), length(pictures.shape[2])
    planes = pictures.permute(0, 3, 1, 2).to(torch.float64)
    beyond = pictures.shape[1] + pictures.shape[2] if card.frame == "pad" else 0
    rows = weights(height, width, pictures.shape[1], card, beyond)
    columns = weights(width, height, pictures.shape[2], card, beyond).T
    kept, _, scaled, _ = window(height, width, card)
    wide, _, across, _ = window(width, height, card)
    first = kept - scaled > 2 * (wide - across) if tall() == 2 else kept > tall() * wide
    upright = first & (scaled < kept)
    return torch.cond(upright, _rows_first, _columns_first, (planes, rows, columns)).to(torch.float32)


@cache
def tall() -> int:
    """Return how much higher than wide a picture must be that this Pillow resizes by rows first.

    For long it was 100 times as high as wide. Recent releases do so where the resize takes away more than
    2 times as many rows as columns: where proportions are kept, of a picture 2 times as high as wide.
    """
    noise = np.random.default_rng(0).integers(0, 256, (50, 20, 3), dtype=np.uint8)
    picture, kind = Image.fromarray(noise), FILTERS["bilinear"]
    in_steps = np.asarray(picture.resize((20, 25), kind).resize((10, 25), kind))
    return 2 if np.array_equal(np.asarray(picture.resize((10, 25), kind)), in_steps) else 100


def weights(own: Tensor, other: Tensor, count: int, card: Preprocessing, beyond: int = 0) -> Tensor:
    """Return the weights of one side's pixels in the pixels of the square, (S, count) float64, whole numbers.

    Args:
        own: length of the side in pixels, int64 without dimensions.
        other: length of the other side.
        count: the same as `own`.
        card: size, resize, interpolation and frame.
        beyond: pixels of a side that include the black ones around a padded picture; 0 in other frames.
    """
    inner, start, scaled, first = window(own, other, card)
    scale = inner.to(torch.float64) / scaled.to(torch.float64)
    wide = scale.clamp(min=1.0)
    support = SUPPORT[card.interpolation] * wide
    centre = (torch.arange(card.size).to(torch.float64)[:, None] + first + 0.5) * scale
    low = (centre - support + 0.5).clamp(min=0.0).floor()
    high = torch.minimum((centre + support + 0.5).floor(), inner.to(torch.float64))

    def of(pixel: Tensor) -> Tensor:
        values = _filter((pixel - centre + 0.5) / wide, card.interpolation)
        return torch.where((pixel >= low) & (pixel < high), values, torch.zeros_like(values))

    values = of((torch.arange(count)[None] - start).to(torch.float64))
    # A black pixel adds nothing to a sum, but it has its share of the weights.
    total = (of(torch.arange(beyond)[None].to(torch.float64)) if beyond else values).sum(1, keepdim=True)
    if card.frame == "corner":
        shown = torch.arange(card.size)[:, None] < scaled
        values = torch.where(shown, values / total, torch.zeros_like(values))
    else:
        values = values / total
    return values.sign() * (values.abs() * 2.0**BITS + 0.5).floor()


def window(own: Tensor, other: Tensor, card: Preprocessing) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return how one side is cut and resized, each int64 without dimensions.

    Args:
        own: length of the side in pixels, int64 without dimensions.
        other: length of the other side.
        card: size, resize and frame.

    Returns:
        The length that is kept of a long strip, its first pixel, the length it is resized to, and the first
        pixel of the centre crop. A padded picture is kept with the black pixels around it, so its first pixel
        is negative.
    """
    if card.frame != "crop":
        return _whole(own, torch.maximum(own, other), card)
    short = torch.minimum(own, other)
    inner = torch.minimum(own, MOST_ASPECT * short)
    scaled = _divided(card.resize * inner, short).clamp(min=card.resize)
    beyond = scaled - card.size
    half = _divided(beyond, torch.full_like(beyond, 2))
    # Python rounds halves to the even number.
    first = half + (beyond - 2 * half) * (half - 2 * _divided(half, torch.full_like(half, 2)))
    return inner, _divided(own - inner, torch.full_like(own, 2)), scaled, first


def _whole(own: Tensor, longer: Tensor, card: Preprocessing) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return what `window` does, for frames that show all of a picture."""
    none, side = torch.zeros_like(own), torch.full_like(own, card.size)
    if card.frame == "stretch":
        return own, none, side, none
    if card.frame == "pad":
        return longer, -_divided(longer - own, torch.full_like(own, 2)), side, none
    # Rounded as Python does: halves to the even number.
    resized = ((own * card.size).to(torch.float64) / longer.to(torch.float64)).round().clamp(min=1.0)
    return own, none, resized.to(torch.int64), none


def edges(own: Tensor, other: Tensor, card: Preprocessing) -> tuple[Tensor, Tensor]:
    """Return where the square begins and ends on one side, in the picture's pixels, float64.

    They are those of `data.prepare.seen_window`.

    Args:
        own: length of the side in pixels, int64 without dimensions.
        other: length of the other side.
        card: size, resize and frame.
    """
    inner, start, scaled, first = window(own, other, card)
    low, high = (
        start + (place * inner).to(torch.float64) / scaled.to(torch.float64)
        for place in (first, first + card.size)
    )
    return low, high


def length(count: int) -> Tensor:
    """Return the length of a side as a tensor, int64 without dimensions; a graph leaves it open."""
    return torch.ones(count, dtype=torch.int64).sum()


def _divided(whole: Tensor, by: Tensor) -> Tensor:
    return torch.div(whole, by, rounding_mode="floor")


def _filter(x: Tensor, interpolation: str) -> Tensor:
    """Return Pillow's filter at distances in pixels; the bicubic one is Keys' with a = -1/2."""
    x = x.abs()
    if interpolation == "bilinear":
        return (1.0 - x).clamp(min=0.0)
    near = (1.5 * x - 2.5) * x * x + 1.0
    far = (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5
    return torch.where(x < 1.0, near, torch.where(x < 2.0, far, torch.zeros_like(x)))


def _columns_first(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _rounded(rows @ _rounded(planes @ columns))


def _rows_first(planes: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    return _rounded(_rounded(rows @ planes) @ columns)


def _rounded(sums: Tensor) -> Tensor:
    """Return sums of weighted pixels as pixels, rounded and cut to 8 bits as Pillow does."""
    return ((sums + 2.0 ** (BITS - 1)) / 2.0**BITS).floor().clamp(0.0, 255.0)
