"""Pictures with boxes, as annotation files describe them, put right in the picture as it is decoded.

What cannot be used is left out, counted and noted. What is learned of it: see `resight.data.labelling`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from resight.core.errors import DataError
from resight.data.frames import Frame, read_frame

ROUNDING = 1.0
"""Pixels that a box may reach over its picture without a word: annotations are rounded."""

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
        ignored: boxes that count neither for nor against a detector: crowds, which are no objects and so not
            among `boxes`, and objects marked as difficult, which are.
        label: the picture's class where it does not follow from the boxes.
        segments: class and COCO segmentation of everything that has one.
        outlines: the COCO segmentation of an object, by its box among `boxes` or `ignored`.
        frame: what the boxes count in, where the layout's reader knows it; else the picture's header is read.
    """

    path: Path
    source: str
    size: tuple[int, int] | None
    boxes: list[NamedBox]
    label: str = ""
    segments: list[tuple[str, Any]] = field(default_factory=list)
    frame: Frame | None = None
    ignored: list[NamedBox] = field(default_factory=list)
    outlines: dict[NamedBox, Any] = field(default_factory=dict)


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


def framed(
    pictures: list[AnnotatedPicture], notes: Notes, takes: Callable[[AnnotatedPicture, Notes], bool]
) -> list[tuple[AnnotatedPicture, Frame]]:
    """Return the pictures that a rule takes, their boxes inside the picture as it is decoded."""
    kept = []
    for picture in pictures:
        frame = picture.frame or read_frame(picture.path, picture.size)
        if picture.size and picture.size != frame.size:
            what = "pictures differ in size from what their annotations state, so boxes may be wrong"
            notes.add(what, picture.source)
        boxes = _turned(picture.boxes, frame, picture.source, notes)
        ignored = _turned(picture.ignored, frame, picture.source, Notes())
        picture.outlines = {
            now: picture.outlines[before] for before, now in (*boxes, *ignored) if before in picture.outlines
        }
        picture.boxes, picture.ignored = [now for _, now in boxes], [now for _, now in ignored]
        if takes(picture, notes):
            kept.append((picture, frame))
    return kept


def _turned(
    boxes: list[NamedBox], frame: Frame, source: str, notes: Notes
) -> list[tuple[NamedBox, NamedBox]]:
    """Return boxes, each with its part inside the picture, in the picture as it is decoded."""
    inside = ((box, _clipped(box, frame, source, notes)) for box in boxes)
    return [(box, (box[0], *frame.turned_box(*edges))) for box, edges in inside if edges]


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


def area(box: NamedBox) -> float:
    """Return a box's area in square pixels."""
    return (box[3] - box[1]) * (box[4] - box[2])
