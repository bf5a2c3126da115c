"""The exports of labelling tools and the sets of Kaggle are read with the boxes that they hold."""

import json
import shutil

import pytest

from annotated import BOX, coco, put, voc
from resight.core.errors import DataError
from resight.data.dataset import Box
from resight.data.open import open_dataset
from support import make_folder, picture


def roboflow_coco(root):
    for split in ("train", "valid"):
        rows = put(root / split, start=len(split) * 100)
        categories = ((1, "cat"), (2, "dog"), (0, "cat"))[::-1]  # the first one is a heading without boxes
        text = coco(rows, categories=categories)
        (root / split / "_annotations.coco.json").write_text(text)
    (root / "README.roboflow.txt").write_text("x")


def roboflow_voc(root):
    for split in ("train", "valid"):
        for name, label in put(root / split, start=len(split) * 100):
            (root / split / name).with_suffix(".xml").write_text(voc(name, label))


def split_folders_of_two(root):
    for split in ("train", "test"):
        (root / split / "annotations").mkdir(parents=True)
        for name, label in put(root / split / "images", start=len(split) * 100):
            (root / split / "annotations" / f"{name[:-4]}.xml").write_text(voc(name, label))


def two_of_split_folders(root):
    for split in ("train", "test"):
        (root / "Annotations" / split).mkdir(parents=True)
        for name, label in put(root / "images" / split, start=len(split) * 100):
            (root / "Annotations" / split / f"{name[:-4]}.xml").write_text(voc(name, label))


@pytest.mark.parametrize("make", [roboflow_coco, roboflow_voc, split_folders_of_two, two_of_split_folders])
def test_exports_with_split_folders(tmp_path, make):
    root = tmp_path / "set"
    root.mkdir()
    make(root)
    dataset = open_dataset(root)
    assert dataset.classes == ("cat", "dog")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 8, "test": 8}
    for split in dataset.splits.values():
        assert [split.picture_boxes(i) for i in range(8)] == [(Box(i % 2, *BOX),) for i in range(8)]
        assert split.labels.tolist() == [0, 1] * 4
    assert all("README" in line for line in dataset.unused)


def label_studio_voc(root):
    (root / "Annotations").mkdir()
    for name, label in put(root / "images"):
        (root / "Annotations" / f"{name[:-4]}.xml").write_text(voc(name, label))


def label_studio_coco(root):
    (root / "result.json").write_text(coco(put(root / "images"), "images\\"))


def label_studio_coco_of_a_server(root):
    (root / "result.json").write_text(coco(put(root / "images"), "../../label-studio/data/media/upload/1/"))


def label_studio_coco_of_windows(root):
    (root / "result.json").write_text(coco(put(root / "images"), "C:\\data\\"))


def cvat_coco(root):
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_default.json").write_text(coco(put(root / "images" / "default")))


def cvat_coco_flat(root):
    (root / "annotations").mkdir()
    (root / "annotations" / "instances_default.json").write_text(coco(put(root / "images")))


def fiftyone_coco(root):
    (root / "labels.json").write_text(coco(put(root / "data")))


def cvat_xml(root):
    rows = put(root / "images")
    x0, y0, x1, y1 = BOX
    images = "".join(
        f'<image id="{i}" name="{name}" width="24" height="20"><box label="{label}" occluded="0" '
        f'xtl="{x0}.00" ytl="{y0}.00" xbr="{x1}.00" ybr="{y1}.00" z_order="0"></box></image>'
        for i, (name, label) in enumerate(rows)
    )
    (root / "annotations.xml").write_text(
        f"<?xml version='1.0' "
        f"encoding='utf-8'?>\n<annotations><version>1.1</version><meta/>{images}</annotations>"
    )


def kaggle_voc(root):
    (root / "annotations").mkdir()
    for name, label in put(root / "images"):
        (root / "annotations" / f"{name[:-4]}.xml").write_text(voc(name, label))


def oxford_pets(root):
    (root / "annotations" / "xmls").mkdir(parents=True)
    for name, label in put(root / "images"):
        (root / "annotations" / "xmls" / f"{name[:-4]}.xml").write_text(voc(name, label))
    (root / "annotations" / "trainval.txt").write_text("0 1 1 1\n")


def coco_of_another_name(root):
    (root / "my_set.json").write_text(coco(put(root / "images")))


def coco_beside_its_pictures(root):
    (root / "_annotations.coco.json").write_text(coco(put(root)))


def coco_in_capitals(root):
    (root / "Annotations").mkdir()
    (root / "Annotations" / "instances_train2014.json").write_text(coco(put(root / "train2014")))


WHOLE = (
    coco_of_another_name,
    coco_beside_its_pictures,
    coco_in_capitals,
    label_studio_voc,
    label_studio_coco,
    label_studio_coco_of_a_server,
    label_studio_coco_of_windows,
    cvat_coco,
    cvat_coco_flat,
    fiftyone_coco,
    cvat_xml,
    kaggle_voc,
    oxford_pets,
)


