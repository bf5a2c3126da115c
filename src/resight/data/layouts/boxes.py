"""Pictures with boxes, as annotation files describe them, to a data set to classify and to locate on.

A picture's label is the class of its largest box, or, if it may have several, the classes of all its boxes.
What cannot be used is left out, counted and noted.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Box, Dataset, FilePictures, Split, multi_hot
from resight.data.frames import Frame, read_frame
from resight.data.layouts.masks import FileMasks

ROUNDING = 1.0
"""Pixels that a box may reach over its picture without a word: annotations are rounded."""

EMPTY = "splits have no usable picture and are left out"

SMALLEST = 0.5
"""Pixels under which a box's side is noted."""

NamedBox = tuple[str, float, float, float, float]
"""A box's class and its edges x0, y0, x1, y1, 0-based and half-open, in the picture as it is stored."""


@dataclass
class AnnotatedPicture:
    """A picture as an annotation file describes it.

    Attributes:
        path: the picture.
        source: the annotation, as a note names it.
        size: (width, height) that the annotation states; None if it states none.
        boxes: the boxes as they are written.
        label: the picture's class where it does not follow from the boxes.
        segments: class and COCO segmentation of everything that has one.
        frame: what the boxes count in, where the layout's reader knows it; else the picture's header is read.
    """

    path: Path
    source: str
    size: tuple[int, int] | None
    boxes: list[NamedBox]
    label: str = ""
    segments: list[tuple[str, Any]] = field(default_factory=list)
    frame: Frame | None = None


