"""YOLO's text files give the boxes that their numbers say, in every form in which people keep them."""

import numpy as np
import pytest
from PIL import Image

from resight.core.errors import DataError
from resight.data.dataset import Box
from resight.data.frames import TURNS
from resight.data.layouts.data_yaml import read_data_yaml
from resight.data.open import open_dataset
from support import picture

NAMES = ("cat", "dog")
SIZE = (40, 20)


def line(number, x0, y0, x1, y1, size=SIZE):
    """A box in pixels as a line of YOLO's."""
    width, height = size
    values = (x0 + x1) / 2 / width, (y0 + y1) / 2 / height, (x1 - x0) / width, (y1 - y0) / height
    return " ".join([str(number), *map(str, values)]) + "\n"


def put(images, labels, split="", count=3):
    """Pictures and text files: number i has a box of class i % 2 from (i, 1) to (10 + i, 9)."""
    images.mkdir(parents=True, exist_ok=True)
    labels.mkdir(parents=True, exist_ok=True)
    for i in range(2 * count):
        picture(seed=i + sum(map(ord, split)), size=SIZE).save(images / f"{split}{i}.png")
        (labels / f"{split}{i}.txt").write_text(line(i % 2, i, 1, 10 + i, 9))


def form_split_below(root):
    for split in ("train", "val"):
        put(root / "images" / split, root / "labels" / split, split)
    (root / "data.yaml").write_text("path: .\ntrain: images/train\nval: images/val\nnames: [cat, dog]\n")


def form_split_above(root):  # Roboflow's YOLO exports
    for split in ("train", "valid"):
        put(root / split / "images", root / split / "labels", split)
    (root / "README.roboflow.txt").write_text("x")
    (root / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\n\nnc: 2\nnames: ['cat', "
        "'dog']\n\nroboflow:\n  workspace: me\n  version: 1\n"
    )


def form_darknet(root):  # Roboflow's darknet export
    for split in ("train", "valid"):
        put(root / split, root / split, split)
        (root / split / "_darknet.labels").write_text("cat\ndog\n")


def form_lists(root):  # CVAT's YOLO 1.1
    put(root / "obj_train_data", root / "obj_train_data", "train")
    put(root / "obj_train_data", root / "obj_train_data", "val")
    (root / "obj.names").write_text("cat\ndog\n")
    (root / "data.yaml").write_text("train: train.txt\nval: valid.txt\nnames:\n  0: cat\n  1: dog\n")
    for split, name in (("train", "train.txt"), ("val", "valid.txt")):
        lines = [f"data/obj_train_data/{split}{i}.png\n" for i in range(6)]
        (root / name).write_text("".join(lines))


def form_without_yaml(root):
    for split in ("train", "val"):
        put(root / "images" / split, root / "labels" / split, split)
    (root / "labels" / "classes.txt").write_text("cat\ndog\n")


FORMS = (form_split_below, form_split_above, form_darknet, form_lists, form_without_yaml)


def boxes_of(split):
    names = [split.picture_name(i).rsplit("/", 1)[-1].split(".")[0] for i in range(len(split))]
    return {name: split.picture_boxes(i) for i, name in enumerate(names)}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("wrapped", [False, True])
def test_all_forms_give_the_same_boxes(tmp_path, form, wrapped):
    root = tmp_path / "set" / "inner" if wrapped else tmp_path / "set"
    root.mkdir(parents=True)
    form(root)
    dataset = open_dataset(tmp_path / "set")
    assert dataset.classes == NAMES and {k: len(v) for k, v in dataset.splits.items()} == {
        "train": 6,
        "test": 6,
    }
    for split, prefix in (("train", "train"), ("test", "val")):
        found = boxes_of(dataset.split(split))
        found = {name.replace("valid", "val"): boxes for name, boxes in found.items()}
        for i in range(6):
            (box,) = found[f"{prefix}{i}"]
            assert box.label == i % 2 and np.allclose(box[1:], (i, 1, 10 + i, 9))
    assert dataset.train.labels.tolist() == [0, 1] * 3


def test_without_splits_all_pictures_are_divided(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=10)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")  # Label Studio
    (tmp_path / "notes.json").write_text("{}")
    dataset = open_dataset(tmp_path)
    assert list(dataset.splits) == ["train", "test"] and dataset.unused == ()
    assert sum(map(len, dataset.splits.values())) == 20


def test_pictures_and_text_files_together(tmp_path):
    put(tmp_path / "d", tmp_path / "d", count=5)
    with pytest.raises(DataError, match="10 pictures outside class folders"):  # captions, for all one knows
        open_dataset(tmp_path / "d")
    (tmp_path / "d" / "classes.txt").write_text("cat\ndog\n")
    assert len(open_dataset(tmp_path / "d").train) == 8


def test_the_yaml_file_itself_is_a_data_set(tmp_path):
    form_split_below(tmp_path)
    dataset = open_dataset(tmp_path / "data.yaml")
    assert dataset.name.endswith("data.yaml") and len(dataset.train) == 6


def test_a_val_that_is_train_is_left_out(tmp_path):
    put(tmp_path / "images" / "train2017", tmp_path / "labels" / "train2017", count=10)
    (tmp_path / "coco8.yaml").write_text(
        "path: ../datasets/coco8 # root\ntrain: images/train2017\nval: images/train2017\ntest: # optional\n"
        "names:\n  0: cat\n  1: dog\n\ndownload: https://example.org/x.zip\n"
    )
    dataset = open_dataset(tmp_path)
    assert list(dataset.splits) == ["train", "test"] and sum(map(len, dataset.splits.values())) == 20
    assert any("splits repeat the pictures of another split" in note for note in dataset.notes)


def test_folders_that_are_no_splits_and_places_of_any_name(tmp_path):
    for name in ("a", "b"):
        put(tmp_path / "d" / "images" / name, tmp_path / "d" / "labels" / name, name)
    (tmp_path / "d" / "classes.txt").write_text("cat\ndog\n")
    dataset = open_dataset(tmp_path / "d", whole=True)
    assert dataset.classes == NAMES and len(dataset.split("test")) == 12
    for name in ("one", "two"):
        put(tmp_path / "e" / name / "images", tmp_path / "e" / name / "labels", name)
    (tmp_path / "e" / "data.yaml").write_text("train: one/images\nval: [two/images]\nnames: [cat, dog]\n")
    dataset = open_dataset(tmp_path / "e")
    assert dataset.classes == NAMES and {k: len(v) for k, v in dataset.splits.items()} == {
        "train": 6,
        "test": 6,
    }


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("size", [(24, 16), (20, 20)])
def test_shares_are_of_the_picture_as_it_is_seen(tmp_path, orientation, size):
    """The white part of a turned picture is where the line says, as Ultralytics reads it."""
    put(tmp_path / "images", tmp_path / "labels", count=3)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), (3, 2, 10, 7))
    exif = Image.Exif()
    exif[274] = orientation
    image.save(tmp_path / "images" / "0.png", exif=exif)
    dataset = open_dataset(tmp_path, whole=True).split("test")
    seen = np.asarray(dataset.decode(0))[..., 0] > 128
    rows, columns = np.nonzero(seen)
    edges = columns.min(), rows.min(), columns.max() + 1, rows.max() + 1
    (tmp_path / "labels" / "0.txt").write_text(line(1, *edges, size=seen.shape[::-1]))
    (box,) = open_dataset(tmp_path, whole=True).split("test").picture_boxes(0)
    assert np.allclose(box[1:], edges) and orientation in (1, *TURNS)


