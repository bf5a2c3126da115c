"""What a test of label maps gave: overlaps by class, answers that see no picture, and drawings."""

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.figures import to_json
from resight.data.dataset import VOID, Split
from resight.data.map_marks import LabelMaps
from resight.metrics.segmentation import (
    Counts,
    Overlaps,
    class_iou,
    confusion,
    figure_of,
    interval_of,
    mean_iou,
    pixel_accuracy,
)
from resight.render.label_map import draw_maps
from resight.tasks.result import SIDE, Answered, Drawing, Headline, Shown, Table, number

GRID = 64
"""Places along each side of a picture for which the commonest class is counted."""
DRAWN = 6
"""Pictures of a group."""
SAID = 4
"""Classes that a caption names."""
POSITION, OVERALL = "commonest class of each place", "commonest class"


@dataclass(frozen=True)
class Segmented:
    """The class of every pixel of a picture.

    Attributes:
        packed: class numbers, (H, W) uint8, compressed: many pictures are kept until a test ends.
        size: (width, height) of the whole picture as seen.
    """

    packed: bytes
    size: tuple[int, int]

    @classmethod
    def of(cls, labels: NDArray[np.uint8]) -> "Segmented":
        """Return the answer of class numbers (H, W)."""
        return cls(zlib.compress(labels.tobytes(), 1), (labels.shape[1], labels.shape[0]))

    def labels(self) -> NDArray[np.uint8]:
        """Return the class numbers, (H, W)."""
        width, height = self.size
        return np.frombuffer(zlib.decompress(self.packed), np.uint8).reshape(height, width).copy()


@dataclass(frozen=True)
class Shares:
    """Shares of pixels: of each class among those that count, and of those that do not among all."""

    classes: dict[str, float]
    void: float


def _counts(split: Split) -> Iterator[Counts]:
    """Yield how many pixels of each class, and of none, each picture of a split has, (C + 1,)."""
    for index in range(len(split)):
        own = np.bincount(LabelMaps.read(split, index).reshape(-1), minlength=VOID + 1)
        yield np.append(own[: len(split.classes)], own[VOID])


def shares_of(split: Split) -> Shares:
    """Return the shares of the pixels of a split."""
    *classes, void = sum(_counts(split), np.zeros(len(split.classes) + 1, np.int64)).tolist()
    counted = max(sum(classes), 1)
    each = {name: count / counted for name, count in zip(split.classes, classes, strict=True)}
    return Shares(each, void / max(sum(classes) + void, 1))


@dataclass(frozen=True)
class Blind:
    """Answers that see no picture, fitted on training pictures.

    Attributes:
        places: the commonest class of each place, (GRID, GRID), in shares of the sides.
        overall: the commonest class of all pixels.
    """

    places: NDArray[np.uint8]
    overall: int

    @classmethod
    def of(cls, train: Split) -> "Blind":
        """Return the commonest classes of a split's label maps; where no pixel counts, the overall one."""
        count = len(train.classes)
        found, rows, columns = np.zeros((count, GRID, GRID), np.int64), *np.indices((GRID, GRID))
        totals = sum(_counts(train), np.zeros(count + 1, np.int64))[:count]
        for index in range(len(train)):
            own = _at_size(LabelMaps.read(train, index), (GRID, GRID))
            counted = own != VOID
            np.add.at(found, (own[counted], rows[counted], columns[counted]), 1)
        overall = int(totals.argmax())
        places = np.where(found.sum(0) > 0, found.argmax(0), overall)
        return cls(places.astype(np.uint8), overall)

    def maps(self, size: tuple[int, int]) -> dict[str, NDArray[np.uint8]]:
        """Return the label maps (H, W) of a picture of a size (width, height)."""
        width, height = size
        return {
            POSITION: _at_size(self.places, (height, width)),
            OVERALL: np.full((height, width), self.overall, np.uint8),
        }


