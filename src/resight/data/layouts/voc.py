"""Pascal VOC's folder: an XML file for each picture, and lists of pictures for splits."""

import math
from pathlib import Path
from xml.etree import ElementTree

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.decode import SUFFIXES
from resight.data.layouts.boxes import AnnotatedPicture, NamedBox, Notes, dataset_of_boxes

ANNOTATIONS, PICTURES, LISTS = "Annotations", "JPEGImages", "ImageSets/Main"


def is_voc(root: Path) -> bool:
    """Return whether a folder holds Annotations/*.xml, or XML files beside pictures of the same names."""
    if any((root / ANNOTATIONS).glob("*.xml")):
        return True
    annotated = {file.stem for file in root.glob("*.xml")}
    return bool(annotated) and any(stem in annotated for stem in _pictures(root))


def open_voc(root: Path, *, multi_label: bool = False) -> Dataset:
    """Open a folder in the layout of Pascal VOC.

    Splits are the lists train.txt, val.txt and test.txt in ImageSets/Main; trainval.txt is the training
    split where there is no train.txt. Without lists all annotated pictures are the training split.
    VOC counts pixels from 1 and a box holds its last column and row, so xmin - 1 and xmax are its edges.

    Args:
        root: the folder.
        multi_label: see `dataset_of_boxes`; objects marked as difficult count too.

    Source: M. Everingham and J. Winn, The PASCAL VOC2012 Development Kit, section 8.

    Raises:
        DataError: if there is nothing to learn from, or a list cannot be read.
    """
    annotations = root / ANNOTATIONS if (root / ANNOTATIONS).is_dir() else root
    folder = root / PICTURES if (root / PICTURES).is_dir() else annotations
    pictures, notes = _pictures(folder), Notes()
    there = [file.stem for file in sorted(annotations.glob("*.xml"))]
    lists = _lists(root / LISTS)
    if lists and "train" not in lists:
        raise DataError(f"{root}: {LISTS} has {', '.join(lists)}.txt but no train.txt; add one")
    if lists:
        listed = {name for names in lists.values() for name in names}
        for name in there:
            if name not in listed:
                notes.add(f"annotations are in no list of {LISTS} and are left out", f"{name}.xml")
    splits: dict[str, list[AnnotatedPicture]] = {}
    for split, names in (lists or {"train": there}).items():
        read = (_read(annotations / f"{name}.xml", folder, pictures, notes) for name in names)
        splits[split] = [picture for picture in read if picture]
    return dataset_of_boxes(str(root), splits, notes, multi_label=multi_label)


def _pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by their names without suffix."""
    files = sorted(folder.iterdir())
    return {f.stem: f for f in files if f.suffix.lower() in SUFFIXES and not f.name.startswith(".")}


def _lists(folder: Path) -> dict[str, list[str]]:
    """Return the names that each split lists."""
    lists = {}
    for split, files in {"train": ("train", "trainval"), "val": ("val",), "test": ("test",)}.items():
        file = next((f for f in (folder / f"{name}.txt" for name in files) if f.is_file()), None)
        # With trainval.txt as the training split, val.txt is part of it.
        if not file or (split == "val" and not (folder / "train.txt").is_file()):
            continue
        try:
            lines = file.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
        lists[split] = list(dict.fromkeys(line.strip() for line in lines if line.strip()))
    return lists


def _read(file: Path, folder: Path, pictures: dict[str, Path], notes: Notes) -> AnnotatedPicture | None:
    """Read one XML file; None, with a note, if it or its picture cannot be used."""
    try:
        root = ElementTree.fromstring(file.read_bytes())
    except FileNotFoundError:
        notes.add("listed pictures have no annotation and are left out", file)
        return None
    except (OSError, ElementTree.ParseError, ValueError, LookupError):
        notes.add("annotations cannot be read as XML and are left out", file)
        return None
    named = folder / Path(root.findtext("filename", "").strip()).name
    path = pictures.get(file.stem) or pictures.get(named.stem)
    if path is None:
        notes.add("annotated pictures are not there and are left out", file)
        return None
    boxes = []
    for thing in root.iter("object"):
        box = _box(thing)
        if box is None:
            notes.add("boxes are not four numbers and are left out", file)
        else:
            boxes.append(box)
    return AnnotatedPicture(path, str(file), _size(root), boxes)


def _box(thing: ElementTree.Element) -> NamedBox | None:
    try:
        edges = [float(thing.findtext(f"bndbox/{key}", "")) for key in ("xmin", "ymin", "xmax", "ymax")]
    except ValueError:
        return None
    if not all(math.isfinite(edge) for edge in edges):
        return None
    x0, y0, x1, y1 = edges
    return thing.findtext("name", "").strip(), x0 - 1, y0 - 1, x1, y1


def _size(root: ElementTree.Element) -> tuple[int, int] | None:
    try:
        width, height = (int(root.findtext(f"size/{key}", "")) for key in ("width", "height"))
    except ValueError:
        return None
    return (width, height) if width > 0 and height > 0 else None
