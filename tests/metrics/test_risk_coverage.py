"""The risk-coverage curve against hand computation and brute force over all thresholds."""

import numpy as np
import pytest
import torch

from resight.metrics.accuracy import wilson_interval
from resight.metrics.risk_coverage import risk_coverage


def test_a_curve_computed_by_hand():
    # Sorted by confidence: 0.9 right, 0.8 wrong, 0.7 right, 0.7 right, 0.2 wrong.
    curve = risk_coverage(
        torch.tensor([0.7, 0.2, 0.9, 0.7, 0.8]), torch.tensor([False, True, False, False, True])
    )
    assert curve.thresholds.tolist() == pytest.approx([0.9, 0.8, 0.7, 0.2])
    assert curve.accepted.tolist() == [1, 2, 4, 5]
    assert curve.wrong.tolist() == [0, 1, 1, 2]
    # Errors of those at least as certain: 0, 1/2, 1/4, 1/4, 2/5; their mean is the area.
    assert curve.area == pytest.approx(100 * (0 + 1 / 2 + 1 / 4 + 1 / 4 + 2 / 5) / 5)


def test_the_share_accepted_is_reached_and_no_more_than_needed():
    curve = risk_coverage(
        torch.tensor([0.7, 0.2, 0.9, 0.7, 0.8]), torch.tensor([False, True, False, False, True])
    )
    assert [curve.at_coverage(s).n for s in (0, 0.2, 0.21, 0.4, 0.41, 0.6, 0.8, 0.81, 1)] == [
        1, 1, 2, 2, 4, 4, 4, 5, 5,
    ]  # fmt: skip
    some = curve.at_coverage(0.8)
    assert (some.coverage, some.error, some.wrong) == (0.8, 25.0, 1)
    assert some.interval == wilson_interval(1, 4)


def test_a_threshold_includes_answers_that_equal_it():
    curve = risk_coverage(
        torch.tensor([0.75, 0.25, 1.0, 0.75], dtype=torch.float64), torch.tensor([True, True, False, False])
    )
    assert (curve.at_threshold(0.75).n, curve.at_threshold(0.75).wrong) == (3, 1)
    assert curve.at_threshold(0.7500001).n == 1
    nothing = curve.at_threshold(1.5)
    assert (nothing.n, nothing.coverage, nothing.error, nothing.interval) == (0, 0.0, None, None)


def test_random_answers_with_ties_agree_with_brute_force():
    dice = np.random.default_rng(0)
    confidence = dice.integers(1, 12, 60) / 12
    wrong = dice.random(60) < 1 - confidence
    curve = risk_coverage(torch.from_numpy(confidence), torch.from_numpy(wrong))
    for least in (*np.unique(confidence), 0.0, 0.5, 2.0):
        found = curve.at_threshold(float(least))
        assert (found.n, found.wrong) == ((confidence >= least).sum(), wrong[confidence >= least].sum())
    risks = [wrong[confidence >= own].mean() for own in confidence]
    assert curve.area == pytest.approx(100 * np.mean(risks))
    shares = [p.coverage for p in curve.points(20)]
    assert shares == sorted(set(shares)) and shares[-1] == 1.0 and len(shares) <= 20


def test_perfect_and_useless_confidences():
    wrong = torch.tensor([False] * 8 + [True] * 2)
    falling = torch.linspace(1, 0.1, 10)
    best = risk_coverage(falling, wrong)
    worst = risk_coverage(falling.flip(0), wrong)
    equal = risk_coverage(torch.full((10,), 0.5), wrong)
    assert best.area == pytest.approx(100 * (1 / 9 + 2 / 10) / 10)
    assert best.area < equal.area < worst.area and equal.area == pytest.approx(20)
    assert len(equal.points()) == 1


@pytest.mark.parametrize("bad", [torch.empty(0), torch.tensor([0.5, float("nan")])])
def test_no_answers_or_no_confidence_is_refused(bad):
    with pytest.raises(ValueError, match="needs one prediction"):
        risk_coverage(bad, torch.zeros(len(bad), dtype=torch.bool))
