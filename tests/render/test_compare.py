"""Labelled marks: nothing is left out, and labels keep clear of each other."""

import io
import re
import xml.etree.ElementTree as ET

import numpy as np
from PIL import Image

from resight.render.compare import Axis, Mark, draw, place_labels

AXIS = Axis("parameters", "accuracy (published)", "caption <&>", bubbles=True, curve="b")


def marks(count):
    return [
        Mark(f"{'ab'[i % 2]}{i}", "one" if i % 3 else "two", 1e6 * 2.0**i, 60 + i, 1e6 * (i + 1), i % 2 == 0)
        for i in range(count)
    ]


def test_both_kinds_are_whole_and_name_every_network():
    pictures = draw(marks(7), AXIS)
    svg = pictures["svg"].decode()
    assert ET.fromstring(svg).tag.endswith("svg")
    words = set(re.findall(r">\s*([^<>]+?)\s*</text>", svg))
    assert {m.label for m in marks(7)} <= words and "one" in words and AXIS.title in words
    image = Image.open(io.BytesIO(pictures["png"]))
    image.load()
    assert image.format == "PNG" and image.width == 1800


def test_the_same_marks_give_the_same_file():
    assert draw(marks(4), AXIS)["svg"] == draw(marks(4), AXIS)["svg"]


def test_no_marks_give_an_empty_figure():
    assert ET.fromstring(draw([], AXIS)["svg"].decode()).tag.endswith("svg")


def test_labels_do_not_cover_each_other():
    rng = np.random.default_rng(0)
    centres = rng.uniform(150, 350, (40, 2))
    sizes = np.tile([60.0, 11.0], (40, 1))
    inside = np.array([0.0, 0.0, 600.0, 500.0])
    boxes = place_labels(centres, np.full(40, 5.0), sizes, inside, np.zeros((0, 2)))
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2:] <= inside[2:]).all()
    assert np.allclose(boxes[:, 2:] - boxes[:, :2], sizes)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    shared = np.prod(np.maximum(high - low, 0), axis=2)[~np.eye(40, dtype=bool)]
    assert shared.max() < 60  # of 660: corners at most
