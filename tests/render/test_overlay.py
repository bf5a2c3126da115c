"""Maps over pictures: in their place, and seen on every colour."""

import matplotlib as mpl
import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resight.render.overlay import COLORMAP, FRAME, OUTSIDE, contour, over, overlay, placed


def spot(size=40):
    """A round hill in the middle, 1 at its top and 0 at the border."""
    at = (np.arange(size) + 0.5) / size * 2 - 1
    return np.clip(1 - np.hypot(*np.meshgrid(at, at)), 0, 1).astype(np.float32)


COLOURS = {
    "orange": (250, 160, 20), "yellow": (250, 240, 90), "red": (200, 20, 30), "black": (0, 0, 0),
    "white": (255, 255, 255), "green": (40, 120, 40), "violet": (110, 30, 110), "grey": (128, 128, 128),
}  # fmt: skip


def lab(pixels):
    """CIE L*a*b* (D65) of sRGB, by the formulas of IEC 61966-2-1 and CIE 15."""
    c = np.asarray(pixels, float) / 255
    linear = np.where(c <= 0.04045, c / 12.92, ((c + 0.055) / 1.055) ** 2.4)
    red, green = (0.4124564, 0.2126729, 0.0193339), (0.3575761, 0.7151522, 0.1191920)
    blue = (0.1804375, 0.0721750, 0.9503041)
    xyz = linear @ np.array([red, green, blue]) / (0.95047, 1, 1.08883)
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


STRONG = {"pure red": (255, 0, 0), "lemon": (255, 240, 60), "leaf": (0, 200, 0), "sky": (60, 120, 255)}


@pytest.mark.parametrize("name", [*COLOURS, *STRONG, "noise"])
def test_hot_and_cold_differ_for_the_eye_on_every_picture(name):
    """By 38 units of CIE L*a*b* and 25 of its lightness, where 2 can just be seen; halfway by 19."""
    picture = np.full((60, 60, 3), (COLOURS | STRONG).get(name, 0), np.uint8)
    if name == "noise":
        picture = np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)

    def seen(value):
        return lab(overlay(picture, np.full((60, 60), value, np.float32))).mean((0, 1))

    cold, half, hot = seen(1e-6), seen(0.5), seen(1.0)
    assert np.linalg.norm(hot - cold) > 38 and hot[0] - cold[0] > 25
    assert np.linalg.norm(half - cold) > 15 and np.linalg.norm(hot - half) > 15


def lightness(pixels):
    return pixels.astype(float) @ (0.299, 0.587, 0.114)


@pytest.mark.parametrize("name", COLOURS)
def test_the_map_shows_on_every_colour(name):
    """Also on those of the colour map itself: the difference between hot and cold can be seen."""
    picture = np.full((120, 120, 3), COLOURS[name], np.uint8)
    drawn = overlay(picture, spot(120))
    hot, cold = drawn[60, 60].astype(int), drawn[2, 2].astype(int)
    assert np.abs(hot - cold).sum() > 120
    line = contour(spot(120), 1)
    assert (drawn[line] == 255).all()
    assert lightness(drawn[60, 2]) < 225 and line.any()  # the line stands out from the cold picture
    ring = np.abs(np.diff(lightness(drawn[60])))
    assert ring.max() > 100  # white on black beside it


def test_every_colour_of_the_map_itself_shows_the_map():
    for value in np.linspace(0, 1, 11):
        colour = (255 * np.array(mpl.colormaps[COLORMAP](value)[:3])).astype(np.uint8)
        drawn = overlay(np.broadcast_to(colour, (60, 60, 3)).copy(), spot(60)).astype(int)
        assert np.abs(drawn[30, 30] - drawn[1, 1]).sum() > 100


def test_cold_places_show_the_dull_picture_and_outside_is_darker():
    noise = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    assert (overlay(noise, np.zeros((20, 30), np.float32)) == noise).all()  # there is nothing to show
    cold = np.full((20, 30), 1e-9, np.float32)  # the same everywhere: no line
    drawn = overlay(noise, cold)
    grey = noise @ np.array([0.299, 0.587, 0.114])
    assert np.abs(drawn - 0.55 * (0.35 * noise + 0.65 * grey[..., None])).max() <= 0.51
    part = overlay(noise, cold, (10, 5, 20, 15))
    assert (part[6:14, 11:19] == drawn[6:14, 11:19]).all()
    seen, around = np.zeros((20, 30), bool), np.zeros((20, 30), bool)
    seen[5:15, 10:20] = around[4:16, 9:21] = True
    beyond = np.abs(part[~around] - OUTSIDE * drawn[~around].astype(float))
    assert beyond.max() <= 1
    seen[6:14, 11:19] = False
    assert (part[seen] == FRAME[1]).all()  # the frame: light within the part, dark around it
    dark = (part == FRAME[0]).all(2)
    assert dark[4, 10:20].all() and dark[15, 10:20].all() and dark[5:15, 9].all() and dark[5:15, 20].all()


def test_the_line_is_at_half_the_height():
    heat = spot(40)
    inside, line = heat > 0.5 * heat.max(), contour(heat, 1)
    for y in range(40):
        for x in range(40):
            near = [(y + 1, x), (y - 1, x), (y, x + 1), (y, x - 1)]
            edge = any(0 <= v < 40 and 0 <= u < 40 and not inside[v, u] for v, u in near)
            assert line[y, x] == (inside[y, x] and edge)
    assert not contour(np.zeros((5, 5), np.float32), 1).any()


def test_large_pictures_are_blended_in_strips(monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (50, 40, 3), np.uint8)
    whole = overlay(noise, spot(50)[:, :40])
    monkeypatch.setattr("resight.render.overlay.AT_ONCE", 120)
    assert (overlay(noise, spot(50)[:, :40]) == whole).all()


@pytest.mark.parametrize("cells", [(1, 1), (2, 2), (7, 5), (16, 16)])
def test_a_map_is_placed_as_torch_resizes(cells):
    """Over a window in whole pixels: bilinear, pixel centres aligned; outside nothing."""
    heat = np.random.default_rng(1).random(cells).astype(np.float32)
    full = placed(heat, (3, 4, 33, 24), (40, 30))
    wanted = F.interpolate(torch.from_numpy(heat)[None, None], (20, 30), mode="bilinear")[0, 0].numpy()
    assert full.shape == (30, 40) and np.abs(full[4:24, 3:33] - wanted).max() < 1e-5
    full[4:24, 3:33] = 0
    assert not full.any()


def test_a_window_that_reaches_over_the_picture_is_cut():
    heat = np.tile(np.arange(8, dtype=np.float32), (8, 1))
    full = placed(heat, (-8, 0, 8, 8), (8, 8))
    assert full.shape == (8, 8) and (np.diff(full[0]) > 0).sum() >= 6 and full[0, 0] > 3


def test_a_map_lies_over_a_picture_of_any_size():
    picture = np.full((33, 57, 3), 90, np.uint8)
    assert over(picture, spot(8)).shape == (33, 57, 3)
