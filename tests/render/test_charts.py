"""Curves: a spike is a mark at the edge and leaves the rest readable; all else is drawn in its place."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from resight.render.charts import Series, above, interval_scale, line_chart
from resight.render.landscape import top_of_panel
from resight.render.spikes import top_of

FALLING = [2.3, 1.4, 0.9, 0.7, 0.6, 0.5, 0.45, 0.42, 0.4, 0.39, 0.38, 0.37]


def series(ys, colour="a"):
    return Series("training", list(range(1, len(ys) + 1)), ys, colour)


def heights(svg):
    return [float(p.split(",")[1]) for p in re.search(r'points="([^"]+)"', svg)[1].split()]


def last_tick(svg):
    return max(float(t) for t in re.findall(r'text-anchor="end">([\d.]+)<', svg))


@pytest.mark.parametrize("at", [0, 5, 11])
def test_one_spike_does_not_flatten_the_others(at):
    spiked = [*FALLING[:at], 412.0, *FALLING[at + 1 :]]
    svg = line_chart([series(spiked)], "epoch", "loss")
    assert last_tick(svg) <= 3 and svg.count("spike") == 1 and "412" in svg
    others = [h for number, h in enumerate(heights(svg)) if number != at]
    assert max(others) - min(others) > 50  # of 194 pixels
    assert above([series(spiked)]) == f"▲ One point is above the axis: 412 in epoch {at + 1}."


@pytest.mark.parametrize(
    "ys",
    [
        FALLING,
        [90.0] * 3 + [5.0] * 9,  # a quarter of it: its shape
        [60, 15, 12, 10, 9, 8, 8, 7, 7, 7],  # how a training begins
        [0.0] * 12,
        [3.0],
        [1.0, 400.0],
    ],
)
def test_a_shape_is_no_spike(ys):
    assert top_of([ys]) == max(ys)
    svg = line_chart([series(ys)], "epoch", "loss")
    assert "spike" not in svg and above([series(ys)]) == "" and last_tick(svg) >= max(ys)


def test_a_line_that_stays_high_sets_the_axis_for_both():
    high, spiked = [50.0] * 12, [*FALLING[:6], 70.0, *FALLING[7:]]
    assert top_of([high, spiked]) == 70
    assert top_of([[1.0] * 12, spiked]) == pytest.approx(2.3)


@pytest.mark.parametrize("ys", [[2.0, -3.0, -11.8], [-1.0, -4.0, -4.5], [0.0, 0.0, 0.0]])
def test_a_loss_below_zero_is_drawn_with_zero_in_sight(ys):
    """A negative log-likelihood: each point lies at its height between the axis's ends."""
    svg = ET.fromstring(line_chart([Series("train", [1, 2, 3], ys, "a")], "epoch", "loss"))
    labels = {
        float(text.text): float(text.get("y")) - 4
        for text in svg.iter("text")
        if text.get("class") == "tick" and text.get("text-anchor") == "end"
    }
    assert 0 in labels and min(labels) <= min(ys) and max(labels) >= max(ys)
    dots = [float(dot.get("cy")) for dot in svg.iter("circle")]
    low, high = min(labels), max(labels)
    for y, at in zip(ys, dots, strict=True):
        share = (y - low) / (high - low)
        assert at == pytest.approx(labels[low] + share * (labels[high] - labels[low]), abs=0.2)


def test_several_spikes_are_counted_in_words():
    ys = [*FALLING, *FALLING]
    ys[7], ys[9] = 30.0, 80.0
    assert above([series(ys)], " %") == "▲ 2 points are above the axis, the highest 80 % in epoch 10."


def test_the_curves_of_look_leave_the_same_points_out():
    spiked = np.array([*FALLING[:5], 412.0, *FALLING[6:]])
    assert top_of_panel([spiked]) == pytest.approx(2.3)
    assert top_of_panel([np.array(FALLING)]) is None


def test_the_interval_lies_where_its_numbers_say():
    svg = interval_scale(20.0, (10.0, 30.0), 50.0)
    x1, x2 = map(float, re.search(r'"interval" x1="([\d.]+)" y1="14" x2="([\d.]+)"', svg).groups())
    middle = float(re.search(r'cx="([\d.]+)"', svg)[1])
    guess = float(re.search(r'"mark" x1="([\d.]+)"', svg)[1])
    assert middle == pytest.approx((x1 + x2) / 2, abs=0.1)
    assert (guess - 8) / (middle - 8) == pytest.approx(2.5, abs=0.01) and "guessing: 50 %" in svg
