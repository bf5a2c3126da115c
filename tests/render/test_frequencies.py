"""Error rates in words: each is read back and compared with the rate."""

import re

import numpy as np
import pytest

from resight.metrics.accuracy import wilson_interval
from resight.render.frequencies import error_in_words, odds


def read_back(words):
    part, whole = re.fullmatch(r"([\d,]+) in ([\d,]+)", words).groups()
    return int(part.replace(",", "")) / int(whole.replace(",", ""))


def test_every_share_is_said_within_a_tenth():
    for share in [*np.linspace(0.0005, 0.9995, 1999), *np.geomspace(1e-6, 0.5, 200)]:
        said = read_back(odds(share))
        rarer = min(share, 1 - share)
        assert 0 < said < 1 and abs(said - share) < 0.03 and abs(said - share) < 0.15 * rarer, share


@pytest.mark.parametrize(
    ("share", "words"),
    [
        (0, "none"), (1, "all"), (0.05, "1 in 20"), (0.0912, "1 in 11"), (0.2, "1 in 5"), (0.27, "1 in 4"),
        (0.5, "1 in 2"), (0.75, "3 in 4"), (0.9, "9 in 10"), (0.000237, "1 in 4,200"),
    ],
)  # fmt: skip
def test_shares_are_said_as_people_say_them(share, words):
    assert odds(share) == words


def test_an_error_is_said_with_what_it_could_be_as_well():
    """8 of 150: Wilson 2.7 to 10.2 %, which is 1 in 37 to 1 in 9.8."""
    first, second = error_in_words(8, 150, wilson_interval(8, 150))
    assert first == "Wrong on about 1 in 19 pictures of this kind."
    assert second == "With 150 test pictures, it could be as few as 1 in 37 or as many as 1 in 10."


def test_no_error_is_not_said_to_mean_never():
    """0 of 150: the upper end is z^2 / (n + z^2) = 2.5 %."""
    first, second = error_in_words(0, 150, wilson_interval(0, 150))
    assert first == "Right on all 150 test pictures."
    assert second == "Up to about 1 in 40 pictures of this kind could still be wrong."


def test_all_wrong_and_one_picture_are_said():
    assert error_in_words(20, 20, wilson_interval(20, 20)) == (
        "Wrong on all 20 test pictures.", "At least about 5 in 6 pictures of this kind would be wrong.",
    )  # fmt: skip
    first, _ = error_in_words(0, 1, wilson_interval(0, 1))
    assert first == "Right on the only test picture."


def test_where_the_interval_is_narrow_it_is_said_to_be_known_well():
    first, second = error_in_words(50_000, 1_000_000, wilson_interval(50_000, 1_000_000))
    assert (
        first.startswith("Wrong on about 1 in 20 ")
        and second == "With 1,000,000 test pictures, this is known well."
    )
