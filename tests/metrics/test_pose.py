"""Figures of poses against numbers by hand."""

import numpy as np
import pytest

from resight.metrics import pose

LIMB = np.array([[[0.0, 0.0], [0.0, 10.0]]])
BOTH = np.ones((1, 2), bool)


def counted(said, true=LIMB, known=BOTH, limbs=((0, 1),)):
    one = pose.pcp(np.array(said, float), true, known, limbs)
    return one.hits.tolist(), one.of.tolist()


def test_strict_pcp_judges_each_end_by_itself():
    assert counted([[[3, 4], [0, 10]]]) == ([1], [1])  # 5 away, half of the limb's length of 10
    assert counted([[[3, 4.1], [0, 10]]]) == ([0], [1])
    # Loose PCP takes the mean of the two distances, (6 + 0) / 2, and would count this one.
    assert counted([[[6, 0], [0, 10]]]) == ([0], [1])
    assert counted([[[0, 0], [0, 16]]]) == ([0], [1])
    assert counted([[[0, 0], [0, 10]]], known=np.array([[True, False]])) == ([0], [0])
    assert counted([[[0, 0], [0, 10]]], limbs=((0, 1), (1, 0))) == ([2], [2])


def test_pdj_is_of_the_torso():
    true = np.array([[[0, 0], [30, 40], [5, 5]], [[0, 0], [30, 40], [5, 5]]], float)  # a torso of 50
    said = true + np.array([[[10, 0], [10.1, 0], [0, 9]], [[0, 0], [0, 0], [0, 0]]])
    known = np.array([[True, True, True], [True, False, True]])
    one = pose.pdj(said, true, known, (0, 1), 0.2)  # within 10
    assert one.hits.tolist() == [2, 0] and one.of.tolist() == [3, 0] and one.figure == pytest.approx(2 / 3)


def test_pck_is_of_the_larger_side_of_the_box():
    true = np.array([[[0, 0], [10, 50], [90, 90]]], float)
    known = np.array([[True, True, False]])  # a box of 10 x 50
    said = true + np.array([[[0, 10], [0, 10.1], [0, 0]]])
    assert pose.sizes(true, known).tolist() == [50]
    one = pose.pck(said, true, known, 0.2)
    assert one.hits.tolist() == [1] and one.of.tolist() == [2]


def test_the_error_is_a_mean_over_pictures_of_means_over_joints():
    true = np.zeros((3, 2, 2))
    said = np.array([[[3, 4], [0, 0]], [[0, 8], [0, 99]], [[1, 1], [1, 1]]], float)
    known = np.array([[True, True], [True, False], [True, True]])
    one = pose.error(said, true, known, np.array([10.0, 20.0, 0.0]))  # the last has no length
    assert one.hits.tolist() == [0.25, 0.4, 0] and one.figure == pytest.approx((0.25 + 0.4) / 2)
    assert pose.between(said, known, (0, 1)).tolist() == [5, 0, 0]


def test_intervals_cover_and_narrow():
    rng = np.random.default_rng(0)
    inside = 0
    for _ in range(60):
        one = pose.Counted((rng.random(50) < 0.7).astype(float), np.ones(50))
        low, high = one.interval()
        inside += low <= 0.7 <= high
    assert 50 <= inside <= 60
    ratio = pose.Counted(np.array([1.0, 3, 0]), np.array([2.0, 4, 0]))
    assert ratio.figure == pytest.approx(4 / 6) and ratio.interval() == (0.5, 0.75)
    assert pose.Counted(np.zeros(1), np.ones(1)).interval() is None
    assert pose.Counted(np.zeros(2), np.zeros(2)).figure is None
    assert pose.told({"a": ratio}) == {"a": pytest.approx(200 / 3), "a_interval": [50, 75]}


def test_limbs_by_the_names_of_joints():
    names = ("left_hip", "left_knee", "right_knee", "right_hip", "left_elbow", "left_wrist")
    assert pose.parts_of(names) == {"upper_leg": ((0, 1), (3, 2))}


def test_the_mean_pose_leaves_out_what_is_not_marked():
    places = np.array([[[0.2, 0.4], [0.0, 0.0]], [[0.4, 0.8], [0.0, 0.0]]])
    known = np.array([[True, False], [True, False]])
    assert pose.mean_pose(places, known) == pytest.approx(np.array([[0.3, 0.6], [0.5, 0.5]]))
