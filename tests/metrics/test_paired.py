"""McNemar's exact test: by hand, and against scipy's binomial test."""

import pytest
from scipy import stats

from resight.metrics.paired import mcnemar


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
