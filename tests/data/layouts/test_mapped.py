"""Pictures with masks: every layout gives the same maps; what is not understood is refused by name."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from masked import NAMES, SIZE, drawn, make_masked, save_mask
from resight.core.errors import DataError, PictureError
from resight.data.dataset import VOID
from resight.data.label_kinds import ANY
from resight.data.layouts.mapped import Mapped
from resight.data.layouts.mask_values import read_names
from resight.data.map_marks import LabelMaps
from resight.data.maps import read_values
from resight.data.open import open_as_it_is


def opened(place, void=VOID):
    return open_as_it_is(place, None, Mapped(void))


def true_of(place, dataset, split="train"):
    """The masks as Pillow has them, in the order of the split."""
    part = dataset.split(split)
    for index in range(len(part)):
        stem = part.picture_name(index).rpartition("/")[2].rpartition(".")[0]
        mask = next(place.rglob(f"{split}/*/{stem}.png")) if (place / split).is_dir() else None
        yield index, np.asarray(Image.open(str(mask).replace("/images/", "/masks/")))


def test_folders_of_splits_with_named_classes(tmp_path):
    place = make_masked(tmp_path / "d", 6)
    data = opened(place)
    assert data.classes == NAMES and {name: len(part) for name, part in data.splits.items()} == {
        "train": 6, "val": 2, "test": 2,
    }  # fmt: skip
    assert data.train.kind is ANY and data.train.picture_size(0) == SIZE and not data.unused
    for index, true in true_of(place, data):
        assert np.array_equal(LabelMaps.read(data.train, index), true)


def renamed(place, tmp_path, form):
    """The same pictures and masks in other folders."""
    other = tmp_path / form
    parts = {
        "camvid": lambda split, part: other / (split if part == "images" else f"{split}annot"),
        "ade": lambda split, part: other / ("images" if part == "images" else "annotations") / split,
        "labels": lambda split, part: other / split / ("img" if part == "images" else "labels"),
    }
    for split in ("train", "val", "test"):
        for part in ("images", "masks"):
            shutil.copytree(place / split / part, parts[form](split, part))
    shutil.copy(place / "classes.txt", other)
    return other


@pytest.mark.parametrize("form", ["camvid", "ade", "labels"])
def test_other_folders_give_the_same_maps(tmp_path, form):
    place = make_masked(tmp_path / "d", 6)
    one, other = opened(place), opened(renamed(place, tmp_path, form))
    assert one.classes == other.classes and one.splits.keys() == other.splits.keys()
    for name, part in one.splits.items():
        said = [LabelMaps.said(part, i) for i in range(len(part))]
        assert said == [LabelMaps.said(other.splits[name], i) for i in range(len(part))]


def test_pascal_voc_lists_its_pictures_and_its_names_are_known(tmp_path):
    chance, place = np.random.default_rng(0), tmp_path / "VOC"
    for part in ("JPEGImages", "SegmentationClass", "ImageSets/Segmentation", "Annotations"):
        (place / part).mkdir(parents=True)
    for number in range(9):
        pixels, labels = drawn(chance)
        Image.fromarray(pixels).save(place / f"JPEGImages/{number}.jpg")
        if number < 6:
            save_mask(
                place / f"SegmentationClass/{number}.png", np.where(labels == 2, 15, labels).astype(np.uint8)
            )
    (place / "ImageSets/Segmentation/train.txt").write_text("0\n1\n2\n3\n7\n")
    (place / "ImageSets/Segmentation/val.txt").write_text("4\n5\n")
    data = opened(place)
    assert data.classes == ("background", "aeroplane", "person")
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 4, "val": 2}
    assert any("VOC's names are taken" in note for note in data.notes)
    assert any(note.startswith("1 listed pictures have no mask") for note in data.notes)
    assert set(np.unique(LabelMaps.read(data.train, 0))) <= {0, 1, 2, VOID}


@pytest.mark.parametrize("mode", ["L", "P4", "L4", "RGB", "1", "I;16"])
def test_values_are_those_that_were_stored(tmp_path, mode):
    """Whatever the form: 4-bit grey is not stretched, a palette's colours are not looked at."""
    labels = np.arange(64, dtype=np.uint8).reshape(8, 8) % (2 if mode == "1" else 16)
    path = tmp_path / "m.png"
    if mode == "P4":
        image = Image.fromarray(labels)
        image.putpalette([17 * v % 256 for n in range(16) for v in (n, 0, 15 - n)])
        image.save(path, bits=4)
    elif mode == "L4":  # Pillow writes no grey of 4 bits
        path.write_bytes(grey_of_four_bits(labels))
    elif mode == "RGB":
        Image.fromarray(np.repeat(labels[..., None], 3, 2)).save(path)
    elif mode == "1":
        Image.fromarray(labels * 255).convert("1").save(path)
    else:
        Image.fromarray(labels if mode == "L" else labels.astype(np.uint16)).save(path)
    assert np.array_equal(read_values(path), labels)