class Notes:
    """What was left out or changed: counted, with the first case."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[int, str]] = {}

    def add(self, what: str, where: str | Path) -> None:
        """Count a case of `what`, said of many ("boxes have no class")."""
        count, first = self._cases.get(what, (0, str(where)))
        self._cases[what] = (count + 1, first)

    def lines(self) -> tuple[str, ...]:
        """Return a line for each kind of case."""
        return tuple(f"{count} {what}, such as {first}" for what, (count, first) in self._cases.items())


def refuse_shares(where: str, boxes: Sequence[tuple[float, float, float, float]]) -> None:
    """Refuse boxes that are shares of the picture's sides where pixels belong.

    Args:
        where: the file or folder.
        boxes: all of its boxes' edges (x0, y0, x1, y1) as they are written.

    Raises:
        DataError: if all are within 0 and 1.
    """
    if boxes and all(0 <= edge <= 1 for box in boxes for edge in box):
        raise DataError(
            f"{where}: all {len(boxes)} boxes are between 0 and 1, so they are shares of the picture's "
            "sides, not pixels; multiply them by its width and height, or write them as YOLO"
        )


def dataset_of_boxes(
    name: str, splits: dict[str, list[AnnotatedPicture]], notes: Notes, *, multi_label: bool = False
) -> Dataset:
    """Build a data set from the annotated pictures of each split.

    Its classes are those that a training picture is labelled with. Boxes of other classes stay, with
    the label -1. A picture of another split that is labelled with one of those other classes is left
    out; a class that no training picture shows at all is refused, as in every data set.

    Args:
        name: what the user called it.
        splits: the pictures, in order; "train" must be there.
        notes: what the layout's reader has noted; it is added to.
        multi_label: whether a picture has the classes of all its boxes, none without boxes; all classes with
            boxes in training are then learned.

    Raises:
        DataError: if the training split is empty or has a single class, or another split has a
            class that the training split lacks.
    """
    framed = {split: _framed(pictures, notes, multi_label=multi_label) for split, pictures in splits.items()}
    if not framed["train"]:
        causes = "; ".join(notes.lines()) or "it lists none"
        raise DataError(f"{name}: has no usable training picture: {causes}")
    if multi_label:
        return _with_all_classes(name, framed, notes)
    classes = tuple(sorted({picture.label for picture, _ in framed["train"]}))
    if len(classes) == 1:
        causes = "".join(f"; {line}" for line in notes.lines())
        raise DataError(
            f"{name}: its training pictures have one class only, {classes[0]!r}; a classifier needs "
            f"two{causes}"
        )
    shown = {box[0] for picture, _ in framed["train"] for box in picture.boxes} - {*classes}
    for box_class in sorted(shown):
        notes.add("classes have boxes but label no training picture and are not learned", box_class)
    built = {}
    for split, pictures in framed.items():
        kept = [(picture, frame) for picture, frame in pictures if picture.label not in shown]
        for picture, _ in pictures:
            if picture.label in shown:
                what = f"{split} pictures have a class that is not learned and are left out"
                notes.add(what, picture.path)
        if kept:
            built[split] = _split(split, kept).fitted(classes)
        else:
            notes.add(EMPTY, split)
    return Dataset(name, classes, built, notes=notes.lines())


def _with_all_classes(
    name: str, framed: dict[str, list[tuple[AnnotatedPicture, Frame]]], notes: Notes
) -> Dataset:
    """Build a data set whose pictures have the classes of all their boxes."""
    classes = tuple(sorted({box[0] for picture, _ in framed["train"] for box in picture.boxes}))
    if len(classes) < 2:
        raise DataError(
            f"{name}: its training pictures have boxes of {len(classes)} classes; a classifier needs two"
        )
    built = {}
    for split, pictures in framed.items():
        if not pictures:
            notes.add(EMPTY, split)
            continue
        part = _split(split, pictures)
        names = [{box[0] for box in picture.boxes} for picture, _ in pictures]
        built[split] = replace(part, labels=multi_hot(names, part.classes)).fitted(classes)
    return Dataset(name, classes, built, notes=notes.lines())


def _split(name: str, pictures: Sequence[tuple[AnnotatedPicture, Frame]]) -> Split:
    own = sorted({p.label for p, _ in pictures if p.label} | {box[0] for p, _ in pictures for box in p.boxes})
    number = {label: i for i, label in enumerate(own)}
    files = FilePictures([p.path for p, _ in pictures])
    segments = [p.segments for p, _ in pictures]
    return Split(
        name,
        files,
        np.arange(len(pictures)),
        np.array([number.get(p.label, -1) for p, _ in pictures], dtype=np.int64),
        tuple(own),
        boxes=[tuple(Box(number[box[0]], *box[1:]) for box in p.boxes) for p, _ in pictures],
        masks=FileMasks(files, [frame for _, frame in pictures], segments) if any(segments) else None,
    )


def _framed(
    pictures: list[AnnotatedPicture], notes: Notes, *, multi_label: bool
) -> list[tuple[AnnotatedPicture, Frame]]:
    """Give pictures a label, and boxes that are inside the picture as it is decoded."""
    framed = []
    for picture in pictures:
        frame = picture.frame or read_frame(picture.path, picture.size)
        if picture.size and picture.size != frame.size:
            what = "pictures differ in size from what their annotations state, so boxes may be wrong"
            notes.add(what, picture.source)
        picture.boxes = [
            (box[0], *frame.turned_box(*clipped))
            for box in picture.boxes
            if (clipped := _clipped(box, frame, picture.source, notes))
        ]
        if multi_label:
            framed.append((picture, frame))
            continue
        if not picture.label and picture.boxes:
            picture.label = max(picture.boxes, key=_area)[0]
            if len({box[0] for box in picture.boxes}) > 1:
                what = (
                    "pictures show several classes and are labelled by their largest box (multi-label: all)"
                )
                notes.add(what, picture.path)
        if picture.label:
            framed.append((picture, frame))
        else:
            notes.add("pictures have no box and are left out", picture.path)
    return framed


def _clipped(
    box: NamedBox, frame: Frame, source: str, notes: Notes
) -> tuple[float, float, float, float] | None:
    """Return the part of a box inside the picture as it is stored; None, with a note, if there is none."""
    name, *edges = box
    if not name:
        notes.add("boxes have no class and are left out", source)
        return None
    width, height = frame.size or (math.inf, math.inf)
    x0, y0, x1, y1 = (
        min(max(edge, 0.0), most) for edge, most in zip(edges, (width, height) * 2, strict=True)
    )
    if not (x0 < x1 and y0 < y1):
        notes.add("boxes have no area inside their picture and are left out", source)
        return None
    if max(abs(a - b) for a, b in zip((x0, y0, x1, y1), edges, strict=True)) > ROUNDING:
        notes.add("boxes extend past the edge of their picture and are clipped", source)
    if x1 - x0 < SMALLEST or y1 - y0 < SMALLEST:
        notes.add("boxes are less than half a pixel wide or high", source)
    return x0, y0, x1, y1


def _area(box: NamedBox) -> float:
    return (box[3] - box[1]) * (box[4] - box[2])
