"""What is written as YOLO is read back as the same boxes on the same pictures."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from resight.core.errors import DataError
from resight.data.open import open_dataset
from resight.service.locate.annotations import write_yolo
from resight.service.locate.answer import Box, Row
from support import picture

CLASSES = ("dog", "cat's paw", "0")


def rows_of(root, names, size=(40, 20)):
    """Rows of pictures that lie there, with boxes of hundredths of a pixel."""
    random = np.random.default_rng(3)
    rows = []
    for number, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        exif = {"exif": oriented(1 + number % 8)} if path.suffix == ".jpg" else {}
        picture(seed=number, size=size).save(path, **exif)
        width, height = size[::-1] if exif and number % 8 > 3 else size
        boxes = []
        labels = (CLASSES[number % 3], CLASSES[(number + 1) % 3])[: 1 + number % 2]
        for place, label in enumerate(labels):
            x, y = random.uniform(0, width / 2, 2).round(2)[0], random.uniform(0, height / 2, 2).round(2)[0]
            boxes.append(Box(label, 0.5, (x, y, round(width / (3 + place), 2), round(height / 3, 2))))
        rows.append(Row(str(path), width, height, boxes))
    return rows


def oriented(number):
    from PIL import Image

    exif = Image.Exif()
    exif[274] = number
    return exif


@pytest.mark.parametrize("names", [[f"{i}.jpg" for i in range(16)], ["a/0.png", "b/0.png", "b/1.png"]])
def test_the_written_yolo_set_is_read_back_with_the_same_boxes(tmp_path, names):
    root = tmp_path / "pictures"
    rows = rows_of(root, names)
    write_yolo(tmp_path / "set", rows, CLASSES)
    shutil.copytree(root, tmp_path / "set" / "images")
    dataset = open_dataset(tmp_path / "set", whole=True)
    split = dataset.split("test")
    assert dataset.classes == tuple(sorted(CLASSES)) and len(split) == len(names)
    for index in range(len(split)):
        name = Path(split.picture_name(index)).relative_to(tmp_path / "set" / "images").as_posix()
        row = rows[names.index(name)]
        assert split.decode(index).size == (row.width, row.height)
        read = split.picture_boxes(index)
        assert [dataset.classes[box.label] for box in read] == [box.label for box in row.boxes]
        for box, written in zip(read, row.boxes, strict=True):
            x, y, width, height = written.box
            assert box[1:] == pytest.approx((x, y, x + width, y + height), abs=1e-4)


def test_pictures_that_would_share_a_text_file_are_refused(tmp_path):
    rows = rows_of(tmp_path / "p", ["0.png", "0.jpg"])
    with pytest.raises(DataError, match=r"0.jpg: differs from .*0.png only in the suffix, and YOLO has one"):
        write_yolo(tmp_path / "set", rows, CLASSES)
    assert not (tmp_path / "set").exists()
