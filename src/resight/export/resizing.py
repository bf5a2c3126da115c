"""Resize and crop as products with small matrices, which every runtime computes, equal to `data.prepare.fit`.

Pillow resizes in integers: each weight of its antialiased filter is rounded to 22 bits after the point, the
columns are summed and rounded to 8 bits, then the rows. Here matrices hold these weights in float64, in
which their sums are exact, so the pixels are Pillow's. A pixel of the square depends on few pixels
of the picture, so each matrix gives `BLOCK` neighbouring ones from the pixels around them. The matrices are
computed inside the graph from the height and width of the pictures.

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
BLOCK = 16
"""Pixels of the square that one matrix gives."""
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
    down, across = pictures.shape[1], pictures.shape[2]
    height, width = length(down), length(across)
    longest = down + across  # a bound
    rows = weights(height, width, down, longest, card)
    columns = weights(width, height, across, longest, card)
    kept, _, scaled, _ = window(height, width, card)
    wide, _, to, _ = window(width, height, card)
    first = kept - scaled > 2 * (wide - to) if tall() == 2 else kept > tall() * wide
    upright = first & (scaled < kept)
    found = torch.cond(upright, _rows_first, _columns_first, (pictures, *rows, *columns))
    return found[:, : card.size, : card.size].permute(0, 3, 1, 2).to(torch.float32)


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


def weights(
    own: Tensor, other: Tensor, count: int, longest: int, card: Preprocessing
) -> tuple[Tensor, Tensor]:
    """Return the pixels of one side that the pixels of the square depend on, and their weights.

    Args:
        own: length of the side in pixels, int64 without dimensions.
        other: length of the other side.
        count: the same as `own`.
        longest: at least the length of the longer side.
        card: size, resize, interpolation and frame.

    Returns:
        Numbers of the pixels for each block, (blocks, K) int64, and for each pixel of a block their weights,
        (blocks, BLOCK, K) float64. The last block may go on beyond the square.
    """
    inner, start, scaled, first = window(own, other, card)
    scale = inner.to(torch.float64) / scaled.to(torch.float64)
    wide = scale.clamp(min=1.0)
    support = SUPPORT[card.interpolation] * wide
    blocks = -(-card.size // BLOCK)
    places = torch.arange(blocks * BLOCK)
    centre = (places.to(torch.float64)[:, None] + first + 0.5) * scale
    low = (centre - support + 0.5).clamp(min=0.0).floor()
    high = torch.minimum((centre + support + 0.5).floor(), inner.to(torch.float64))
    # Numbers of pixels of what is kept; where the picture is padded, some are beyond the picture.
    pixels = low[::BLOCK] + torch.arange(_reach(count, longest, card)).to(torch.float64)  # (blocks, K)
    seen = pixels.repeat_interleave(BLOCK, 0)
    values = _filter((seen - centre + 0.5) / wide, card.interpolation)
    values = torch.where((seen >= low) & (seen < high), values, torch.zeros_like(values))
    values = values / values.sum(1, keepdim=True)
    if card.frame == "corner":
        values = torch.where(places[:, None] < scaled, values, torch.zeros_like(values))
    values = values.sign() * (values.abs() * 2.0**BITS + 0.5).floor() / 2.0**BITS
    # A black pixel adds nothing to a sum, but it has its share of the weights.
    numbers = pixels.to(torch.int64) + start
    inside = ((numbers >= 0) & (numbers < own)).repeat_interleave(BLOCK, 0)
    values = torch.where(inside, values, torch.zeros_like(values))
    return torch.minimum(numbers.clamp(min=0), own - 1), values.unflatten(0, (blocks, BLOCK))


def _reach(count: int, longest: int, card: Preprocessing) -> int:
    """Return how many pixels of a side a block of the square depends on at most.

    Only whole numbers, so that a graph can leave `count` open.
    """
    # The scale is at most: in a crop, the shorter side over the side it is resized to, and a little more for
    # the longer side, whose length is rounded down; in a corner, half as much again, where it is rounded.
    if card.frame == "crop":
        scale = count // max(1, card.resize - 1) + 1
    elif card.frame == "stretch":
        scale = count // card.size + 1
    else:
        scale = 3 * longest // (2 * card.size) + 1
    return (BLOCK + 2 * int(SUPPORT[card.interpolation])) * scale + 2


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


# Only one axis is moved at a time, which runtimes do fast: (B, H, W, 3), (B, W, 3, H), and back.
def _columns_first(
    pictures: Tensor, rows: Tensor, row_weights: Tensor, columns: Tensor, column_weights: Tensor
) -> Tensor:
    narrow = _resized(pictures.permute(0, 2, 3, 1), columns, column_weights)
    return _resized(narrow.permute(0, 3, 1, 2), rows, row_weights)


def _rows_first(
    pictures: Tensor, rows: Tensor, row_weights: Tensor, columns: Tensor, column_weights: Tensor
) -> Tensor:
    low = _resized(pictures, rows, row_weights)
    narrow = _resized(low.permute(0, 2, 3, 1), columns, column_weights)
    return narrow.permute(0, 3, 1, 2).contiguous()  # both forms have one layout


def _resized(pixels: Tensor, numbers: Tensor, weights: Tensor) -> Tensor:
    """Return pixels (B, L, M, N) uint8, resized along L: (B, blocks * BLOCK, M, N) uint8."""
    taken = pixels.flatten(2).index_select(1, numbers.flatten()).to(torch.float64)
    sums = weights @ taken.unflatten(1, numbers.shape)  # (B, blocks, BLOCK, M * N)
    return _rounded(sums.flatten(1, 2)).unflatten(2, pixels.shape[2:])


def _rounded(sums: Tensor) -> Tensor:
    """Return sums of weighted pixels as pixels, rounded and cut to 8 bits as Pillow does."""
    return (sums + 0.5).clamp(0.0, 255.5).to(torch.uint8)  # which leaves out what is after the point
