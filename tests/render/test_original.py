"""A map over the whole picture, of any size: where the network looked, and no larger than is of use."""

import numpy as np
import pytest
from PIL import Image

from resight.core.preprocessing import Preprocessing
from resight.data.prepare import fit
from resight.render.original import Original
from resight.render.overlay import placed

CARD = Preprocessing(size=56, resize=64)


def with_spot(size, at):
    """A grey picture with a bright square at a place, in shares of the sides."""
    pixels = np.full((size[1], size[0], 3), 60, np.uint8)
    x, y, half = round(at[0] * size[0]), round(at[1] * size[1]), max(2, min(size) // 24)
    pixels[y - half : y + half, x - half : x + half] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("longest", [4096, 200])
@pytest.mark.parametrize("size", [(600, 400), (400, 600), (500, 500), (1200, 310)])
def test_a_planted_spot_is_marked_where_it_is(size, longest):
    """The network's own view of the spot, as the map: its place on the picture is the spot's."""
    at = (0.5 + 0.3 * min(size) / size[0], 0.5 - 0.25 * min(size) / size[1])
    image = with_spot(size, at)
    heat = (fit(image, CARD)[..., 0] > 160).astype(np.float32)
    original = Original(image, CARD, longest)
    height, width = original.pixels.shape[:2]
    ratio = min(1, longest / max(size))
    assert (width, height) == (round(size[0] * ratio), round(size[1] * ratio))
    full = placed(heat, original.window, (width, height))
    ys, xs = np.nonzero(full > 0.5)
    cell = min(width, height) / 64
    assert abs(xs.mean() + 0.5 - at[0] * width) < cell and abs(ys.mean() + 0.5 - at[1] * height) < cell
    y, x = round(at[1] * height), round(at[0] * width)
    around = original.under(heat)[y - 3 : y + 3, x - 3 : x + 3].astype(int)
    assert original.cut and (
        np.ptp(around, axis=2).max() > 40 or around.max() == 255
    )  # coloured, or its line


def test_what_the_network_sees_whole_has_no_frame():
    assert not Original(Image.new("RGB", (300, 300)), Preprocessing(size=64, resize=64)).cut
    assert Original(Image.new("RGB", (320, 300)), Preprocessing(size=64, resize=64)).cut


def test_very_large_pictures_are_reduced_and_small_ones_enlarged():
    assert Original(Image.new("RGB", (6000, 3000)), CARD).pixels.shape == (2048, 4096, 3)
    assert Original(Image.new("RGB", (4096, 100)), CARD).pixels.shape == (100, 4096, 3)
    assert Original(Image.new("RGB", (30, 20)), CARD).pixels.shape == (140, 210, 3)
