"""McNemar's exact test: by hand, and against scipy's binomial test."""

import numpy as np
import pytest
from scipy import stats

from resight.metrics.paired import difference_interval, mcnemar


def made(both, first, second, neither):
    """Answers of two methods with so many pictures of each kind."""
    pairs = [(True, True)] * both + [(True, False)] * first + [(False, True)] * second
    pairs += [(False, False)] * neither
    return [a for a, _ in pairs], [b for _, b in pairs]


def test_by_hand():
    """Five pictures differ, one to four: 2 (1 + 5) / 32 = 0.375."""
    found = mcnemar(*made(10, 1, 4, 5))
    assert (found.first, found.second, found.count, found.p) == (1, 4, 20, 0.375)
    assert found.difference == -15.0


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (0, 9), (30, 12), (12, 30), (400, 350)])
def test_it_is_the_binomial_test_of_the_pictures_that_differ(first, second):
    found = mcnemar(*made(7, first, second, 11))
    expected = stats.binomtest(first, first + second).pvalue if first + second else 1.0
    assert found.p == pytest.approx(expected, rel=1e-9)
    assert found.difference == pytest.approx(100 * (first - second) / (18 + first + second))


def test_pictures_on_which_both_agree_do_not_matter():
    assert mcnemar(*made(0, 3, 9, 0)).p == mcnemar(*made(500, 3, 9, 40)).p


def test_other_pictures_are_refused():
    with pytest.raises(ValueError, match="zip"):
        mcnemar([True], [True, False])


def test_an_interval_over_pictures_is_the_binomial_one():
    """One seed: of 40 pictures the first has all right, the second 32: so many of a resample are wrong."""
    first, second = np.ones((1, 40), bool), np.arange(40)[None] >= 8
    found = difference_interval([(first, second)])
    assert found.difference == -20.0
    few, many = stats.binom.ppf([0.025, 0.975], 40, 0.2)
    assert (found.low, found.high) == (-100 * many / 40, -100 * few / 40)


def test_an_interval_over_seeds_resamples_them_too():
    """Two seeds that contradict each other: a resample holds one twice as often as not."""
    first = np.array([[True] * 5, [False] * 5])
    found = difference_interval([(first, ~first)])
    assert (found.difference, found.low, found.high) == (0.0, -100.0, 100.0)


def test_both_methods_meet_the_same_seeds_and_pictures():
    """They differ on nothing, so no resample differs, however uneven seeds and pictures are."""
    answers = np.random.default_rng(0).random((5, 30)) < np.linspace(0, 1, 30)
    found = difference_interval([(answers, answers)])
    assert (found.difference, found.low, found.high) == (0.0, 0.0, 0.0)


def test_sets_are_summed_and_resampled_apart():
    """Two sets alike: twice the difference, and an interval 1.41 times as wide, not twice."""
    first, second = np.ones((1, 400), bool), np.arange(400)[None] >= 80
    one = difference_interval([(first, second)])
    two = difference_interval([(first, second), (first, second)])
    assert two.difference == 2 * one.difference == -40.0
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(2**0.5, rel=0.05)


def test_answers_to_other_pictures_are_refused():
    with pytest.raises(ValueError, match="not the same seeds and pictures"):
        difference_interval([(np.ones((2, 3), bool), np.ones((2, 4), bool))])
