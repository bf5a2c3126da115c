"""Boxes and masks lie where the annotation file says, in the picture as the decoder returns it."""

import json
import shutil
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from resight.core.errors import DataError
from resight.data.dataset import Box
from resight.data.layouts.masks import draw_segmentation
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from support import make_folder, one_line, picture, resight


def voc(name, boxes, size=(24, 20)):
    things = "".join(
        f"<object><name>{label}</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax>"
        f"<ymax>{d}</ymax></bndbox></object>"
        for label, a, b, c, d in boxes
    )
    stated = f"<size><width>{size[0]}</width><height>{size[1]}</height></size>" if size else ""
    return f"<annotation><filename>{name}</filename>{stated}{things}</annotation>"


def make_voc(root, lists=("train", "val"), count=6, flat=False):
    """Pictures of cats and dogs, one box each; `lists` share them evenly."""
    pictures, annotations = (root, root) if flat else (root / "JPEGImages", root / "Annotations")
    for folder in {pictures, annotations}:
        folder.mkdir(parents=True)
    names = {name: [] for name in lists}
    for number, label in enumerate(("cat", "dog")):
        for i in range(count):
            stem = f"{label}{i}"
            picture(((200, 30, 30), (30, 40, 210))[number], seed=100 * number + i).save(
                pictures / f"{stem}.png"
            )
            (annotations / f"{stem}.xml").write_text(voc(f"{stem}.png", [(label, 3, 4, 12, 10 + i % 10)]))
            if lists:
                names[lists[i % len(lists)]].append(stem)
    for name, stems in names.items():
        (root / "ImageSets" / "Main").mkdir(parents=True, exist_ok=True)
        (root / "ImageSets" / "Main" / f"{name}.txt").write_text("\n".join(stems) + "\n")
    return root


def make_coco(root, train, val=None, names=("cat", "dog", "eel"), size=(24, 20)):
    """COCO's folder; `train` and `val` are, for each picture, annotations without ids."""
    (root / "annotations").mkdir(parents=True)
    for split, pictures in (("train2017", train), ("val2017", val)):
        if pictures is None:
            continue
        (root / split).mkdir()
        images, annotations = [], []
        for i, things in enumerate(pictures):
            picture(seed=i + 100 * (split == "val2017"), size=size).save(root / split / f"{i}.png")
            images.append({"id": i + 7, "file_name": f"{i}.png", "width": size[0], "height": size[1]})
            annotations += [{"image_id": i + 7, "iscrowd": 0, **thing} for thing in things]
        # Category numbers with gaps and in no order of names, as COCO's own are.
        categories = [{"id": 90 - 10 * n, "name": name} for n, name in enumerate(names)]
        content = {"images": images, "annotations": annotations, "categories": categories}
        (root / "annotations" / f"instances_{split}.json").write_text(json.dumps(content))
    return root


CAT, DOG, EEL = 90, 80, 70


def thing(category, x, y, width, height, **more):
    return {"category_id": category, "bbox": [x, y, width, height], **more}


PETS = [[thing(CAT, 2, 3, 5, 6)], [thing(DOG, 2, 3, 5, 6)]]


def by_stem(split):
    return {
        split.picture_name(i).rsplit("/", 1)[-1].split(".")[0]: split.picture_boxes(i)
        for i in range(len(split))
    }


def test_voc_counts_from_one_and_holds_the_last_pixel(tmp_path):
    dataset = open_dataset(make_voc(tmp_path / "pets", lists=("train", "val", "test")))
    assert dataset.classes == ("cat", "dog")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 4, "val": 4, "test": 4}
    assert by_stem(dataset.split("val"))["dog1"] == (Box(1, 2, 3, 12, 11),)
    assert dataset.train.picture_mask(0, 0) is None and dataset.notes == ()


def test_voc_val_alone_becomes_the_test_split_with_its_boxes(tmp_path):
    dataset = open_dataset(make_voc(tmp_path / "pets"))
    assert (
        set(dataset.splits) == {"train", "test"}
        and "no epoch or setting is chosen on it" in dataset.notes[-1]
    )
    assert by_stem(dataset.split("test"))["cat1"] == (Box(0, 2, 3, 12, 11),)


