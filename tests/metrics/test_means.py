"""Means over pictures: intervals and tests against exact ones, and how often a verdict is wrong."""

import itertools

import pytest
import torch

from resight.evaluate.faithfulness import MEASURES
from resight.metrics.means import bootstrap_interval, share_interval, sign_flip, verdict


def test_the_interval_of_a_mean():
    values = torch.randn(400, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 3 + 5
    low, high = bootstrap_interval(values)
    half = 1.96 * float(values.std()) / 20
    assert low == pytest.approx(float(values.mean()) - half, abs=0.05)
    assert high == pytest.approx(float(values.mean()) + half, abs=0.05)
    assert bootstrap_interval(values) == (low, high) and bootstrap_interval(values[:1]) is None
    shares = share_interval(torch.zeros(10))
    assert shares == pytest.approx((0, 27.75), abs=0.05)  # Wilson, none of ten
    assert share_interval(torch.full((10,), 100.0)) == pytest.approx((72.25, 100), abs=0.05)


def test_the_paired_test_is_the_exact_one_but_for_its_draws():
    differences = torch.tensor([0.5, 1.2, -0.3, 2.0, 0.7, 0.1, 1.5, -0.2], dtype=torch.float64)
    sums = [abs(float(differences @ torch.tensor(s).double())) for s in itertools.product((-1, 1), repeat=8)]
    exact = sum(s >= float(differences.sum()) - 1e-9 for s in sums) / 256
    assert sign_flip(differences) == pytest.approx(exact, abs=0.01)
    assert sign_flip(torch.ones(5)) > 0.05 > sign_flip(torch.ones(8))
    assert sign_flip(torch.zeros(30)) == 1
    assert verdict(torch.ones(5), torch.zeros(5), "high")[0] == "unclear"
    assert verdict(torch.ones(9), torch.zeros(9), "high")[0] == "yes"
    assert verdict(torch.ones(9), torch.zeros(9), "low")[0] == "no"


def test_a_verdict_needs_a_p_value_an_interval_and_a_size():
    """Thirty pictures that all gain 0.004: certain, and of no account."""
    gains = torch.full((30,), 0.004, dtype=torch.float64)
    plain, sized = verdict(gains, 0 * gains, "high"), verdict(gains, 0 * gains, "high", least=0.01)
    assert plain.answer == "yes" and plain.p < 0.01
    assert sized.answer == "unclear" and sized.p < 0.01
    assert sized.gain == pytest.approx(0.004) and sized.interval == pytest.approx((0.004, 0.004))
    assert verdict(0 * gains, 4 * gains, "high", least=0.01).answer == "no"
    assert verdict(0 * gains, 4 * gains, "low", least=0.01).answer == "yes"
    one = verdict(gains[:1], 0 * gains[:1], "high")
    assert one.answer == "unclear" and one.interval is None
    assert {m.least for m in MEASURES.values()} == {0.01, 2.0, 5.0}


def test_the_paired_test_is_seldom_wrong_about_maps_that_are_no_better():
    generator = torch.Generator().manual_seed(0)
    found = [verdict(torch.randn(20, generator=generator), torch.zeros(20), "high")[0] for _ in range(200)]
    assert 0 < 200 - found.count("unclear") < 22  # 10 expected
