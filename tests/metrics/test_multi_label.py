"""Measures of several classes a picture, against scikit-learn and by hand."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score

from resight.metrics.multi_label import (
    average_precision,
    f1,
    f1_counts,
    mean_average_precision,
    mean_average_precision_interval,
    one_wrong,
)


def drawn(count=200, classes=5, *, ties=False):
    generator = torch.Generator().manual_seed(3)
    scores = torch.rand(count, classes, generator=generator)
    labels = (torch.rand(count, classes, generator=generator) + 0.4 * scores > 0.9).float()
    return (scores * 8).round() / 8 if ties else scores, labels


@pytest.mark.parametrize("ties", [False, True])
def test_average_precision_is_scikit_learns(ties):
    scores, labels = drawn(ties=ties)
    theirs = [average_precision_score(labels[:, c], scores[:, c]) for c in range(5)]
    assert average_precision(scores, labels).tolist() == pytest.approx(theirs, abs=1e-12)
    assert mean_average_precision(scores, labels) == pytest.approx(100 * np.mean(theirs))


def test_average_precision_of_weighted_pictures_is_that_of_repeated_ones():
    scores, labels = drawn(30, ties=True)
    weights = torch.arange(30) % 4
    repeated = average_precision(scores.repeat_interleave(weights, 0), labels.repeat_interleave(weights, 0))
    assert torch.allclose(average_precision(scores, labels, weights[None].float())[0], repeated)


def test_a_class_without_pictures_does_not_count():
    scores, labels = drawn()
    labels[:, 2] = 0
    found = average_precision(scores, labels)
    assert found.isnan().tolist() == [False, False, True, False, False]
    assert mean_average_precision(scores, labels) == pytest.approx(100 * float(found[~found.isnan()].mean()))
    assert mean_average_precision(scores, torch.zeros_like(labels)) is None
    assert mean_average_precision_interval(scores, torch.zeros_like(labels)) is None


def test_the_interval_holds_the_mean_and_shrinks():
    small, large = (mean_average_precision_interval(*drawn(n)) for n in (50, 2000))
    assert small[0] < mean_average_precision(*drawn(50)) < small[1]
    assert large[1] - large[0] < 0.3 * (small[1] - small[0])


def test_one_error_by_hand():
    scores = torch.tensor([[0.9, 0.2], [0.9, 0.2], [0.4, 0.2], [0.6, 0.2], [0.9, 0.95]])
    labels = torch.tensor([[1.0, 1], [0, 1], [0, 0], [0, 0], [0, 1]])
    assert one_wrong(scores, labels, 0.5).tolist() == [False, True, False, True, False]


def test_f1_is_scikit_learns():
    scores, labels = drawn()
    answered = scores >= 0.6
    counts = [c.tolist() for c in f1_counts(answered, labels)]
    ours = [f1(*numbers) for numbers in zip(*counts, strict=True)]
    assert ours == pytest.approx(f1_score(labels, answered, average=None).tolist())
    assert f1(*(sum(c) for c in counts)) == pytest.approx(f1_score(labels, answered, average="micro"))
    assert f1(0, 0, 0) is None
