"""Pascal VOC's folder and its relatives: an XML file for each picture, and lists or folders for splits."""

import math
import re
from dataclasses import dataclass, field
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
from resight.data.layouts.splits import split_folders, split_of
from resight.data.layouts.tree import files_in, pictures_in, subfolders
from resight.data.layouts.xml import NotXmlError, read_xml

ANNOTATIONS, LISTS = "annotations", "ImageSets/Main"
PICTURES = ("jpegimages", "images", "imgs", "img", "image", "pictures")
"""What the folder of pictures is called, in lower case, the first name first."""


@dataclass(frozen=True)
class Place:
    """The places of the annotations of some pictures and of the pictures."""

    annotations: Path
    pictures: Path
    by_name: dict[str, Path] = field(default_factory=dict)
    by_stem: dict[str, list[Path]] = field(default_factory=dict)

    def read(self) -> "Place":
        """Return the place with its pictures by name, and by name without suffix."""
        by_name = {path.name: path for path in pictures_in(self.pictures)}
        by_stem: dict[str, list[Path]] = {}
        for path in by_name.values():
            by_stem.setdefault(path.stem, []).append(path)
        return Place(self.annotations, self.pictures, by_name, by_stem)


def claim_voc(root: Path) -> Claim | None:
    """Claim a folder with XML files for pictures, in one of the forms that `open_voc` names."""
    places = _places(root)
    if not places:
        return None
    inside = [
        p.relative_to(root).parts[:1]
        for place in places.values()
        for p in (place.annotations, place.pictures)
    ]
    used = {parts[0] for parts in inside if parts}
    if len(places) == 1 and "" in places:
        used |= {Path(LISTS).parts[0]}
    if any(not parts for parts in inside):  # pictures or XML files are in the folder itself
        used |= {p.name for p in (*files_in(root, ".xml"), *pictures_in(root))}
    return Claim("a Pascal VOC folder", frozenset(used), lambda rule: open_voc(root, rule=rule))


def is_voc(root: Path) -> bool:
    """Return whether a folder holds XML files for pictures."""
    return claim_voc(root) is not None


def open_voc(root: Path, rule: Rule = LARGEST) -> Dataset:
    """Open a folder in the layout of Pascal VOC.

    The XML files are in Annotations/ (annotations/, annotations/xmls/), the pictures in JPEGImages/ or
    images/, or both in one folder. Splits are the lists train.txt, val.txt and test.txt in ImageSets/Main,
    where trainval.txt is the training split if there is no train.txt; or folders named after splits, above or
    below those two. Without either all annotated pictures are the training split.
    VOC counts pixels from 1 and a box holds its last column and row, so xmin - 1 and xmax are its edges.

    An XML file belongs to the picture that its <filename> names, without the folders of another machine; if
    that is missing, to the one of its own name. If both exist and differ, it is left out and noted.

    Args:
        root: the folder.
        rule: what a picture is labelled with; objects marked as difficult count too.

    Source: M. Everingham and J. Winn, The PASCAL VOC2012 Development Kit, section 8.

    Raises:
        DataError: if there is nothing to learn from, a list cannot be read, an XML file defines entities, or
            all boxes are within 0 and 1 and so are not pixels.
    """
    notes = Notes()
    places = {split: place.read() for split, place in _places(root).items()}
    if "" in places:
        splits = _listed_splits(root, places[""], notes)
    else:
        if "train" not in places:
            raise DataError(f"{root}: has {', '.join(places)} but no train folder; add one or rename them")
        splits = {
            split: _read_all(place, [f.stem for f in files_in(place.annotations, ".xml")], notes)
            for split, place in places.items()
        }
    for place in places.values():
        _note_unannotated(place, splits, notes)
    return dataset_of_boxes(str(root), splits, notes, rule)


def _places(root: Path) -> dict[str, Place]:
    """Return the place of each split, or that of all under ""."""
    if whole := _place(root):
        return {"": whole}
    splits = split_folders(root) if any(split_of(f.name) for f in subfolders(root)) else {}
    found = {split: place for split, folder in splits.items() if (place := _place(folder))}
    if found:
        return found
    # Annotations/train and images/train
    annotations, pictures = _named(root, (ANNOTATIONS,)), _named(root, PICTURES)
    if annotations and pictures:
        below = split_folders(annotations)
        beside = split_folders(pictures)
        return {
            split: Place(folder, beside[split])
            for split, folder in below.items()
            if split in beside and files_in(folder, ".xml")
        }
    return {}


