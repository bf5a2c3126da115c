"""Whether figures support a claim, as far as their 95 % intervals allow."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Literal, get_args

By = Literal["figures", "certain", "possible"]
"""How figures compare: by the figures only; with certainty; or as long as it cannot be excluded."""


@dataclass(frozen=True, eq=False)
class Figure:
    """A figure with its interval, as a claim compares it with another or with a number.

    The interval of a difference is found from both intervals by the square-and-add rule of Newcombe 1998,
    "Interval estimation for the difference between independent proportions", method 10. If conditions share
    their pictures, it is wider than necessary.

    Attributes:
        mean: the figure.
        low: lower end of the 95 % interval; minus infinity if no interval is known.
        high: upper end.
        by: "figures" compares only the means; "certain" calls a figure smaller if the whole interval of the
            difference says so; "possible" if any part of it does.
    """

    mean: float
    low: float = -math.inf
    high: float = math.inf
    by: By = "figures"

    def __lt__(self, other: "Figure | float") -> bool:
        """Return whether this is smaller than another."""
        return _margin(self, _figure(other), self.by) > 0

    def __gt__(self, other: "Figure | float") -> bool:
        """Return whether this is larger than another."""
        return _margin(_figure(other), self, self.by) > 0

    def __le__(self, other: "Figure | float") -> bool:
        """Return whether this is not larger than another."""
        return _margin(self, _figure(other), self.by) >= 0

    def __ge__(self, other: "Figure | float") -> bool:
        """Return whether this is not smaller than another."""
        return _margin(_figure(other), self, self.by) >= 0

    def __rmul__(self, factor: float) -> "Figure":
        """Return a positive multiple."""
        return replace(self, mean=factor * self.mean, low=factor * self.low, high=factor * self.high)


def _figure(value: Figure | float) -> Figure:
    """Return a number as an exact figure."""
    return value if isinstance(value, Figure) else Figure(value, value, value)


def _margin(small: Figure, large: Figure, by: By) -> float:
    """Return how far a figure is below another, by the end of the interval that `by` selects."""
    difference = large.mean - small.mean
    if by == "certain":
        return difference - math.hypot(small.high - small.mean, large.mean - large.low)
    if by == "possible":
        return difference + math.hypot(small.mean - small.low, large.high - large.mean)
    return difference


class Figures:
    """The figures of an experiment, by "CONDITION/METRIC"; it records whether a missing one was read.

    Args:
        found: figures; a bare number is exact.
        by: how they compare, see `Figure`.
    """

    def __init__(self, found: "Mapping[str, Figure | float]", by: By = "figures") -> None:
        self.found, self.by, self.missing = found, by, False

    def __getitem__(self, name: str) -> Figure:
        """Return a figure; NaN if it was not measured, so that no comparison with it holds."""
        self.missing = self.missing or name not in self.found
        return replace(_figure(self.found.get(name, math.nan)), by=self.by)


@dataclass(frozen=True)
class Verdict:
    """The verdict of the figures on a claim.

    Attributes:
        holds: True or False if the 95 % intervals leave no doubt; else None.
        alone: the verdict of the figures without their intervals.
        missing: whether a deciding figure was not measured.
    """

    holds: bool | None
    alone: bool
    missing: bool


def judge(claim: "Callable[[Figures], bool]", found: Mapping[str, Figure]) -> Verdict:
    """Return the verdict of the figures on a claim, see `Experiment.holds`.

    It holds if it holds with all doubt counted against it, and fails if it fails with all doubt counted for
    it. A figure without an interval (one seed) decides nothing.
    """
    said = {}
    for by in get_args(By):
        figures = Figures(found, by)
        said[by] = bool(claim(figures))
        if figures.missing:
            return Verdict(None, alone=False, missing=True)
    holds = True if said["certain"] else None if said["possible"] else False
    return Verdict(holds, alone=said["figures"], missing=False)
