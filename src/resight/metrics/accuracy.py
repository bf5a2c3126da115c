"""Error rates with their intervals, and the confusion matrix."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor


def topk_wrong(scores: Tensor, labels: Tensor, k: int) -> Tensor:
    """Return which samples lack their label among the k highest scores, (N,) bool.

    Args:
        scores: (N, classes); any monotone score.
        labels: (N,).
        k: clipped to the number of classes.
    """
    best = scores.topk(min(k, scores.shape[1]), dim=1).indices
    return ~(best == labels[:, None]).any(1)


def wilson_interval(wrong: int, count: int, z: float = 1.959963984540054) -> tuple[float, float]:
    """Return the Wilson score interval of an error rate, in percent.

    Source: Wilson 1927, "Probable inference, the law of succession, and statistical inference".

    Args:
        wrong: errors among `count` independent samples.
        count: at least 1.
        z: normal quantile; the default gives 95 %.
    """
    rate, spread = wrong / count, z * z / count
    centre = (rate + spread / 2) / (1 + spread)
    half = z / (1 + spread) * math.sqrt(rate * (1 - rate) / count + spread / (4 * count))
    low = 0.0 if wrong == 0 else 100 * (centre - half)  # exactly, where rounding would leave 1e-16
    return low, 100.0 if wrong == count else 100 * (centre + half)


def mean_interval(error: float, counts: Sequence[int]) -> tuple[float, float]:
    """Return the interval of the mean over the error rates of several classes, in percent.

    It is Wilson's interval for an effective sample count of K^2 / sum(1 / n) over K classes: with equal error
    rates in all classes, the mean has the same variance as that many samples give. For classes of equal size
    this is the number of samples.

    Args:
        error: the mean, in percent.
        counts: samples of each class, 1 or more.
    """
    count = round(len(counts) ** 2 / sum(1 / n for n in counts))
    return wilson_interval(round(error / 100 * count), count)


def macro_averages(per_class: Sequence[tuple[float | None, float | None]]) -> tuple[float, float, float]:
    """Return the means over classes of precision, recall and F1, each in [0, 1].

    F1 is the harmonic mean of a class's precision and recall. A class that is never predicted has a precision
    of 0, one without pictures is left out, as there is nothing to find.

    Args:
        per_class: precision and recall of each class; None where it is 0 / 0.
    """
    kept = [(precision or 0.0, recall) for precision, recall in per_class if recall is not None]
    scores = [(p, r, 2 * p * r / (p + r) if p + r else 0.0) for p, r in kept]
    precision, recall, f1 = (sum(column) / len(scores) for column in zip(*scores, strict=True))
    return precision, recall, f1


def confusion(predicted: Tensor, labels: Tensor, classes: int) -> Tensor:
    """Return counts (classes, classes): rows are true classes, columns predicted ones."""
    flat = labels * classes + predicted
    return torch.bincount(flat, minlength=classes * classes).view(classes, classes)


def confused(predicted: Tensor, labels: Tensor) -> list[list[int]]:
    """Return [true class, predicted class, count] of all confusions that occur, the most frequent first.

    Args:
        predicted: (N,).
        labels: (N,).
    """
    pairs = torch.stack([labels, predicted], 1)[predicted != labels]
    kinds, counts = torch.unique(pairs, dim=0, return_counts=True)
    order = counts.argsort(descending=True, stable=True)
    return [[*kinds[i].tolist(), int(counts[i])] for i in order.tolist()]
