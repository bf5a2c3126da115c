"""The comparison sheet: its size, its tiles where they belong, text that fits."""

import numpy as np
from PIL import Image

from resight.render.sheet import CAPTION, FOOTER, GAP, HEADER, MARGIN, TILE, Row, draw_sheet, fitted, font
from resight.render.sheet import left as left_of
from resight.render.sheet import top as top_of

COLOURS = [(200, 0, 0), (0, 180, 0), (0, 0, 160)]


def tile(colour, side):
    return np.full((side, side, 3), colour, np.uint8)


def at(sheet, row, column):
    """The middle pixel of a tile."""
    return sheet.getpixel((left_of(column) + TILE // 2, top_of(row) + TILE // 2))


def test_every_tile_is_in_its_row_and_column():
    rows = [
        Row("one", [tile(c, 16) for c in COLOURS]),
        Row("two", [tile(c, 300) for c in COLOURS[::-1]]),
    ]
    sheet = draw_sheet(["picture", "CAM", "Grad-CAM"], rows, "below")
    assert sheet.size == (
        2 * MARGIN + 3 * TILE + 2 * GAP,
        2 * MARGIN + HEADER + 2 * (CAPTION + TILE + GAP) + FOOTER,
    )
    assert top_of(0) == MARGIN + HEADER + CAPTION and top_of(1) - top_of(0) == CAPTION + TILE + GAP
    assert [at(sheet, 0, c) for c in range(3)] == COLOURS
    assert [at(sheet, 1, c) for c in range(3)] == COLOURS[::-1]


def test_small_pictures_keep_their_pixels_and_all_fill_their_tile():
    checks = np.zeros((16, 16, 3), np.uint8)
    checks[::2, ::2] = 255
    sheet = draw_sheet(["a", "b"], [Row("", [checks, tile((9, 9, 9), 128)])], "")
    box = (left_of(0), top_of(0), left_of(0) + TILE, top_of(0) + TILE)
    assert np.array_equal(np.asarray(sheet.crop(box)), checks.repeat(TILE // 16, 0).repeat(TILE // 16, 1))
    assert sheet.getpixel((left_of(1) + TILE - 1, top_of(0) + TILE - 1)) == (9, 9, 9)


def test_header_caption_and_footer_are_written():
    words = draw_sheet(["Score-CAM"], [Row("red.png: red", [tile(COLOURS[0], 16)])], "resnet20")
    blank = draw_sheet([""], [Row("", [tile(COLOURS[0], 16)])], "")
    changed = np.abs(np.asarray(words, int) - np.asarray(blank, int)).sum((1, 2)) > 0
    assert changed[MARGIN : MARGIN + HEADER].any()
    assert changed[top_of(0) - CAPTION : top_of(0)].any()
    assert changed[-MARGIN - FOOTER : -MARGIN].any()
    assert not changed[top_of(0) : top_of(0) + TILE].any()


def test_long_text_is_cut_to_its_place():
    face = font(14)
    assert fitted("short", face, 200) == "short"
    cut = fitted("a very long file name of a picture.jpeg", face, 100)
    assert cut.endswith("…") and cut.startswith("a very") and face.getlength(cut) <= 100
    assert isinstance(draw_sheet(["x" * 99], [Row("y" * 99, [tile((0, 0, 0), 8)])], "z" * 99), Image.Image)
