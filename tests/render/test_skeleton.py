"""Skeletons on pictures: limbs where they belong, each side in its colour."""

import numpy as np
from PIL import Image

from resight.render.skeleton import SIDES, draw_skeleton


def near(drawn, x, y, colour):
    return np.abs(np.asarray(drawn)[round(y), round(x)].astype(int) - colour).max() < 40


def test_limbs_and_joints_lie_at_their_places():
    places = np.array([[10.0, 10.0], [10.0, 70.0], [70.0, 10.0], [70.0, 70.0], [40.0, 90.0]])
    sides, limbs = ["left", "left", "right", "right", ""], [(0, 1), (2, 3), (1, 4)]
    drawn = draw_skeleton(Image.new("RGB", (100, 100)), places, limbs, sides)
    assert drawn.size == (320, 320)
    for x, y, side in ((10, 10, "left"), (10, 40, "left"), (70, 40, "right"), (40, 90, ""), (25, 80, "")):
        assert near(drawn, 3.2 * x, 3.2 * y, SIDES[side]), (x, y, side)
    assert np.asarray(drawn)[128, 128].max() < 40  # between them nothing is drawn


def test_the_truth_is_white_under_what_was_said_and_what_is_not_known_is_left_out():
    places, true = np.array([[10.0, 10.0], [90.0, 10.0]]), np.array([[10.0, 60.0], [90.0, 60.0]])
    sides, limbs = ["", ""], [(0, 1)]
    grey = Image.new("RGB", (400, 400), (90, 90, 90))
    drawn = draw_skeleton(grey, places, limbs, sides, true)
    assert drawn.size == (400, 400) and near(drawn, 50, 60, 255) and near(drawn, 50, 10, SIDES[""])
    half = draw_skeleton(grey, places, limbs, sides, true, np.array([True, False]))
    assert near(half, 10, 60, 255) and near(half, 50, 60, 90) and near(half, 90, 60, 90)
