"""Which detections match which true objects: the greedy rule of COCO, and that of Pascal VOC.

P pictures, D detections and G true objects of a picture, T overlaps that count as found, A ranges of area.
Boxes are x0, y0, x1, y1, half-open, in pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resight.metrics.localization import intersection

THRESHOLDS = np.linspace(0.5, 0.95, 10)
"""Overlaps over which COCO averages."""
AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}
"""Ranges of area in square pixels, both ends included."""
MOST = 100
"""Detections of a picture and class that are counted."""


def _none() -> NDArray[np.bool_]:
    return np.zeros(0, bool)


@dataclass(frozen=True)
class Truths:
    """The true objects of a picture.

    Attributes:
        boxes: (G, 4) float64.
        labels: class numbers, (G,).
        ignored: neither found nor missed, (G,) bool: difficult objects and crowds.
        crowd: those of the ignored that stand for several objects, (G,) bool; a detection matches one by
            the share of its own area that lies inside.
        masks: (G, H, W) bool; None to compare boxes.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    ignored: NDArray[np.bool_] = field(default_factory=_none)
    crowd: NDArray[np.bool_] = field(default_factory=_none)
    masks: NDArray[np.bool_] | None = None

    def __post_init__(self) -> None:
        """Fill in flags that were left out."""
        for name in ("ignored", "crowd"):
            if len(getattr(self, name)) != len(self.labels):
                object.__setattr__(self, name, np.zeros(len(self.labels), bool))

    def of(self, label: int) -> "Truths":
        """Return the objects of one class."""
        own = self.labels == label
        masks = None if self.masks is None else self.masks[own]
        return Truths(self.boxes[own], self.labels[own], self.ignored[own], self.crowd[own], masks)


@dataclass(frozen=True)
class Detections:
    """What a detector found in a picture.

    Attributes:
        boxes: (D, 4) float64.
        labels: class numbers, (D,).
        scores: (D,).
        masks: (D, H, W) bool; None to compare boxes.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    masks: NDArray[np.bool_] | None = None

    def at(self, rows: NDArray) -> "Detections":
        """Return some of the detections, by number or by flag."""
        masks = None if self.masks is None else self.masks[rows]
        return Detections(self.boxes[rows], self.labels[rows], self.scores[rows], masks)

    def best(self, label: int, most: int | None = MOST) -> "Detections":
        """Return those of one class, the highest score first."""
        own = np.flatnonzero(self.labels == label)
        return self.at(own[np.argsort(-self.scores[own], kind="stable")][:most])


@dataclass(frozen=True)
class Matches:
    """The detections of one class over all pictures, in the order of the pictures, best first in each.

    Attributes:
        scores: (D,).
        pictures: which picture each is in, (D,).
        right: which match an object that counts, (A, T, D) bool.
        ignored: which are left out of the count, (A, T, D) bool.
        objects: how many objects count in each picture, (A, P).
    """

    scores: NDArray[np.float64]
    pictures: NDArray[np.int64]
    right: NDArray[np.bool_]
    ignored: NDArray[np.bool_]
    objects: NDArray[np.int64]


def overlaps_of(found: Detections, truths: Truths) -> NDArray[np.float64]:
    """Return intersection over union, (D, G), of masks if both have them; of a crowd over the detection."""
    if found.masks is not None and truths.masks is not None:
        pixels = truths.masks.shape[1] * truths.masks.shape[2]
        first = found.masks.reshape(len(found.scores), pixels).astype(np.float32)
        second = truths.masks.reshape(len(truths.labels), pixels).astype(np.float32)
        shared = (first @ second.T).astype(np.float64)
    else:
        shared = intersection(found.boxes, truths.boxes)
    own, other = areas_of(found), areas_of(truths)
    union = np.where(truths.crowd[None], own[:, None], own[:, None] + other[None] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def areas_of(objects: Truths | Detections) -> NDArray[np.float64]:
    """Return the area of each object, of its mask where there is one."""
    if objects.masks is not None:
        return objects.masks.sum((1, 2)).astype(np.float64)
    return (objects.boxes[:, 2] - objects.boxes[:, 0]) * (objects.boxes[:, 3] - objects.boxes[:, 1])


def match(
    found: Sequence[Detections], truths: Sequence[Truths], label: int, thresholds: NDArray = THRESHOLDS
) -> Matches:
    """Match the detections of a class, picture by picture, as COCO does.

    The best detection chooses first. It takes the free object with the largest overlap, of those that count;
    only if none overlaps enough may it take one that is ignored, which stays free. Detections beyond a range
    of area count in it only where they match one of its objects.

    Args:
        found: of P pictures.
        truths: of the same pictures.
        label: the class.
        thresholds: overlaps that count as found, (T,).

    Source: Lin et al. 2014, "Microsoft COCO", and its evaluation code.
    """
    rows = [
        _match_picture(f.best(label), t.of(label), thresholds) for f, t in zip(found, truths, strict=True)
    ]
    scores = [row[0] for row in rows]
    return Matches(
        np.concatenate([*scores, np.zeros(0)]),
        np.repeat(np.arange(len(rows)), [len(s) for s in scores]),
        np.concatenate([*(row[1] for row in rows), np.zeros((len(AREAS), len(thresholds), 0), bool)], 2),
        np.concatenate([*(row[2] for row in rows), np.zeros((len(AREAS), len(thresholds), 0), bool)], 2),
        np.stack([*(row[3] for row in rows)], 1) if rows else np.zeros((len(AREAS), 0), np.int64),
    )


def _match_picture(
    found: Detections, truths: Truths, thresholds: NDArray
) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """Return scores (D,), right and ignored (A, T, D), and how many objects count, (A,)."""
    ranges = np.array(list(AREAS.values()))
    own, areas = areas_of(truths), areas_of(found)
    beyond = (own[None] < ranges[:, :1]) | (own[None] > ranges[:, 1:])
    passed = truths.ignored[None] | beyond  # (A, G)
    outside = (areas[None] < ranges[:, :1]) | (areas[None] > ranges[:, 1:])  # (A, D)
    shape = (len(ranges), len(thresholds), len(found.scores))
    right, ignored = np.zeros(shape, bool), np.repeat(outside[:, None], len(thresholds), 1)
    count = (~passed).sum(1)
    if not len(own) or not len(areas):
        return found.scores, right, ignored, count
    shared = overlaps_of(found, truths)
    least = np.minimum(thresholds, 1 - 1e-10)[None, :, None]
    free = np.ones((len(ranges), len(thresholds), len(own)), bool)
    for number, overlap in enumerate(shared):
        allowed = (overlap >= least) & (free | truths.ignored)
        counting = allowed & ~passed[:, None]
        # Objects that count come first: the others only where none of them overlaps enough.
        kind = np.where(counting.any(2, keepdims=True), counting, allowed)
        a, t = np.nonzero(kind.any(2))
        chosen = _last_largest(np.where(kind, overlap, -1.0))[a, t]
        free[a, t, chosen] = False
        ignored[a, t, number] = passed[a, chosen]
        right[a, t, number] = ~passed[a, chosen]
    return found.scores, right, ignored, count


def _last_largest(values: NDArray) -> NDArray[np.int64]:
    """Return where the largest value is along the last axis: of equal ones the last."""
    return values.shape[-1] - 1 - values[..., ::-1].argmax(-1)
