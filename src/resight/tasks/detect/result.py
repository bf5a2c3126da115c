"""What a test of a detector gave: average precision with intervals, errors by class, and drawings."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Split
from resight.data.layouts.masks import run_lengths
from resight.data.objects import ObjectMarks, masks_of
from resight.data.prepare import whole_size
from resight.metrics.detection import (
    FIFTY,
    RECALLS,
    SEVENTY_FIVE,
    intervals,
    matches_of,
    precision_of,
    voc_average,
)  # fmt: skip
from resight.metrics.detection_errors import Judged, errors_by_class, judge
from resight.metrics.matching import AREAS, Detections, Truths
from resight.render.boxes import draw_boxes
from resight.tasks.detect.row import SHOWN
from resight.tasks.result import SIDE, Answered, Drawing, Headline, Shown, Table, number

WRONG = ("doubled", "confused", "misplaced", "background")
GROUPS = {
    "doubled": ("Found twice", "a better detection had taken the same object"),
    "confused": ("Taken for another class", "an object of another class is there"),
    "misplaced": ("Next to their objects", "the overlap with an object of the class is below 0.5"),
    "background": ("Found where nothing is", "no object of the class is near"),
}
DRAWN = 6
"""Pictures of a group."""


@dataclass(frozen=True)
class Detected:
    """The objects that are found in a picture, the best first.

    Attributes:
        boxes: x0, y0, x1, y1 in pixels of the whole picture as seen, (D, 4).
        labels: class numbers, (D,).
        scores: (D,).
        size: (width, height) of that picture.
        masks: of each as COCO's uncompressed run lengths; None where no masks are learned.
    """

    boxes: NDArray[np.float64]
    labels: NDArray[np.int64]
    scores: NDArray[np.float64]
    size: tuple[int, int]
    masks: tuple[dict[str, Any], ...] | None = None

    def drawn(self) -> NDArray[np.bool_] | None:
        """Return the masks (D, H, W)."""
        if self.masks is None:
            return None
        width, height = self.size
        each = [run_lengths(mask["counts"], self.size) for mask in self.masks]
        return np.array(each, dtype=bool).reshape(-1, height, width)


@dataclass(frozen=True)
class DetectResult(Answered):
    """Found objects, compared with the true ones.

    Attributes:
        masks: whether masks are judged too.
    """

    said: tuple[Detected, ...]
    masks: bool = False

    @classmethod
    def of(
        cls,
        answers: Sequence[tuple[int, Detected]],
        split: Split,
        train: Split | None = None,
        *,
        masks: bool = False,
    ) -> Self:
        """Return the result of (index, answer) pairs.

        Raises:
            DataError: if no picture has an object that counts.
        """
        made = replace(super().of(answers, split, train), masks=masks)
        if all(truth.ignored.all() for truth in made.truths):
            raise DataError(
                f"the {split.name} pictures have no object of the classes "
                f"{', '.join(split.classes[:6])}, so there is nothing to measure; add pictures that show some"
            )
        return made

    @cached_property
    def truths(self) -> list[Truths]:
        """The true objects of each picture."""
        return [Truths(*ObjectMarks.read(self.split, index)[:4]) for index in self.indices.tolist()]

    @cached_property
    def found(self) -> list[Detections]:
        """What was found in each picture."""
        return [Detections(s.boxes, s.labels, s.scores) for s in self.said]

    @cached_property
    def judged(self) -> list[Judged]:
        """What became of each detection from `SHOWN` on, and of each object."""
        return [judge(f.at(f.scores >= SHOWN), t) for f, t in zip(self.found, self.truths, strict=True)]

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types; average precisions in [0, 1], None where no object counts.

        "ap": COCO's, over overlaps from 0.5 to 0.95, with a bootstrap interval over the pictures; "ap50" and
        "ap75" at one overlap; "by_size": of objects of less than 32^2, to 96^2, and more pixels of area;
        "voc07": with 11 recalls; "voc": the area under the curve.
        """
        return self._figures

    @cached_property
    def _figures(self) -> dict[str, Any]:
        classes = self.split.classes
        matches = matches_of(self.found, self.truths, len(classes))
        precision = precision_of(matches)
        ap, ap50 = intervals(matches, [lambda p: p.average(), lambda p: p.average(overlap=FIFTY)])
        voc = [
            [voc_average(self.found, self.truths, label, eleven=eleven) for label in range(len(classes))]
            for eleven in (False, True)
        ]
        errors = errors_by_class(self.found, self.truths, classes, SHOWN)
        per_class = {
            name: {
                "ap": precision.average(label=i), "ap50": precision.average(overlap=FIFTY, label=i),
                "voc": voc[0][i], "voc07": voc[1][i], "curve": precision.curve(i), **errors[i],
            }
            for i, name in enumerate(classes)
        }  # fmt: skip
        for row in per_class.values():
            del row["class"]
        return {
            "n": len(self.said),
            "objects": sum(row["objects"] for row in errors),
            "ap": precision.average(),
            "ap_interval": None if ap is None else [ap.low, ap.high],
            "ap50": precision.average(overlap=FIFTY),
            "ap50_interval": None if ap50 is None else [ap50.low, ap50.high],
            "ap75": precision.average(overlap=SEVENTY_FIVE),
            "by_size": {size: precision.average(size) for size in list(AREAS)[1:]},
            "recall": precision.average_recall(),
            **(self._of_masks() if self.masks else {}),
            "voc": _mean(voc[0]),
            "voc07": _mean(voc[1]),
            "baselines": {},
            "at_score": SHOWN,
            "classes": list(classes),
            "recalls": RECALLS.tolist(),
            "per_class": per_class,
        }

    def _of_masks(self) -> dict[str, Any]:
        """Return the average precision of masks: overlaps are those of the masks, pixel by pixel."""
        found = [replace(own, masks=said.drawn()) for own, said in zip(self.found, self.said, strict=True)]
        truths = [
            replace(own, masks=masks_of(self.split, index))
            for own, index in zip(self.truths, self.indices.tolist(), strict=True)
        ]
        matches = matches_of(found, truths, len(self.split.classes))
        ap, ap50 = intervals(matches, [lambda p: p.average(), lambda p: p.average(overlap=FIFTY)])
        return {
            "mask_ap": ap and ap.value, "mask_ap_interval": ap and [ap.low, ap.high],
            "mask_ap50": ap50 and ap50.value, "mask_ap50_interval": ap50 and [ap50.low, ap50.high],
        }  # fmt: skip

    def headline(self) -> Headline:
        """Return COCO's average precision."""
        figures = self.figures()
        if figures["ap"] is None:
            return Headline(
                "ap", 0.0, "average precision", None, "There is no object to find.", percent=False
            )
        counts = {key: sum(row[key] for row in figures["per_class"].values()) for key in ("found", *WRONG)}
        wrong = ", ".join(f"{counts[key]} {key}" for key in WRONG)
        words = (
            f"AP50 {figures['ap50']:.3f}. With a score of {SHOWN:g} or more, {counts['found']} of "
            f"{figures['objects']} objects are found; wrong detections: {wrong}."
        )
        if self.masks:
            words += f" AP of masks {number(figures['mask_ap'])}, AP50 {number(figures['mask_ap50'])}."
        low, high = figures["ap_interval"]
        return Headline("ap", figures["ap"], "average precision", (low, high), words, percent=False)

    def shown(self) -> list[Shown]:
        """Return the worst, typical and best pictures, then those with errors of each kind."""
        right = [sum(kind == "right" for kind in own.kinds) for own in self.judged]
        wrong = [sum(kind in WRONG for kind in own.kinds) for own in self.judged]
        missed = [int(own.missed.sum()) for own in self.judged]
        good = [r / (r + w + m) if r + w + m else 1.0 for r, w, m in zip(right, wrong, missed, strict=True)]
        words = f"Yellow: what was found with a score of {SHOWN:g} or more. Green: the true boxes."
        goodness = torch.tensor(good, dtype=torch.float64)
        groups = self.ranked(goodness, words, self._drawing, DRAWN)
        if any(missed):
            most = np.argsort(-np.array(missed), kind="stable")[:DRAWN].tolist()
            drawn = [self._drawing(row, "missed") for row in most if missed[row]]
            groups.append(Shown("Missed", "Green: objects that were not found.", drawn))
        for kind, (title, words) in GROUPS.items():
            counts = np.array([own.kinds.count(kind) for own in self.judged])
            most = [row for row in np.argsort(-counts, kind="stable")[:DRAWN].tolist() if counts[row]]
            if most:
                groups.append(Shown(title, f"Yellow: {words}.", [self._drawing(row, kind) for row in most]))
        return groups

    def _drawing(self, row: int, only: str = "") -> Drawing:
        """Draw a picture: all of it, or only what is of one kind."""
        index, truth, judged = int(self.indices[row]), self.truths[row], self.judged[row]
        found = self.found[row].at(self.found[row].scores >= SHOWN)
        image = self.split.decode(index, at_least=SIDE)
        width, height = whole_size(image)
        scale = np.array([image.width / width, image.height / height] * 2)
        kept = np.array([not only or kind == only for kind in judged.kinds], dtype=bool)
        said = [
            (f"{self.split.classes[label]} {score:.2f}", [x0, y0, x1 - x0, y1 - y0])
            for (x0, y0, x1, y1), label, score in zip(
                (found.boxes[kept] * scale).tolist(), found.labels[kept], found.scores[kept], strict=True
            )
        ]
        marked = judged.missed if only == "missed" else ~truth.ignored & (only == "")
        picture = draw_boxes(image, said, (truth.boxes[marked] * scale).tolist())
        counts = [f"{judged.kinds.count(kind)} {kind}" for kind in ("right", *WRONG) if kind in judged.kinds]
        caption = ", ".join([*counts, f"{int(judged.missed.sum())} missed"])
        return Drawing(np.asarray(picture), caption, self.file_name(row))

    def tables(self) -> list[Table]:
        """Return the figures class by class, by size, and the errors."""
        figures, rows = self.figures(), self.figures()["per_class"]
        each = sorted(rows.items(), key=lambda item: item[1]["ap"] if item[1]["ap"] is not None else 2)
        classes = [
            [
                name,
                str(r["objects"]),
                number(r["ap"]),
                number(r["ap50"]),
                number(r["voc"]),
                number(r["voc07"]),
            ]
            for name, r in each
        ]
        sizes = [[name, number(value)] for name, value in figures["by_size"].items()]
        errors = [
            [
                name, str(r["objects"]), str(r["missed"]), *(str(r[kind]) for kind in WRONG),
                ", ".join(f"{other} {count}" for other, count in r["confused_with"].items()) or "-",
            ]
            for name, r in each
        ]  # fmt: skip
        header = ("class", "objects", "AP", "AP50", "VOC", "VOC 2007")
        return [
            Table("Class by class", "Average precision, worst first.", header, classes),
            Table(
                "By size", "Area of the objects: below 32², to 96², above, in pixels.", ("size", "AP"), sizes
            ),
            Table(
                "What goes wrong", f"Detections with a score of {SHOWN:g} or more.",
                ("class", "objects", "missed", *WRONG, "is"), errors,
            ),
        ]  # fmt: skip


def _mean(values: Sequence[float | None]) -> float | None:
    counted = [value for value in values if value is not None]
    return sum(counted) / len(counted) if counted else None