def test_trainval_trains_where_there_is_no_train_and_keeps_its_val(tmp_path):
    root = make_voc(tmp_path / "pets", lists=("trainval", "test"))
    shutil.copy(root / "ImageSets/Main/trainval.txt", root / "ImageSets/Main/val.txt")
    assert {k: len(v) for k, v in open_dataset(root).splits.items()} == {"train": 6, "test": 6}
    shutil.copy(root / "ImageSets/Main/val.txt", root / "ImageSets/Main/train.txt")
    assert set(open_dataset(root).splits) == {"train", "val", "test"}


@pytest.mark.parametrize("flat", [False, True])
def test_voc_without_lists_is_split_by_content_and_boxes_go_along(tmp_path, flat):
    dataset = with_validation(open_dataset(make_voc(tmp_path / "pets", lists=(), count=10, flat=flat)), 0.2)
    assert set(dataset.splits) == {"train", "val", "test"} and sum(map(len, dataset.splits.values())) == 20
    for split in dataset.splits.values():
        for stem, boxes in by_stem(split).items():
            assert boxes == (Box(int(stem[:3] == "dog"), 2, 3, 12, 10 + int(stem[3:])),)


def test_voc_without_a_train_list_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"has test.txt but no train.txt"):
        open_dataset(make_voc(tmp_path / "pets", lists=("test",)))


def test_boxes_are_taken_and_relabelled_by_name(tmp_path):
    split = open_dataset(make_voc(tmp_path / "pets")).train
    part = split.take([5, 0])
    assert part.picture_boxes(0) == split.picture_boxes(5) != split.picture_boxes(0) == part.picture_boxes(1)
    other = part.relabelled(("dog", "ant", "cat"))
    assert [b.label for i in range(2) for b in other.picture_boxes(i)] == [0, 2]
    assert other.labels.tolist() == [0, 2]
    assert split.take([0]).relabelled(("cat",)).relabelled(("ant", "cat")).picture_boxes(0)[0].label == 1


def test_class_folders_have_no_boxes(folder):
    (folder / "red" / "000.xml").write_text(voc("000.png", [("red", 1, 1, 5, 5)]))
    (folder / "notes.xml").write_text("<x/>")
    dataset = open_dataset(folder)
    assert (
        dataset.classes == ("blue", "green", "red") and len(dataset.train) + len(dataset.split("test")) == 36
    )
    assert dataset.train.boxes is None and dataset.train.picture_boxes(0) is None
    assert dataset.train.picture_mask(0, 0) is None


def test_the_largest_box_names_the_picture_and_the_count_is_noted(tmp_path):
    two = [thing(DOG, 0, 0, 4, 4), thing(CAT, 5, 5, 9, 9)]
    dataset = open_dataset(make_coco(tmp_path / "c", [*PETS, two], [two, PETS[0]]))
    assert dataset.train.labels.tolist() == [0, 1, 0] and dataset.split("test").labels.tolist() == [0, 0]
    assert dataset.train.picture_boxes(2) == (Box(1, 0, 0, 4, 4), Box(0, 5, 5, 14, 14))
    assert "2 pictures show several classes" in dataset.notes[0]


def test_pictures_without_a_box_are_left_out_and_counted(tmp_path):
    dataset = open_dataset(make_coco(tmp_path / "c", [[], PETS[0], PETS[1], []], PETS))
    assert len(dataset.train) == 2 and dataset.train.labels.tolist() == [0, 1]
    assert dataset.train.picture_boxes(1) == (Box(1, 2, 3, 7, 9),)
    assert "2 pictures have no box and are left out, such as" in dataset.notes[0]


def test_a_class_that_labels_no_picture_is_not_learned(tmp_path):
    beside = [thing(CAT, 0, 0, 9, 9), thing(EEL, 0, 0, 3, 3)]
    eel = [thing(EEL, 0, 0, 9, 9)]
    dataset = open_dataset(make_coco(tmp_path / "c", [beside, PETS[1]], [*PETS, eel]))
    assert dataset.classes == ("cat", "dog") and len(dataset.split("test")) == 2
    assert dataset.train.picture_boxes(0) == (Box(0, 0, 0, 9, 9), Box(-1, 0, 0, 3, 3))
    notes = " ".join(dataset.notes)
    assert "1 classes have boxes but label no training picture" in notes and "such as eel" in notes
    assert "1 val pictures have a class that is not learned" in notes
    with pytest.raises(DataError, match="'eel'"):  # nowhere in training: as in every data set
        open_dataset(make_coco(tmp_path / "d", PETS, [*PETS, eel]))


