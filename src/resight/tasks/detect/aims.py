"""Which detections of a picture are explained: the score of a class in the box that was found."""

from collections.abc import Sequence

import torch
from torch import Tensor

from resight.core.errors import UsageError
from resight.models.heads.detector import Found
from resight.models.heads.regions import Kept
from resight.models.solver import Solver
from resight.tasks.task import Aim


def aims_of(network: Solver, image: Tensor, target: str | None, kept: Kept) -> list[Aim]:
    """Return the scores of detections: of the best one, of the best of a class, or of the K best (topK).

    The box stays where it was found, so that a map says what in the picture speaks for the class there.

    Args:
        network: in eval mode.
        image: (1, 3, S, S).
        target: a value of `--target`.
        kept: which detections count.

    Raises:
        UsageError: if there is no such class, or nothing of it is found.
    """
    canvas = (image.shape[2], image.shape[3])
    with torch.no_grad():
        found: Found = network.head.detections(network(image), canvas, [canvas], kept)[0]  # type: ignore[operator]
    labels = found.labels.tolist()

    def aim(row: int) -> Aim:
        box, label = found.boxes[row], labels[row]
        name = f"{network.classes[label]} {row + 1}"
        return Aim(name, lambda raw: network.head.scores(raw, box, label, canvas))  # type: ignore[operator]

    rows = _rows(labels, target, network.classes)
    if not rows:
        raise UsageError(
            f"--target {target or 'top1'}: nothing of that is found in this picture with a score above "
            f"{kept.score:g}"
        )
    return [aim(row) for row in rows]


def _rows(labels: Sequence[int], target: str | None, classes: Sequence[str]) -> list[int]:
    """Return the numbers of the detections that a target names, the best first."""
    word = "top1" if target is None else target
    known = word in classes or (word.isdecimal() and len(word) < 10 and int(word) < len(classes))
    if known:
        label = classes.index(word) if word in classes else int(word)
        return [labels.index(label)] if label in labels else []
    if word.startswith("top") and word[3:].isdecimal() and int(word[3:]):
        return list(range(min(len(labels), int(word[3:]))))
    raise UsageError(
        f"--target {target}: is no class of this run; its classes: {', '.join(classes[:8])}; or topK for the "
        "K best detections"
    )
