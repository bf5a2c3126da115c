"""Boxes drawn on pictures."""

from collections.abc import Sequence

from PIL import Image, ImageDraw, ImageFont

FOUND, MARKED = (255, 190, 0), (0, 200, 120)
LEAST_SIDE = 320


def draw_boxes(
    picture: Image.Image,
    found: Sequence[tuple[str, Sequence[float]]],
    marked: Sequence[Sequence[float]] = (),
) -> Image.Image:
    """Draw boxes on a picture, enlarged if it is small: found boxes with their labels, marked ones thin.

    Args:
        picture: RGB.
        found: (label, [x, y, width, height]) in pixels of the picture; drawn in yellow.
        marked: [x0, y0, x1, y1] of the annotated objects; drawn in green.
    """
    factor = max(1, -(-LEAST_SIDE // max(picture.size)))
    size = (picture.width * factor, picture.height * factor)
    shown = picture.convert("RGB").resize(size, Image.Resampling.NEAREST)
    pen, line = ImageDraw.Draw(shown), max(2, max(size) // 200)
    font = ImageFont.load_default(max(12, max(size) // 28))
    for x0, y0, x1, y1 in marked:
        _rectangle(pen, (x0, y0, x1, y1), factor, MARKED, line)
    for words, (x, y, width, height) in found:
        _rectangle(pen, (x, y, x + width, y + height), factor, FOUND, line)
        left, _, right, bottom = pen.textbbox((0, 0), words, font=font)
        place = (min(x * factor, max(size[0] - right - 4, 0)), min(y * factor, size[1] - bottom - 4))
        pen.rectangle((place[0], place[1], place[0] + right - left + 4, place[1] + bottom + 4), fill=FOUND)
        pen.text((place[0] + 2, place[1] + 2), words, fill=(0, 0, 0), font=font)
    return shown


def _rectangle(
    pen: ImageDraw.ImageDraw, box: tuple[float, ...], factor: int, colour: tuple[int, int, int], line: int
) -> None:
    x0, y0, x1, y1 = (round(v * factor) for v in box)
    pen.rectangle((x0, y0, max(x1 - 1, x0), max(y1 - 1, y0)), outline=colour, width=line)