def test_a_json_alone_finds_its_pictures_and_can_be_a_test_as_a_whole(tmp_path):
    root = make_coco(tmp_path / "c", [PETS[0], PETS[0], PETS[1], PETS[1]], PETS)
    file = root / "annotations" / "instances_train2017.json"
    dataset = open_dataset(file, whole=True)
    assert set(dataset.splits) == {"test"} and len(dataset.split("test")) == 4
    for place in ("beside", "images"):
        folder = tmp_path / place if place == "beside" else tmp_path / "flat" / "images"
        shutil.copytree(root / "train2017", folder)
        target = (tmp_path / "beside" if place == "beside" else tmp_path / "flat") / "pets.json"
        shutil.copy(file, target)
        assert len(open_dataset(target, whole=True).split("test")) == 4
    (root / "annotations" / "instances_val2017.json").rename(
        root / "annotations" / "instances_train2014.json"
    )
    with pytest.raises(DataError, match="several files for train"):
        open_dataset(root)
    for old in (root / "annotations").glob("instances_train*.json"):
        old.rename(old.with_name(old.name.replace("train", "val")))
    (root / "annotations" / "instances_val2014.json").unlink()
    with pytest.raises(DataError, match=r"no instances_train\*.json; .* give that file itself"):
        open_dataset(root)


def turned_file(path, orientation, size=(24, 16), box=(3, 2, 10, 7)):
    """A black picture whose box is white before EXIF turns it."""
    image = Image.new("RGB", size)
    image.paste((255, 255, 255), box)
    exif = Image.Exif()
    exif[274] = orientation
    image.save(path, exif=exif)
    return image


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_turn_with_the_picture(tmp_path, orientation, suffix):
    ring = [3, 2, 10, 2, 10, 7, 3, 7]
    annotation = thing(CAT, 3, 2, 7, 5, segmentation=[ring])
    root = make_coco(tmp_path / "c", [[annotation], PETS[1]], PETS, size=(24, 16))
    (root / "train2017" / "0.png").unlink()
    turned_file(root / "train2017" / f"0.{suffix}", orientation)
    file = root / "annotations" / "instances_train2017.json"
    file.write_text(file.read_text().replace('"0.png"', f'"0.{suffix}"'))
    split = open_dataset(root).train
    white = np.asarray(split.decode(0))[..., 0] > 128
    assert white.shape == ((24, 16) if orientation > 4 else (16, 24)) and white.sum() == 35
    (box,) = split.picture_boxes(0)
    edges = [int(edge) for edge in box[1:]]
    assert (edges[2] - edges[0]) * (edges[3] - edges[1]) == 35
    assert white[edges[1] : edges[3], edges[0] : edges[2]].all()
    assert np.array_equal(split.picture_mask(0, 0), white)


def test_boxes_of_a_tool_that_turned_the_picture_stay(tmp_path):
    root = make_voc(tmp_path / "pets")
    (root / "JPEGImages" / "cat0.png").unlink()
    turned_file(root / "JPEGImages" / "cat0.jpg", 6)
    xml = root / "Annotations" / "cat0.xml"
    xml.write_text(voc("cat0.jpg", [("cat", 10, 4, 14, 10)], size=(16, 24)))
    dataset = open_dataset(root)
    assert by_stem(dataset.train)["cat0"] == (Box(0, 9, 3, 14, 10),) and len(dataset.notes) == 1
    for stated in ((24, 16), None):  # of the picture as it is stored
        xml.write_text(voc("cat0.jpg", [("cat", 4, 3, 10, 7)], size=stated))
        assert by_stem(open_dataset(root).train)["cat0"] == (Box(0, 9, 3, 14, 10),)


def test_a_wrong_size_is_noted(tmp_path):
    root = make_voc(tmp_path / "pets")
    (root / "Annotations" / "dog0.xml").write_text(voc("dog0.png", [("dog", 1, 1, 9, 9)], size=(48, 40)))
    assert "1 pictures differ in size" in open_dataset(root).notes[0]


