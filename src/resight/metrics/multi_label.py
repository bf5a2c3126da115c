"""Multi-label metrics: one-error, average precision, F1.

Labels are (N, classes), 1 where a picture has a class and 0 elsewhere.
"""

import torch
from torch import Tensor


def one_wrong(scores: Tensor, labels: Tensor, threshold: float) -> Tensor:
    """Return which pictures have a top-scored class that is not among their labels, (N,) bool.

    Their share is the one-error of Schapire and Singer 2000, "BoosTexter", section 3. Deviation: a picture
    without classes, a case that the paper excludes, is wrong if its highest score reaches the threshold.

    Args:
        scores: (N, classes); any monotone score.
        labels: see above.
        threshold: the score from which a class counts as predicted.
    """
    highest, first = scores.max(1)
    hit = labels.gather(1, first[:, None])[:, 0] > 0
    return torch.where((labels > 0).any(1), ~hit, highest >= threshold)


def average_precision(scores: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the average precision of each class, (classes,) float64 in [0, 1]; NaN for one without pictures.

    The sum over thresholds of precision times the gain in recall, without interpolation; pictures of equal
    score share a threshold. Pascal VOC interpolates, which gives slightly higher values.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes (VOC) challenge", section 4.2.

    Args:
        scores: (N, classes).
        labels: see above.
        weights: how often each picture counts, (R, N); then the result is (R, classes).
    """
    count = weights if weights is not None else torch.ones(1, len(scores))
    found = torch.stack(
        [_of_class(scores[:, c], labels[:, c], count.double()) for c in range(scores.shape[1])], 1
    )
    return found if weights is not None else found[0]


def _of_class(scores: Tensor, labels: Tensor, weights: Tensor) -> Tensor:
    """Return the average precision of one class under each row of weights (R, N), (R,)."""
    ordered, order = scores.sort(descending=True)
    hits = weights[:, order] * (labels[order] > 0)
    ends = torch.searchsorted(-ordered, -ordered, right=True) - 1  # the last of those with an equal score
    seen = weights[:, order].cumsum(1)[:, ends]
    precision = hits.cumsum(1)[:, ends] / seen.clamp(min=1e-12)
    return (hits * precision).sum(1) / hits.sum(1)  # 0 / 0 is NaN


def mean_average_precision(scores: Tensor, labels: Tensor) -> float | None:
    """Return the mean average precision in percent, over the classes that have pictures."""
    found = average_precision(scores, labels)
    found = found[~found.isnan()]
    return 100 * float(found.mean()) if len(found) else None


def mean_average_precision_interval(
    scores: Tensor, labels: Tensor, resamples: int = 300, seed: int = 0
) -> tuple[float, float] | None:
    """Return the 95 % interval of the mean average precision in percent.

    A normal interval with the standard error of a bootstrap over pictures (Efron 1979, "Bootstrap methods"),
    clipped to [0, 100]. Bootstrap percentiles are not used: in classes with few pictures, drawing one twice
    raises the average precision, and the percentiles may not contain the estimate. Classes without pictures
    do not count.
    """
    mean = mean_average_precision(scores, labels)
    if mean is None:
        return None
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(scores), (resamples, len(scores)), generator=generator)
    weights = torch.zeros(resamples, len(scores)).scatter_add_(1, drawn, torch.ones(drawn.shape))
    means = 100 * average_precision(scores, labels, weights).nanmean(1)
    means = means[~means.isnan()]
    half = 1.959963984540054 * float(means.std()) if len(means) > 1 else 0.0
    return max(mean - half, 0.0), min(mean + half, 100.0)


def f1_counts(answered: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Return the true positives, predicted positives and actual positives of each class, each (classes,).

    Args:
        answered: which classes were predicted, (N, classes) bool.
        labels: see above.
    """
    true = labels > 0
    return (answered & true).sum(0), answered.sum(0), true.sum(0)


def f1(right: int, answered: int, true: int) -> float | None:
    """Return F1 = 2 right / (answered + true), in [0, 1]; None if there are no positives at all."""
    return 2 * right / (answered + true) if answered + true else None
