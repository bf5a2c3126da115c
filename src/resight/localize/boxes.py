"""Boxes from saliency maps: a threshold, connected components, their boxes.

Every source uses another threshold: the CAM paper 20 % of the maximum, Grad-CAM 15 %, and the protocols for
weakly supervised localization sweep the threshold over maps that are first scaled by minimum and maximum. So
a threshold here always comes with its normalization.

Sources: Zhou et al. 2016, section 3.2 (threshold, largest component); Choe et al. 2020, "Evaluating weakly
supervised object localization methods right", section 4 (sweep).
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import UsageError

NORMALIZATIONS = ("max", "minmax")
"""What a threshold is a share of: the maximum ("max"), or the range from minimum to maximum ("minmax")."""

AROUND = np.ones((3, 3), dtype=np.int8)  # diagonal neighbours are connected
WITHIN = np.zeros((3, 3, 3), dtype=np.int8)  # the same in a stack of pictures that do not touch
WITHIN[1] = 1


@dataclass(frozen=True)
class Region:
    """A connected part of a map above a threshold.

    Attributes:
        box: (x0, y0, x1, y1), half-open, in pixels of the map.
        area: pixels of the part itself.
        peak: its highest value, as a share of the map's maximum.
        cells: which pixels of the box belong to the part, (y1 - y0, x1 - x0).
    """

    box: tuple[int, int, int, int]
    area: int
    peak: float
    cells: NDArray[np.bool_] = field(repr=False, compare=False)


def scaled(maps: NDArray[np.floating], normalization: str) -> NDArray[np.float32]:
    """Scale maps (N, H, W) so that thresholds are shares; a map without positive values becomes 0.

    Raises:
        UsageError: for an unknown normalization.
    """
    if normalization not in NORMALIZATIONS:
        raise UsageError(f"normalization {normalization!r}: must be one of {', '.join(NORMALIZATIONS)}")
    maps = np.asarray(maps, dtype=np.float32)
    low = maps.min((1, 2), keepdims=True) if normalization == "minmax" else np.zeros((1, 1, 1), np.float32)
    span = maps.max((1, 2), keepdims=True) - low
    return np.where(span > 1e-12, (maps - low) / np.maximum(span, 1e-12), 0)


def regions(share: NDArray[np.floating], threshold: float) -> list[Region]:
    """Return the parts of one map that are above a threshold, the largest first.

    Args:
        share: (H, W), from `scaled`.
        threshold: in [0, 1); a pixel belongs to a part if its value is greater.
    """
    return _regions(*_connected(share > threshold, AROUND), share)


def regions_by_peak(share: NDArray[np.floating], threshold: float, distance: int) -> list[Region]:
    """Return one part for each peak: touching objects of one class are cut along the valley between them.

    Args:
        share: (H, W), from `scaled`.
        threshold: of the parts, in [0, 1).
        distance: a peak is the highest within this many pixels, and at least half the map's maximum.
    """
    from scipy import ndimage

    highest = ndimage.maximum_filter(share, size=2 * distance + 1)
    seeds, count = _connected((share == highest) & (share > max(threshold, 0.5)), AROUND)
    if count == 0:
        return regions(share, threshold)
    return _regions(_flooded(share, seeds, threshold), count, share)


def _flooded(share: NDArray[np.floating], seeds: NDArray[np.int32], threshold: float) -> NDArray[np.int32]:
    """Grow seeds over a map (H, W), the highest neighbouring pixel first, down to a threshold."""
    height, width = share.shape
    labels, values = seeds.copy(), share.tolist()
    front = [(-values[y][x], y, x) for y, x in zip(*np.nonzero(seeds), strict=True)]
    heapq.heapify(front)
    while front:
        _, y, x = heapq.heappop(front)
        for v in range(max(y - 1, 0), min(y + 2, height)):
            for u in range(max(x - 1, 0), min(x + 2, width)):
                if labels[v, u] == 0 and values[v][u] > threshold:
                    labels[v, u] = labels[y, x]
                    heapq.heappush(front, (-values[v][u], v, u))
    return labels


def _connected(inside: NDArray[np.bool_], touching: NDArray[np.int8]) -> tuple[NDArray[np.int32], int]:
    from scipy import ndimage

    labels: Any = np.zeros(inside.shape, dtype=np.int32)
    return labels, int(ndimage.label(inside, touching, output=labels))  # type: ignore[call-overload]


def _regions(labels: NDArray[np.int32], count: int, share: NDArray[np.floating]) -> list[Region]:
    if count == 0:
        return []
    from scipy import ndimage

    numbers = np.arange(1, count + 1)
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    peaks = ndimage.maximum(share, labels, numbers)
    found = [
        Region(
            (where[1].start, where[0].start, where[1].stop, where[0].stop),
            int(area),
            float(peak),
            labels[where] == number,
        )
        for number, where, area, peak in zip(
            numbers, ndimage.find_objects(labels, count), areas, peaks, strict=True
        )
        if where is not None
    ]
    return sorted(found, key=lambda region: (-region.area, -region.peak, region.box))


def sweep(
    share: NDArray[np.floating], thresholds: Sequence[float]
) -> tuple[NDArray[np.int32], list[NDArray[np.int32]]]:
    """Find the boxes of one map at every threshold, in one pass.

    Args:
        share: (H, W), from `scaled`.
        thresholds: T shares.

    Returns:
        The box of the largest part at each threshold, (T, 4), zeros if nothing is above it; and the boxes of
        all parts at each threshold, T arrays (n, 4).
    """
    from scipy import ndimage

    stack = share[None] > np.asarray(thresholds, dtype=share.dtype)[:, None, None]
    labels, count = _connected(stack, WITHIN)
    largest = np.zeros((len(thresholds), 4), dtype=np.int32)
    if count == 0:
        return largest, [np.zeros((0, 4), dtype=np.int32) for _ in thresholds]
    objects = ndimage.find_objects(labels)
    boxes = np.array([(o[2].start, o[1].start, o[2].stop, o[1].stop) for o in objects], dtype=np.int32)
    level = np.array([o[0].start for o in objects])
    areas = np.bincount(labels.ravel(), minlength=count + 1)[1:]
    order = np.lexsort((-areas, level))
    first = np.unique(level[order], return_index=True)
    largest[first[0]] = boxes[order[first[1]]]
    return largest, [boxes[level == t] for t in range(len(thresholds))]


def centre_maps(count: int, height: int, width: int) -> NDArray[np.float32]:
    """Return maps (count, H, W) that are independent of the picture: a Gaussian in its middle, in [0, 1].

    The baseline of Choe et al. 2020: at any threshold it gives a box around the centre.
    """
    from resight.geometry import heatmaps  # it loads torch, which boxes do not need

    return np.broadcast_to(heatmaps.centre_spot(height, width).numpy(), (count, height, width))