def _at_size(labels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Return class numbers (H, W) at another shape, those of the nearest places."""
    rows, columns = (
        ((np.arange(new) + 0.5) * old / new).astype(np.int64)
        for new, old in zip(shape, labels.shape, strict=True)
    )
    return labels[rows[:, None], columns[None, :]]


@dataclass(frozen=True)
class ClassFigures:
    """The figures of one class; None where no pixel counts.

    Attributes:
        pixels: of the class.
        share: of them among all pixels that count.
        iou: intersection over union.
        found: share of them that is said to be of the class.
        right: share of what is said to be of the class that is.
        confused_with: the three classes that most of them are taken for, with their shares.
    """

    pixels: int
    share: float
    iou: float | None
    found: float | None
    right: float | None
    confused_with: dict[str, float]


@dataclass(frozen=True)
class BlindFigures:
    """The figures of an answer that sees no picture."""

    mean_iou: float | None
    pixel_accuracy: float | None


@dataclass(frozen=True)
class Figures:
    """The figures of a test; see `SegmentResult.figures`.

    Attributes:
        n: pictures.
        pixels: that count.
        mean_iou: mean over the classes that the pictures show.
        mean_iou_interval: of 95 %.
        pixel_accuracy: right pixels among those that count.
        pixel_accuracy_interval: of 95 %.
        classes_there: how many classes the pictures show.
        baselines: of answers that see no picture, by name.
        classes: names.
        per_class: by name.
    """

    n: int
    pixels: int
    mean_iou: float | None
    mean_iou_interval: tuple[float, float] | None
    pixel_accuracy: float | None
    pixel_accuracy_interval: tuple[float, float] | None
    classes_there: int
    baselines: dict[str, BlindFigures]
    classes: tuple[str, ...]
    per_class: dict[str, ClassFigures]


@dataclass(frozen=True)
class SegmentResult(Answered):
    """Label maps, compared with the true ones."""

    said: tuple[Segmented, ...]

    def truth(self, row: int) -> NDArray[np.uint8]:
        """Return the true label map of an answered picture, (H, W)."""
        return LabelMaps.read(self.split, int(self.indices[row]))

    @cached_property
    def _confused(self) -> tuple[Overlaps, Counts, dict[str, Overlaps]]:
        """Overlaps of the answers, their summed confusion (C, C), and the overlaps of the blind answers."""
        count, blind = len(self.split.classes), None
        if self.train is not None and len(self.train):
            blind = Blind.of(self.train)
        own, others = [], {POSITION: [], OVERALL: []} if blind else {}
        for row, said in enumerate(self.said):
            true = self.truth(row)
            own.append(confusion(said.labels(), true, count))
            for name, labels in blind.maps(said.size).items() if blind else ():
                others[name].append(confusion(labels, true, count))
        return (
            Overlaps.of(own), np.sum(own, axis=0), {name: Overlaps.of(each) for name, each in others.items()},
        )  # fmt: skip

    @cached_property
    def _figures(self) -> Figures:
        overlaps, confused, blind = self._confused
        both, true, said = overlaps.all()
        each = class_iou(both, true, said)
        per_class = {}
        for label, name in enumerate(self.split.classes):
            there = int(true[label])
            wrong = {
                self.split.classes[other]: int(confused[label, other]) / there
                for other in np.argsort(-confused[label], kind="stable").tolist()
                if there and other != label and confused[label, other]
            }
            per_class[name] = ClassFigures(
                pixels=there,
                share=there / max(int(true.sum()), 1),
                iou=float(each[label]) if there else None,
                found=int(both[label]) / there if there else None,
                right=int(both[label]) / int(said[label]) if said[label] else None,
                confused_with=dict(list(wrong.items())[:3]),
            )
        return Figures(
            n=len(self.said),
            pixels=int(true.sum()),
            mean_iou=figure_of(overlaps, mean_iou),
            mean_iou_interval=interval_of(overlaps, mean_iou),
            pixel_accuracy=figure_of(overlaps, pixel_accuracy),
            pixel_accuracy_interval=interval_of(overlaps, pixel_accuracy),
            classes_there=int((true > 0).sum()),
            baselines={
                name: BlindFigures(figure_of(own, mean_iou), figure_of(own, pixel_accuracy))
                for name, own in blind.items()
            },
            classes=self.split.classes,
            per_class=per_class,
        )

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types; shares in [0, 1], None where no pixel counts.

        "mean_iou": the mean over the classes that the pictures show of intersection over union, with a
        bootstrap interval over the pictures; "pixel_accuracy": right pixels among those that count. Of a
        class, "found" is the share of its pixels that are said to be of it, "right" that of what is said to
        be of it.
        """
        return to_json(self._figures)

    def headline(self) -> Headline:
        """Return the mean intersection over union."""
        figures = self._figures
        if figures.mean_iou is None or figures.pixel_accuracy is None:
            return Headline("mean_iou", 0.0, "mean IoU", None, "No pixel counts.", percent=False)
        words = (
            f"{100 * figures.pixel_accuracy:.1f} % of the pixels are right. Mean IoU: for each of the "
            f"{figures.classes_there} classes in these pictures, the area where answer and truth agree, "
            "divided by the area of both together; then the mean."
        )
        blind = figures.baselines.get(POSITION)
        return Headline(
            "mean_iou", figures.mean_iou, "mean IoU", figures.mean_iou_interval, words,
            blind.mean_iou if blind else None,
            percent=False,
        )  # fmt: skip

    def shown(self) -> list[Shown]:
        """Return the worst, typical and best pictures: the picture, the truth and the answer."""
        overlaps, _, _ = self._confused
        good = mean_iou(overlaps.both, overlaps.true, overlaps.said)
        goodness = torch.from_numpy(np.nan_to_num(good, nan=0.0))
        words = (
            "The picture, the true classes, and the answer. Pixels of void count neither for nor against it."
        )
        return self.ranked(goodness, words, self._drawing, DRAWN)

    def _drawing(self, row: int) -> Drawing:
        overlaps, _, _ = self._confused
        index = int(self.indices[row])
        image = self.split.decode(index, at_least=SIDE)
        maps = [("truth", self.truth(row)), ("answer", self.said[row].labels())]
        drawn = draw_maps(image, maps, self.split.classes)
        own = overlaps.both[row], overlaps.true[row], overlaps.said[row]
        each = class_iou(*own)
        largest = [i for i in np.argsort(-own[1], kind="stable").tolist() if own[1][i]][:SAID]
        named = ", ".join(f"{self.split.classes[i]} {each[i]:.2f}" for i in largest)
        caption = f"mean IoU {float(mean_iou(*own)):.2f}: {named}"
        return Drawing(np.asarray(drawn), caption, self.file_name(row), across=1 + len(maps))

    def tables(self) -> list[Table]:
        """Return the baselines, and the figures class by class."""
        figures = self._figures
        rows = {"this network": figures, **figures.baselines}
        compared = [[name, number(row.mean_iou), number(row.pixel_accuracy)] for name, row in rows.items()]
        each = sorted(figures.per_class.items(), key=lambda item: 2 if item[1].iou is None else item[1].iou)
        classes = [
            [
                name, f"{100 * row.share:.1f} %", number(row.iou), number(row.found), number(row.right),
                _others(row.confused_with),
            ]
            for name, row in each
        ]  # fmt: skip
        tables = []
        if figures.baselines:
            words = (
                "Fitted on the training pictures: the same answer for every picture, without looking at it."
            )
            header = ("answer", "mean IoU", "pixels right")
            tables.append(Table("Compared with answers that see no picture", words, header, compared))
        words = (
            "Worst first. IoU: the area where answer and truth agree, divided by the area of both together. "
            "Recall: share of the class's pixels that are found. Precision: share of the pixels named as the "
            "class that are right. The last column: the class that most missed pixels are named as."
        )
        header = ("class", "pixels", "IoU", "recall", "precision", "mistaken for")
        return [*tables, Table("Class by class", words, header, classes)]


def _others(shares: dict[str, float]) -> str:
    return ", ".join(f"{other} {100 * share:.0f} %" for other, share in shares.items()) or "-"
