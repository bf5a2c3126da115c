"""Boxes as the files that labelling tools import: COCO instances and Pascal VOC."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from resight.core.files import write_text


def write_coco(path: Path, rows: Sequence[dict[str, Any]], classes: Sequence[str], about: str) -> None:
    """Write boxes as COCO instances; its "annotations" alone are COCO's results format.

    Args:
        path: the file.
        rows: of each picture {"path", "width", "height", "boxes"}; a box is {"label", "score", "box"}, its
            last [x, y, w, h].
        classes: names of the categories; their numbers start at 1.
        about: how the boxes were made.
    """
    number = {name: i + 1 for i, name in enumerate(classes)}
    annotations: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        for found in row["boxes"]:
            _, _, width, height = found["box"]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": place + 1,
                    "category_id": number[found["label"]],
                    "bbox": found["box"],
                    "area": width * height,
                    "iscrowd": 0,
                    "score": found["score"],
                }
            )
    images = [
        {"id": i + 1, "file_name": row["path"], "width": row["width"], "height": row["height"]}
        for i, row in enumerate(rows)
    ]
    document = {
        "info": {"description": about},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for name, i in number.items()],
    }
    write_text(path, json.dumps(document, indent=1) + "\n")


def write_voc(folder: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write a Pascal VOC file for each picture into a folder; see `write_coco` for the rows.

    VOC's pixels are 1-based and inclusive. Two pictures of one name get files of their own.
    """
    taken: set[str] = set()
    for row in rows:
        picture = Path(row["path"])
        stem, more = picture.stem, 1
        while stem in taken:
            more += 1
            stem = f"{picture.stem}-{more}"
        taken.add(stem)
        root = ElementTree.Element("annotation")
        _add(root, "folder", picture.parent.name)
        _add(root, "filename", picture.name)
        _add(root, "path", row["path"])
        size = _add(root, "size")
        for name, value in (("width", row["width"]), ("height", row["height"]), ("depth", 3)):
            _add(size, name, value)
        _add(root, "segmented", 0)
        for found in row["boxes"]:
            x, y, width, height = found["box"]
            item = _add(root, "object")
            _add(item, "name", found["label"])
            for name, value in (("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
                _add(item, name, value)
            box = _add(item, "bndbox")
            edges = (round(x) + 1, round(y) + 1, round(x + width), round(y + height))
            for name, value in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True):
                _add(box, name, value)
        ElementTree.indent(root)
        write_text(folder / f"{stem}.xml", ElementTree.tostring(root, encoding="unicode") + "\n")


def _add(parent: ElementTree.Element, name: str, value: object = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = None if value is None else str(value)
    return child
