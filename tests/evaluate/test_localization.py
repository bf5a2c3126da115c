"""The tally of localization: planted maps with known boxes."""

import numpy as np
import pytest

from resight.evaluate.localization import Difference, Tally


def spot(x0, y0, x1, y1, high=1.0, low=0.0):
    one = np.full((40, 40), low, np.float32)
    one[y0:y1, x0:x1] = high
    return one


CAT, DOG = np.array([[5.0, 5, 25, 25]]), np.array([[28.0, 28, 38, 38]])
RIGHT, WRONG = spot(5, 5, 25, 25), spot(30, 0, 40, 10)


def test_right_boxes_and_right_classes_are_told_apart():
    tally = Tally(0.2, "max")
    tally.add(np.stack([RIGHT, RIGHT, WRONG]), ["cat", "cat", "dog"], {"cat": CAT})  # all is right
    tally.add(np.stack([RIGHT, WRONG, RIGHT]), ["cat", "dog", "cat"], {"cat": CAT})  # the second guess is
    tally.add(np.stack([WRONG, WRONG, RIGHT]), ["cat", "cat", "dog"], {"cat": CAT})  # no box of its class
    tally.add(np.stack([WRONG, spot(28, 28, 38, 38), WRONG]), ["cat", "dog", "cat"], {"cat": CAT, "dog": DOG})
    figures = tally.figures()
    assert figures.n == 4
    assert figures.gt_known_error == 50 and figures.top1_error == 50 and figures.top5_error == 25
    assert figures.max_box_acc == 50 and figures.pointing_game == 50
    assert figures.energy_pointing_game == 50 and 0 < figures.gt_known_interval[0] < 50


def test_two_methods_are_paired_picture_by_picture():
    """The first finds pictures 0, 1 and 3 and the second picture 2: 3 against 1 of 5."""
    first, second = Tally(0.2, "max"), Tally(0.2, "max")
    for tally, found in ((first, (1, 1, 0, 1, 0)), (second, (0, 0, 1, 0, 0))):
        for right in found:
            tally.add(np.stack([RIGHT if right else WRONG, WRONG]), ["cat", "cat"], {"cat": CAT})
    paired = first.against(second, "centre")
    assert paired.against == "centre"
    assert paired.gt_known == Difference(3, 1, 40.0, 0.625)
    assert paired.top1 == Difference(0, 0, 0.0, 1.0)
    assert second.against(first, "cam").gt_known.difference == -40.0


def test_the_tight_box_of_five_can_be_the_right_one():
    halo = np.maximum(spot(0, 0, 40, 40, 0.3), RIGHT)
    tally = Tally(0.2, "max")
    tally.add(np.stack([halo, halo, WRONG]), ["cat", "cat", "dog"], {"cat": CAT})
    # Of the third guess only the loose box counts.
    tally.add(np.stack([halo, WRONG, WRONG, halo]), ["cat", "dog", "owl", "cat"], {"cat": CAT})
    figures = tally.figures()
    assert figures.gt_known_error == 100 and figures.top5_error == 100
    assert figures.five_boxes_error == 50
    assert figures.max_box_acc == 100 and figures.max_box_acc_threshold == 0


def test_a_mask_takes_the_place_of_the_box_for_pixels_only():
    mask = np.zeros((40, 40), bool)
    mask[5:25, 5:15] = True
    plain, masked = Tally(0.2, "max"), Tally(0.2, "max")
    plain.add(RIGHT[None].repeat(2, 0), ["cat", "cat"], {"cat": CAT})
    masked.add(RIGHT[None].repeat(2, 0), ["cat", "cat"], {"cat": CAT}, mask)
    a, b = plain.figures(), masked.figures()
    assert a.pixel_average_precision == 100 and b.pixel_average_precision == pytest.approx(50, abs=1)
    assert a.gt_known_error == b.gt_known_error == 0


def test_v2_takes_the_best_of_all_parts_and_max_box_acc_the_largest():
    """A large part that is off, and a small one on the object: only V2 sees the small one."""
    both = np.maximum(spot(0, 20, 40, 40), spot(5, 2, 15, 12))
    tally = Tally(0.2, "max")
    tally.add(np.stack([both, both]), ["cat", "cat"], {"cat": np.array([[5.0, 2, 15, 12]])})
    figures = tally.figures()
    assert figures.max_box_acc == 0 and figures.max_box_acc_v2 == 100


def test_v2_counts_overlaps_of_three_five_and_seven_tenths():
    """Boxes of 20 x 10 on one of 20 x 20 overlap by 0.5, of 20 x 8 by 0.4, of 20 x 16 by 0.8."""
    tally = Tally(0.2, "max")
    for height in (8, 8, 10, 16, 2):
        part = spot(5, 5, 25, 5 + height)
        tally.add(np.stack([part, part]), ["cat", "cat"], {"cat": CAT})
    # Of five pictures four reach 0.3, two 0.5, one 0.7.
    assert tally.figures().max_box_acc_v2 == pytest.approx((80 + 40 + 20) / 3)
    assert tally.figures().max_box_acc == 40


def test_the_pointing_game_forgives_fifteen_pixels_of_224():
    """Of 448 pixels a side that is 30: a point 29.5 away is right, one 30.5 away is not."""
    box = {"cat": np.array([[200.0, 200, 300, 300]])}
    for off, right in ((29, 100), (30, 0)):
        maps = np.zeros((448, 448), np.float32)
        maps[250, 300 + off] = 1
        tally = Tally(0.2, "max")
        tally.add(np.stack([maps, maps]), ["cat", "cat"], box)
        assert tally.figures().pointing_game == right


def test_the_threshold_and_its_normalization_count():
    raised = 5 + RIGHT  # minimum 5, maximum 6: everything is above 20 % of the maximum
    errors = {}
    for normalization in ("max", "minmax"):
        tally = Tally(0.2, normalization)
        tally.add(np.stack([raised, raised]), ["cat", "cat"], {"cat": CAT})
        errors[normalization] = tally.figures().gt_known_error
    assert errors == {"max": 100, "minmax": 0}
