"""Name what is on pictures with an .onnx file."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image

from resight.core.console import counted
from resight.core.errors import PictureError, UsageError
from resight.data.given import Given, decode_given, found, listed
from resight.export.deployed import CLASSIFY, Onnx
from resight.service.deployed.solved import solved
from resight.tasks.classify.row import LABELS

BATCH = 8
"""Pictures decoded before they go through the network together, those of one size."""


def predict(
    run: str, images: Given | Sequence[Given], top: int = 5, *, at_least: float | None = None
) -> Iterator[dict[str, Any]]:
    """Yield the prediction of each picture, in the order of the images; see `resight.service.test.predict`.

    Args:
        run: an .onnx file.
        images: a picture or several.
        top: how many classes to list.
        at_least: an answer of a lower probability is unsure, in (0, 1).

    Raises:
        ResightError: in one line.
    """
    if at_least is not None:
        require_probability(at_least)
    names, pictures = found(listed(images))
    network = Onnx(run)
    if network.task != CLASSIFY:
        if at_least is not None:
            raise UsageError(f"--at-least is about classes; --task {network.task} has other answers")
        yield from solved(network, names, pictures)
        return
    if at_least is not None and network.rule != "softmax":
        raise UsageError(f"{run}: has no single probability for --at-least; leave it out")
    card, classes = network.preprocessing, network.classes
    for start in counted(range(0, len(names), BATCH), "pictures", len(names), BATCH):
        part = range(start, min(start + BATCH, len(names)))
        good: dict[int, Image.Image] = {}
        faults: dict[int, PictureError] = {}
        for i in part:
            try:
                good[i] = decode_given(pictures[i], names[i], at_least=card.resize, levels=card.levels)
            except PictureError as error:
                faults[i] = error
        answers = dict(zip(good, network.answer(list(good.values())) if good else [], strict=True))
        for i in part:
            if i in faults:
                yield {"path": names[i], "error": f"{faults[i].fault}; {faults[i].cure}"}
                continue
            likely = answers[i].probabilities
            best = np.argsort(-likely, kind="stable")[: min(top, len(classes))].tolist()
            labels = LABELS[network.activation](classes, likely.tolist())
            yield row_of(names[i], classes, best, likely[best].tolist(), labels, at_least)


def row_of(
    name: str,
    classes: Sequence[str],
    best: Sequence[int],
    likely: Sequence[float],
    labels: dict[str, Any],
    at_least: float | None,
) -> dict[str, Any]:
    """Return a row of the JSON of `resight predict`.

    Args:
        name: of the picture.
        classes: names.
        best: numbers of the most likely classes, the best first.
        likely: their probabilities.
        labels: what is added for multi-label answers.
        at_least: an answer of a lower probability is unsure; None for no such mark.
    """
    pairs = [[classes[number], p] for number, p in zip(best, likely, strict=True)]
    return {
        "path": name,
        "label": pairs[0][0],
        "index": best[0],
        "probability": pairs[0][1],
        "top": pairs,
        **labels,
        **({} if at_least is None else {"unsure": pairs[0][1] < at_least}),
    }


def require_probability(at_least: float) -> None:
    """Refuse a threshold that accepts all answers or none.

    Raises:
        UsageError: if it is not between 0 and 1.
    """
    if not 0 < at_least < 1:
        raise UsageError(f"--at-least {at_least:g}: must be a probability between 0 and 1, such as 0.8")
