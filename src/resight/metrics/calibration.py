"""Calibration of probabilities: reliability, expected calibration error, temperature."""

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F


def reliability(probabilities: Tensor, labels: Tensor, bins: int = 15) -> Tensor:
    """Return, for equal bins of confidence, (bins, 3): samples, mean confidence, accuracy.

    Args:
        probabilities: (N, classes), rows sum to 1.
        labels: (N,).
        bins: of width 1 / bins, each open below and closed above.
    """
    confidence, predicted = probabilities.max(1)
    right = (predicted == labels).double()
    place = (confidence.double() * bins).ceil().long().clamp(1, bins) - 1
    table = torch.zeros(bins, 3, dtype=torch.float64)
    table[:, 0] = torch.bincount(place, minlength=bins)
    filled = table[:, 0].clamp(min=1)
    table[:, 1] = torch.bincount(place, weights=confidence.double(), minlength=bins) / filled
    table[:, 2] = torch.bincount(place, weights=right, minlength=bins) / filled
    return table


def expected_calibration_error(table: Tensor) -> float:
    """Return the mean gap between confidence and accuracy, weighted by samples, in [0, 1].

    Source: Guo et al. 2017, "On calibration of modern neural networks", equation 3.

    Args:
        table: the result of `reliability`.
    """
    return float((table[:, 0] / table[:, 0].sum() * (table[:, 1] - table[:, 2]).abs()).sum())


def fit_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimizes the cross-entropy of softmax(logits / T).

    Source: Guo et al. 2017, section 4.2. A golden-section search over log T in [-3, 3]; the loss has
    one minimum in 1 / T. Do not fit it on the samples that the result is evaluated on.

    Deviation: the labels are smoothed by 1 / (N + 2), as if one sample in N + 2 were wrong (Laplace's rule).
    Without it, held-out samples that are all correct would drive the temperature to zero.

    Args:
        logits: (N, classes), of held-out samples.
        labels: (N,).
    """
    doubt = 1 / (len(labels) + 2)
    return _fitted(logits, lambda scaled: F.cross_entropy(scaled, labels, label_smoothing=doubt))


def fit_binary_temperature(logits: Tensor, labels: Tensor) -> float:
    """Return the temperature T that minimizes the binary cross-entropy of sigmoid(logits / T).

    Otherwise as `fit_temperature`; the yes and no of each class are smoothed.

    Args:
        logits: (N, classes), of held-out samples.
        labels: (N, classes) of 0 and 1.
    """
    doubt = 1 / (len(labels) + 2)
    wanted = labels.double() * (1 - doubt) + doubt / 2
    return _fitted(logits, lambda scaled: F.binary_cross_entropy_with_logits(scaled, wanted))


def _fitted(logits: Tensor, loss_of: Callable[[Tensor], Tensor]) -> float:
    """Return the temperature of the smallest loss of the scaled logits."""

    def loss(log_temperature: float) -> float:
        return float(loss_of(logits.double() / torch.tensor(log_temperature).double().exp()))

    low, high, golden = -3.0, 3.0, 0.6180339887498949
    left, right = high - golden * (high - low), low + golden * (high - low)
    at_left, at_right = loss(left), loss(right)
    for _ in range(40):
        if at_left < at_right:
            high, right, at_right = right, left, at_left
            left = high - golden * (high - low)
            at_left = loss(left)
        else:
            low, left, at_left = left, right, at_right
            right = low + golden * (high - low)
            at_right = loss(right)
    return float(torch.tensor((low + high) / 2).exp())