def test_polygons_give_their_bounds_and_their_mask(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=3)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    corners = np.array([[4, 2], [14, 2], [14, 8], [4, 8]]) / SIZE
    (tmp_path / "labels" / "0.txt").write_text("1 " + " ".join(map(str, corners.ravel())) + "\n")
    split = open_dataset(tmp_path, whole=True).split("test")
    (box,) = split.picture_boxes(0)
    assert box.label == 1 and np.allclose(box[1:], (4, 2, 14, 8))
    expected = np.zeros(SIZE[::-1], dtype=bool)
    expected[2:8, 4:14] = True
    assert np.array_equal(split.picture_mask(0, 1), expected)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0 12 10 9 8\n", r"0.txt:1: has numbers outside 0 to 1; .* shares"),
        ("0 0.5 0.5 0.1 0.1\n1 0.5 0.5 0.1 2\n", r"0.txt:2: has numbers outside 0 to 1"),
        ("0 0.5 0.5 0.1 0.1 0.93\n", r"0.txt:1: has 5 numbers after the class"),
        ("0 0.5 0.5 0.1\n", r"0.txt:1: has 3 numbers after the class"),
        ("cat 0.5 0.5 0.1 0.1\n", r"0.txt:1: is not a YOLO line"),
        ("0 0.5 nan 0.1 0.1\n", r"0.txt:1: is not a YOLO line"),
        ("0.5 0.5 0.5 0.1 0.1\n", r"0.txt:1: is not a YOLO line"),
        ("2 0.5 0.5 0.1 0.1\n", r"0.txt:1: has the class 2, but only 0 to 1 have names"),
        ("-1 0.5 0.5 0.1 0.1\n", r"0.txt:1: has the class -1"),
    ],
)
def test_lines_that_are_no_boxes_are_refused_by_their_place(tmp_path, text, message):
    put(tmp_path / "images", tmp_path / "labels", count=3)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels" / "0.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


def test_what_is_missing_is_noted(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=10)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels" / "0.txt").write_text("")  # a picture of nothing
    (tmp_path / "labels" / "1.txt").unlink()
    (tmp_path / "images" / "2.png").unlink()
    picture().save(tmp_path / "images" / "3.bmp")
    (tmp_path / "images" / "5.png").write_bytes(b"not a picture")
    dataset = open_dataset(tmp_path, whole=True)
    notes = "\n".join(dataset.notes)
    for words in (
        "1 pictures have no box and are left out, such as",
        "1 pictures have no text file of boxes",
        "1 text files of boxes have no picture",
        "1 pictures share a text file",
    ):
        assert words in notes, words
    broken = boxes_of(dataset.split("test"))
    assert broken["5"] == () and len(broken) == 17  # its class is known, the decoder names it


