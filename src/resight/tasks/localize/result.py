"""What a test of boxes gave: errors with intervals, what boxes that see no picture reach, and drawings."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import DataError
from resight.core.figures import to_json
from resight.data.marks import OneBox
from resight.data.prepare import whole_size
from resight.metrics.accuracy import wilson_interval
from resight.metrics.localization import located
from resight.metrics.means import bootstrap_interval
from resight.render.boxes import draw_boxes
from resight.tasks.result import SIDE, Answered, Drawing, Headline, Shown, Table, number

OVERLAP = 0.5
"""Of a box that counts as found."""
RESAMPLES = 2000
GUESSES = 5
"""Classes of a picture, each with its box, of which one must be right for ILSVRC's top-5 error."""
CANDIDATES = 500
"""Training boxes among which the best constant box is looked for, besides boxes around the middle."""


@dataclass(frozen=True)
class Located:
    """What is said of a picture.

    Attributes:
        label: class number.
        probability: of the class.
        box: x0, y0, x1, y1 in pixels of the whole picture as seen.
        size: (width, height) of that picture.
        score: how sure it is, in (0, 1), that the box holds an object of the class; None if that is not said.
        guesses: the likeliest classes, at most `GUESSES`, the best first.
        each: boxes of all classes, (classes, 4), or the one for all, (1, 4), float32, as `box`.
    """

    label: int
    probability: float
    box: tuple[float, float, float, float]
    size: tuple[int, int]
    score: float | None
    guesses: tuple[int, ...]
    each: NDArray[np.float32] = field(compare=False)

    def of_class(self, label: int) -> NDArray[np.float32]:
        """Return the box that is said of a class, (1, 4)."""
        row = label if len(self.each) > 1 else 0
        return self.each[row : row + 1]


def overlaps(first: Tensor, second: Tensor) -> Tensor:
    """Return the intersection over the union of boxes (N, 4) and (N, 4), row by row, (N,)."""
    corner, end = torch.maximum(first[:, :2], second[:, :2]), torch.minimum(first[:, 2:], second[:, 2:])
    shared = (end - corner).clamp(min=0).prod(1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).clamp(min=0).prod(1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared).clamp(min=1e-12)


@dataclass(frozen=True)
class ClassFigures:
    """The figures of the pictures of one class; None without any.

    Attributes:
        n: pictures.
        localization_error: class wrong or overlap below 0.5, in percent.
        error: class wrong, in percent.
        iou: mean overlap.
    """

    n: int
    localization_error: float | None
    error: float | None
    iou: float | None


