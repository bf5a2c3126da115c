"""Small annotated pictures in the forms of VOC and COCO, which tests share."""

import json

from support import picture

BOX = (2, 3, 7, 9)


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
