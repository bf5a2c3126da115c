"""What a detector does wrong: objects missed, found twice, taken for another class, found where nothing is.

The kinds of errors follow Hoiem, Chodpathumwan and Dai 2012, "Diagnosing Error in Object Detectors",
section 2: a detection is misplaced, confused with another class, or background.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.metrics.matching import Detections, Truths, overlaps_of

FOUND, TOUCHED = 0.5, 0.1
"""Overlaps with an object from which it is found, and from which a detection is misplaced, not background."""
KINDS = ("right", "doubled", "confused", "misplaced", "background", "ignored")


@dataclass(frozen=True)
class Judged:
    """The detections and the objects of a picture, each with what became of it.

    Attributes:
        kinds: of each detection, one of `KINDS`, (D,).
        others: class number that a confused detection should have said; -1 for the rest, (D,).
        missed: which objects no detection of their class found, (G,) bool; never ignored ones.
    """

    kinds: list[str]
    others: NDArray[np.int64]
    missed: NDArray[np.bool_]


def judge(found: Detections, truths: Truths) -> Judged:
    """Say of each detection what it is, the highest score first, and which objects are missed."""
    shared = overlaps_of(found, truths)
    kinds, others = [""] * len(found.scores), np.full(len(found.scores), -1)
    taken = np.zeros(len(truths.labels), bool)
    for row in np.argsort(-found.scores, kind="stable"):
        same = truths.labels == found.labels[row]
        enough = shared[row] >= FOUND
        free = same & enough & ~truths.ignored & ~taken
        if free.any():
            kinds[row] = "right"
            taken[np.where(free, shared[row], -1.0).argmax()] = True
        elif (same & enough & truths.ignored).any():
            kinds[row] = "ignored"
        elif (same & enough).any():
            kinds[row] = "doubled"
        elif (enough & ~truths.ignored).any():
            kinds[row] = "confused"
            others[row] = truths.labels[np.where(~truths.ignored, shared[row], -1.0).argmax()]
        else:
            touches = (same & ~truths.ignored & (shared[row] >= TOUCHED)).any()
            kinds[row] = "misplaced" if touches else "background"
    return Judged(kinds, others, ~taken & ~truths.ignored)


def errors_by_class(
    found: Sequence[Detections], truths: Sequence[Truths], classes: Sequence[str], at_least: float
) -> list[dict[str, Any]]:
    """Return a row for each class: its objects, found and missed, and its wrong detections by kind.

    Args:
        found: of P pictures.
        truths: of the same pictures.
        classes: names.
        at_least: detections of a lower score are left out.
    """
    kinds = [Counter[str]() for _ in classes]
    confused = [Counter[str]() for _ in classes]
    objects, missed = np.zeros(len(classes), int), np.zeros(len(classes), int)
    for detections, true in zip(found, truths, strict=True):
        shown = detections.at(detections.scores >= at_least)
        judged = judge(shown, true)
        for label, kind, other in zip(shown.labels, judged.kinds, judged.others, strict=True):
            kinds[label][kind] += 1
            if other >= 0:
                confused[label][classes[other]] += 1
        np.add.at(objects, true.labels[~true.ignored], 1)
        np.add.at(missed, true.labels[judged.missed], 1)
    return [
        {
            "class": name,
            "objects": int(objects[i]),
            "found": int(objects[i] - missed[i]),
            "missed": int(missed[i]),
            **{kind: kinds[i][kind] for kind in KINDS[1:5]},
            "confused_with": dict(confused[i].most_common()),
        }
        for i, name in enumerate(classes)
    ]
