"""Two methods on the same pictures: which one is right more often, by the pictures on which they differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from resight.core import seeds

DRAWS = 10_000
LEVEL = 0.95
Rights = NDArray[np.bool_]
"""Whether a method's predictions are right: (seeds, pictures)."""


@dataclass(frozen=True)
class Paired:
    """A comparison on the same pictures.

    Attributes:
        first: pictures on which only the first is right.
        second: pictures on which only the second is right.
        count: all pictures, 1 or more.
        p: probability of a split at least as uneven if both were equally good, in [0, 1].
    """

    first: int
    second: int
    count: int
    p: float

    @property
    def difference(self) -> float:
        """How much more often the first is right, in percentage points."""
        return 100 * (self.first - self.second) / self.count


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare which predictions of two methods are right, picture by picture: exact two-sided McNemar test.

    Only pictures on which they differ count; if both were equally good, each of these would be a coin toss.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages"; the exact form is the binomial test.

    Args:
        first: whether the first method is right on each picture, (N,), N at least 1.
        second: of the second, (N,), in the same order.

    Raises:
        ValueError: if the two have different shapes.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(bool(a) and not b for a, b in pairs)
    only_second = sum(bool(b) and not a for a, b in pairs)
    tosses = only_first + only_second
    tail = sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1))
    return Paired(only_first, only_second, len(pairs), min(1.0, 2 * tail / 2**tosses))


@dataclass(frozen=True)
class DifferenceInterval:
    """How much larger the first method's error is, in points, with its 95 % interval.

    Attributes:
        difference: mean over seeds and pictures; below 0 where the first is better.
        low: 2.5 % of the resamples are below.
        high: 2.5 % of the resamples are above.
    """

    difference: float
    low: float
    high: float


def difference_interval(sets: Sequence[tuple[Rights, Rights]]) -> DifferenceInterval:
    """Return the sum over data sets of the difference of two methods' errors, with a bootstrap interval.

    Pictures and seeds are resampled independently of each other, and identically for both methods: both are
    random, and neither is nested in the other (the pigeonhole bootstrap, Owen 2007, section 3). With one
    seed, only the pictures are resampled. The draws are fixed, so the same input gives the same interval.

    Args:
        sets: for each data set, which predictions of the first and of the second method are right, (S, N)
            each, S and N at least 1, seeds and pictures in the same order.

    Raises:
        ValueError: if the two have different shapes.
    """
    total, resampled = 0.0, np.zeros(DRAWS)
    for number, (first, second) in enumerate(sets):
        if first.shape != second.shape:
            raise ValueError(f"{first.shape} and {second.shape}: not the same seeds and pictures")
        worse = 100 * (second.astype(np.float64) - first)
        total += worse.mean()
        rows, columns = (
            _counts(size, f"bootstrap/{what}/{number}") for what, size in zip("sp", worse.shape, strict=True)
        )
        resampled += ((rows @ worse) * columns).sum(1) / worse.size
    low, high = np.quantile(resampled, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return DifferenceInterval(float(total), float(low), float(high))


def _counts(size: int, operation: str) -> NDArray[np.float64]:
    """Return how often each of `size` items occurs in `size` draws with replacement, (DRAWS, size)."""
    drawn = (seeds.uniform(0, 0, np.arange(DRAWS * size), operation) * size).astype(np.int64)
    places = drawn.reshape(DRAWS, size) + size * np.arange(DRAWS)[:, None]
    return np.bincount(places.ravel(), minlength=DRAWS * size).reshape(DRAWS, size).astype(np.float64)