def test_bad_annotations_cost_only_themselves_and_are_counted(tmp_path):
    root = make_voc(tmp_path / "pets", lists=("train", "val"), count=20)
    pictures, annotations = root / "JPEGImages", root / "Annotations"
    (annotations / "cat0.xml").write_text("<annotation><object>")
    (annotations / "cat2.xml").write_bytes(b"\xff\xfe\x00<")
    (annotations / "cat4.xml").unlink()
    (pictures / "cat6.png").unlink()
    good = ("dog", 3, 4, 12, 10)
    for stem, box in {
        "dog0": ("dog", 20, 4, 30, 10),  # over the edge
        "dog2": ("dog", 12, 4, 3, 10),  # backwards
        "dog4": ("dog", 40, 4, 50, 10),  # outside
        "dog6": ("", 3, 4, 12, 10),
        "dog8": ("dog", "x", 4, 12, 10),
        "dog10": ("dog", "nan", 4, 12, 10),
        "dog12": ("dog", 0, 0, 24, 20),  # counted from zero: within the rounding
    }.items():
        (annotations / f"{stem}.xml").write_text(voc(f"{stem}.png", [good, box]))
    with (root / "ImageSets/Main/train.txt").open("a") as file:
        file.write("dog0\n\n")  # again: it counts once
    (annotations / "extra.xml").write_text(voc("dog0.png", [good]))
    dataset = open_dataset(root)
    boxes = by_stem(dataset.train)
    assert len(dataset.train) == 16 and not {"cat0", "cat2", "cat4", "cat6"} & {*boxes}
    assert boxes["dog0"][1] == Box(1, 19, 3, 24, 10) and boxes["dog12"][1] == Box(1, 0, 0, 24, 20)
    for stem in ("dog2", "dog4", "dog6", "dog8", "dog10"):
        assert boxes[stem] == (Box(1, 2, 3, 12, 10),)
    notes = "\n".join(dataset.notes)
    for words in (
        "2 annotations cannot be read as XML and are left out, such as",
        "1 listed pictures have no annotation",
        "1 annotated pictures are missing",
        "1 boxes extend past the edge of their picture and are clipped, such as",
        "2 boxes have no area inside their picture",
        "1 boxes have no class",
        "2 boxes are not four numbers",
        "1 annotations are not in any list",
    ):
        assert words in notes, words
    assert str(annotations / "dog0.xml") in notes


def test_a_broken_picture_keeps_its_box_for_the_decoder_to_name(tmp_path):
    root = make_voc(tmp_path / "pets")
    (root / "JPEGImages" / "cat0.png").write_bytes(b"not a picture")
    dataset = open_dataset(root)
    assert by_stem(dataset.train)["cat0"] == (Box(0, 2, 3, 12, 10),)


def test_nothing_usable_is_one_line_that_says_why(tmp_path):
    root = make_voc(tmp_path / "pets")
    for file in (root / "Annotations").iterdir():
        file.write_text("<x>")
    with pytest.raises(DataError, match="no usable training picture: 12 annotations cannot"):
        open_dataset(root)
    one = make_voc(tmp_path / "one")
    for file in (one / "Annotations").glob("dog*"):
        file.write_text(file.read_text().replace("<name>dog", "<name>cat"))
    with pytest.raises(DataError, match="one class only, 'cat'"):
        open_dataset(one)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is not JSON"),
        ("[" * 100_000, "is not JSON"),
        ("[]", "is not COCO JSON"),
        ('{"images": [], "annotations": {}, "categories": []}', "is not COCO JSON"),
        ('{"images": [], "annotations": [], "categories": []}', "no usable training picture"),
        ('{"images": [1, {"id": []}], "annotations": [3], "categories": [null]}', "no id or no file_name"),
        (
            '{"images": [{"id": 1, "file_name": "../x.png"}], "annotations": [], "categories": []}',
            "are missing",
        ),
        (
            '{"images": [], "annotations": [{"image_id": 4, "category_id": 1}], "categories": []}',
            "image_id 4",
        ),
    ],
)
def test_bad_json_is_one_line(tmp_path, text, message):
    picture().save(tmp_path / "x.png")
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "pets.json").write_text(text)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path / "data" / "pets.json")
    assert "\n" not in str(caught.value)


def test_bad_coco_boxes_are_left_out(tmp_path):
    bad = [
        {"category_id": CAT},
        {"category_id": CAT, "bbox": [1, 2, 3]},
        {"category_id": CAT, "bbox": [1, 2, float("nan"), 3]},
        {"category_id": 12345, "bbox": [1, 2, 3, 4]},
        thing(CAT, 3, 3, 0, 4),
    ]
    dataset = open_dataset(make_coco(tmp_path / "c", [[*PETS[0], *bad], PETS[1]], PETS))
    assert dataset.train.picture_boxes(0) == (Box(0, 2, 3, 7, 9),)
    notes = " ".join(dataset.notes)
    assert "3 boxes are not four numbers" in notes and "1 boxes have no class" in notes
    assert "1 boxes have no area" in notes


