"""What a classifier gains by leaving its least confident pictures to a person: risk over coverage.

Sources: El-Yaniv and Wiener 2010, "On the foundations of noise-free selective classification", section 2;
Geifman and El-Yaniv 2017, "Selective classification for deep neural networks", section 2.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from resight.metrics.accuracy import wilson_interval


@dataclass(frozen=True)
class Accepted:
    """The predictions whose confidence reaches a threshold.

    Attributes:
        threshold: the lowest confidence of an accepted prediction.
        n: number of accepted predictions.
        wrong: number of wrong ones among them.
        of: number of all predictions, 1 or more.
    """

    threshold: float
    n: int
    wrong: int
    of: int

    @property
    def coverage(self) -> float:
        """The share of accepted predictions, in [0, 1]."""
        return self.n / self.of

    @property
    def error(self) -> float | None:
        """The error of the accepted predictions, in percent; None if none is accepted."""
        return 100 * self.wrong / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float] | None:
        """The 95 % Wilson interval of the error, in percent; None if no prediction is accepted."""
        return wilson_interval(self.wrong, self.n) if self.n else None


@dataclass(frozen=True)
class RiskCoverage:
    """The risk-coverage curve: one point for each distinct set of accepted predictions.

    Predictions of equal confidence are accepted together, because no threshold separates them.

    Attributes:
        thresholds: the distinct confidences, falling, (T,) float64.
        accepted: number of predictions that reach each threshold, rising to N, (T,).
        wrong: number of wrong ones among them, (T,).
    """

    thresholds: Tensor
    accepted: Tensor
    wrong: Tensor

    @property
    def count(self) -> int:
        """The number of predictions, N."""
        return int(self.accepted[-1])

    @property
    def area(self) -> float:
        """The area under the curve, in percent: the mean error over all coverages; 0 is best.

        Each prediction contributes the error of those at least as confident; the area is their mean.
        """
        alike = torch.diff(self.accepted, prepend=torch.zeros(1, dtype=self.accepted.dtype))
        return 100 * float((alike * self.wrong / self.accepted).sum() / self.count)

    def at_coverage(self, share: float) -> Accepted:
        """Return the smallest set of most confident predictions that is at least `share` of all."""
        place = int(torch.searchsorted(self.accepted.double(), share * self.count - 1e-9))
        place = min(place, len(self.accepted) - 1)
        return Accepted(
            float(self.thresholds[place]), int(self.accepted[place]), int(self.wrong[place]), self.count
        )

    def at_threshold(self, least: float) -> Accepted:
        """Return the predictions of confidence `least` or more."""
        places = int((self.thresholds >= least).sum())
        if not places:
            return Accepted(least, 0, 0, self.count)
        return Accepted(least, int(self.accepted[places - 1]), int(self.wrong[places - 1]), self.count)

    def points(self, most: int = 100) -> list[Accepted]:
        """Return the curve at up to `most` evenly spaced coverages, rising, without duplicates."""
        found = {p.n: p for k in range(1, most + 1) if (p := self.at_coverage(k / most))}
        return list(found.values())


def risk_coverage(confidence: Tensor, wrong: Tensor) -> RiskCoverage:
    """Return the risk-coverage curve of predictions.

    Args:
        confidence: of each prediction, (N,), N at least 1; any score that rises with certainty.
        wrong: whether each prediction is wrong, (N,) bool.

    Raises:
        ValueError: if there is no prediction, or a confidence is not a number.
    """
    if not len(confidence) or confidence.isnan().any():
        raise ValueError("a risk-coverage curve needs one prediction or more, each with a confidence")
    thresholds, place = (-confidence.double()).unique(return_inverse=True)
    alike = torch.bincount(place, minlength=len(thresholds))
    faults = torch.bincount(place[wrong.bool()], minlength=len(thresholds))
    return RiskCoverage(-thresholds, alike.cumsum(0), faults.cumsum(0))
