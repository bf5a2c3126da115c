"""What a picture with boxes is labelled with: a task picks the rule.

A rule says which pictures are taken, what their labels are and which classes there are. Boxes, sizes and
masks stay with the pictures whatever the rule.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from resight.core.errors import DataError
from resight.core.text import amount
from resight.data.dataset import Box, Dataset, FilePictures, Split, multi_hot
from resight.data.frames import Frame
from resight.data.layouts.boxes import AnnotatedPicture, NamedBox, Notes, area, framed
from resight.data.layouts.masks import FileMasks

EMPTY = "splits have no usable picture and are left out"

Framed = Mapping[str, Sequence[tuple[AnnotatedPicture, Frame]]]
"""The pictures of each split, their boxes inside the picture as it is decoded."""


class Rule(Protocol):
    """How pictures with boxes are labelled."""

    def takes(self, picture: AnnotatedPicture, notes: Notes) -> bool:
        """Label a picture, and return whether it is taken; what is left out is noted."""
        ...

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Return the data set of the pictures that were taken; there are some in "train".

        Raises:
            DataError: if there are too few classes, or another split has one that the training split lacks.
        """
        ...


@dataclass(frozen=True)
class LargestBox:
    """A picture is of the class of its largest box, and without boxes left out.

    The classes are those that a training picture is labelled with. Boxes of other classes stay, with the
    label -1. A picture of another split that is labelled with one of those other classes is left out; a class
    that no training picture shows at all is refused, as in every data set.

    Attributes:
        least: classes that are needed.
    """

    least: int = 2

    def takes(self, picture: AnnotatedPicture, notes: Notes) -> bool:
        """Label a picture by its largest box."""
        if not picture.label and picture.boxes:
            picture.label = max(picture.boxes, key=area)[0]
            if len({box[0] for box in picture.boxes}) > 1:
                what = (
                    "pictures show several classes and are labelled by their largest box (multi-label: all)"
                )
                notes.add(what, picture.path)
        if not picture.label:
            notes.add("pictures have no box and are left out", picture.path)
        return bool(picture.label)

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Return a data set of one class a picture."""
        classes = tuple(sorted({picture.label for picture, _ in splits["train"]}))
        if len(classes) < self.least:
            causes = "".join(f"; {line}" for line in notes.lines())
            raise DataError(
                f"{name}: its training pictures have one class only, {classes[0]!r}; a classifier needs "
                f"two{causes}"
            )
        shown = {box[0] for picture, _ in splits["train"] for box in picture.boxes} - {*classes}
        for box_class in sorted(shown):
            what = "classes have boxes but label no training picture and are not learned"
            notes.add(what, box_class)
        built = {}
        for split, pictures in splits.items():
            kept = [(picture, frame) for picture, frame in pictures if picture.label not in shown]
            for picture, _ in pictures:
                if picture.label in shown:
                    what = f"{split} pictures have a class that is not learned and are left out"
                    notes.add(what, picture.path)
            if kept:
                built[split] = split_of(split, kept).fitted(classes)
            else:
                notes.add(EMPTY, split)
        return Dataset(name, classes, built, notes=notes.lines())


@dataclass(frozen=True)
class AllBoxes:
    """A picture has the classes of all its boxes, none without boxes; all classes with boxes are learned.

    Attributes:
        least: classes that are needed.
    """

    least: int = 2

    def takes(self, picture: AnnotatedPicture, notes: Notes) -> bool:
        """Take every picture."""
        del picture, notes
        return True

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Return a data set of any number of classes a picture."""
        classes = tuple(sorted({box[0] for picture, _ in splits["train"] for box in picture.boxes}))
        if len(classes) < self.least:
            needed = "two are" if self.least == 2 else "one is"
            raise DataError(
                f"{name}: its training pictures have boxes of {amount(len(classes), 'class')}; {needed} "
                "needed"
            )
        built = {}
        for split, pictures in splits.items():
            if not pictures:
                notes.add(EMPTY, split)
                continue
            part = split_of(split, pictures)
            names = [{box[0] for box in picture.boxes} for picture, _ in pictures]
            built[split] = replace(part, labels=multi_hot(names, part.classes)).fitted(classes)
        return Dataset(name, classes, built, notes=notes.lines())


class EveryObject(AllBoxes):
    """As `AllBoxes`, for what finds objects: one class is enough, and other splits may show more classes.

    Their objects stay, with the label -1: they are neither found nor missed.
    """

    def __init__(self) -> None:
        super().__init__(least=1)

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Return a data set of any number of classes a picture, those of the training pictures' boxes."""
        classes = tuple(sorted({box[0] for picture, _ in splits["train"] for box in picture.boxes}))
        if not classes:
            raise DataError(f"{name}: none of its training pictures has a box")
        built = {}
        for split, pictures in splits.items():
            if not pictures:
                notes.add(EMPTY, split)
                continue
            part, names = split_of(split, pictures), []
            for picture, _ in pictures:
                shown = {box[0] for box in picture.boxes}
                for other in sorted(shown - {*classes}):
                    notes.add(
                        f"{split} pictures show a class that no training picture has; it is not counted",
                        other,
                    )
                names.append(shown & {*classes})
            built[split] = replace(part, labels=multi_hot(names, part.classes)).relabelled(classes)
        return Dataset(name, classes, built, notes=notes.lines())


LARGEST, ALL = LargestBox(), AllBoxes()


def dataset_of_boxes(
    name: str, splits: Mapping[str, list[AnnotatedPicture]], notes: Notes, rule: Rule = LARGEST
) -> Dataset:
    """Build a data set from the annotated pictures of each split.

    Args:
        name: what the user called it.
        splits: the pictures, in order; "train" must be there.
        notes: what the layout's reader has noted; it is added to.
        rule: what a picture is labelled with.

    Raises:
        DataError: if the training split is empty, or the rule does not take it.
    """
    taken = {split: framed(pictures, notes, rule.takes) for split, pictures in splits.items()}
    if not taken["train"]:
        causes = "; ".join(notes.lines()) or "it lists none"
        raise DataError(f"{name}: has no usable training picture: {causes}")
    return rule.dataset(name, taken, notes)


def split_of(name: str, pictures: Sequence[tuple[AnnotatedPicture, Frame]]) -> Split:
    """Return pictures as a split of one class each, that counts through all classes with boxes."""
    boxes = (box[0] for p, _ in pictures for box in (*p.boxes, *p.ignored))
    own = sorted({p.label for p, _ in pictures if p.label} | {*boxes})
    number = {label: i for i, label in enumerate(own)}

    def numbered(named: Sequence[NamedBox]) -> tuple[Box, ...]:
        return tuple(Box(number[box[0]], *box[1:]) for box in named)

    files = FilePictures([p.path for p, _ in pictures])
    segments = [p.segments for p, _ in pictures]
    outlines = [{box[1:]: outline for box, outline in p.outlines.items()} for p, _ in pictures]
    return Split(
        name,
        files,
        np.arange(len(pictures)),
        np.array([number.get(p.label, -1) for p, _ in pictures], dtype=np.int64),
        tuple(own),
        boxes=[numbered(p.boxes) for p, _ in pictures],
        ignored=[numbered(p.ignored) for p, _ in pictures],
        sizes=[frame.turned_size() for _, frame in pictures],
        masks=FileMasks(files, [frame for _, frame in pictures], segments, outlines)
        if any(segments)
        else None,
    )
