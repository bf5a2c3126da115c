"""The augmentation gallery: a PNG with every operation, or what a recipe makes of a data set."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from as_json import gallery, list_operations
from resight.cli import data
from resight.core.errors import DataError, PictureError, UsageError
from resight.data.augment.operations import OPERATIONS
from resight.render.gallery import BOX, TILE, Line, Tile, draw_gallery
from resight.service.data.gallery import EPOCHS
from resight.service.data.gallery import list_operations as service
from support import picture, resight

SHOWN = [name for name, operation in OPERATIONS.items() if operation.kind != "generated"]


def test_every_operation_is_drawn_on_a_picture(tmp_path):
    picture(size=(60, 48)).save("one.png")
    answer = gallery("one.png", "drawn/all.png", ["seed=3"])
    assert answer["rows"] == SHOWN and answer["image"] == "drawn/all.png"
    with Image.open(tmp_path / "drawn" / "all.png") as image:
        assert image.mode == "RGB" and image.width > 10 * TILE and image.height > len(SHOWN) // 2 * TILE
    again = gallery("one.png", "again.png", ["seed=3"])
    assert (tmp_path / again["image"]).read_bytes() == (tmp_path / "drawn" / "all.png").read_bytes()
    gallery("one.png", "other.png", ["seed=4"])
    assert (tmp_path / "other.png").read_bytes() != (tmp_path / "again.png").read_bytes()


def test_operations_that_are_asked_for_are_drawn_alone_and_together():
    picture(size=(40, 40)).save("one.png")
    answer = gallery("one.png", changes=["augment=flip,rotation:30,mixup"])
    assert answer["rows"] == ["flip", "rotation", "mixup", "together"]
    assert gallery("one.png", changes=["augment=snow"])["rows"] == ["snow"]


def test_a_data_set_shows_its_pictures_as_epochs_see_them(folder):
    answer = gallery(str(folder), changes=["augment=pad-crop,flip,cutmix", "image_size=32"])
    assert len(answer["rows"]) == 8 and set(answer["rows"]) == {"blue", "green", "red"}
    with Image.open("augment.png") as image:
        assert image.width < (EPOCHS + 3) * (TILE + 20)
    assert gallery(str(folder))["rows"] == SHOWN


def test_boxes_of_real_pictures_move_with_them(unzipped):
    unzipped("wildlife_voc")
    drawn = []
    for words in ("rotation:40", "hue:0.1"):
        assert len(gallery("unzipped/wildlife", "drawn.png", [f"augment={words}"])["rows"]) == 8
        with Image.open("drawn.png") as image:
            drawn.append((np.asarray(image) == BOX).all(2))
    assert all(green.sum() > 8 * 5 * 100 for green in drawn) and (drawn[0] != drawn[1]).any()


def test_a_box_is_drawn_where_it_is():
    pixels = np.full((32, 32, 3), 90, np.uint8)
    plain = draw_gallery("t", [Line("a", "words", [Tile(pixels)])])
    boxed = draw_gallery("t", [Line("a", "words", [Tile(pixels, "", [(8, 8, 24, 24)])])])
    differ = np.asarray(plain) != np.asarray(boxed)
    rows, columns = np.nonzero(differ.any((1, 2)))[0], np.nonzero(differ.any((0, 2)))[0]
    assert rows.max() - rows.min() == columns.max() - columns.min() == TILE // 2


def test_the_table_lists_every_operation_with_its_range():
    done = json.loads(resight("augment", "--json", check=0).stdout)["operations"]
    assert done == list_operations() and [row["name"] for row in done] == list(OPERATIONS)
    keys = {"name", "kind", "does", "default", "above", "up_to", "share"}
    assert all(set(row) == keys for row in done)


def test_the_table_is_shown_to_people(capsys):
    data.operations(service(), as_json=False)
    shown = capsys.readouterr().out
    assert "rotation:15@0.5" in shown and all(name in shown for name in OPERATIONS)


def test_the_command_draws_and_answers(tmp_path):
    picture().save("one.png")
    words = ("--set", "augment=hue", "--out", "drawn.png", "--json")
    answer = json.loads(resight("augment", "one.png", *words, check=0).stdout)
    assert answer["image"] == "drawn.png" and answer["rows"] == ["hue"] and answer["operations"]
    assert (tmp_path / "drawn.png").is_file()


@pytest.mark.parametrize(
    ("where", "changes", "error", "text"),
    [
        ("one.png", ["augment=gan:x"], UsageError, "samples of train-gan"),
        ("one.png", ["augment=huge"], UsageError, "'huge' is not an operation; nearest: hue"),
        ("one.png", ["image_size=4"], UsageError, "image_size=4 must be 0, or from 16"),
        ("one.png", ["colour=1"], UsageError, "unknown setting 'colour'"),
        ("one.png", ["seed=-1"], UsageError, "seed=-1"),
        ("bad.png", [], PictureError, "bad.png"),
        ("none.png", [], DataError, "none.png: no such file"),
    ],
)
def test_what_is_off_is_named(where, changes, error, text):
    picture().save("one.png")
    Path("bad.png").write_bytes(b"text")
    with pytest.raises(error, match=text):
        gallery(where, changes=changes)