def grey_of_four_bits(labels):
    """A PNG of grey with 4 bits a pixel, by the format's own words."""
    import struct
    import zlib

    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    height, width = labels.shape
    rows = b"".join(
        b"\0" + bytes((int(row[i]) << 4) | int(row[i + 1]) for i in range(0, width, 2)) for row in labels
    )
    head = struct.pack(">IIBBBBB", width, height, 4, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + chunk(b"IDAT", zlib.compress(rows))
        + chunk(b"IEND", b"")
    )


def test_masks_that_hold_no_numbers_are_refused(tmp_path):
    labels = np.zeros((8, 8), np.uint8)
    Image.fromarray(labels).save(tmp_path / "a.jpg")
    coloured = np.zeros((8, 8, 3), np.uint8)
    coloured[:4, :, 1] = 128
    Image.fromarray(coloured).save(tmp_path / "b.png")
    Image.fromarray(np.full((8, 8), 300, np.uint16)).save(tmp_path / "c.png")
    (tmp_path / "d.png").write_bytes((tmp_path / "b.png").read_bytes()[:60])
    for name, fault in (
        ("a.jpg", "saved as JPEG"), ("b.png", "in colours"), ("c.png", "has the value 300"),
        ("d.png", "d.png"),
    ):  # fmt: skip
        with pytest.raises(PictureError, match=fault):
            read_values(tmp_path / name)