def _place(folder: Path) -> Place | None:
    pictures = _named(folder, PICTURES)
    if annotations := _named(folder, (ANNOTATIONS,)):
        for place in (annotations, annotations / "xmls"):
            if files_in(place, ".xml"):
                return Place(place, pictures or (place if pictures_in(place) else folder))
    annotated = {file.stem for file in files_in(folder, ".xml")}
    if annotated and any(path.stem in annotated for path in pictures_in(folder)):
        return Place(folder, folder)
    return None


def _named(folder: Path, names: tuple[str, ...]) -> Path | None:
    """Return the folder in a folder whose name, in any case, is the first of `names` found."""
    there = {inner.name.lower(): inner for inner in subfolders(folder)}
    return next((there[name] for name in names if name in there), None)


def _listed_splits(root: Path, place: Place, notes: Notes) -> dict[str, list[AnnotatedPicture]]:
    there = [file.stem for file in files_in(place.annotations, ".xml")]
    lists = _lists(root / LISTS)
    if lists and "train" not in lists:
        raise DataError(f"{root}: {LISTS} has {', '.join(lists)}.txt but no train.txt; add one")
    if lists:
        listed = {name for names in lists.values() for name in names}
        for name in there:
            if name not in listed:
                notes.add(f"annotations are not in any list of {LISTS} and are left out", f"{name}.xml")
    return {split: _read_all(place, names, notes) for split, names in (lists or {"train": there}).items()}


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


def _read_all(place: Place, names: list[str], notes: Notes) -> list[AnnotatedPicture]:
    """Read the XML files of these names; no picture is given by two of them."""
    read = [p for name in names if (p := _read(place.annotations / f"{name}.xml", place, notes))]
    refuse_shares(str(place.annotations), [edges for picture in read for edges in _as_written(picture)])
    own = {picture.path for picture in read if Path(picture.source).stem == picture.path.stem}
    taken: set[Path] = set()
    kept = []
    for picture in read:
        foreign = Path(picture.source).stem != picture.path.stem
        if picture.path in taken or (foreign and picture.path in own):
            notes.add(
                "annotations name a picture that has another annotation and are left out", picture.source
            )
            continue
        taken.add(picture.path)
        kept.append(picture)
    return kept


def _as_written(picture: AnnotatedPicture) -> list[tuple[float, float, float, float]]:
    return [(x0 + 1, y0 + 1, x1, y1) for _, x0, y0, x1, y1 in picture.boxes]


def _read(file: Path, place: Place, notes: Notes) -> AnnotatedPicture | None:
    """Read one XML file; None, with a note, if it or its picture cannot be used."""
    try:
        root = read_xml(file)
    except FileNotFoundError:
        notes.add("listed pictures have no annotation and are left out", file)
        return None
    except NotXmlError as error:
        notes.add(str(error), file)
        return None
    path = _picture_of(file, root.findtext("filename", ""), place, notes)
    if path is None:
        return None
    boxes, difficult = [], []
    for thing in root.iter("object"):
        box = _box(thing)
        if box is None:
            notes.add("boxes are not four numbers and are left out", file)
        else:
            boxes.append(box)
            if thing.findtext("difficult", "").strip() == "1":
                difficult.append(box)
    return AnnotatedPicture(path, str(file), _size(root), boxes, ignored=difficult)


def _picture_of(file: Path, filename: str, place: Place, notes: Notes) -> Path | None:
    """Return an annotation's picture; None, with a note, if there is none, or no telling which."""
    name = re.split(r"[\\/]", filename.strip())[-1]
    own = place.by_stem.get(file.stem, [])
    named = place.by_name.get(name)
    if named is None and len(alike := place.by_stem.get(name, [])) == 1:  # a name without suffix
        named = alike[0]
    if named is None and not own and len(alike := place.by_stem.get(Path(name).stem, [])) == 1:
        named = alike[0]  # converted since
    if named is None and len(own) > 1:
        notes.add("annotations match several pictures by name and are left out", file)
        return None
    if named and own and named not in own:
        notes.add(
            "annotations name one picture in <filename> and another by their file name, so they are left out",
            f"{file} ({named.name}, {own[0].name})",
        )
        return None
    if named and len(own) > 1:
        notes.add("annotations match several pictures by name; <filename> decides", file)
    path = named or (own[0] if own else None)
    if path is None:
        notes.add("annotated pictures are missing and are left out", file)
    return path


def _note_unannotated(place: Place, splits: dict[str, list[AnnotatedPicture]], notes: Notes) -> None:
    """Note pictures that no annotation is of."""
    used = {picture.path for pictures in splits.values() for picture in pictures}
    annotated = {file.stem for file in files_in(place.annotations, ".xml")}
    for path in place.by_name.values():
        if path not in used and path.stem not in annotated:
            notes.add("pictures have no annotation and are left out", path)


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
