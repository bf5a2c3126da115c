"""How well boxes and maps find objects: the metrics of ILSVRC and of weakly supervised localization.

Boxes are (x0, y0, x1, y1), half-open, in pixels. Errors and accuracies are in percent.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Boxes = NDArray[np.floating] | NDArray[np.integer]


def overlap(first: Boxes, second: Boxes) -> NDArray[np.float64]:
    """Return the intersection over the union of boxes (n, 4) and (m, 4), (n, m)."""
    a, b = np.asarray(first, np.float64).reshape(-1, 4), np.asarray(second, np.float64).reshape(-1, 4)
    shared = intersection(a, b)
    areas = [np.clip(x[:, 2:] - x[:, :2], 0, None).prod(1) for x in (a, b)]
    union = areas[0][:, None] + areas[1][None] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def intersection(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the area that boxes (n, 4) and (m, 4) share, (n, m)."""
    low = np.maximum(first[:, None, :2], second[None, :, :2])
    high = np.minimum(first[:, None, 2:], second[None, :, 2:])
    return (high - low).clip(min=0).prod(2)


def located(
    guesses: Sequence[tuple[str, Boxes]], truth: Sequence[tuple[str, Boxes]], least: float = 0.5
) -> bool:
    """Return whether one of an image's guesses has a right class and a box on an object of that class.

    The ILSVRC metric (Russakovsky et al. 2015, section 4.2): an image is an error if no guess does.

    Args:
        guesses: up to five (class, boxes (n, 4)).
        truth: (class, boxes (m, 4)).
        least: overlap that counts.
    """
    return any(
        label == true and overlap(boxes, own).max(initial=0) >= least
        for label, boxes in guesses
        for true, own in truth
    )


def max_box_accuracy(
    overlaps: NDArray[np.floating], least: float = 0.5
) -> tuple[float, int, NDArray[np.float64]]:
    """Return MaxBoxAcc in percent, the index of its threshold, and the accuracy at every threshold.

    Choe et al. 2020, equation 3: the share of images whose box overlaps by at least `least`, at the threshold
    where this share is highest.

    Args:
        overlaps: (N, T), of each image's box at each threshold with its best object.
        least: overlap that counts.
    """
    accuracy = 100 * (overlaps >= least).mean(0)
    best = int(accuracy.argmax())
    return float(accuracy[best]), best, accuracy


def max_box_accuracy_v2(overlaps: NDArray[np.floating]) -> float:
    """Return MaxBoxAccV2 in percent: the mean of MaxBoxAcc at overlaps of 0.3, 0.5 and 0.7.

    Choe et al. 2022, "Evaluation for weakly supervised object localization", section 4.2: `overlaps` (N, T)
    come from the best part at a threshold, not from the largest.
    """
    return float(np.mean([max_box_accuracy(overlaps, least)[0] for least in (0.3, 0.5, 0.7)]))


class PixelPrecision:
    """Pixel average precision (PxAP, Choe et al. 2020, equation 5), accumulated map by map.

    Args:
        bins: thresholds between 0 and 1.
    """

    def __init__(self, bins: int = 1000) -> None:
        self.inside, self.outside = np.zeros(bins), np.zeros(bins)

    def add(self, share: NDArray[np.floating], mask: NDArray[np.bool_]) -> None:
        """Count a map (H, W) in [0, 1] against a mask (H, W) of the object."""
        place = np.minimum((share * len(self.inside)).astype(np.int64), len(self.inside) - 1)
        self.inside += np.bincount(place[mask], minlength=len(self.inside))
        self.outside += np.bincount(place[~mask], minlength=len(self.inside))

    def value(self) -> float:
        """Return PxAP in percent: the area under precision over recall, for all pixels of all images."""
        hits, misses = self.inside[::-1].cumsum(), self.outside[::-1].cumsum()
        total = hits + misses
        precision = np.divide(hits, total, out=np.ones_like(hits), where=total > 0)
        recall = hits / max(hits[-1], 1)
        return float(100 * np.sum(np.diff(recall, prepend=0) * precision))


def points_at(maps: NDArray[np.floating], boxes: Boxes, tolerance: float = 15) -> bool:
    """Return whether the map's highest point is in a box, or within `tolerance` pixels of one.

    The pointing game (Zhang et al. 2018, "Top-down neural attention by excitation backprop", section 4.2).
    For several highest points, the mean counts; a constant map points nowhere.
    """
    if maps.max() <= maps.min():
        return False
    rows, columns = np.nonzero(maps == maps.max())
    y, x = rows.mean() + 0.5, columns.mean() + 0.5
    wide = np.asarray(boxes, np.float64).reshape(-1, 4) + np.array([-1, -1, 1, 1]) * tolerance
    return bool(((wide[:, 0] <= x) & (x <= wide[:, 2]) & (wide[:, 1] <= y) & (y <= wide[:, 3])).any())


def energy_inside(maps: NDArray[np.floating], boxes: Boxes) -> float:
    """Return the share of a map's positive values that is inside boxes, in percent.

    The energy-based pointing game (Wang et al. 2020, Score-CAM, section 4.3). A map without positive values
    gives 0.
    """
    positive = np.clip(maps, 0, None)
    mask = mask_of(boxes, maps.shape[0], maps.shape[1])
    total = float(positive.sum())
    return 100 * float(positive[mask].sum()) / total if total > 0 else 0.0


def mask_of(boxes: Boxes, height: int, width: int) -> NDArray[np.bool_]:
    """Return the pixels (H, W) whose centre is in one of the boxes."""
    mask = np.zeros((height, width), dtype=bool)
    for x0, y0, x1, y1 in np.asarray(boxes, np.float64).reshape(-1, 4):
        rows = slice(*np.clip(np.ceil([y0 - 0.5, y1 - 0.5]), 0, height).astype(int))
        columns = slice(*np.clip(np.ceil([x0 - 0.5, x1 - 0.5]), 0, width).astype(int))
        mask[rows, columns] = True
    return mask
