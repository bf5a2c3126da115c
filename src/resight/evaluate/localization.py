"""How well saliency maps find what is marked, gathered picture by picture.

Sources: Russakovsky et al. 2015, "ImageNet Large Scale Visual Recognition Challenge", section 4.2 (top-1 and
top-5 error); Zhou et al. 2016, section 3.2 (five boxes of three classes); Choe et al. 2020, "Evaluating
weakly supervised object localization methods right", section 4 (GT-known, MaxBoxAcc, PxAP).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from resight.core.figures import IfAny
from resight.localize import boxes as finding
from resight.localize.rule import TIGHT, largest_box
from resight.metrics import localization
from resight.metrics.accuracy import wilson_interval
from resight.metrics.paired import mcnemar

LEAST = 0.5
"""Overlap with an object that counts as found."""
GUESSES = 5
SWEPT = np.arange(100) / 100
TOLERANCE = 15 / 224
"""Of the pointing game, as a share of the side: 15 pixels of 224."""


@dataclass(frozen=True)
class Difference:
    """How two methods differ in one measure on the same pictures.

    Attributes:
        only_this: pictures that only this method finds.
        only_other: pictures that only the other one finds.
        difference: by how many percent of the pictures this one finds more.
        p: see `resight.metrics.paired.mcnemar`.
    """

    only_this: int
    only_other: int
    difference: float
    p: float


@dataclass(frozen=True)
class Comparison:
    """How a method compares with another one on the same pictures.

    Attributes:
        against: name of the other method.
        gt_known: where the own class's box is found.
        top1: where the best guess and its box are right.
    """

    against: str
    gt_known: Difference
    top1: Difference


@dataclass(frozen=True)
class LocalizationFigures:
    """The measures of a method: errors and accuracies in percent, errors with 95 % Wilson intervals.

    Attributes:
        n: pictures.
        paired: the comparison with a baseline, where one was made.
    """

    gt_known_error: float
    gt_known_interval: tuple[float, float]
    top1_error: float
    top1_interval: tuple[float, float]
    top5_error: float
    top5_interval: tuple[float, float]
    five_boxes_error: float
    five_boxes_interval: tuple[float, float]
    max_box_acc: float
    max_box_acc_threshold: float
    max_box_acc_v2: float
    pixel_average_precision: float
    pointing_game: float
    energy_pointing_game: float
    n: int
    paired: IfAny[Comparison] = None


@dataclass
class Tally:
    """What is gathered of one method.

    Attributes:
        threshold: of the boxes, see `resight.localize.boxes`.
        normalization: what it is a share of.
    """

    threshold: float
    normalization: str
    top5: int = 0
    five_boxes: int = 0
    pointed: int = 0
    energy: list[float] = field(default_factory=list)
    right: dict[str, list[bool]] = field(default_factory=lambda: {"gt_known": [], "top1": []})
    largest: list[NDArray[np.float64]] = field(default_factory=list)
    best: list[NDArray[np.float64]] = field(default_factory=list)
    pixels: localization.PixelPrecision = field(default_factory=localization.PixelPrecision)

    def add(
        self,
        maps: NDArray[np.float32],
        named: Sequence[str],
        truth: Mapping[str, NDArray[np.float64]],
        mask: NDArray[np.bool_] | None = None,
    ) -> None:
        """Count one picture.

        Args:
            maps: (1 + G, H, W), of the picture's own class and of the G best guesses.
            named: their classes, 1 + G names.
            truth: the boxes (n, 4) of every class on the picture, the own one too, in pixels of the maps.
            mask: the own class's pixels (H, W), where they are known; by default its boxes'.
        """
        own, known = truth[named[0]], list(truth.items())
        share = finding.scaled(maps, self.normalization)

        def guess(place: int, threshold: float) -> tuple[str, NDArray[np.int64]]:
            return named[place], largest_box(share[place], threshold)

        loose = [guess(place, self.threshold) for place in range(1, 1 + min(GUESSES, len(maps) - 1))]
        five = [*loose[:3], *(guess(place, TIGHT) for place in range(1, 1 + min(2, len(loose))))]
        box = largest_box(share[0], self.threshold)
        self.right["gt_known"].append(bool(localization.overlap(box, own).max(initial=0) >= LEAST))
        self.right["top1"].append(localization.located(loose[:1], known, LEAST))
        self.top5 += localization.located(loose, known, LEAST)
        self.five_boxes += localization.located(five, known, LEAST)
        swept = finding.scaled(maps[:1], "minmax")[0]
        largest, parts = finding.sweep(swept, SWEPT.tolist())
        self.largest.append(localization.overlap(largest, own).max(1))
        self.best.append(np.array([localization.overlap(p, own).max(initial=0) for p in parts]))
        height, width = swept.shape
        self.pixels.add(swept, localization.mask_of(own, height, width) if mask is None else mask)
        self.pointed += localization.points_at(maps[0], own, TOLERANCE * width)
        self.energy.append(localization.energy_inside(maps[0], own))

    @property
    def count(self) -> int:
        """Pictures counted."""
        return len(self.energy)

    def against(self, other: "Tally", name: str) -> Comparison:
        """Return how it compares with another method, which counted the same pictures in the same order."""
        found = [mcnemar(own, other.right[measure]) for measure, own in self.right.items()]
        return Comparison(name, *(Difference(m.first, m.second, m.difference, m.p) for m in found))

    def figures(self) -> LocalizationFigures:
        """Return the measures of the pictures counted so far."""
        accuracy, best, _ = localization.max_box_accuracy(np.stack(self.largest))
        right = [*map(sum, self.right.values()), self.top5, self.five_boxes]
        errors = []
        for wrong in (self.count - each for each in right):
            errors += [100 * wrong / self.count, wilson_interval(wrong, self.count)]
        return LocalizationFigures(
            *errors,
            max_box_acc=accuracy,
            max_box_acc_threshold=float(SWEPT[best]),
            max_box_acc_v2=localization.max_box_accuracy_v2(np.stack(self.best)),
            pixel_average_precision=self.pixels.value(),
            pointing_game=100 * self.pointed / self.count,
            energy_pointing_game=float(np.mean(self.energy)),
            n=self.count,
        )
