"""What pictures with boxes are labelled with, what stays with them, and what a fingerprint covers."""

import json

import pytest

from annotated import BOX, coco, put, voc
from resight.core.errors import DataError
from resight.data.dataset import fingerprint
from resight.data.label_kinds import ANY
from resight.data.labelling import ALL, AllBoxes, LargestBox
from resight.data.marks import ClassMarks
from resight.data.open import open_as_it_is
from support import picture


def one_class(root):
    """Eight pictures whose boxes are all cats."""
    rows = [(name, "cat") for name, _ in put(root / "train")]
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_train.json").write_text(coco(rows))
    return root


def changed(root, change):
    file = root / "annotations" / "instances_train.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def boxes_said(split, index):
    return f"{split.picture_boxes(index)}"


def test_one_class_is_enough_for_a_rule_that_says_so(tmp_path):
    one_class(tmp_path)
    for rule in (LargestBox(least=1), AllBoxes(least=1)):
        data = open_as_it_is(tmp_path, rule=rule)
        assert data.classes == ("cat",) and len(data.train) == 8
        assert data.train.picture_boxes(3)[0][1:] == BOX
    with pytest.raises(DataError, match="one class only, 'cat'; a classifier needs two"):
        open_as_it_is(tmp_path)
    with pytest.raises(DataError, match="boxes of 1 class; two are needed"):
        open_as_it_is(tmp_path, rule=ALL)


def test_the_prefix_asks_for_all_boxes(tmp_path):
    rows = put(tmp_path / "train")
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(coco(rows))
    named, ruled = open_as_it_is(f"multi-label:{tmp_path}"), open_as_it_is(tmp_path, rule=ALL)
    assert named.kind is ANY and ruled.kind is ANY
    assert named.train.labels.tolist() == ruled.train.labels.tolist()


def test_crowds_stay_apart_and_difficult_objects_are_objects_too(tmp_path):
    rows = put(tmp_path / "coco" / "train")
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "instances_train.json").write_text(coco(rows))
    crowd = {"id": 99, "image_id": 0, "category_id": 2, "bbox": [1, 1, 20, 15], "iscrowd": 1}
    changed(tmp_path / "coco", lambda document: document["annotations"].append(crowd))
    train = open_as_it_is(tmp_path / "coco").train
    assert [box[1:] for box in train.boxes[0]] == [BOX] and train.class_names(0) == ("cat",)
    assert [box[1:] for box in train.ignored[0]] == [(1, 1, 21, 16)]
    assert train.classes[train.ignored[0][0].label] == "dog" and not any(train.ignored[1:])
    flat = tmp_path / "voc"
    for name, label in put(flat):
        hard = "<difficult>1</difficult>" if name == "2.png" else "<difficult>0</difficult>"
        text = voc(name, label).replace("<bndbox>", f"{hard}<bndbox>")
        (flat / name).with_suffix(".xml").write_text(text)
    train = open_as_it_is(flat).train
    assert train.boxes[2] == train.ignored[2] and len(train.boxes[2]) == 1
    assert not any(train.ignored[:2]) and not any(train.ignored[3:])


def test_sizes_are_those_of_the_decoded_picture(tmp_path):
    """A phone held upright stores a wide picture and says how to turn it."""
    rows = put(tmp_path / "train")
    turned = picture(seed=1)
    exif = turned.getexif()
    exif[0x0112] = 6
    turned.save(tmp_path / "train" / "0.png", exif=exif)
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_train.json").write_text(coco(rows))
    train = open_as_it_is(tmp_path).train
    assert [train.decode(i).size for i in range(2)] == [train.sizes[i] for i in range(2)]
    assert train.sizes[0] == train.sizes[1][::-1]


def test_a_fingerprint_covers_boxes_where_they_are_learned(tmp_path):
    """With classes alone it stays what it was, so that older runs know their pictures."""
    one_class(tmp_path)
    before = open_as_it_is(tmp_path, rule=LargestBox(least=1)).train
    changed(tmp_path, lambda document: document["annotations"][0].update(bbox=[3, 3, 5, 6]))
    after = open_as_it_is(tmp_path, rule=LargestBox(least=1)).train
    assert fingerprint(before) == fingerprint(after) == fingerprint(after, ClassMarks.said)
    assert fingerprint(before, boxes_said) != fingerprint(after, boxes_said)
