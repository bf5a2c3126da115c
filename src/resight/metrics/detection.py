"""How good detections are: average precision as COCO and Pascal VOC define it, with intervals.

A figure that nothing can be counted for is None, never a number. T overlaps, A ranges of area, R recalls.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resight.metrics.matching import AREAS, Detections, Matches, Truths, match, overlaps_of

RECALLS = np.linspace(0.0, 1.0, 101)
"""At which COCO reads the precision."""
ROUNDS = 1000
"""Draws of a bootstrap."""
COVERAGE = 0.95
FIFTY, SEVENTY_FIVE = 0, 5
"""Places of the overlaps 0.5 and 0.75 among COCO's ten."""


@dataclass(frozen=True)
class Precision:
    """Precision of each class, -1 where it has no object.

    Attributes:
        at: interpolated precision, (classes, A, T, R).
        recall: highest recall with 100 detections a picture, (classes, A, T).
    """

    at: NDArray[np.float64]
    recall: NDArray[np.float64]

    def average(
        self, area: str = "all", overlap: int | None = None, label: int | None = None
    ) -> float | None:
        """Return the average precision in [0, 1], the mean over classes that have objects.

        Args:
            area: one of `AREAS`.
            overlap: place among the overlaps; None for their mean.
            label: a class; None for their mean.
        """
        return _mean(_chosen(self.at, area, overlap, label))

    def average_recall(self, area: str = "all") -> float | None:
        """Return the highest recall in [0, 1], the mean over overlaps and classes that have objects."""
        return _mean(_chosen(self.recall, area, None, None))

    def curve(self, label: int, overlap: int = FIFTY) -> list[float] | None:
        """Return the precision of a class at `RECALLS`; None if it has no object."""
        line = self.at[label, 0, overlap]
        return None if line[0] < 0 else line.tolist()


def _chosen(values: NDArray, area: str, overlap: int | None, label: int | None) -> NDArray:
    values = values[:, list(AREAS).index(area)]
    values = values if overlap is None else values[:, overlap]
    return values if label is None else values[label]


def _mean(values: NDArray) -> float | None:
    counted = values[values > -1]
    return float(counted.mean()) if counted.size else None


def matches_of(found: Sequence[Detections], truths: Sequence[Truths], classes: int) -> list[Matches]:
    """Return the matches of every class, over the same pictures."""
    return [match(found, truths, label) for label in range(classes)]


def precision_of(matches: Sequence[Matches], times: NDArray[np.int64] | None = None) -> Precision:
    """Return the precision of all classes.

    Args:
        matches: of each class.
        times: how often each picture is counted, (P,); None for once.
    """
    lines = [_precision(m, times) for m in matches]
    return Precision(np.stack([at for at, _ in lines]), np.stack([recall for _, recall in lines]))


def _precision(m: Matches, times: NDArray[np.int64] | None) -> tuple[NDArray, NDArray]:
    """Return one class's interpolated precision (A, T, R) and its highest recall (A, T)."""
    areas, overlaps = m.right.shape[:2]
    at, recall = np.full((areas, overlaps, len(RECALLS)), -1.0), np.full((areas, overlaps), -1.0)
    weight = np.ones(m.objects.shape[1]) if times is None else times.astype(np.float64)
    objects = m.objects @ weight
    kept = np.flatnonzero(weight[m.pictures] > 0)
    order = kept[np.argsort(-m.scores[kept], kind="stable")]
    counted = ~m.ignored[:, :, order] * weight[m.pictures[order]]
    hits = np.cumsum(m.right[:, :, order] * counted, 2)
    seen = np.cumsum(counted, 2)
    for a in np.flatnonzero(objects > 0):
        reached = hits[a] / objects[a]
        exact = hits[a] / (seen[a] + np.spacing(1))
        envelope = np.maximum.accumulate(exact[:, ::-1], 1)[:, ::-1]
        recall[a] = reached[:, -1] if len(order) else 0.0
        for t in range(overlaps):
            places = np.searchsorted(reached[t], RECALLS, side="left")
            at[a, t] = np.append(envelope[t], 0.0)[places]
    return at, recall