def test_the_command_says_one_line(tmp_path):
    (tmp_path / "pets.json").write_text("{")
    assert "pets.json: is not JSON" in one_line(resight("check", tmp_path / "pets.json"), 1)


GRID = ("000000000", "100001110", "000000101", "000100010", "000010010", "011110001", "110101110")


def test_run_lengths_are_the_coco_api_s():
    # The strings were written by pycocotools 2.0, from the masks beside them.
    grid = np.array([[int(c) for c in row] for row in GRID], dtype=bool)
    packed = {"size": [7, 9], "counts": "1140110OO0M130NO20M12ON0010O1000O"}
    assert np.array_equal(draw_segmentation(packed, (9, 7)), grid)
    frame = np.zeros((60, 50), dtype=bool)
    frame[5:40, 10:30] = True
    frame[20:25, 15:20] = False
    counts = r"mb0S1i000000000\O\O0d00\O0d00\O0d00\O0d00\O0d0d0000000000000000000[U1"
    packed = {"size": [60, 50], "counts": counts}
    assert np.array_equal(draw_segmentation(packed, (50, 60)), frame)
    bars = np.zeros((30, 8), dtype=bool)
    bars[3:13, 1] = bars[2:24, 3] = True
    bars[9:18, 5:7] = True
    packed = {"size": [30, 8], "counts": "Q1:a1<LCXO0e0"}
    assert np.array_equal(draw_segmentation(packed, (8, 30)), bars)


def test_plain_run_lengths_go_down_the_columns():
    mask = draw_segmentation({"size": [3, 2], "counts": [1, 3, 2]}, (2, 3))
    assert mask.astype(int).tolist() == [[0, 1], [1, 0], [1, 0]]


def test_polygons_hold_the_pixels_whose_centres_they_hold():
    square = draw_segmentation([[1, 1, 4, 1, 4, 3, 1, 3]], (6, 5))
    assert square.sum() == 6 and square[1:3, 1:4].all()
    # A slanted one against the slow rule: every pixel's centre by itself.
    corners = np.array([[1.3, 0.2], [11.7, 4.1], [8.2, 9.6], [-3.0, 7.7], [5.0, 5.0]])
    slow = np.zeros((10, 12), dtype=bool)
    for row in range(10):
        for column in range(12):
            x, y, inside = column + 0.5, row + 0.5, False
            for (xa, ya), (xb, yb) in zip(corners, np.roll(corners, 1, axis=0), strict=True):
                if (ya > y) != (yb > y) and x < (xb - xa) * (y - ya) / (yb - ya) + xa:
                    inside = not inside
            slow[row, column] = inside
    assert np.array_equal(draw_segmentation([corners.flatten().tolist()], (12, 10)), slow)
    both = draw_segmentation([[0, 0, 2, 0, 2, 2, 0, 2], [1, 0, 3, 0, 3, 2, 1, 2]], (4, 4))
    assert both.sum() == 6  # a union, where they overlap too


def test_masks_join_a_class_and_its_crowd_and_survive_relabelling(tmp_path):
    crowd = {"size": [20, 24], "counts": [0, 20, 460]}
    things = [
        thing(CAT, 5, 5, 2, 2, segmentation=[[5, 5, 7, 5, 7, 7, 5, 7]]),
        thing(CAT, 9, 5, 2, 2, segmentation=[[6, 5, 11, 5, 11, 7, 6, 7]]),
        thing(DOG, 0, 0, 1, 1, segmentation=[[0, 10, 1, 10, 1, 11, 0, 11]]),
        thing(CAT, 0, 0, 24, 20, iscrowd=1, segmentation=crowd),
    ]
    split = open_dataset(make_coco(tmp_path / "c", [things, PETS[1]], PETS)).train
    expected = np.zeros((20, 24), dtype=bool)
    expected[5:7, 5:11] = expected[:, 0] = True  # where they overlap, too
    assert np.array_equal(split.picture_mask(0, 0), expected)
    assert len(split.picture_boxes(0)) == 3  # the crowd is none
    assert split.picture_mask(0, 1).sum() == 1
    assert split.picture_mask(1, 1) is None and split.picture_mask(0, -1) is None
    assert np.array_equal(split.take([1, 0]).relabelled(("dog", "cat")).picture_mask(1, 1), expected)


