"""Small annotated pictures in the forms of VOC and COCO, which tests share."""

import json

import numpy as np
from PIL import Image

from support import picture

BOX = (2, 3, 7, 9)
COLOURS = {"red": (230, 40, 40), "blue": (40, 40, 230)}
ANNOTATION = (
    "<annotation><filename>{name}.png</filename><size><width>{w}</width><height>{h}</height><depth>3</depth>"
    "</size><object><name>{label}</name><bndbox><xmin>{x0}</xmin><ymin>{y0}</ymin><xmax>{x1}</xmax>"
    "<ymax>{y1}</ymax></bndbox></object></annotation>"
)


def voc(filename, label, box=BOX):
    """An XML file whose box has these edges, half-open and from 0."""
    x0, y0, x1, y1 = box
    return (
        f"<annotation><filename>{filename}</filename><size><width>24</width><height>20</height></size><object>"
        f"<name>{label}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
        f"<ymax>{y1}</ymax></bndbox></object></annotation>"
    )


def put(folder, count=8, start=0):
    """Pictures; number i is of the class i % 2."""
    folder.mkdir(parents=True, exist_ok=True)
    for i in range(count):
        picture(seed=start + i).save(folder / f"{i}.png")
    return [(f"{i}.png", ("cat", "dog")[i % 2]) for i in range(count)]


def coco(rows, prefix="", categories=((1, "cat"), (2, "dog"))):
    number = {name: i for i, name in categories}
    x0, y0, x1, y1 = BOX
    return json.dumps(
        {
            "images": [
                {"id": i, "file_name": prefix + name, "width": 24, "height": 20}
                for i, (name, _) in enumerate(rows)
            ],
            "annotations": [
                {"id": i, "image_id": i, "category_id": number[label], "bbox": [x0, y0, x1 - x0, y1 - y0]}
                for i, (_, label) in enumerate(rows)
            ],
            "categories": [{"id": i, "name": name} for i, name in categories],
        }
    )


def make_boxes(root, count=60, classes=("red", "blue"), shift=0):
    """A VOC folder: dark pictures of 60 x 40 with one bright box each."""
    chance, names = np.random.default_rng(0), {"train": [], "test": []}
    for place in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / place).mkdir(parents=True)
    for number in range(count):
        pixels = chance.integers(0, 60, (40, 60, 3)).astype(np.uint8)
        width, height = chance.integers(12, 24, 2)
        x, y = chance.integers(0, 60 - width), chance.integers(0, 40 - height)
        label = classes[number % len(classes)]
        pixels[y : y + height, x : x + width] = COLOURS[label]
        name = f"p{number:03d}"
        Image.fromarray(pixels).save(root / "JPEGImages" / f"{name}.png")
        edges = {"x0": x + 1 + shift, "y0": y + 1, "x1": x + width, "y1": y + height}
        words = ANNOTATION.format(name=name, w=60, h=40, label=label, **edges)
        (root / "Annotations" / f"{name}.xml").write_text(words)
        names["test" if number % 10 in (4, 7) else "train"].append(name)
    for split, own in names.items():
        (root / "ImageSets/Main" / f"{split}.txt").write_text("\n".join(own) + "\n")
    return root
