"""Shifted digits: where they are, and that they stay whole."""

import numpy as np
import pytest
from PIL import Image

from resight.reproduce.experiments.gap_shift import FREE, MIDDLE, places
from resight.reproduce.sets import on_canvas


class Digits:
    """Two pictures whose every pixel is told."""

    def decode(self, index):
        return Image.fromarray(np.full((28, 28, 3), 100 + index, np.uint8))


def test_every_place_where_a_digit_stays_whole_is_as_likely():
    found = places("shifted", 100_000)
    assert found.min() == 0 and found.max() == FREE == 36
    counts = np.bincount(found[:, 0] * 37 + found[:, 1], minlength=37 * 37)
    assert counts.min() > 30 and counts.max() < 130  # 73 each


@pytest.mark.parametrize(("where", "known"), [("centred", {MIDDLE}), ("corner", {0, FREE})])
def test_other_sets_have_their_own_places(where, known):
    assert set(places(where, 100).ravel().tolist()) == known


def test_pictures_stand_whole_at_their_places():
    first, second = on_canvas(Digits(), np.array([[36, 0], [5, 7]]), 64)
    for image, x, y, value in ((first, 36, 0, 100), (second, 5, 7, 101)):
        pixels = np.asarray(image)
        assert pixels.shape == (64, 64, 3) and (pixels[y : y + 28, x : x + 28] == value).all()
        assert pixels.astype(int).sum() == 3 * 28 * 28 * value
