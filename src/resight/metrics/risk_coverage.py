"""What a classifier gains if it may leave its least certain pictures to a person: risk over coverage.

Sources: El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification", section 2;
Geifman and El-Yaniv 2017, "Selective classification for deep neural networks", section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resight.metrics.accuracy import wilson_interval


@dataclass(frozen=True)
class Accepted:
    """The answers whose confidence reaches a threshold.

    Attributes:
        threshold: the least confidence of an accepted answer.
        n: how many answers are accepted.
        wrong: how many of these are wrong.
        of: how many answers there are, 1 or more.
    """

    threshold: float
    n: int
    wrong: int
    of: int

    @property
    def coverage(self) -> float:
        """The share of the answers that are accepted, in [0, 1]."""
        return self.n / self.of

    @property
    def error(self) -> float | None:
        """How many of the accepted answers are wrong, in percent; None if none is accepted."""
        return 100 * self.wrong / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the error, in percent; None if no answer is accepted."""
        return wilson_interval(self.wrong, self.n) if self.n else None


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve: one point for each threshold that accepts another set of answers.

    Answers of equal confidence are accepted together, because no threshold separates them.

    Attributes:
        thresholds: the different confidences, falling, (T,) float64.
        accepted: how many answers reach each threshold, rising to N, (T,).
        wrong: how many of these are wrong, (T,).
    """

    thresholds: Tensor
    accepted: Tensor
    wrong: Tensor

    @property
    def count(self) -> int:
        """How many answers there are, N."""
        return int(self.accepted[-1])

    @property
    def area(self) -> float:
        """The area under the curve, in percent: the mean error over all coverages; 0 is best.

        Each answer gives the error of those at least as certain as itself, and this is their mean.
        """
        alike = torch.diff(self.accepted, prepend=torch.zeros(1, dtype=self.accepted.dtype))
        return 100 * float((alike * self.wrong / self.accepted).sum() / self.count)

    def at_coverage(self, share: float) -> Accepted:
        """Return the fewest most certain answers that are at least this share of all, share in [0, 1]."""
        place = int(torch.searchsorted(self.accepted.double(), share * self.count - 1e-9))
        place = min(place, len(self.accepted) - 1)
        return Accepted(
            float(self.thresholds[place]), int(self.accepted[place]), int(self.wrong[place]), self.count
        )

    def at_threshold(self, least: float) -> Accepted:
        """Return the answers of a confidence of `least` or more."""
        places = int((self.thresholds >= least).sum())
        if not places:
            return Accepted(least, 0, 0, self.count)
        return Accepted(least, int(self.accepted[places - 1]), int(self.wrong[places - 1]), self.count)

    def points(self, most: int = 100) -> list[Accepted]:
        """Return the curve at up to `most` evenly spaced coverages, rising; equal points once."""
        found = {p.n: p for k in range(1, most + 1) if (p := self.at_coverage(k / most))}
        return list(found.values())


def risk_coverage(confidence: Tensor, wrong: Tensor) -> RiskCoverage:
    """Return the risk-coverage curve of some answers.

    Args:
        confidence: of each answer, (N,), N at least 1; any score that rises with certainty.
        wrong: whether each answer is wrong, (N,) bool.

    Raises:
        ValueError: if there is no answer, or a confidence is no number.
    """
    if not len(confidence) or confidence.isnan().any():
        raise ValueError("a risk-coverage curve needs one answer or more, each with a confidence")
    thresholds, place = (-confidence.double()).unique(return_inverse=True)
    alike = torch.bincount(place, minlength=len(thresholds))
    faults = torch.bincount(place[wrong.bool()], minlength=len(thresholds))
    return RiskCoverage(-thresholds, alike.cumsum(0), faults.cumsum(0))
