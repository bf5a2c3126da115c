"""Arithmetic on heat maps, on numbers small enough for a head."""

import math

import numpy as np
import pytest
import torch
from PIL import Image

from resight.geometry import heatmaps


def test_resizing_aligns_the_centres_of_pixels():
    """Two pixels become four: their centres lie at 1/4 and 3/4, the new ones' at 1/8, 3/8, 5/8, 7/8."""
    assert heatmaps.resize(torch.tensor([[0.0, 1.0]]), 1, 4).tolist() == [[0, 0.25, 0.75, 1]]
    assert heatmaps.resize(torch.tensor([[0.0], [1.0]]), 4, 1).flatten().tolist() == [0, 0.25, 0.75, 1]


def test_resizing_is_pillows_for_enlargements():
    small = torch.rand(5, 7, generator=torch.Generator().manual_seed(0))
    theirs = Image.fromarray(small.numpy()).resize((21, 10), Image.Resampling.BILINEAR)
    ours = heatmaps.resize(small, 10, 21)
    torch.testing.assert_close(ours, torch.from_numpy(np.array(theirs)), atol=1e-6, rtol=0)


def test_each_map_goes_from_zero_to_one_by_itself():
    maps = torch.tensor([[[2.0, 4.0], [3.0, 6.0]], [[-1.0, 0.0], [1.0, 3.0]], [[5.0, 5.0], [5.0, 5.0]]])
    expected = [[[0, 0.5], [0.25, 1]], [[0, 0.25], [0.5, 1]], [[0, 0], [0, 0]]]
    assert heatmaps.normalize(maps).tolist() == expected


def test_rectifying_drops_what_is_negative():
    assert heatmaps.rectify(torch.tensor([-2.0, 0.0, 3.0])).tolist() == [0, 0, 3]


def test_the_spot_is_highest_in_the_middle_and_as_wide_as_it_says():
    """A quarter of the side from the middle is one sigma: exp(-1/2)."""
    spot = heatmaps.centre_spot(1, 4)
    near, far = math.exp(-0.5 * (0.125 / 0.25) ** 2), math.exp(-0.5 * (0.375 / 0.25) ** 2)
    assert spot[0].tolist() == pytest.approx([far, near, near, far])
    tall = heatmaps.centre_spot(9, 5)
    assert tall.argmax().item() == 4 * 5 + 2 and tall.shape == (9, 5)
