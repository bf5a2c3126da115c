"""Layouts that hold no classes are refused by the name of what they look like, not read as class folders."""

import json
import shutil

import pytest

from annotated import put
from resight.core.errors import DataError
from resight.data.open import open_dataset
from support import make_folder


def masks(root, images="images", names="masks", splits=("",), ending=""):
    for split in splits:
        put(root / split / images)
        (root / split / names).mkdir()
        for path in (root / split / images).iterdir():
            shutil.copy(path, root / split / names / f"{path.stem}{ending}.png")


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"splits": ("train", "val", "test")},
        {"names": "labels"},
        {"names": "SegmentationClass", "images": "JPEGImages"},
        {"ending": "_mask"},
        {"images": "train", "names": "trainannot"},
        {"images": "cars", "names": "cars_masks"},
    ],
)
def test_segmentation_sets_are_refused_by_name(tmp_path, options):
    masks(tmp_path / "d", **options)
    with pytest.raises(DataError, match=r"this looks like a segmentation set: pictures in .*/ and masks"):
        open_dataset(tmp_path / "d")


def test_masks_in_split_folders_below(tmp_path):
    for split in ("train", "val"):
        put(tmp_path / "images" / split)
        shutil.copytree(tmp_path / "images" / split, tmp_path / "annotations" / split)
    with pytest.raises(DataError, match="this looks like a segmentation set"):
        open_dataset(tmp_path)


def test_faces_with_and_without_masks_are_classes(tmp_path):
    assert open_dataset(make_folder(tmp_path / "d", classes=("mask", "no_mask"))).classes == (
        "mask",
        "no_mask",
    )


def test_key_points_are_refused_by_name(tmp_path):
    put(tmp_path / "lsp" / "images")
    (tmp_path / "lsp" / "joints.mat").write_bytes(b"x")
    with pytest.raises(DataError, match=r"a keypoint data set: joints.mat, as in Leeds Sports Pose"):
        open_dataset(tmp_path / "lsp")
    for split in ("training", "test"):
        put(tmp_path / "faces" / split)
        (tmp_path / "faces" / f"{split}.csv").write_text(",0,1,2,3\n0.png,1.5,2,3,4e0\n")
    with pytest.raises(DataError, match=r"a keypoint data set: test.csv has 4 numbers per picture"):
        open_dataset(tmp_path / "faces")
    put(tmp_path / "coco" / "train2017")
    (tmp_path / "coco" / "annotations").mkdir()
    (tmp_path / "coco" / "annotations" / "person_keypoints_train2017.json").write_text("{}")
    with pytest.raises(
        DataError, match=r"a COCO folder: person_keypoints_train2017.json lists no classes; add"
    ):
        open_dataset(tmp_path / "coco")


def test_tables_beside_pictures_are_named(tmp_path):
    put(tmp_path / "d" / "images")
    (tmp_path / "d" / "labels.csv").write_text("id,label\n0.png,cat\n")
    with pytest.raises(DataError, match=r"pictures with a table: labels.csv; give .*labels.csv itself"):
        open_dataset(tmp_path / "d")
    (tmp_path / "d" / "labels.csv").write_text("filename,class,xmin,ymin,xmax,ymax\n0.png,cat,1,2,3,4\n")
    with pytest.raises(
        DataError, match=r"pictures with a table of boxes: labels.csv has columns filename, class"
    ):
        open_dataset(tmp_path / "d")
    make_folder(tmp_path / "e", count=5)
    (tmp_path / "e" / "labels.csv").write_text("id,label\n0.png,cat\n")
    dataset = open_dataset(tmp_path / "e")  # class folders say the classes
    assert dataset.unused == (f"{tmp_path / 'e' / 'labels.csv'}: is not part of class folders",)


def test_cityscapes_and_roboflow_s_multi_label_csv_are_named(tmp_path):
    for part in ("leftImg8bit", "gtFine"):
        put(tmp_path / "d" / part / "train" / "aachen")
    with pytest.raises(DataError, match="a segmentation set: gtFine/, as in Cityscapes"):
        open_dataset(tmp_path / "d")
    put(tmp_path / "e" / "train")
    (tmp_path / "e" / "train" / "_classes.csv").write_text("filename,cat,dog\n0.png,1,0\n")
    with pytest.raises(DataError, match=r"pictures with a table: train/_classes.csv"):
        open_dataset(tmp_path / "e")


def test_labelme_is_named(tmp_path):
    for name, _ in put(tmp_path / "d"):
        (tmp_path / "d" / name).with_suffix(".json").write_text(json.dumps({"shapes": []}))
    with pytest.raises(
        DataError, match=r"pictures with one JSON file each \(LabelMe\): such as 0.json; export"
    ):
        open_dataset(tmp_path / "d")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("lspet_crops", "this looks like a keypoint data set: joints.mat"),
        ("face_keypoints", "this looks like a keypoint data set: test_frames_keypoints.csv has 136 numbers"),
        ("road_scenes_seg", "this looks like a segmentation set: pictures in test/images/ and masks"),
    ],
)
def test_real_sets_without_classes_are_refused_by_name(real_data, name, message):
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(real_data / f"{name}.zip")
    assert str(caught.value).startswith(str(real_data / f"{name}.zip"))
