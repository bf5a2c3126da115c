"""Boxes as the files that labelling tools import: COCO instances, Pascal VOC and YOLO.

COCO and VOC use the pixels of the picture as stored, before EXIF rotation, like torchvision's and
COCO's own readers, and ours. YOLO uses the picture as displayed. Rows give boxes as displayed, and the frame
that converts them back.
"""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from resight.core.errors import DataError
from resight.core.files import write_text
from resight.service.locate.answer import Row

STORED = "boxes are in pixels of the pictures as stored, before EXIF rotation"
"""What both files say of their boxes."""


def write_coco(path: Path, rows: Sequence[Row], classes: Sequence[str], about: str) -> None:
    """Write boxes as COCO instances; its "annotations" alone are COCO's results format.

    Pictures are named from the file's folder if they are below it, else from the folder that they share.

    Args:
        path: the file.
        rows: the boxes of each picture.
        classes: names of the categories; their numbers start at 1.
        about: how the boxes were made.
    """
    number = {name: i + 1 for i, name in enumerate(classes)}
    annotations: list[dict[str, Any]] = []
    for place, row in enumerate(rows):
        segments = row.segments or [None] * len(row.boxes)
        for found, segment in zip(row.boxes, segments, strict=True):
            x0, y0, x1, y1 = _stored(row, found.box)
            annotation = {
                "id": len(annotations) + 1,
                "image_id": place + 1,
                "category_id": number[found.label],
                "bbox": [x0, y0, round(x1 - x0, 2), round(y1 - y0, 2)],
                "area": (x1 - x0) * (y1 - y0) if segment is None else sum(segment["counts"][1::2]),
                "iscrowd": 0,
                "score": found.score,
                "class_is": found.class_is,
            }
            annotations.append(annotation if segment is None else {**annotation, "segmentation": segment})
    images = [
        {"id": i + 1, "file_name": name.as_posix(), "width": width, "height": height}
        for i, (name, row) in enumerate(zip(_names(rows, path.parent), rows, strict=True))
        for width, height in [_stored_size(row)]
    ]
    document = {
        "info": {"description": f"{about}; {STORED}"},
        "images": images,
        "annotations": annotations,
        "categories": [{"id": i, "name": name} for name, i in number.items()],
    }
    write_text(path, json.dumps(document, indent=1) + "\n")


def write_voc(folder: Path, rows: Sequence[Row], about: str) -> None:
    """Write a Pascal VOC file for each picture into a folder; see `write_coco` for the rows.

    VOC's pixels are 1-based and inclusive. Where two pictures have one name, the files are in folders as the
    pictures do; two that differ only in their suffix get separate files.
    """
    names = _names(rows)
    nested = len({name.stem for name in names}) < len(names)
    taken: set[Path] = set()
    for name, row in zip(names, rows, strict=True):
        picture = Path(row.path)
        above = folder / name.parent if nested else folder
        file, more = above / f"{name.stem}.xml", 1
        while file in taken:
            more += 1
            file = above / f"{name.stem}-{more}.xml"
        taken.add(file)
        root = ElementTree.Element("annotation")
        _add(root, "folder", picture.parent.name)
        _add(root, "filename", picture.name)
        _add(root, "path", row.path)
        _add(_add(root, "source"), "annotation", f"{about}; {STORED}")
        size, (width, height) = _add(root, "size"), _stored_size(row)
        for key, value in (("width", width), ("height", height), ("depth", 3)):
            _add(size, key, value)
        _add(root, "segmented", 0)
        for found in row.boxes:
            item = _add(root, "object")
            _add(item, "name", found.label)
            _add(item, "class_is", found.class_is)
            for key, value in (("pose", "Unspecified"), ("truncated", 0), ("difficult", 0)):
                _add(item, key, value)
            box = _add(item, "bndbox")
            x0, y0, x1, y1 = _stored(row, found.box)
            # A box keeps one pixel of the picture.
            left, top = min(round(x0) + 1, width), min(round(y0) + 1, height)
            edges = (left, top, max(round(x1), left), max(round(y1), top))
            for key, value in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True):
                _add(box, key, value)
        ElementTree.indent(root)
        write_text(file, ElementTree.tostring(root, encoding="unicode") + "\n")


def write_yolo(folder: Path, rows: Sequence[Row], classes: Sequence[str]) -> None:
    """Write a YOLO set without its pictures: labels/, classes.txt and data.yaml; the rows as in `write_coco`.

    The pictures belong in images/ next to labels/, by the names of the text files. A line is a class number
    and the box, its centre, width and height in shares of the sides of the picture as it is seen. Scores are
    left out.
    Where two pictures have one name, the files are in folders like the pictures.

    Raises:
        DataError: see `require_own_stems`.
    """
    require_own_stems([row.path for row in rows])
    number = {name: i for i, name in enumerate(classes)}
    names = _names(rows)
    nested = len({name.stem for name in names}) < len(names)
    for name, row in zip(names, rows, strict=True):
        lines = []
        for found in row.boxes:
            x, y, width, height = found.box
            shares = (x + width / 2) / row.width, (y + height / 2) / row.height
            shares += width / row.width, height / row.height
            lines.append(" ".join([str(number[found.label]), *(f"{share:.7f}" for share in shares)]) + "\n")
        place = folder / "labels" / (name.parent if nested else "")
        write_text(place / f"{name.stem}.txt", "".join(lines))
    write_text(folder / "classes.txt", "".join(f"{name}\n" for name in classes))
    quoted = (f"  {i}: '{name.replace(chr(39), chr(39) * 2)}'\n" for i, name in enumerate(classes))
    write_text(folder / "data.yaml", "train: images\nval: images\nnames:\n" + "".join(quoted))


def require_own_stems(paths: Sequence[str]) -> None:
    """Refuse pictures of one folder that differ only in their suffix: YOLO has one text file for both.

    Raises:
        DataError: naming the first two.
    """
    seen: dict[Path, str] = {}
    for path in paths:
        other = seen.setdefault(Path(path).with_suffix(""), path)
        if other != path:
            raise DataError(
                f"{path}: differs from {other} only in the suffix, and YOLO has one text file for both; "
                "rename one, or write coco or voc"
            )


def _stored(row: Row, box: Sequence[float]) -> tuple[float, ...]:
    """Return a box's edges (x0, y0, x1, y1), to a hundredth, in the picture as it is stored."""
    x, y, width, height = box
    edges = (x, y, x + width, y + height)
    return tuple(round(edge, 2) for edge in row.frame.stored_box(*edges))


def _stored_size(row: Row) -> tuple[int, int]:
    """Return (width, height) of the picture as it is stored."""
    return row.frame.size or (row.width, row.height)


def _names(rows: Sequence[Row], folder: Path | None = None) -> list[Path]:
    """Return the pictures' paths from a folder if all are below it, else from the folder that they share."""
    paths = [Path(os.path.normpath(Path(row.path).absolute())) for row in rows]
    start = Path(os.path.normpath(folder.absolute())) if folder else None
    if paths and (start is None or not all(path.is_relative_to(start) for path in paths)):
        start = Path(os.path.commonpath([path.parent for path in paths]))
    return [path.relative_to(start) for path in paths if start]


def _add(parent: ElementTree.Element, name: str, value: object = None) -> ElementTree.Element:
    child = ElementTree.SubElement(parent, name)
    child.text = None if value is None else str(value)
    return child