@pytest.mark.parametrize(
    "segmentation",
    [
        [[1, 2, 3]],
        [[1, 2, 3, 4, 5, float("inf")]],
        ["x"],
        {"size": [24, 20], "counts": [480]},
        {"size": [20, 24], "counts": [479]},
        {"size": [20, 24], "counts": [-1, 481]},
        {"size": [20, 24], "counts": [10**30]},
        {"size": [20, 24], "counts": "o"},
        {"size": [20, 24], "counts": "é"},
        {"size": [20, 24]},
        "mask",
    ],
)
def test_a_bad_mask_is_named_when_it_is_asked_for(tmp_path, segmentation):
    things = [thing(CAT, 5, 5, 2, 2, segmentation=segmentation)]
    split = open_dataset(make_coco(tmp_path / "c", [things, PETS[1]], PETS)).train
    with pytest.raises(DataError, match=r"0.png: a mask of 'cat' cannot be read"):
        split.picture_mask(0, 0)


def make_tiny(root):
    """Tiny-ImageNet in smaller: two synsets share a word."""
    synsets = {"n01": "crane, bird", "n02": "crane", "n03": "teapot, pot"}
    (root / "val" / "images").mkdir(parents=True)
    (root / "wnids.txt").write_text("".join(f"{s}\n" for s in synsets))
    words = {**synsets, "n99": "teapot"}  # of a synset that is not in the data
    (root / "words.txt").write_text("".join(f"{s}\t{w}\n" for s, w in words.items()))
    rows = ""
    for number, synset in enumerate(synsets):
        (root / "train" / synset / "images").mkdir(parents=True)
        boxes = ""
        for i in range(3):
            picture(seed=10 * number + i).save(root / "train" / synset / "images" / f"{synset}_{i}.JPEG")
            boxes += f"{synset}_{i}.JPEG\t{i}\t1\t5\t6\n"
        (root / "train" / synset / f"{synset}_boxes.txt").write_text(boxes)
        picture(seed=100 + number).save(root / "val" / "images" / f"val_{number}.JPEG")
        rows += f"val_{number}.JPEG\t{synset}\t0\t0\t{number}\t3\n"
    (root / "val" / "val_annotations.txt").write_text(rows)
    return root


def test_tiny_imagenet_names_classes_and_holds_the_last_pixel(tmp_path):
    dataset = open_dataset(make_tiny(tmp_path / "tiny"))
    assert dataset.classes == ("n01", "n02", "teapot") and len(dataset.train) == 9
    assert by_stem(dataset.train)["n03_2"] == (Box(2, 2, 1, 6, 7),)
    assert by_stem(dataset.split("test"))["val_1"] == (Box(1, 0, 0, 2, 4),)


def test_tiny_imagenet_s_faults_are_counted(tmp_path):
    root = make_tiny(tmp_path / "tiny")
    (root / "train" / "n01" / "n01_boxes.txt").write_text("n01_0.JPEG\t1\t1\tx\t5\ngone.JPEG\t1\t1\t2\t2\n")
    (root / "train" / "n55").mkdir()
    with (root / "wnids.txt").open("a") as file:
        file.write("n77\n")
    with (root / "val" / "val_annotations.txt").open("a") as file:
        file.write("val_9.JPEG\tn01\t0\t0\t1\t1\nval_0.JPEG\n")
    dataset = open_dataset(root)
    assert len(dataset.train) == 9  # the folder says the class, box or no box
    assert by_stem(dataset.train)["n01_0"] == () and by_stem(dataset.train)["n02_0"]
    notes = "\n".join(dataset.notes)
    for words in (
        "3 pictures have no box with four numbers",
        "2 annotated pictures are missing",
        "1 folders of train are not in wnids.txt",
        "1 classes of wnids.txt have no folder",
        "1 lines of val/val_annotations.txt have no class",
    ):
        assert words in notes, words
    (root / "words.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(DataError, match=r"words.txt: cannot be read"):
        open_dataset(root)


def test_real_wildlife_boxes_are_the_file_s(unzipped):
    root = unzipped("wildlife_voc").with_name("wildlife")
    dataset = open_dataset(root)
    assert dataset.classes == ("buffalo", "elephant", "rhino", "zebra")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 373, "test": 126}
    assert len(dataset.notes) == 1  # that val is the test split
    for split in dataset.splits.values():
        for stem, (box,) in by_stem(split).items():
            thing = ElementTree.parse(root / "Annotations" / f"{stem}.xml").find("object")
            assert dataset.classes[box.label] == thing.findtext("name") == stem.split("_")[0]
            written = [int(thing.findtext(f"bndbox/{key}")) for key in ("xmin", "ymin", "xmax", "ymax")]
            assert list(box[1:]) == [written[0] - 1, written[1] - 1, *written[2:]]


