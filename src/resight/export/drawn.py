"""The masks of boxes as masks of their picture, without torch; see `heads.instance_masks.pasted`."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.localize.segments import run_lengths_of

MASK = 0.5
"""Probability above which a pixel is of the object."""


def masks_of(
    likely: NDArray[np.float32], boxes: NDArray[np.floating], size: tuple[int, int]
) -> Iterator[dict[str, Any]]:
    """Yield each mask as COCO's uncompressed run lengths.

    A border of one place is added, and the box grows with it, so that a mask may end inside its box.

    Args:
        likely: probabilities, (D, M, M).
        boxes: that the masks fill, in pixels of the picture, (D, 4).
        size: (width, height) of the picture.
    """
    width, height = size
    for mask, (x0, y0, x1, y1) in zip(likely, boxes.tolist(), strict=True):
        share = (len(mask) + 2) / len(mask)
        x, y, across, down = (x0 + x1) / 2, (y0 + y1) / 2, share * (x1 - x0) / 2, share * (y1 - y0) / 2
        left, top, right, bottom = (int(edge) for edge in (x - across, y - down, x + across, y + down))
        rows, columns = max(bottom - top + 1, 1), max(right - left + 1, 1)
        drawn = resized(np.pad(mask, 1), rows, columns) > MASK
        a, b, c, d = max(left, 0), min(right + 1, width), max(top, 0), min(bottom + 1, height)
        whole = np.zeros((height, width), dtype=bool)
        if a < b and c < d:
            whole[c:d, a:b] = drawn[c - top : d - top, a - left : b - left]
        yield run_lengths_of(whole)


def resized(cells: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """Resize a map (h, w) to (height, width), bilinear, pixel centres aligned, as `heatmaps.resize` does."""
    weights = []
    for count, side in zip(cells.shape, (height, width), strict=True):
        place = ((np.arange(side) + 0.5) * (count / side) - 0.5).clip(0, count - 1)
        weights.append((1 - np.abs(place[:, None] - np.arange(count)[None])).clip(min=0).astype(np.float32))
    return weights[0] @ cells @ weights[1].T
