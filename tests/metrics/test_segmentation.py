"""Figures of label maps against plain loops over pixels."""

import math

import numpy as np
import pytest

from resight.metrics.segmentation import (
    Overlaps,
    class_iou,
    confusion,
    figure_of,
    interval_of,
    mean_iou,
    pixel_accuracy,
)

CLASSES = 4


def maps(count=6, side=9, seed=0):
    """Answers and truths; the last class is nowhere true, and some pixels are void."""
    chance = np.random.default_rng(seed)
    true = chance.integers(0, 3, (count, side, side)).astype(np.uint8)
    true[chance.random(true.shape) < 0.1] = 255
    said = np.where(
        chance.random(true.shape) < 0.6, np.minimum(true, 3), chance.integers(0, CLASSES, true.shape)
    )
    return said.astype(np.uint8), true


def by_hand(said, true):
    """Intersection over union of each class that is there, and the share of right pixels."""
    each = []
    for label in range(CLASSES):
        both = union = there = 0
        for s, t in zip(said.reshape(-1).tolist(), true.reshape(-1).tolist(), strict=True):
            if t == 255:
                continue
            both += s == label == t
            union += label in (s, t)
            there += t == label
        if there:
            each.append(both / union)
    counted = true != 255
    return each, (said == true)[counted].mean()


def overlaps_of(said, true):
    return Overlaps.of([confusion(s, t, CLASSES) for s, t in zip(said, true, strict=True)])


def test_figures_equal_loops_over_pixels():
    said, true = maps()
    overlaps = overlaps_of(said, true)
    each, right = by_hand(said, true)
    found = class_iou(*overlaps.all())
    np.testing.assert_allclose(found[:3], each, rtol=1e-12)
    assert math.isnan(found[3])
    assert figure_of(overlaps, mean_iou) == pytest.approx(np.mean(each), rel=1e-12)
    assert figure_of(overlaps, pixel_accuracy) == pytest.approx(right, rel=1e-12)


def test_confusion_counts_true_by_rows():
    true, said = np.array([[0, 0, 1, 255]], np.uint8), np.array([[0, 1, 1, 1]], np.uint8)
    assert confusion(said, true, 2).tolist() == [[1, 1], [0, 1]]


def test_a_class_that_is_said_and_not_there_counts_against_the_others_alone():
    true, said = np.zeros((1, 1, 4), np.uint8), np.array([[[0, 0, 0, 3]]], np.uint8)
    assert figure_of(overlaps_of(said, true), mean_iou) == 0.75  # not (0.75 + 0) / 2


def test_nothing_that_counts_is_none_and_never_nan():
    void = np.full((2, 3, 3), 255, np.uint8)
    overlaps = overlaps_of(np.zeros_like(void), void)
    assert figure_of(overlaps, mean_iou) is None and figure_of(overlaps, pixel_accuracy) is None
    assert interval_of(overlaps, mean_iou) is None
    said, true = maps()
    assert interval_of(overlaps_of(said[:1], true[:1]), mean_iou) is None


def test_the_interval_is_that_of_pictures_drawn_again():
    """By hand, with the same draws: sums over drawn pictures, then the mean over the classes there."""
    said, true = maps(count=5, side=5)
    overlaps = overlaps_of(said, true)
    drawn = np.random.default_rng(3).integers(5, size=(200, 5))
    values = []
    for rows in drawn:
        each, _ = by_hand(said[rows], true[rows])
        values.append(np.mean(each))
    expected = np.quantile(values, [0.025, 0.975])
    assert interval_of(overlaps, mean_iou, seed=3, rounds=200) == pytest.approx(tuple(expected), rel=1e-9)