@dataclass(frozen=True)
class LocalizeResult(Answered):
    """Classes and boxes, compared with the true ones."""

    said: tuple[Located, ...]

    @cached_property
    def truth(self) -> OneBox:
        """The true objects, boxes in pixels."""
        return OneBox.together([OneBox.read(self.split, index) for index in self.indices.tolist()])

    @cached_property
    def wrong(self) -> Tensor:
        """Which classes are wrong, (N,)."""
        return torch.tensor([said.label for said in self.said]) != self.truth.labels

    @cached_property
    def shared(self) -> Tensor:
        """Overlaps of the boxes with the true ones, (N,) float64, whatever the classes."""
        return overlaps(torch.tensor([said.box for said in self.said], dtype=torch.float64), self.truth.boxes)

    @cached_property
    def missed(self) -> Tensor:
        """Of which pictures the class is wrong or the overlap below a half, (N,)."""
        return self.wrong | (self.shared < OVERLAP)

    def _without(self, guesses: "Callable[[Located, int], tuple[int, ...]]") -> int:
        """Return of how many pictures no guess has the class and a box on an object of that class.

        Args:
            guesses: gives the classes that count, from the answer and the true class.
        """
        missed = 0
        for said, index, true in zip(
            self.said, self.indices.tolist(), self.truth.labels.tolist(), strict=True
        ):
            own = [box[1:] for box in self.split.picture_boxes(index) or () if box.label == true]
            named = [(str(label), said.of_class(label)) for label in guesses(said, true)]
            missed += not located(named, [(str(true), np.array(own))], OVERLAP)
        return missed

    @cached_property
    def constant(self) -> dict[str, tuple[float, ...]]:
        """Boxes fitted on the training pictures, in shares of the sides; empty without these."""
        if self.train is None or not len(self.train):
            return {}
        boxes = shares_of(OneBox.of_split(self.train))
        return {"mean box": tuple(boxes.mean(0).tolist()), "best constant box": best_constant(boxes)}

    @cached_property
    def baselines(self) -> dict[str, Any]:
        """What answers reach that see no picture; errors in percent."""
        own, found = shares_of(self.truth), {}
        for name, box in self.constant.items():
            shared = overlaps(torch.tensor(box, dtype=torch.float64).expand(len(own), 4), own)
            found[name] = {
                "box": list(box),
                "box_error": 100 * float((shared < OVERLAP).double().mean()),
                "iou": float(shared.mean()),
            }
        if self.train is not None and found:
            commonest = int(self.train.class_counts().argmax())
            wrong = self.truth.labels != commonest
            box = torch.tensor(self.constant["best constant box"], dtype=torch.float64).expand(len(own), 4)
            missed = wrong | (overlaps(box, own) < OVERLAP)
            found["most frequent class"] = {
                "class": self.split.classes[commonest],
                "top1_error": 100 * float(wrong.double().mean()),
                "localization_error": 100 * float(missed.double().mean()),
            }
        return found

    @cached_property
    def per_class(self) -> dict[str, ClassFigures]:
        """The figures of each class, by name."""
        return {
            name: ClassFigures(
                n=int(own.sum()),
                localization_error=_share(self.missed[own]),
                error=_share(self.wrong[own]),
                iou=float(self.shared[own].mean()) if own.any() else None,
            )
            for label, name in enumerate(self.split.classes)
            for own in [self.truth.labels == label]
        }

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types; errors and intervals in percent.

        "localization_error": class wrong or overlap below 0.5; "top1_error": class wrong; "box_error":
        overlap below 0.5 whatever the class; "iou": mean overlap, whatever the class. ILSVRC's
        "top5_localization_error": none of the five likeliest classes is right with a box on any object of the
        class; "gt_known_error": the true class's box is on none.
        """
        count, overlap, figures = len(self.said), float(self.shared.mean()), {}
        errors = {
            "localization": self.missed, "top1": self.wrong, "box": self.shared < OVERLAP,
        }  # fmt: skip
        for name, which in errors.items():
            number = int(which.sum())
            figures[f"{name}_error"] = 100 * number / count
            figures[f"{name}_interval"] = list(wilson_interval(number, count))
        ranked = {
            "top5_localization": self._without(lambda said, true: said.guesses),
            "gt_known": self._without(lambda said, true: (true,)),
        }
        for name, number in ranked.items():
            figures[f"{name}_error"] = 100 * number / count
            figures[f"{name}_interval"] = list(wilson_interval(number, count))
        return {
            "n": count,
            "found": count - int(self.missed.sum()),
            **figures,
            "iou": overlap,
            "iou_interval": list(bootstrap_interval(self.shared, draws=RESAMPLES) or (overlap, overlap)),
            "baselines": self.baselines,
            "classes": list(self.split.classes),
            "per_class": to_json(self.per_class),
        }

    def headline(self) -> Headline:
        """Return the localization error."""
        count, missed = len(self.said), int(self.missed.sum())
        words = (
            f"On {count - missed} of {count} pictures the class is right and the box overlaps the true one "
            f"by half or more; mean overlap {float(self.shared.mean()):.3f}."
        )
        guess = self.baselines.get("most frequent class", {}).get("localization_error")
        interval = wilson_interval(missed, count)
        return Headline(
            "localization_error", 100 * missed / count, "localization error", interval, words, guess
        )

    def shown(self) -> list[Shown]:
        """Return pictures with the box that was said (yellow) and the true one (green)."""
        goodness = self.shared - self.wrong.double()
        words = "Yellow: the predicted box and class. Green: the true box."
        return self.ranked(goodness, words, self._drawing)

    def _drawing(self, row: int) -> Drawing:
        index, said = int(self.indices[row]), self.said[row]
        image = self.split.decode(index, at_least=SIDE)
        width, height = whole_size(image)
        x, y = image.width / width, image.height / height
        scaled = [
            (b[0] * x, b[1] * y, b[2] * x, b[3] * y) for b in (said.box, self.truth.boxes[row].tolist())
        ]
        (x0, y0, x1, y1), true = scaled
        label = self.split.classes[said.label]
        picture = draw_boxes(image, [(label, (x0, y0, x1 - x0, y1 - y0))], [true])
        true_label = self.split.classes[int(self.truth.labels[row])]
        caption = f"{label} {said.probability:.2f}, overlap {float(self.shared[row]):.2f}"
        if label != true_label:
            caption += f"; is {true_label}"
        return Drawing(np.asarray(picture), caption, self.file_name(row))

    def tables(self) -> list[Table]:
        """Return the baselines, and the figures class by class."""
        figures = self.figures()
        blind = [
            [
                name, _percent(row.get("top1_error")), _percent(row.get("box_error")),
                _percent(row.get("localization_error")), number(row.get("iou")),
            ]
            for name, row in figures["baselines"].items()
        ]  # fmt: skip
        own = [
            "this network", _percent(figures["top1_error"]), _percent(figures["box_error"]),
            _percent(figures["localization_error"]), number(figures["iou"]),
        ]  # fmt: skip
        each = sorted(self.per_class.items(), key=lambda item: -(item[1].localization_error or 0))
        classes = [
            [
                name, str(row.n), _percent(row.error), _percent(row.localization_error), number(row.iou),
            ]
            for name, row in each
        ]  # fmt: skip
        tables = []
        if blind:
            words = (
                "Boxes fitted on the training pictures: the answer for every picture, without looking at it."
            )
            header = ("answer", "class wrong", "overlap below 0.5", "either", "mean overlap")
            tables.append(Table("Compared with answers that see no picture", words, header, [own, *blind]))
        header = ("class", "pictures", "class wrong", "class wrong or overlap below 0.5", "mean overlap")
        return [*tables, Table("Class by class", "Worst first.", header, classes)]


def shares_of(marks: OneBox) -> Tensor:
    """Return boxes as they were read in shares of the sides of their pictures, (N, 4) float64."""
    return marks.boxes / marks.sizes.double().repeat(1, 2)


def best_constant(boxes: Tensor) -> tuple[float, ...]:
    """Return the box that overlaps most of some boxes by half or more; of equal ones that of most overlap.

    It is looked for among the mean box, boxes around the middle and evenly spaced ones of the boxes
    themselves: overlap does not change when the sides of a picture are stretched.

    Args:
        boxes: of pictures, in shares of their sides, (N, 4).

    Raises:
        DataError: if there are none.
    """
    if not len(boxes):
        raise DataError("there are no boxes to fit a constant box on")
    sides = torch.arange(0.3, 1.01, 0.05, dtype=torch.float64)
    middles = torch.tensor([0.4, 0.45, 0.5, 0.55, 0.6], dtype=torch.float64)
    grid = torch.cartesian_prod(middles, middles, sides, sides)
    around = torch.cat([grid[:, :2] - grid[:, 2:] / 2, grid[:, :2] + grid[:, 2:] / 2], 1).clamp(0, 1)
    some = boxes[torch.linspace(0, len(boxes) - 1, min(len(boxes), CANDIDATES)).long()]
    candidates = torch.cat([boxes.mean(0, keepdim=True), around, some])
    judged = boxes[torch.linspace(0, len(boxes) - 1, min(len(boxes), 4 * CANDIDATES)).long()]
    best, figure = candidates[0], (-1.0, -1.0)
    for box in candidates:
        shared = overlaps(box.expand(len(judged), 4), judged)
        own = (float((shared >= OVERLAP).double().mean()), float(shared.mean()))
        if own > figure:
            best, figure = box, own
    return tuple(best.tolist())


def _share(which: Tensor) -> float | None:
    return 100 * float(which.double().mean()) if len(which) else None


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f} %"
