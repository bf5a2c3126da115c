"""Corrected boxes as Pascal VOC: an XML file for each finished picture, and a list for each split.

    FOLDER/Annotations/NAME.xml
    FOLDER/ImageSets/Main/SPLIT.txt      where there are splits

The pictures belong in JPEGImages/ next to Annotations/. VOC counts pixels from 1 and a box holds its last
column and row; edges between pixels keep their fractions, so no box changes by being saved.

Source: M. Everingham and J. Winn, The PASCAL VOC2012 Development Kit, section 8.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from xml.etree import ElementTree

from resight.core.errors import DataError
from resight.core.files import write_text

ANNOTATIONS, LISTS = "Annotations", "ImageSets/Main"
UNSAID = (("pose", "Unspecified"), ("truncated", "0"), ("difficult", "0"))
"""Of each object, what the desk does not ask for."""


def require_own_names(paths: Iterable[Path]) -> None:
    """Refuse pictures that VOC cannot tell apart: it knows them by their names without suffix and folder.

    Raises:
        DataError: naming the first two.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(path.stem.lower(), path)
        if other is not path:
            raise DataError(
                f"{other} and {path.name}: have one name, and VOC has one file for both; take --format coco"
            )


def write_annotation(
    folder: Path,
    picture: Path,
    size: tuple[int, int],
    boxes: Sequence[tuple[str, float, float, float, float]],
) -> None:
    """Write the file of a finished picture.

    Args:
        folder: that holds Annotations/.
        picture: its path.
        size: (width, height) as stored.
        boxes: class, left, top, width and height, in pixels of the picture as stored.
    """
    root = ElementTree.Element("annotation")
    _add(root, "folder", "JPEGImages")
    _add(root, "filename", picture.name)
    sides = ElementTree.SubElement(root, "size")
    for key, value in zip(("width", "height", "depth"), (*size, 3), strict=True):
        _add(sides, key, str(value))
    _add(root, "segmented", "0")
    for label, x, y, width, height in boxes:
        thing = ElementTree.SubElement(root, "object")
        _add(thing, "name", label)
        for key, value in UNSAID:
            _add(thing, key, value)
        box, edges = ElementTree.SubElement(thing, "bndbox"), (x + 1, y + 1, x + width, y + height)
        for key, edge in zip(("xmin", "ymin", "xmax", "ymax"), edges, strict=True):
            _add(box, key, str(round(edge, 2)))
    ElementTree.indent(root)
    write_text(_file(folder, picture), ElementTree.tostring(root, encoding="unicode") + "\n")


def remove_annotation(folder: Path, picture: Path) -> None:
    """Remove the file of a picture that is no longer finished."""
    _file(folder, picture).unlink(missing_ok=True)


def write_list(folder: Path, split: str, pictures: Iterable[Path]) -> None:
    """Write which pictures of a split are finished, by their names without suffix."""
    write_text(folder / LISTS / f"{split}.txt", "".join(f"{path.stem}\n" for path in pictures))


def _file(folder: Path, picture: Path) -> Path:
    return folder / ANNOTATIONS / f"{picture.stem}.xml"


def _add(parent: ElementTree.Element, name: str, text: str) -> None:
    ElementTree.SubElement(parent, name).text = text
