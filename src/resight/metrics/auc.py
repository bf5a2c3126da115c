"""Area under the ROC curve with its interval: how well a score separates two groups."""

import math

import torch
from torch import Tensor


def auc(
    positive: Tensor, negative: Tensor, z: float = 1.959963984540054
) -> tuple[float, float, float] | None:
    """Return the share of pairs in which the positive has the larger score, and its interval.

    Equal scores count half. Guessing gives 0.5.

    Source: DeLong, DeLong and Clarke-Pearson 1988, "Comparing the areas under two or more correlated
    receiver operating characteristic curves"; one curve, the normal interval clipped to [0, 1].

    Args:
        positive: scores that should be large, (M,).
        negative: scores that should be small, (N,).
        z: normal quantile; the default gives 95 %.

    Returns:
        (area, low, high), or None if a group has fewer than two scores.
    """
    if min(len(positive), len(negative)) < 2:
        return None
    positive, negative = positive.double(), negative.double()
    of_positive = _share_below(negative, positive)
    of_negative = 1 - _share_below(positive, negative)
    area = float(of_positive.mean())
    variance = float(of_positive.var() / len(positive) + of_negative.var() / len(negative))
    half = z * math.sqrt(variance)
    return area, max(area - half, 0.0), min(area + half, 1.0)


def _share_below(scores: Tensor, values: Tensor) -> Tensor:
    """Return for each value the share of scores that are smaller, equal ones counted half."""
    ordered = scores.sort().values
    below, through = (torch.searchsorted(ordered, values, right=right) for right in (False, True))
    return (below + through).double() / (2 * len(scores))
