"""Corrected boxes as Pascal VOC: read again they are the same, and only finished pictures are there."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from resight.core.errors import DataError, ResightError, UsageError
from resight.data.labelling import EveryObject
from resight.data.layouts.voc import open_voc
from resight.service.serve import labels as room
from resight.service.serve.desk import open_desk
from resight.service.serve.labels import Labels
from resight.service.serve.network import open_served
from serving import RED, save_finder, spotted

BOXES = (
    ('red <&> "é"', 8.37, 10.0, 22.01, 24.5),
    ("blue", 0.0, 0.0, 64.0, 48.0),
    ('red <&> "é"', 1, 2, 3, 4),
)


def labelled(tmp_path, *, done=True, boxes=BOXES, split="default"):
    picture = tmp_path / "photos" / "a.png"
    picture.parent.mkdir()
    spotted(RED).save(picture)
    labels = Labels.open(tmp_path / "boxes", "voc")
    labels.save(picture, split, (64, 48), 0, boxes, done=done)
    return labels, picture


def read_again(folder, picture):
    """What the reader of data sets makes of the folder with its picture."""
    place = folder / "JPEGImages"
    place.mkdir()
    shutil.copy(picture, place)
    return open_voc(folder, rule=EveryObject())


def test_boxes_read_again_are_the_same(tmp_path):
    labels, picture = labelled(tmp_path)
    split = read_again(labels.folder, picture).train
    assert split.picture_size(0) == (64, 48)
    found = [(split.classes[b.label], b.x0, b.y0, b.x1, b.y1) for b in split.picture_boxes(0)]
    wanted = [(name, x, y, x + w, y + h) for name, x, y, w, h in BOXES]
    assert [row[0] for row in found] == [row[0] for row in wanted]
    assert np.allclose([row[1:] for row in found], [row[1:] for row in wanted], atol=1e-9)


def test_the_desk_reads_them_again_too(tmp_path):
    labels, picture = labelled(tmp_path)
    again = Labels.open(labels.folder, "voc").saved[picture]
    assert again == labels.saved[picture] and again.boxes == BOXES


def test_only_finished_pictures_have_a_file(tmp_path):
    labels, picture = labelled(tmp_path)
    file = labels.folder / "Annotations/a.xml"
    assert file.is_file()
    labels.save(picture, "default", (64, 48), 1, BOXES[:1], done=False)
    assert not file.exists()
    assert Labels.open(labels.folder, "voc").saved[picture].boxes == BOXES[:1]


def test_a_split_has_its_list(tmp_path):
    labels, picture = labelled(tmp_path, split="train")
    file = labels.folder / "ImageSets/Main/train.txt"
    assert file.read_text() == "a\n"
    labels.save(picture, "train", (64, 48), 1, (), done=False)
    assert file.read_text() == ""


def test_a_full_disk_leaves_what_was_saved(tmp_path, monkeypatch):
    labels, picture = labelled(tmp_path)
    before = (labels.folder / "Annotations/a.xml").read_bytes()

    def full(path, text):
        del text
        raise ResightError(f"{path}: no space left")

    monkeypatch.setattr(room.voc, "write_text", full)
    with pytest.raises(ResightError, match="no space"):
        labels.save(picture, "default", (64, 48), 1, (), done=True)
    assert (labels.folder / "Annotations/a.xml").read_bytes() == before
    assert labels.saved[picture].version == 1


def test_the_other_form_is_refused_by_name(tmp_path):
    labels, _ = labelled(tmp_path)
    with pytest.raises(DataError, match=r"holds boxes as voc; choose --format voc"):
        Labels.open(labels.folder)
    foreign = tmp_path / "foreign"
    (foreign / "Annotations").mkdir(parents=True)
    with pytest.raises(DataError, match="holds no boxes of serve"):
        Labels.open(foreign, "voc")


def test_pictures_of_one_name_are_refused_by_name(tmp_path):
    network = open_served(str(save_finder(tmp_path / "finder.safetensors")))
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.png", "a.bmp"):
        spotted(RED).save(photos / name)
    with pytest.raises(DataError, match=r"a\.bmp and a\.png: have one name"):
        open_desk(network, str(photos), str(tmp_path / "boxes"), form="voc")
    with pytest.raises(UsageError, match="--format 'yolo'"):
        open_desk(network, str(photos), str(tmp_path / "boxes"), form="yolo")
    assert Path(open_desk(network, str(photos), str(tmp_path / "boxes")).labels.folder).name == "boxes"