def test_class_names_must_be_there_and_agree(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=3)
    with pytest.raises(DataError, match=r"looks like a YOLO data set without class names; add classes.txt"):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "data.yaml").write_text("names: [dog, cat]\n")
    with pytest.raises(DataError, match=r"classes.txt: names classes that differ from .*data.yaml"):
        open_dataset(tmp_path)
    (tmp_path / "data.yaml").write_text("names: [cat, dog]\nkpt_shape: [17, 3]\n")
    with pytest.raises(DataError, match="a YOLO keypoint data set"):
        open_dataset(tmp_path)


def test_multi_label_takes_all_boxes(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=3)
    (tmp_path / "classes.txt").write_text("cat\ndog\n")
    (tmp_path / "labels" / "0.txt").write_text(line(0, 1, 1, 5, 5) + line(1, 1, 1, 9, 9))
    dataset = open_dataset(f"multi-label:{tmp_path}", whole=True)
    assert dataset.split("test").labels[:2].tolist() == [[1, 1], [0, 1]]
    assert open_dataset(tmp_path, whole=True).split("test").labels[0] == 1  # of the largest


def test_names_of_places_do_not_lead_out_of_the_folder(tmp_path):
    form_split_below(tmp_path / "d")
    put(tmp_path / "secret" / "images", tmp_path / "secret" / "labels", "secret")
    for place in ("../secret/images", str(tmp_path / "secret" / "images")):
        (tmp_path / "d" / "data.yaml").write_text(f"train: {place}\nval: images/val\nnames: [cat, dog]\n")
        dataset = open_dataset(tmp_path / "d")
        assert all("secret" not in name for name in boxes_of(dataset.train))


YAML = [
    "names: [cat, dog]\nnc: 2\n",
    "names: ['cat', \"dog\"]  # two\n",
    "names:\n- cat\n- dog\n",
    "names:\n  - 'cat'  # a comment\n\n  - dog\n",
    "names:\n  0: cat\n  1: dog\n",
    "names: {0: cat, 1: 'dog'}\n",
    "names: [cat,\n        'big, #1 dog',\n   it's,]\n",
    "# head\n---\npath: ../data  # a root\ntrain: images/train\nval:\n  - images/val\n  - "
    "images/val2\ntest:\nnames:\n  0: traffic light\n  1: don't\n  2: 'it''s'\ndownload: |\n  import x\n  "
    "names = 3\nroboflow:\n  a: [1, 2]\n",
    'names: ["a: b", "c#d", e-f]\n',
]


@pytest.mark.parametrize("text", YAML)
def test_the_yaml_that_is_read_is_read_as_by_pyyaml(tmp_path, text):
    yaml = pytest.importorskip("yaml")
    (tmp_path / "data.yaml").write_text(text)
    said = read_data_yaml(tmp_path / "data.yaml")
    expected = yaml.safe_load(text)
    names = expected["names"]
    assert said.names == (names if isinstance(names, dict) else dict(enumerate(names)))
    assert said.path == (expected.get("path") or "")
    for split in ("train", "val", "test"):
        places = expected.get(split) or []
        assert said.places.get(split, []) == ([places] if isinstance(places, str) else places)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("names: &a [cat, dog]\n", ":1: '&a .* is an unsupported form of YAML"),
        ("names: *a\n", "form of YAML"),
        ("names: !!python/object:os.system [x]\n", "form of YAML"),
        ("names: |\n  cat\n", "form of YAML"),
        ("names: cat\n", "names is a single value, 'cat'"),
        ("names: [cat, [dog]]\n", "form of YAML"),
        ("names: [cat, dog\n", "a bracket is not closed"),
        ("names: [cat] dog\n", "after the closing bracket"),
        ("names: [cat, cat]\n", "share a number or a name"),
        ("names:\n  0: cat\n  0: dog\n", "share a number or a name"),
        ("names:\n  a: cat\n", "a key that is not a number"),
        ("names:\n  0: cat\n    1: dog\n", "differ in indentation"),
        ("names: [cat, '']\n", "class 1 has no name"),
        ("names: [cat, dog]\nnc: 3\n", "says nc: 3 but names 2 classes"),
        ("names: [cat]\nnames: [dog]\n", ":2: names appears twice"),
        ("names: [cat]\nnonsense\n", "is not KEY: VALUE"),
        ('names: ["a\\tb", c]\n', "quoted in an unsupported way"),
    ],
)
def test_other_yaml_is_refused_by_its_line(tmp_path, text, message):
    (tmp_path / "data.yaml").write_text(text)
    with pytest.raises(DataError, match=message):
        read_data_yaml(tmp_path / "data.yaml")


def test_the_label_is_a_class_number_not_a_place(tmp_path):
    put(tmp_path / "images", tmp_path / "labels", count=3)
    (tmp_path / "data.yaml").write_text("names:\n  1: ant\n  0: zebra\n")
    dataset = open_dataset(tmp_path, whole=True)
    assert dataset.classes == ("ant", "zebra")
    first = dataset.split("test").picture_boxes(0)
    assert first == (Box(1, *first[0][1:]),)
