"""Measures of localization: by hand, and against loops over pixels."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score
from torchvision.ops import box_iou

from resight.metrics.localization import (
    PixelPrecision,
    energy_inside,
    located,
    mask_of,
    max_box_accuracy,
    max_box_accuracy_v2,
    overlap,
    points_at,
)


def boxes(seed, count):
    corner = np.random.default_rng(seed).uniform(0, 50, (count, 4))
    return np.concatenate([corner[:, :2], corner[:, :2] + corner[:, 2:]], 1)


def test_overlap_is_torchvisions():
    a, b = boxes(0, 20), boxes(1, 7)
    assert np.allclose(overlap(a, b), box_iou(torch.from_numpy(a), torch.from_numpy(b)).numpy())
    assert overlap(np.array([[0, 0, 10, 10]]), np.array([[0, 0, 10, 20], [10, 0, 20, 10]])).tolist() == [
        [0.5, 0]
    ]
    assert overlap(np.zeros((1, 4)), np.zeros((1, 4))).tolist() == [[0]]
    assert overlap(np.zeros((0, 4)), a).shape == (0, 20)


def test_a_guess_needs_both_the_class_and_the_box():
    truth = [("cat", np.array([[0, 0, 10, 10]])), ("dog", np.array([[20, 20, 30, 30], [40, 40, 50, 50]]))]
    here, there = np.array([[0, 0, 10, 9]]), np.array([[40, 40, 50, 50]])
    assert located([("cat", here)], truth) and located([("dog", there)], truth)
    assert not located([("dog", here)], truth) and not located([("cat", there)], truth)
    assert located([("bird", here), ("cat", here)], truth)
    assert not located([("cat", np.zeros((0, 4)))], truth) and not located([], truth)
    assert located([("cat", np.array([[0, 0, 10, 5]]))], truth, 0.5)
    assert not located([("cat", np.array([[0, 0, 10, 5]]))], truth, 0.51)


def test_max_box_accuracy_is_at_the_one_best_threshold():
    overlaps = np.array([[0.6, 0.6, 0.1], [0.1, 0.5, 0.9], [0.2, 0.4, 0.9], [0.0, 0.5, 0.2]])
    accuracy, best, every = max_box_accuracy(overlaps)
    assert (accuracy, best) == (75, 1) and every.tolist() == [25, 75, 50]
    assert max_box_accuracy_v2(overlaps) == pytest.approx((100 + 75 + 50) / 3)


def test_v2_is_the_mean_over_three_overlaps():
    """Four pictures, two thresholds. Above 0.3: 75 and 100 %; above 0.5: 50 and 50; above 0.7: 0 and 25."""
    overlaps = np.array([[0.2, 0.3], [0.35, 0.45], [0.55, 0.6], [0.65, 0.9]])
    assert max_box_accuracy_v2(overlaps) == pytest.approx((100 + 50 + 25) / 3)


def test_pixel_average_precision_is_scikit_learns_over_all_pixels():
    rng = np.random.default_rng(0)
    pixels, scores, truth = PixelPrecision(), [], []
    for _ in range(5):
        mask = rng.random((30, 40)) < 0.3
        share = np.clip(rng.normal(0.4 + 0.2 * mask, 0.2), 0, 0.999)
        pixels.add(share, mask)
        scores.append(np.floor(share * 1000).ravel())
        truth.append(mask.ravel())
    expected = average_precision_score(np.concatenate(truth), np.concatenate(scores))
    assert pixels.value() == pytest.approx(100 * expected, rel=1e-9)


def test_a_perfect_map_has_all_the_pixels():
    pixels, mask = PixelPrecision(), np.zeros((8, 8), bool)
    mask[2:5, 3:6] = True
    pixels.add(mask.astype(np.float32), mask)
    assert pixels.value() == 100


def test_pointing_takes_the_highest_point_and_a_tolerance():
    maps = np.zeros((50, 80))
    maps[40, 70] = 1
    assert points_at(maps, np.array([[65, 35, 75, 45]]), 0)
    assert not points_at(maps, np.array([[0, 0, 50, 50]]), 15) and points_at(
        maps, np.array([[0, 0, 56, 50]]), 15
    )
    assert not points_at(maps, np.array([[35, 65, 45, 75]]), 0)  # x and y are not exchanged
    maps[10, 10] = 1  # two highest points: their mean counts
    assert points_at(maps, np.array([[39, 24, 42, 27]]), 0)


@pytest.mark.parametrize("side", ["left", "right", "upper", "lower"])
def test_pointing_forgives_fifteen_pixels_and_no_more(side):
    """The highest point's centre lies 14.5 pixels from the box, then 15.5."""
    for off, right in ((14, True), (15, False)):
        across, down = {"left": (39 - off, 50), "right": (60 + off, 50)}, {"upper": (50, 39 - off)}
        x, y = {**across, **down, "lower": (50, 60 + off)}[side]
        maps = np.zeros((100, 100))
        maps[y, x] = 1
        assert points_at(maps, np.array([[40, 40, 60, 60]])) == right


def test_energy_is_the_positive_share_inside():
    maps = np.full((4, 10), -5.0)
    maps[1, 8], maps[3, 2] = 3, 1
    assert energy_inside(maps, np.array([[7, 0, 10, 2]])) == 75
    assert energy_inside(maps, np.array([[0, 0, 10, 4]])) == 100
    assert energy_inside(-np.abs(maps), np.array([[0, 0, 10, 4]])) == 0


def test_a_mask_has_the_pixels_whose_centre_is_inside():
    rng = np.random.default_rng(0)
    for _ in range(50):
        box = rng.uniform(-5, 25, 4)
        box = [min(box[0], box[2]), min(box[1], box[3]), max(box[0], box[2]), max(box[1], box[3])]
        expected = np.zeros((12, 20), bool)
        for y in range(12):
            for x in range(20):
                expected[y, x] = box[0] <= x + 0.5 < box[2] and box[1] <= y + 0.5 < box[3]
        assert (mask_of(np.array([box]), 12, 20) == expected).all()


def test_a_flat_map_points_nowhere():
    flat = np.zeros((20, 20))
    assert not points_at(flat, np.array([[5, 5, 15, 15]]))
    flat[9, 9] = 1e-3
    assert points_at(flat, np.array([[5, 5, 15, 15]]))
