"""Which part of a picture is seen, and whether mirrored: the operations that come first, one crop at most.

Boxes are (left, top, right, bottom) in pixels of the picture. Where a crop is drawn for one sample, the draws
are of one sample.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from resight.core.preprocessing import Preprocessing
from resight.data.augment.draws import Draws
from resight.data.prepare import MOST_ASPECT, seen_window

TRIES = 10
SHORTEST, LONGEST = 256, 480
"""Shorter sides of scale jitter, per 224 pixels of input."""


def pixels_of(share: float, side: int) -> int:
    """Return how many pixels a share of a square's side is; one at least."""
    return max(1, int(side * share))


def offsets(draws: Draws, span: int) -> tuple[NDArray, NDArray]:
    """Return the top and left offsets of crops from a padded square, uniform in 0..span, each (B,)."""
    top, left = (draws.of("crop").uniform(edge) * (span + 1) for edge in ("top", "left"))
    return top.astype(np.int64), left.astype(np.int64)


def resized_crop_box(draws: Draws, least: float, width: int, height: int, size: int = 0) -> tuple[float, ...]:
    """Return the box of a resized crop: area uniform in [least, 1], log-aspect in [log 3/4, log 4/3].

    Szegedy et al. 2014, section 6, with `least` 0.08. Ten tries, then the largest central box of an allowed
    aspect, as in torchvision.
    """
    del size
    draws = draws.of("resized-crop")
    for attempt in range(TRIES):
        area = width * height * (least + (1 - least) * draws.uniform(f"{attempt}/area")[0])
        aspect = np.exp((2 * draws.uniform(f"{attempt}/aspect")[0] - 1) * np.log(4 / 3))
        w, h = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if w <= width and h <= height:
            left = draws.uniform(f"{attempt}/left")[0] * (width - w)
            top = draws.uniform(f"{attempt}/top")[0] * (height - h)
            return (left, top, left + w, top + h)
    w, h = min(width, height * 4 / 3), min(height, width * 4 / 3)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def scale_jitter_box(draws: Draws, longest: float, width: int, height: int, size: int) -> tuple[float, ...]:
    """Return the box whose content, resized to `size`, is a random crop at a random scale.

    The shorter side would be resized to s = round(uniform[256, longest] * size / 224) and a square of
    `size` cut out (He et al. 2015, section 3.4, after Simonyan and Zisserman 2014); cutting first, then
    resizing, gives the same pixels in one step.
    """
    draws, short = draws.of("scale-jitter"), min(width, height)
    drawn = SHORTEST + (longest - SHORTEST) * draws.uniform("side")[0]
    cut = size * short / np.round(drawn * size / 224)
    left = draws.uniform("left")[0] * (width - cut)
    top = draws.uniform("top")[0] * (height - cut)
    return (left, top, left + cut, top + cut)


def random_crop_box(draws: Draws, share: float, width: int, height: int, size: int = 0) -> tuple[float, ...]:
    """Return a random square box whose side is `share` of the picture's shorter side.

    Krizhevsky et al. 2012, section 4.1: 224 pixels of 256, a share of 7/8.
    """
    del size
    draws, cut = draws.of("random-crop"), share * min(width, height)
    left = draws.uniform("left")[0] * (width - cut)
    top = draws.uniform("top")[0] * (height - cut)
    return (left, top, left + cut, top + cut)


def rescaled_box(draws: Draws, most: float, width: int, height: int, size: int = 0) -> tuple[float, ...]:
    """Return the square that shows a picture at a scale from 1 / (1 + most) to 1 + most, aspect kept.

    At scale 1 the longer side fills it. What is larger is cut at random, what is smaller lies at random in
    it, with black around.
    """
    del size
    draws = draws.of("rescale")
    side = max(width, height) / draws.factor("factor", most)[0]
    left = draws.uniform("left")[0] * (width - side)
    top = draws.uniform("top")[0] * (height - side)
    return (left, top, left + side, top + side)


BOXES: dict[str, Callable[[Draws, float, int, int, int], tuple[float, ...]]] = {
    "random-crop": random_crop_box,
    "resized-crop": resized_crop_box,
    "scale-jitter": scale_jitter_box,
    "rescale": rescaled_box,
}
"""Crops from whole pictures: (draws, value, width, height, size) to the box that is resized to `size`."""


def decoded_side(crop: str, value: float, size: int) -> int:
    """Return the shorter side that a picture is decoded for, so that the smallest box has `size` pixels."""
    if crop == "resized-crop":
        return round(size / np.sqrt(value))
    if crop == "random-crop":
        return round(size / value)
    if crop == "rescale":
        return size
    return round(max(LONGEST, value if crop == "scale-jitter" else 0) * size / 224)


def cached_side(crop: str, value: float, size: int) -> int:
    """Return the shorter side of whole pictures that are kept in memory to be cut from.

    A resized crop of less than (1 / 1.5)^2 = 44 % of the picture is enlarged, where one that is read from the
    file (`decoded_side`) is not: keeping pictures at that size would take five times the memory.
    """
    return round(1.5 * size) if crop == "resized-crop" else decoded_side(crop, value, size)


def fitted_box(width: int, height: int, card: Preprocessing) -> tuple[float, ...]:
    """Return the box that `prepare.fit` shows of a picture, by the same roundings."""
    if card.frame != "crop":
        return seen_window((width, height), card)
    most = MOST_ASPECT * min(width, height)
    x, y = max(0, (width - most) // 2), max(0, (height - most) // 2)
    width, height = min(width, most), min(height, most)
    short = min(width, height)
    new = [max(card.resize, int(card.resize * side / short)) for side in (width, height)]
    left, top = (
        round((side - card.size) / 2) * old / side for side, old in zip(new, (width, height), strict=True)
    )
    across, down = (card.size * old / side for side, old in zip(new, (width, height), strict=True))
    return (x + left, y + top, x + left + across, y + top + down)


def padded_box(box: tuple[float, ...], top: int, left: int, pad: int, size: int) -> tuple[float, ...]:
    """Return the box that a padded crop shows, from the box that the plain square of `size` shows."""
    across, down = (box[2] - box[0]) / size, (box[3] - box[1]) / size
    x, y = (left - pad) * across, (top - pad) * down
    return (box[0] + x, box[1] + y, box[2] + x, box[3] + y)
