"""An annotation is of one picture and one class; what does not say which is refused or left out, by name."""

import json

import pytest

from annotated import BOX, coco, put, voc
from resight.core.errors import DataError
from resight.data.dataset import Box
from resight.data.open import open_dataset
from support import picture


def coco_set(root, change):
    document = json.loads(coco(put(root / "images")))
    change(document)
    (root / "result.json").write_text(json.dumps(document))
    return open_dataset(root, whole=True)


def same_image_id(document):
    document["images"][3]["id"] = 2


def same_category_id(document):
    document["categories"][1]["id"] = 1


def same_category_name(document):
    document["categories"][1]["name"] = "cat"


def same_file(document):
    document["images"][3]["file_name"] = "2.png"


def same_file_by_another_path(document):
    document["images"][3]["file_name"] = "C:\\data\\2.png"


def shares(document):
    for annotation in document["annotations"]:
        annotation["bbox"] = [0.1, 0.2, 0.5, 0.5]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (same_image_id, r"two images have the id 2, 2.png and 3.png"),
        (same_category_id, "two categories have the id 1, 'cat' and 'dog'"),
        (same_category_name, "the categories 1, 2 share one name, 'cat'"),
        (same_file, r"3?2.png: is the same file as .*2.png but listed as another image; list it once"),
        (same_file_by_another_path, r"data.2.png: is the same file as .*2.png"),
        (shares, r"result.json: all 8 boxes are between 0 and 1, so they are shares"),
    ],
)
def test_coco_keys_that_are_not_unique_are_refused(tmp_path, change, message):
    with pytest.raises(DataError, match=message) as caught:
        coco_set(tmp_path, change)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["", ".", "/", "a\0b", "x" * 5000, "../0.png", "images/../../0.png"])
def test_coco_names_that_no_picture_has_are_left_out(tmp_path, name):
    picture(seed=999).save(tmp_path / "0.png")  # must not be reached from data/

    def change(document):
        document["images"][0]["file_name"] = name

    (tmp_path / "data").mkdir()
    dataset = coco_set(tmp_path / "data", change)
    found = [dataset.split("test").picture_name(i) for i in range(len(dataset.split("test")))]
    assert str(tmp_path / "0.png") not in found
    assert len(found) == (8 if name.endswith("/0.png") else 7)


def test_coco_annotations_that_point_nowhere_are_noted_with_their_ids(tmp_path):
    def change(document):
        document["annotations"][0]["image_id"] = 4711
        document["annotations"][1]["category_id"] = 815

    dataset = coco_set(tmp_path, change)
    notes = "\n".join(dataset.notes)
    assert "1 images are not listed in result.json but have annotations, such as image_id 4711" in notes
    assert "1 boxes have no class and are left out, such as" in notes and "category_id 815" in notes
    assert "2 pictures have no box and are left out" in notes and len(dataset.split("test")) == 6


