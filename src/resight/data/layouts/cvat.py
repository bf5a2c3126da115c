"""CVAT for images 1.1: one annotations.xml for all pictures, which are in images/."""

import math
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.labelling import LARGEST, Rule, dataset_of_boxes
from resight.data.layouts.boxes import (
    AnnotatedPicture,
    NamedBox,
    Notes,
    refuse_shares,
)
from resight.data.layouts.claim import Claim
from resight.data.layouts.splits import split_of
from resight.data.layouts.xml import NotXmlError, read_xml

FILE, PICTURES = "annotations.xml", "images"


def claim_cvat(root: Path) -> Claim | None:
    """Claim a folder with an annotations.xml of CVAT."""
    file = root / FILE
    if not file.is_file():
        return None
    with file.open("rb") as stream:
        if b"<annotations" not in stream.read(1 << 12):
            return None
    return Claim("CVAT XML for images", frozenset([FILE, PICTURES]), lambda rule: open_cvat(root, rule))


def open_cvat(root: Path, rule: Rule = LARGEST) -> Dataset:
    """Open an export of CVAT in its form "CVAT for images 1.1".

    Boxes count from the picture's corner, with fractions. A tag is the class of a picture without boxes.
    A subset named after a split is that split; all else is for training. Polygons, points and other shapes
    are left out and noted.

    Source: CVAT's manual, "CVAT for image" annotation format, version 1.1.

    Raises:
        DataError: if the file cannot be read, or there is nothing to learn from.
    """
    file, notes = root / FILE, Notes()
    try:
        document = read_xml(file)
    except NotXmlError as error:
        raise DataError(f"{file}: is not readable XML; export it again, as UTF-8") from error
    if document.tag != "annotations" or document.find("track") is not None:
        raise DataError(
            f"{file}: looks like CVAT XML for video, which is not supported; export it as COCO or Pascal VOC"
        )
    splits: dict[str, list[AnnotatedPicture]] = {"train": []}
    names = Counter(image.get("name", "") for image in document.iter("image"))
    if twice := next((name for name, count in names.items() if count > 1), None):
        raise DataError(f"{file}: has two images named {twice!r}; export it again")
    for image in document.iter("image"):
        split = split_of(image.get("subset", "")) or "train"
        if picture := _picture(file, image, notes):
            splits.setdefault(split, []).append(picture)
    for pictures in splits.values():
        refuse_shares(str(file), [box[1:] for picture in pictures for box in picture.boxes])
    return dataset_of_boxes(str(root), splits, notes, rule)


def _picture(file: Path, image: ElementTree.Element, notes: Notes) -> AnnotatedPicture | None:
    name = image.get("name", "").replace("\\", "/")
    source = f"{file}, {name}"
    parts = Path(name).parts
    inside = bool(name) and ".." not in parts and not Path(name).is_absolute()
    places = [
        file.parent / PICTURES / name,
        file.parent / PICTURES / image.get("subset", "") / name,
        file.parent / name,
    ]
    path = next((place for place in places if inside and place.is_file()), None)
    if path is None:
        notes.add("annotated pictures are missing and are left out", source)
        return None
    boxes: list[NamedBox] = []
    tags = []
    for shape in image:
        label = shape.get("label", "").strip()
        if shape.tag == "tag":
            tags.append(label)
        elif shape.tag != "box":
            notes.add(f"shapes of the kind {shape.tag} are not supported and are left out", source)
        elif shape.get("rotation", "").strip("0."):
            notes.add("boxes are rotated and are left out", source)
        elif box := _box(label, shape):
            boxes.append(box)
        else:
            notes.add("boxes are not four numbers and are left out", source)
    if len(tags) > 1 and not boxes:
        notes.add("pictures have several tags and no box and are left out", source)
        return None
    return AnnotatedPicture(path, source, _size(image), boxes, tags[0] if tags and not boxes else "")


def _box(label: str, shape: ElementTree.Element) -> NamedBox | None:
    try:
        x0, y0, x1, y1 = (float(shape.get(key, "")) for key in ("xtl", "ytl", "xbr", "ybr"))
    except ValueError:
        return None
    return (label, x0, y0, x1, y1) if all(map(math.isfinite, (x0, y0, x1, y1))) else None


def _size(image: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = int(image.get("width", "")), int(image.get("height", ""))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
