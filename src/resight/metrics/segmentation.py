"""Pixels right by class: confusion, intersection over union, and intervals by a bootstrap over pictures.

A class counts where true pixels show it. Everingham et al. 2015, "The Pascal Visual Object Classes Challenge:
A Retrospective", section 4.2, for intersection over union; Long et al. 2015, section 5, for the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ROUNDS, COVERAGE = 1000, 0.95
Counts = NDArray[np.int64]


def confusion(said: NDArray[np.uint8], true: NDArray[np.uint8], classes: int) -> Counts:
    """Return how many pixels of each true class (rows) are said to be of each class, (C, C).

    Args:
        said: class numbers, of any shape.
        true: class numbers of the same shape; a pixel with a number of `classes` or more does not count.
        classes: C.
    """
    counted = true < classes
    places = true[counted].astype(np.int64) * classes + said[counted]
    return np.bincount(places, minlength=classes**2).reshape(classes, classes)


@dataclass(frozen=True)
class Overlaps:
    """Pixels of each class in each of N pictures.

    Attributes:
        both: that are of the class and said to be, (N, C).
        true: that are of the class, (N, C).
        said: that count and are said to be of the class, (N, C).
    """

    both: Counts
    true: Counts
    said: Counts

    @classmethod
    def of(cls, confusions: Sequence[Counts]) -> "Overlaps":
        """Return the pixels of the confusions (C, C) of N pictures."""
        each = np.stack(confusions)
        return cls(np.diagonal(each, axis1=1, axis2=2), each.sum(2), each.sum(1))

    def at(self, times: Counts) -> tuple[Counts, Counts, Counts]:
        """Return the sums over pictures, each as often as `times` (N,) or (R, N) says: (C,) or (R, C)."""
        return times @ self.both, times @ self.true, times @ self.said

    def all(self) -> tuple[Counts, Counts, Counts]:
        """Return the sums over all pictures, (C,) each."""
        return self.both.sum(0), self.true.sum(0), self.said.sum(0)


def class_iou(both: Counts, true: Counts, said: Counts) -> NDArray[np.float64]:
    """Return the intersection over the union of each class, (..., C); NaN where no true pixel shows it."""
    return np.where(true > 0, both / np.maximum(true + said - both, 1), np.nan)


def mean_iou(both: Counts, true: Counts, said: Counts) -> NDArray[np.float64]:
    """Return the mean of `class_iou` over the classes that true pixels show, (...); NaN if none is there."""
    each, there = class_iou(both, true, said), true > 0
    return np.where(there.any(-1), np.where(there, each, 0).sum(-1) / np.maximum(there.sum(-1), 1), np.nan)


def pixel_accuracy(both: Counts, true: Counts, said: Counts) -> NDArray[np.float64]:
    """Return the share of right pixels among those that count, (...); NaN if none counts."""
    del said
    total = true.sum(-1)
    return np.where(total > 0, both.sum(-1) / np.maximum(total, 1), np.nan)


Figure = Callable[[Counts, Counts, Counts], NDArray[np.float64]]


def figure_of(overlaps: Overlaps, figure: Figure) -> float | None:
    """Return a figure over all pictures; None if no pixel counts."""
    value = float(figure(*overlaps.all()))
    return None if np.isnan(value) else value


def interval_of(
    overlaps: Overlaps, figure: Figure, seed: int = 0, rounds: int = ROUNDS, coverage: float = COVERAGE
) -> tuple[float, float] | None:
    """Return the interval of a figure by the percentile bootstrap over pictures; None for fewer than two.

    Args:
        overlaps: of N pictures.
        figure: of summed pixels.
        seed: of the draws.
        rounds: how often N pictures are drawn, with repetition.
        coverage: share of repetitions of the test in which the interval should hold the true figure.
    """
    count = len(overlaps.true)
    if count < 2:
        return None
    chance = np.random.default_rng(seed)
    drawn = chance.integers(count, size=(rounds, count))
    times = np.stack([np.bincount(row, minlength=count) for row in drawn])
    values = figure(*overlaps.at(times))
    values = values[~np.isnan(values)]
    if not len(values):
        return None
    low, high = np.quantile(values, [(1 - coverage) / 2, (1 + coverage) / 2]).tolist()
    return low, high