@dataclass(frozen=True)
class Interval:
    """A figure with its interval.

    Attributes:
        value: of all pictures.
        low: lower end.
        high: upper end.
    """

    value: float
    low: float
    high: float


def intervals(
    matches: Sequence[Matches],
    figures: Sequence[Callable[[Precision], float | None]],
    seed: int = 0,
    rounds: int = ROUNDS,
    coverage: float = COVERAGE,
) -> list[Interval | None]:
    """Return figures with the intervals of a bootstrap over pictures; None for one that cannot be computed.

    Pictures are drawn with repetition, as many as there are; the interval runs between the quantiles of the
    figures of such draws (Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13).

    Args:
        matches: of each class, over the same pictures.
        figures: what is read off the precision of objects of all areas.
        seed: of the draws.
        rounds: how many draws.
        coverage: share of repetitions of the test in which the interval should hold the true figure.
    """
    own = [replace(m, right=m.right[:1], ignored=m.ignored[:1], objects=m.objects[:1]) for m in matches]
    precision = precision_of(own)
    values = [figure(precision) for figure in figures]
    pictures, chance = own[0].objects.shape[1], np.random.default_rng(seed)
    drawn: list[list[float]] = [[] for _ in figures]
    for _ in range(rounds if any(value is not None for value in values) else 0):
        times = np.bincount(chance.integers(pictures, size=pictures), minlength=pictures)
        again = precision_of(own, times)
        for place, figure in zip(drawn, figures, strict=True):
            value = figure(again)
            place += [] if value is None else [value]
    ends = [(1 - coverage) / 2, (1 + coverage) / 2]
    return [
        None if value is None else Interval(value, *np.quantile(place or [value], ends).tolist())
        for value, place in zip(values, drawn, strict=True)
    ]


def voc_average(
    found: Sequence[Detections],
    truths: Sequence[Truths],
    label: int,
    *,
    eleven: bool = False,
    overlap: float = 0.5,
) -> float | None:
    """Return Pascal VOC's average precision of a class, in [0, 1]; None if it has no object that counts.

    A detection is compared with the object that it overlaps most, taken or not; the second on the same
    object is wrong, and one on a difficult object counts for nothing.

    Args:
        found: of P pictures.
        truths: of the same pictures.
        label: the class.
        eleven: mean of the precision at recalls 0, 0.1, ... 1 (VOC 2007); else the area under the whole
            interpolated curve (VOC 2010 and later).
        overlap: that counts as found.

    Source: Everingham et al. 2010, "The Pascal Visual Object Classes Challenge", section 4.2; and its
    development kit.
    """
    objects = sum(int((~t.of(label).ignored).sum()) for t in truths)
    if not objects:
        return None
    scores, right = [np.zeros(0)], [np.zeros(0, bool)]
    for detections, true in zip(found, truths, strict=True):
        own, true_own = detections.best(label, None), true.of(label)
        judged = _voc_judged(own, true_own, overlap)
        scores.append(own.scores[judged >= 0])
        right.append(judged[judged >= 0] > 0)
    order = np.argsort(-np.concatenate(scores), kind="stable")
    hits = np.cumsum(np.concatenate(right)[order])
    recall, precision = hits / objects, hits / np.arange(1, len(hits) + 1)
    if eleven:
        return float(np.mean([precision[recall >= r].max(initial=0.0) for r in np.linspace(0, 1, 11)]))
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float(np.sum(np.diff(recall, prepend=0.0) * envelope))


def _voc_judged(found: Detections, truths: Truths, overlap: float) -> NDArray[np.int64]:
    """Return 1 for right, 0 for wrong, -1 for not counted, (D,)."""
    judged, taken = np.zeros(len(found.scores), np.int64), set[int]()
    if not len(truths.labels):
        return judged
    for number, shared in enumerate(overlaps_of(found, truths)):
        best = int(shared.argmax())
        if shared[best] < overlap:
            continue
        if truths.ignored[best]:
            judged[number] = -1
        elif best not in taken:
            taken.add(best)
            judged[number] = 1
    return judged