def voc_set(root, texts, pictures):
    """XML files by their names, and pictures by theirs; twelve more of cat and dog."""
    (root / "Annotations").mkdir()
    for name, label in put(root / "JPEGImages", count=12):
        own = f"x{name}"
        (root / "JPEGImages" / name).rename(root / "JPEGImages" / own)
        (root / "Annotations" / f"{own[:-4]}.xml").write_text(voc(own, label))
    for i, name in enumerate(pictures):
        picture(seed=900 + i).save(root / "JPEGImages" / name)
    for name, text in texts.items():
        (root / "Annotations" / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    dataset = open_dataset(root, whole=True)
    split = dataset.split("test")
    names = [split.picture_name(i).rsplit("/", 1)[-1] for i in range(len(split))]
    found = {n: split.picture_boxes(i) for i, n in enumerate(names) if n[0] != "x"}
    assert len(names) - len(found) == 12
    return found, "\n".join(dataset.notes)


DOG = (Box(1, *BOX),)


def test_voc_s_filename_decides_between_pictures_of_one_name(tmp_path):
    found, notes = voc_set(tmp_path, {"0.xml": voc("0.jpg", "dog")}, ["0.jpg", "0.png"])
    assert (
        found == {"0.jpg": DOG}
        and "1 annotations match several pictures by name; <filename> decides" in notes
    )


@pytest.mark.parametrize(
    "filename", ["C:\\data\\0.png", "images\\0.png", "/home/me/0.png", "gone.jpg", "0", "0.tif", ""]
)
def test_voc_s_filename_may_be_of_another_machine(tmp_path, filename):
    found, notes = voc_set(tmp_path, {"0.xml": voc(filename, "dog")}, ["0.png"])
    assert found == {"0.png": DOG} and not notes


def test_voc_s_filename_may_differ_from_the_xml_s_name(tmp_path):
    found, notes = voc_set(tmp_path, {"a.xml": voc("0.png", "dog")}, ["0.png"])
    assert found == {"0.png": DOG} and not notes


def test_voc_annotations_that_fit_two_pictures_are_left_out(tmp_path):
    found, notes = voc_set(tmp_path, {"0.xml": voc("gone.jpg", "dog")}, ["0.jpg", "0.png"])
    assert not found and "1 annotations match several pictures by name and are left out" in notes


def test_voc_annotations_that_name_another_picture_that_is_there_are_left_out(tmp_path):
    texts = {"0.xml": voc("1.png", "dog"), "1.xml": voc("1.png", "dog")}
    found, notes = voc_set(tmp_path, texts, ["0.png", "1.png"])
    assert found == {"1.png": DOG}
    assert "1 annotations name one picture in <filename> and another by their file name" in notes
    assert "(1.png, 0.png)" in notes


def test_two_voc_annotations_of_one_picture_do_not_both_count(tmp_path):
    texts = {"0.xml": voc("1.png", "cat"), "1.xml": voc("1.png", "dog"), "2.xml": voc("1.png", "cat")}
    found, notes = voc_set(tmp_path, texts, ["1.png"])
    assert found == {"1.png": DOG}
    assert "2 annotations name a picture that has another annotation and are left out" in notes


def test_voc_boxes_in_shares_are_refused(tmp_path):
    (tmp_path / "Annotations").mkdir()
    for name, label in put(tmp_path / "images"):
        text = voc(name, label).replace("<xmin>3", "<xmin>0.1").replace("<ymin>4", "<ymin>0.1")
        text = text.replace("<xmax>7", "<xmax>0.5").replace("<ymax>9", "<ymax>0.9")
        (tmp_path / "Annotations" / f"{name[:-4]}.xml").write_text(text)
    with pytest.raises(DataError, match="Annotations: all 8 boxes are between 0 and 1, so they are shares"):
        open_dataset(tmp_path)


def test_voc_s_missing_pictures_are_named(tmp_path):
    _, notes = voc_set(tmp_path, {"0.xml": voc("0.png", "dog")}, [])
    assert "1 annotated pictures are missing and are left out, such as" in notes and "0.xml" in notes


def test_xml_in_an_encoding_that_it_does_not_say_is_named(tmp_path):
    text = voc("0.png", "dog").replace("<annotation>", "<annotation><owner>Jos\xe9</owner>")
    found, notes = voc_set(tmp_path, {"0.xml": text.encode("cp1252")}, ["0.png"])
    assert not found and "1 annotations are not UTF-8 and state no encoding (Windows-1252?)" in notes
    declared = f"<?xml version='1.0' encoding='windows-1252'?>{text}".encode("cp1252")
    (tmp_path / "Annotations" / "0.xml").write_bytes(declared)
    assert len(open_dataset(tmp_path, whole=True).split("test")) == 13


def test_the_cause_is_not_hidden_behind_one_class_only(tmp_path):
    (tmp_path / "Annotations").mkdir()
    for name, label in put(tmp_path / "JPEGImages"):
        text = voc(name, {"cat": "cat", "dog": "chi\xean"}[label]).encode("cp1252")
        (tmp_path / "Annotations" / f"{name[:-4]}.xml").write_bytes(text)
    with pytest.raises(DataError, match=r"one class only, 'cat'.*; 4 annotations are not UTF-8"):
        open_dataset(tmp_path)


BOMB = (
    '<?xml version="1.0"?><!DOCTYPE lolz [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    "<annotation><filename>&b;</filename></annotation>"
)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_xml_entities_are_refused(tmp_path, encoding):
    put(tmp_path / "images")
    (tmp_path / "Annotations").mkdir()
    text = BOMB.replace('"1.0"?', f'"1.0" encoding="{encoding}"?')
    (tmp_path / "Annotations" / "0.xml").write_bytes(text.encode(encoding))
    with pytest.raises(DataError, match=r"0.xml: defines XML entities, which annotations do not need"):
        open_dataset(tmp_path)


def test_xml_entities_are_refused_in_cvat_s_file(tmp_path):
    put(tmp_path / "images")
    (tmp_path / "annotations.xml").write_text(BOMB.replace("annotation>", "annotations>"))
    with pytest.raises(DataError, match=r"annotations.xml: defines XML entities"):
        open_dataset(tmp_path)
