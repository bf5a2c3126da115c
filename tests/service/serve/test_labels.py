"""Corrected boxes on disk: read back by the product, never over anything of the user's, nothing lost."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import resight
from annotated import coco, put
from resight.core.errors import DataError, ResightError, UsageError
from resight.data.frames import TURNS
from resight.service.serve.desk import open_desk
from resight.service.serve.labels import ChangedError, Labels
from resight.service.serve.network import open_served
from serving import BLUE, RED, save_finder, spotted
from support import resight as command


@pytest.fixture(scope="module")
def network(tmp_path_factory):
    return open_served(str(save_finder(tmp_path_factory.mktemp("finder") / "finder.safetensors")))


@pytest.fixture
def photos(tmp_path):
    for number in range(6):
        (tmp_path / "photos").mkdir(parents=True, exist_ok=True)
        colour = (RED, BLUE)[number % 2]
        box = (4 + number, 5, 30 + number, 35)
        spotted(colour, box).save(tmp_path / "photos" / f"{number}.png")
    return tmp_path / "photos"


def items_of(desk):
    return list(desk.items.values())


def test_a_desk_proposes_boxes_by_the_rule_of_locate(network, photos):
    from resight.core.figures import to_json
    from resight.localize.rule import Rule

    desk = open_desk(network, str(photos), None)
    state = desk.state(items_of(desk)[0])
    assert (state["from"], state["version"], state["done"]) == ("proposed", 0, False)
    image = Image.open(photos / "0.png").convert("RGB")
    assert state["boxes"] == to_json(network.boxes(image, None, None, Rule()))
    assert state["boxes"][0]["label"] == "red"
    assert state["name"] == "0.png"
    assert not (photos.parent / "photos-boxes").exists()  # nothing is written before something is saved


def test_saved_boxes_are_read_back_by_the_product(network, photos):
    before = {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()}
    desk = open_desk(network, str(photos), None)
    for number, item in enumerate(items_of(desk)):
        label = ("red", "blue")[number % 2]
        desk.save(item, 0, [{"label": label, "box": [4.0 + number, 5, 26, 30]}], done=True)
    folder = photos.parent / "photos-boxes"
    dataset = resight.open_dataset(folder)
    found = {
        split.picture_name(i).rsplit("/", 1)[-1]: [
            (split.classes[b.label], *b[1:]) for b in split.picture_boxes(i)
        ]
        for split in dataset.splits.values()
        for i in range(len(split))
    }
    assert found == {f"{n}.png": [(("red", "blue")[n % 2], 4.0 + n, 5.0, 30.0 + n, 35.0)] for n in range(6)}
    done = command("check", folder, "--json")
    report = json.loads(done.stdout)
    assert (report["n"], report["faults"]) == (6, [])
    assert {path: path.read_bytes() for path in photos.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("orientation", TURNS)
def test_boxes_are_saved_in_the_stored_picture_and_shown_in_the_displayed_one(network, tmp_path, orientation):
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x0112] = orientation
    spotted(RED).save(tmp_path / "photos" / "a.jpg", quality=95, exif=exif)
    spotted(BLUE).save(tmp_path / "photos" / "b.jpg", quality=95)
    desk = open_desk(network, "photos", None)
    item = items_of(desk)[0]
    size = desk.state(item)["width"], desk.state(item)["height"]
    assert size == ((48, 64) if TURNS[orientation][0] else (64, 48))
    desk.save(item, 0, [{"label": "red", "box": [3, 4, 20, 10]}], done=True)
    file = tmp_path / "photos-boxes/annotations/instances_default.json"
    (note,) = json.loads(file.read_text())["annotations"]
    # The oracle: the same rectangle painted on the displayed picture, turned back by Pillow.
    shown = np.zeros((size[1], size[0]), np.uint8)
    shown[4:14, 3:23] = 255
    back = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}[orientation]
    rows, columns = np.nonzero(np.asarray(Image.fromarray(shown).transpose(Image.Transpose(back))))
    x, y, width, height = note["bbox"]
    assert (x, y, x + width, y + height) == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    again = open_desk(network, "photos", None)
    assert again.state(items_of(again)[0])["boxes"] == [{"label": "red", "box": [3, 4, 20, 10]}]


def test_a_data_set_keeps_its_splits_and_its_own_boxes(network, tmp_path):
    (tmp_path / "set" / "annotations").mkdir(parents=True)
    for split, start in (("train", 0), ("val", 100)):
        rows = put(tmp_path / "set" / split, start=start)
        (tmp_path / "set" / "annotations" / f"instances_{split}.json").write_text(coco(rows))
    desk = open_desk(network, "set", "corrected")
    first = items_of(desk)[0]
    state = desk.state(first)
    assert (state["from"], state["boxes"]) == ("data", [{"label": "cat", "box": [2, 3, 5, 6]}])
    assert desk.classes == ["red", "blue", "cat", "dog"]
    for item in items_of(desk):
        desk.save(item, 0, desk.state(item)["boxes"], done=True)
    old, new = resight.open_dataset("set"), resight.open_dataset("corrected")
    assert {name: len(split) for name, split in new.splits.items()} == {
        name: len(split) for name, split in old.splits.items()
    }
    for name, split in old.splits.items():
        own = new.split(name)
        assert [own.digest(i) for i in range(len(own))] == [split.digest(i) for i in range(len(split))]
        assert [own.picture_boxes(i) for i in range(len(own))] == [
            split.picture_boxes(i) for i in range(len(split))
        ]


def test_only_pictures_that_are_done_are_in_the_data_set(network, photos):
    desk = open_desk(network, str(photos), "boxes")
    begun, done, *_ = items_of(desk)
    desk.save(begun, 0, [{"label": "red", "box": [1, 1, 9, 9]}], done=False)
    desk.save(done, 0, [{"label": "red", "box": [2, 2, 9, 9]}], done=True)
    written = json.loads((photos.parent / "boxes/annotations/instances_default.json").read_text())
    assert [image["file_name"] for image in written["images"]] == ["../../photos/1.png"]
    assert desk.counts()["done"] == 1
    again = open_desk(network, str(photos), "boxes")  # as after a crash
    state = again.state(items_of(again)[0])
    assert (state["from"], state["version"], state["done"]) == ("saved", 1, False)
    assert state["boxes"] == [{"label": "red", "box": [1, 1, 9, 9]}]


def test_what_a_second_person_changed_is_not_overwritten(network, photos):
    desk = open_desk(network, str(photos), None)
    item = items_of(desk)[0]
    mine = [{"label": "red", "box": [1, 1, 9, 9]}]
    desk.save(item, 0, mine, done=True)
    with pytest.raises(ChangedError):
        desk.save(item, 0, [], done=True)
    assert desk.state(item)["boxes"] == mine
    assert desk.save(item, 1, [], done=True)["version"] == 2


def test_a_file_that_cannot_be_written_leaves_the_last_one(network, photos, monkeypatch):
    from resight.service.serve import labels

    desk = open_desk(network, str(photos), None)
    item = items_of(desk)[0]
    desk.save(item, 0, [{"label": "red", "box": [1, 1, 9, 9]}], done=True)
    file = photos.parent / "photos-boxes/annotations/instances_default.json"
    before = file.read_bytes()

    def full(path, text):
        raise ResightError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(labels, "write_text", full)
        with pytest.raises(ResightError):
            desk.save(item, 1, [{"label": "new", "box": [5, 5, 9, 9]}], done=True)
    assert file.read_bytes() == before
    assert desk.state(item)["version"] == 1
    assert "new" not in desk.classes
    assert desk.save(item, 1, [], done=True)["version"] == 2


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ({"label": "red", "box": [0, 0, 0, 5]}, "less than 1 pixel"),
        ({"label": "red", "box": [70, 0, 9, 9]}, "less than 1 pixel"),
        ({"label": "  ", "box": [0, 0, 9, 9]}, "class name"),
        ({"label": "a\x1b[31m", "box": [0, 0, 9, 9]}, "class name"),
        ({"label": "x" * 201, "box": [0, 0, 9, 9]}, "class name"),
    ],
)
def test_boxes_without_area_or_name_are_refused(network, photos, box, words):
    desk = open_desk(network, str(photos), None)
    with pytest.raises(UsageError, match=words):
        desk.save(items_of(desk)[0], 0, [box], done=True)
    assert not (photos.parent / "photos-boxes").exists()


def test_boxes_are_cut_at_the_edge_of_the_picture(network, photos):
    desk = open_desk(network, str(photos), None)
    state = desk.save(items_of(desk)[0], 0, [{"label": "red", "box": [-5, -5, 20, 100]}], done=True)
    assert state["boxes"] == [{"label": "red", "box": [0, 0, 15, 48]}]


def test_nothing_of_the_user_is_overwritten(network, photos):
    with pytest.raises(UsageError, match="holds the pictures"):
        open_desk(network, str(photos), str(photos))
    own = photos.parent / "mine"
    (own / "annotations").mkdir(parents=True)
    (own / "annotations" / "instances_default.json").write_text(coco([]))
    with pytest.raises(DataError, match="was not written by serve"):
        open_desk(network, str(photos), str(own))
    (photos.parent / "other").mkdir()
    (photos.parent / "other" / "notes.txt").write_text("mine")
    with pytest.raises(DataError, match="is not empty"):
        open_desk(network, str(photos), str(photos.parent / "other"))


def test_a_damaged_file_is_refused_by_name(network, photos):
    desk = open_desk(network, str(photos), None)
    desk.save(items_of(desk)[0], 0, [{"label": "red", "box": [1, 1, 9, 9]}], done=True)
    file = photos.parent / "photos-boxes/annotations/instances_default.json"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(DataError, match=r"instances_default\.json: is not usable JSON"):
        Labels.open(photos.parent / "photos-boxes")


def test_pictures_in_a_table_cannot_be_named(network):
    with pytest.raises(DataError, match="not files of their own"):
        open_desk(network, "digits", None)


def test_the_most_doubtful_come_first(network, tmp_path):
    (tmp_path / "photos").mkdir()
    for name, red in (("a", 230), ("b", 40), ("c", 120)):
        spotted((red, 20, 20)).save(tmp_path / "photos" / f"{name}.png")
    (tmp_path / "photos" / "d.png").write_bytes(b"no picture")
    desk = open_desk(network, "photos", None)
    names = [row.name for row in desk.listed("doubt", "all", 0, 9)[1]]
    assert names == ["a.png", "b.png", "c.png", "d.png"]
    desk.answer(desk.unanswered(10))
    count, rows = desk.listed("doubt", "open", 0, 9)
    assert (count, [row.name for row in rows]) == (4, ["b.png", "c.png", "a.png", "d.png"])
    assert [row.doubt for row in rows[:3]] == sorted((row.doubt for row in rows[:3]), reverse=True)
    assert "not a picture" in rows[3].error
    assert desk.unanswered(10) == []
    assert desk.counts() == {"total": 4, "done": 0, "scored": 4}
    assert [row.name for row in desk.listed("name", "open", 1, 2)[1]] == ["b.png", "c.png"]


def test_pictures_are_shown_without_metadata(network, tmp_path):
    (tmp_path / "photos").mkdir()
    exif = Image.Exif()
    exif[0x010F] = "SecretMaker"
    for name in "ab":
        spotted().save(tmp_path / "photos" / f"{name}.jpg", exif=exif, comment=b"SecretComment")
    desk = open_desk(network, "photos", None)
    shown = desk.picture(items_of(desk)[0], 64)
    assert b"Secret" not in shown
    assert not Image.open(io.BytesIO(shown)).getexif()
