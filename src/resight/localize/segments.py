"""A part of a map as a COCO segmentation: the pixels of the picture that it covers, as run lengths."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.localize.boxes import Region


def pixels_of_region(region: Region, cells: tuple[int, int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return which pixels of a picture a part of its map covers, (height, width).

    A pixel belongs to the part if its centre is in one of the part's cells. A part that covers no centre gets
    the pixel in its middle.

    Args:
        region: the part.
        cells: (height, width) of the map that it was cut from, over the whole picture.
        size: (width, height) of the picture.
    """
    width, height = size
    rows = ((np.arange(height) + 0.5) * cells[0] / height).astype(np.int64)
    columns = ((np.arange(width) + 0.5) * cells[1] / width).astype(np.int64)
    x0, y0, x1, y1 = region.box
    down, across = (rows >= y0) & (rows < y1), (columns >= x0) & (columns < x1)
    mask = np.zeros((height, width), dtype=bool)
    mask[np.ix_(down, across)] = region.cells[np.ix_(rows[down] - y0, columns[across] - x0)]
    if not mask.any():
        mask[int((y0 + y1) / 2 * height / cells[0]), int((x0 + x1) / 2 * width / cells[1])] = True
    return mask


def run_lengths_of(mask: NDArray[np.bool_]) -> dict[str, Any]:
    """Return a mask (height, width) as COCO's uncompressed run lengths.

    Returns:
        {"size": [height, width], "counts": [...]}: lengths of the runs of 0 and 1 in turn, down the columns,
        the first one of 0.

    Source: https://cocodataset.org/#format-data
    """
    flat = np.concatenate([[False], mask.T.ravel(), [False]])
    turns = np.flatnonzero(flat[1:] != flat[:-1])
    counts = np.diff(np.concatenate([[0], turns, [mask.size]]))
    if len(turns) and turns[-1] == mask.size:  # the mask ends in a run of 1
        counts = counts[:-1]
    return {"size": list(mask.shape), "counts": counts.tolist()}
