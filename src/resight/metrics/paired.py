"""Two methods on the same pictures: whether one is right more often, by the pictures on which they differ."""

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Paired:
    """A comparison on the same pictures.

    Attributes:
        first: pictures on which only the first is right.
        second: pictures on which only the second is.
        count: all pictures, 1 or more.
        p: probability of so uneven a division, or one more uneven, if both were equally good, in [0, 1].
    """

    first: int
    second: int
    count: int
    p: float

    @property
    def difference(self) -> float:
        """By how many points the first is right more often, in percent of all pictures."""
        return 100 * (self.first - self.second) / self.count


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> Paired:
    """Compare which answers of two methods are right, picture by picture: McNemar's test, exact, two-sided.

    Only pictures on which they differ speak; if both were equally good, each of these would be a fair coin.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or
    percentages"; the exact form is the binomial test.

    Args:
        first: whether the first method is right on each picture, (N,), N at least 1.
        second: of the second, (N,), in the same order.

    Raises:
        ValueError: if they are not of the same pictures.
    """
    pairs = list(zip(first, second, strict=True))
    only_first = sum(bool(a) and not b for a, b in pairs)
    only_second = sum(bool(b) and not a for a, b in pairs)
    tosses = only_first + only_second
    tail = sum(math.comb(tosses, k) for k in range(min(only_first, only_second) + 1))
    return Paired(only_first, only_second, len(pairs), min(1.0, 2 * tail / 2**tosses))