@pytest.mark.parametrize("make", WHOLE)
@pytest.mark.parametrize("wrapped", [False, True])
def test_exports_without_splits(tmp_path, make, wrapped):
    root = tmp_path / "set" / "export" if wrapped else tmp_path / "set"
    root.mkdir(parents=True)
    make(root)
    dataset = open_dataset(tmp_path / "set", whole=True)
    split = dataset.split("test")
    assert dataset.classes == ("cat", "dog") and len(split) == 8 and dataset.unused == ()
    assert [split.picture_boxes(i) for i in range(8)] == [(Box(i % 2, *BOX),) for i in range(8)]
    assert not dataset.notes


def test_files_of_splits_may_share_a_folder(tmp_path):
    (tmp_path / "annotations").mkdir()
    rows = put(tmp_path / "images", 20)
    (tmp_path / "annotations" / "train.json").write_text(coco(rows[:12]))
    (tmp_path / "annotations" / "val.json").write_text(coco(rows[12:]))
    dataset = open_dataset(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 12, "test": 8}
    assert len(dataset.notes) == 1  # that val is the test split


def test_a_json_of_another_name_among_pictures_is_named(tmp_path):
    (tmp_path / "found.json").write_text(coco(put(tmp_path)))
    with pytest.raises(
        DataError, match=r"8 pictures outside class .*; if found.json is COCO, give that file"
    ):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path / "found.json").classes == ("cat", "dog")


def test_a_json_beside_class_folders_is_no_coco(tmp_path):
    (make_folder(tmp_path / "d") / "stats.json").write_text('{"images": 36}')
    assert open_dataset(tmp_path / "d").classes == ("blue", "green", "red")


def test_cvat_s_tags_subsets_and_other_shapes(tmp_path):
    rows = put(tmp_path / "images")
    x0, y0, x1, y1 = BOX
    images = "".join(
        f'<image id="{i}" name="{name}" subset="{("Train", "Validation")[i > 5]}" width="24" height="20">'
        f'<tag label="{label}"/><polygon label="eel" points="1,1;2,2;3,1"/></image>'
        for i, (name, label) in enumerate(rows[1:])
    )
    images += (
        f'<image id="99" name="0.png" subset="Train" width="24" height="20"><tag label="dog"/>'
        f'<box label="cat" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}" rotation="30.0"/>'
        f'<box label="cat" xtl="{x0}" ytl="{y0}" xbr="{x1}" ybr="{y1}"/></image>'
    )
    (tmp_path / "annotations.xml").write_text(f"<annotations>{images}</annotations>")
    dataset = open_dataset(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 7, "test": 1}
    assert dataset.train.labels.tolist() == [1, 0, 1, 0, 1, 0, 0]
    notes = "\n".join(dataset.notes)
    assert "7 shapes of the kind polygon are not supported" in notes and "1 boxes are rotated" in notes
    (tmp_path / "annotations.xml").write_text("<annotations><track id='0'/></annotations>")
    with pytest.raises(DataError, match="CVAT XML for video, which is not supported"):
        open_dataset(tmp_path)


def test_two_layouts_in_one_folder_are_refused(tmp_path):
    kaggle_voc(tmp_path)
    (tmp_path / "result.json").write_text(coco([(f"{i}.png", "cat") for i in range(8)]))
    with pytest.raises(
        DataError, match="looks like a COCO folder and a Pascal VOC folder; give the file of the one"
    ):
        open_dataset(tmp_path)


def test_pictures_and_files_that_no_annotation_is_of_are_named(tmp_path):
    kaggle_voc(tmp_path)
    picture(seed=77).save(tmp_path / "images" / "more.png")
    (tmp_path / "trimaps").mkdir()
    picture(seed=78).save(tmp_path / "trimaps" / "0.png")
    dataset = open_dataset(tmp_path)
    assert (
        f"1 pictures have no annotation and are left out, such as {tmp_path / 'images' / 'more.png'}"
        in dataset.notes
    )
    assert dataset.unused == (f"{tmp_path / 'trimaps'}: is not part of a Pascal VOC folder",)
    shutil.rmtree(tmp_path / "annotations")
    (tmp_path / "result.json").write_text(coco([(f"{i}.png", ("cat", "dog")[i % 2]) for i in range(8)]))
    dataset = open_dataset(tmp_path)
    assert any("1 pictures are not in any annotation file and are left out" in note for note in dataset.notes)


def test_a_split_without_annotations_is_left_out_with_a_note(tmp_path):
    roboflow_coco(tmp_path)
    document = json.loads((tmp_path / "valid" / "_annotations.coco.json").read_text())
    (tmp_path / "valid" / "_annotations.coco.json").write_text(json.dumps({**document, "annotations": []}))
    dataset = open_dataset(tmp_path)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 6, "test": 2}
    assert any("1 splits have no usable picture and are left out, such as val" in n for n in dataset.notes)