def test_real_pictures_may_have_many_boxes(unzipped):
    dataset = open_dataset(unzipped("raccoon_kangaroo_voc").with_name("raccoon_kangaroo"))
    labels = [b.label for s in dataset.splits.values() for boxes in by_stem(s).values() for b in boxes]
    assert dataset.classes == ("kangaroo", "raccoon") and np.bincount(labels).tolist() == [240, 196]


def test_real_tiny_imagenet(unzipped):
    dataset = open_dataset(unzipped("tiny_imagenet_boxes").with_name("tiny-imagenet-200"))
    assert len(dataset.classes) == 10 and "king penguin" in dataset.classes
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 3000, "test": 250}
    test = dataset.split("test")
    index = [test.picture_name(i).endswith("/val_68.JPEG") for i in range(250)].index(True)
    assert dataset.classes[test.labels[index]] == "goldfish"
    assert test.picture_boxes(index) == (Box(dataset.classes.index("goldfish"), 10, 19, 64, 43),)


def test_real_coco_boxes_and_masks_agree(unzipped):
    root = unzipped("coco_mini")
    written = json.loads((root / "annotations" / "instances_val2017.json").read_text())
    names = {c["id"]: c["name"] for c in written["categories"]}
    files = {i["id"]: i["file_name"].split(".")[0] for i in written["images"]}
    dataset = open_dataset(root)
    test = dataset.split("test")
    assert len(dataset.train) == 80 and 60 < len(test) < 79
    boxes, ratios = by_stem(test), []
    for stem, found in boxes.items():
        own = [a for a in written["annotations"] if files[a["image_id"]] == stem and not a["iscrowd"]]
        assert len(own) == len(found)
        for annotation, box in zip(own, found, strict=True):
            x, y, width, height = annotation["bbox"]
            assert np.allclose(box[1:], [x, y, x + width, y + height], atol=1)
            name = names[annotation["category_id"]]
            assert box.label == (dataset.classes.index(name) if name in dataset.classes else -1)
    for index in range(len(test)):
        label = int(test.labels[index])
        mask = test.picture_mask(index, label)
        assert mask.shape == test.decode(index).size[::-1]
        stem = test.picture_name(index).rsplit("/", 1)[-1].split(".")[0]
        own = [a for a in written["annotations"] if files[a["image_id"]] == stem]
        own = [a for a in own if names[a["category_id"]] == dataset.classes[label]]
        if len(own) == 1:
            rows, columns = np.nonzero(mask)
            (box,) = (b for b in boxes[stem] if b.label == label)
            seen = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
            assert np.abs(np.array(seen) - box[1:]).max() <= 2.5
            ratios.append(mask.sum() / own[0]["area"])
    assert len(ratios) > 20 and all(abs(ratio - 1) < 0.03 for ratio in ratios)


@pytest.mark.slow
def test_training_on_voc_pictures(unzipped, tmp_path):
    root = unzipped("wildlife_voc").with_name("wildlife")
    words = ("--epochs", "1", "--set", "model=resnet20", "--set", "image_size=32")
    done = resight("train", root, "--out", tmp_path / "run", "--json", *words, check=0)
    assert json.loads(done.stdout)["n"] == 126
    checked = json.loads(resight("check", root, "--json", check=0).stdout)
    assert checked["n"] == checked["ok"] == 499 and checked["classes"]["zebra"]["test"] == 30
    again = resight("test", tmp_path / "run", "--json", check=0)
    assert json.loads(again.stdout)["top1_error"] == json.loads(done.stdout)["top1_error"]


def test_an_unreadable_part_is_named(tmp_path, monkeypatch):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=4)
    from pathlib import Path

    def locked(self):
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "is_file", locked)
    with pytest.raises(DataError, match=r"wnids.txt: cannot be read \(Permission denied\)"):
        open_dataset(root)