def test_what_cannot_be_used_is_left_out_and_named(tmp_path):
    place = make_masked(tmp_path / "d", 9)
    images, masks = place / "train/images", place / "train/masks"
    (masks / "000.png").unlink()
    save_mask(masks / "001.png", np.zeros((20, 30), np.uint8))
    (masks / "002.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (images / "003.png").unlink()
    save_mask(masks / "004.png", np.full((SIZE[1], SIZE[0]), VOID, np.uint8))
    data = opened(place)
    assert len(data.train) == 4
    for words in (
        r"1 pictures have no mask and are left out, such as .*000.png",
        r"1 masks differ in size .* such as .*001.png \(30 x 20, its picture 60 x 40\)",
        r"1 masks cannot be used and their pictures are left out, such as .*002.png",
        r"1 masks have no picture and are left out, such as .*003.png",
        r"1 masks show no class that is learned .*004.png",
    ):
        assert any(__import__("re").match(words, note) for note in data.notes), (words, data.notes)


def test_a_value_without_a_name_is_refused_and_can_be_void(tmp_path):
    place = make_masked(tmp_path / "d", 6)
    path = place / "train/masks/002.png"
    labels = np.asarray(Image.open(path)).copy()
    labels[:2] = 3
    save_mask(path, labels)
    with pytest.raises(
        DataError,
        match=r"002.png: has the value 3, which classes.txt does not name \(it names 0 to 2\); .*void=3",
    ):
        opened(place)
    for mask in place.rglob("masks/*.png"):  # void has one value
        own = np.asarray(Image.open(mask)).copy()
        save_mask(mask, np.where(own == VOID, 3, own).astype(np.uint8))
    data = opened(place, void=3)
    assert data.classes == NAMES and (LabelMaps.read(data.train, 2)[:2] == VOID).all()
    (place / "classes.txt").write_text("ground\nred\nblue\nvoid\n")
    assert opened(place).classes == NAMES
    (place / "classes.txt").write_text("ground\nred\nblue\n")
    (place / "README.md").write_text("Values 0 to 2 are classes, 3 = void, not counted.\n")
    assert opened(place).classes == NAMES


def test_binary_masks_and_masks_without_names(tmp_path):
    place = make_masked(tmp_path / "d", 6, ("train",), names=False)
    assert opened(place).classes == ("0", "1", "2")
    for mask in place.rglob("masks/*.png"):
        own = np.asarray(Image.open(mask))
        save_mask(mask, np.where(own == 1, 255, 0).astype(np.uint8))
    data = opened(place)
    assert data.classes == ("background", "foreground")
    assert any("255, is read as the foreground" in note for note in data.notes)


def test_a_class_that_training_pictures_lack_does_not_count_elsewhere(tmp_path):
    place = make_masked(tmp_path / "d", 6)
    (place / "classes.txt").write_text("ground\nred\nblue\ngreen\n")
    path = place / "test/masks/000.png"
    labels = np.asarray(Image.open(path)).copy()
    labels[:5] = 3
    save_mask(path, labels)
    data = opened(place)
    assert data.classes == NAMES and (LabelMaps.read(data.split("test"), 0)[:5] == VOID).all()
    assert any("1 classes of test pictures are in no training picture" in note for note in data.notes)


def test_a_turned_picture_has_its_mask_turned(tmp_path):
    """A mask of the stored picture turns with it; one of the picture as it is seen stays."""
    place = make_masked(tmp_path / "d", 6)
    exif = Image.Exif()
    exif[0x0112] = 6
    paths = sorted((place / "train/images").iterdir())
    pixels = Image.open(paths[0])
    pixels.save(place / "train/images/000.jpg", exif=exif, quality=95)
    paths[0].unlink()
    stored = np.asarray(Image.open(place / "train/masks/000.png")).copy()
    data = opened(place)
    found = LabelMaps.read(data.train, 0)
    assert np.array_equal(found, np.rot90(stored, -1)) and data.train.picture_size(0) == SIZE[::-1]
    save_mask(place / "train/masks/000.png", np.ascontiguousarray(np.rot90(stored, -1)))
    assert np.array_equal(LabelMaps.read(opened(place).train, 0), found)


def test_names_are_read_in_both_forms(tmp_path):
    file = tmp_path / "classes.txt"
    for text, names in (
        ("sky\nroad side\n", {0: "sky", 1: "road side"}),
        ("0 sky\n7: road\n", {0: "sky", 7: "road"}),
        ("__ignore__\n_background_\ncar\n", {0: "_background_", 1: "car"}),
    ):
        file.write_text(text)
        assert read_names(file) == names
    for text, fault in (("sky\n\nroad\n", "no name for value 1"), ("sky\nsky\n", "twice")):
        file.write_text(text)
        with pytest.raises(DataError, match=fault):
            read_names(file)


def test_masks_of_objects_are_painted_the_small_over_the_large(tmp_path):
    for split in ("train", "val"):
        (tmp_path / "coco" / split).mkdir(parents=True)
        images, things = [], []
        for number in range(2):
            Image.new("RGB", (20, 10)).save(tmp_path / "coco" / split / f"{number}.png")
            images.append({"id": number, "file_name": f"{number}.png", "width": 20, "height": 10})
            for category, (x0, y0, x1, y1) in ((2, (4, 4, 8, 8)), (1, (2, 2, 14, 9))):
                outline = [[x0, y0, x1, y0, x1, y1, x0, y1]]
                things.append({
                    "id": len(things), "image_id": number, "category_id": category, "iscrowd": 0, "area": 1.0,
                    "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": outline,
                })  # fmt: skip
        categories = [{"id": 1, "name": "sofa"}, {"id": 2, "name": "cat"}]
        document = {"images": images, "annotations": things, "categories": categories}
        (tmp_path / "coco" / split / "_annotations.coco.json").write_text(json.dumps(document))
    data = opened(tmp_path / "coco")
    assert data.classes == ("background", "cat", "sofa")
    expected = np.zeros((10, 20), np.uint8)
    expected[2:9, 2:14] = 2
    expected[4:8, 4:8] = 1
    assert np.array_equal(LabelMaps.read(data.train, 0), expected)
    assert len(data.train) == 2
    file = tmp_path / "coco/train/_annotations.coco.json"
    document = json.loads(file.read_text())
    del document["annotations"][2]["segmentation"]  # of the second picture
    file.write_text(json.dumps(document))
    again = opened(tmp_path / "coco")
    assert len(again.train) == 1
    assert any("1 pictures have objects without an outline" in note for note in again.notes)
    other = data.train.relabelled(("cat", "background", "sofa"))
    assert np.array_equal(LabelMaps.read(other, 0), np.array([1, 0, 2], np.uint8)[expected])


def test_masks_of_one_class_are_refused(tmp_path):
    place = make_masked(tmp_path / "d", 6)
    (place / "classes.txt").write_text("ground\nvoid\nunlabelled\n")
    with pytest.raises(
        DataError, match=r"show the class 'ground' alone, and two are needed; .* 1, 2, 255 does"
    ):
        opened(place)


def test_data_without_maps_are_refused(folder):
    with pytest.raises(DataError, match="holds no label maps; they are read from images/ and masks/"):
        opened(folder)


def test_road_scenes(real_data):
    """CamVid: its classes.txt names eleven classes, and its value 11 is void."""
    place = real_data / "road_scenes_seg.zip"
    with pytest.raises(DataError, match=r"has the value 11, which classes.txt does not name"):
        opened(place)
    data = opened(place, void=11)
    assert data.classes[:4] == ("sky", "building", "pole", "road") and len(data.classes) == 11
    assert {name: len(part) for name, part in data.splits.items()} == {"train": 123, "val": 51, "test": 59}
