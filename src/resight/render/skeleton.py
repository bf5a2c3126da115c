"""Joints and limbs drawn on pictures: left and right in different colours."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

SIDES = {"left": (80, 170, 255), "right": (255, 150, 0), "": (255, 240, 90)}
"""Colours of what is left, right and in the middle of a person, whichever side of the picture it is on."""
TRUE, EDGE = (255, 255, 255), (0, 0, 0)
LEAST_SIDE, FINER = 320, 2
FEW = 30
"""With more joints a dot is small."""


def draw_skeleton(
    picture: Image.Image,
    places: NDArray[np.float64],
    limbs: Sequence[tuple[int, int]],
    sides: Sequence[str],
    true: NDArray[np.float64] | None = None,
    known: NDArray[np.bool_] | None = None,
) -> Image.Image:
    """Draw a skeleton on a picture, enlarged if it is small, and thin, in white, the true one.

    A limb has the colour of its side if both ends are of it, else that of the middle.

    Args:
        picture: RGB.
        places: x and y of the joints, in pixels of the picture, 0 being its outer edge, (J, 2).
        limbs: pairs of joints.
        sides: of each joint, "left", "right" or "".
        true: true places, (J, 2); None to draw none.
        known: which joints are drawn, of the true ones if there are some, else of the others, (J,); all by
            default.
    """
    factor = max(1.0, LEAST_SIDE / max(picture.size))
    size = (round(picture.width * factor), round(picture.height * factor))
    canvas = picture.convert("RGB").resize([FINER * side for side in size], Image.Resampling.BICUBIC)
    pen, scale = ImageDraw.Draw(canvas), FINER * factor
    line = max(2, max(size) * FINER // 90)
    every = np.ones(len(places), bool)
    shown = every if known is None else known
    if true is not None:
        _draw(pen, true * scale, limbs, [TRUE] * len(true), shown, max(1, line // 2))
    colours = [SIDES[side] for side in sides]
    _draw(pen, places * scale, limbs, colours, shown if true is None else every, line)
    return canvas.resize(size, Image.Resampling.LANCZOS)


def _draw(
    pen: ImageDraw.ImageDraw,
    at: NDArray[np.float64],
    limbs: Sequence[tuple[int, int]],
    colours: Sequence[tuple[int, int, int]],
    shown: NDArray[np.bool_],
    line: int,
) -> None:
    """Draw limbs, then joints on them, each with a dark edge that shows on any ground."""
    drawn = [(a, b) for a, b in limbs if shown[a] and shown[b]]
    for width, dark in ((line + 2 * FINER, True), (line, False)):
        for a, b in drawn:
            own = colours[a] if colours[a] == colours[b] else SIDES[""] if colours[a] != TRUE else TRUE
            pen.line([*at[a], *at[b]], fill=EDGE if dark else own, width=width)
    radius = line * (1.3 if len(at) <= FEW else 0.6)
    for (x, y), colour, there in zip(at, colours, shown, strict=True):
        if there:
            box = (x - radius, y - radius, x + radius, y + radius)
            pen.ellipse(box, fill=colour, outline=EDGE, width=max(1, FINER // 2))
