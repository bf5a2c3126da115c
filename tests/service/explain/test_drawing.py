"""Overlays lie on the original: the map is where the network saw it, at the picture's own size."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from as_json import explain_paths
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import fit, seen_window
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.render.overlay import OUTSIDE
from resight.service.explain.drawing import original_of, seen_part
from support import resight

SIZES = [(64, 48), (48, 64), (300, 200), (200, 301), (33, 33), (97, 1600), (2000, 90)]


def ramp(size):
    """A picture that says where its pixels are: red is x, green is y, in 255ths of the picture."""
    width, height = size
    pixels = np.zeros((height, width, 3))
    pixels[..., 0] = (np.arange(width) + 0.5) / width * 255
    pixels[..., 1] = ((np.arange(height) + 0.5) / height * 255)[:, None]
    return Image.fromarray(pixels.round().astype(np.uint8))


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("card", [Preprocessing(size=32, resize=32), Preprocessing(size=56, resize=64)])
def test_the_window_is_what_the_network_sees(size, card):
    square = fit(ramp(size), card).astype(float)
    left, top, right, bottom = seen_window(size, card)
    for place, whole, low, high in ((0, size[0], left, right), (1, size[1], top, bottom)):
        values = square.mean(place)[:, place] / 255 * whole
        at = low + (np.arange(card.size) + 0.5) / card.size * (high - low)
        assert np.abs(values - at)[2:-2].max() < 1.5 * max(1, whole / 255), (place, values, at)


@pytest.mark.parametrize("size", [(300, 200), (240, 360)])
def test_a_map_lies_where_the_network_saw_it(size):
    """A hot corner of the map is a hot corner of the middle square; beyond it the picture is darker."""
    Image.new("RGB", size, (120, 120, 120)).save("p.png")
    original = original_of(Path("p.png"), Preprocessing(size=56, resize=64))
    heat = np.zeros((56, 56), np.float32)
    heat[:8, :8] = 1
    drawn = original.under(heat)
    assert drawn.shape == (size[1], size[0], 3)
    left, top, right, bottom = seen_window(size, Preprocessing(size=56, resize=64))
    cell = (right - left) / 56
    hot = drawn[int(top + 4 * cell), int(left + 4 * cell)].astype(int)
    cold, beyond = drawn[int(bottom - 4), int(right - 4)], drawn[2, 2]
    assert np.ptp(hot) > 40 and np.ptp(cold) == 0 == np.ptp(beyond)
    assert beyond[0] == pytest.approx(OUTSIDE * cold[0], abs=1) and round(right - left) == round(bottom - top)


@pytest.fixture
def run(tmp_path):
    torch.manual_seed(0)
    model = create_model("resnet20", 2)
    model.classes, model.preprocessing = ("a", "b"), Preprocessing(size=32, resize=36)
    save_model(tmp_path / "m.safetensors", model, model.state_dict(), {})
    return str(tmp_path / "m.safetensors")


def test_overlays_have_the_pictures_size_and_maps_the_networks(run):
    exif = Image.Exif()
    exif[274] = 6
    ramp((320, 240)).save("turned.jpg", exif=exif)
    ramp((500, 230)).save("wide.png")
    ramp((30, 20)).save("small.png")
    done = resight("explain", run, "turned.jpg", "wide.png", "small.png", "--method", "cam,rise", "--set",
                   "samples=8", "--json", check=0)  # fmt: skip
    rows = json.loads(done.stdout)
    assert all(list(row) == ["path", "method", "layer", "target", "score", "image", "map"] for row in rows)
    assert [(row["method"], row["path"]) for row in rows] == [
        (m, p) for m in ("cam", "rise") for p in ("turned.jpg", "wide.png", "small.png")
    ]
    sizes = {"turned.jpg": (240, 320), "wide.png": (500, 230), "small.png": (210, 140)}
    for row in rows:
        with Image.open(row["image"]) as image:
            assert image.size == sizes[row["path"]]  # as seen; small ones enlarged by a whole factor
        heat = np.load(row["map"])
        assert heat.shape == (32, 32) and heat.dtype == np.float32


def test_a_sheet_shows_what_the_network_saw_in_the_pictures_own_sharpness():
    ramp((400, 300)).save("p.png")
    card = Preprocessing(size=56, resize=64)
    with Image.open("p.png") as image:
        square = fit(image, card)
    shown = seen_part(Path("p.png"), card, square, 192)
    assert shown.shape == (192, 192, 3)
    again = np.asarray(Image.fromarray(shown).resize((56, 56), Image.Resampling.BOX)).astype(int)
    assert np.abs(again - square).max() <= 4
    ramp((40, 30)).save("q.png")
    assert seen_part(Path("q.png"), card, square, 192) is square  # no more to show


def test_one_method_after_another_gives_the_rows_of_each(run):
    ramp((100, 80)).save("p.png")
    both = explain_paths(run, ["p.png"], ("cam", "gradient"))
    assert both == [*explain_paths(run, ["p.png"], ("cam",)), *explain_paths(run, ["p.png"], ("gradient",))]
