"""The pictures of the report with their maps: the most confident errors, and typical right answers."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from resight.core.console import counted
from resight.data.decode import WHOLE
from resight.data.prepare import Normalize, fit
from resight.render.original import Original
from resight.render.overlay import thumbnail
from resight.render.page import Part, render
from resight.saliency.methods import METHODS, explain
from resight.service.report.cues import METHOD
from resight.service.report.kinds import kind_of
from resight.service.report.tested import Tested

MISTAKES, FIRST, RIGHT, RIGHT_EACH = 24, 6, 40, 2
"""Errors on the page, those shown at once, right answers, and of one class."""
SIDE, SMALL_SIDE = 200, 96


def errors(tested: Tested) -> list[Part]:
    """Return the most confident errors, each with the maps of the answer and of the true class."""
    layer, items = drawn(tested, most_confident_errors(tested), truth=True)
    html = render(
        "sections/errors", items=items, first=FIRST, truth=kind_of(tested.result).truth,
        method=METHODS[METHOD].title, layer=layer, cut=any(item["cut"] for item in items),
    )  # fmt: skip
    return [Part("The most confident errors" if items else "Errors", html=html)]


def right_answers(tested: Tested) -> list[Part]:
    """Return typical right answers of each class."""
    _, items = drawn(tested, typical_right(tested))
    which = "each class" if len(tested.result.classes) <= RIGHT else "the first classes"
    return [Part(f"Right answers of {which}", html=render("sections/right", items=items))] if items else []


def most_confident_errors(tested: Tested) -> list[int]:
    """Return rows of the result, the most confident error first."""
    result = tested.result
    order = result.probabilities.amax(1).argsort(descending=True)
    return order[result.wrong()[order]][:MISTAKES].tolist()


def typical_right(tested: Tested) -> list[int]:
    """Return rows of right answers: some of each class, evenly spaced by confidence, not the surest."""
    result = tested.result
    confidence, predicted = result.probabilities.max(1)
    order = confidence.argsort(descending=True)
    of_classes: dict[int, list[int]] = {}
    for row, number in zip(order.tolist(), predicted[order].tolist(), strict=True):
        of_classes.setdefault(number, []).append(row)
    wrong = result.wrong().tolist()
    each = max(1, min(RIGHT_EACH, RIGHT // max(len(result.classes), 1)))
    right: list[int] = []
    for number in sorted(of_classes):
        own = [row for row in of_classes[number] if not wrong[row]]
        right += [own[int(q)] for q in np.linspace(0, len(own) - 1, each + 2)[1:-1]] if own else []
        if len(right) >= RIGHT:
            break
    return right[:RIGHT]


def drawn(
    tested: Tested, rows: list[int], *, truth: bool = False, side: int = SIDE
) -> tuple[str, list[dict[str, Any]]]:
    """Return the layer read, and of each row the picture and its maps over it, as data URIs.

    The first map is of the predicted class; with `truth` a second one, from the same pass, of the true one.
    """
    run, result, card = tested.run, tested.result, tested.run.preprocessing
    items, layer, normalize, kind = [], "", Normalize(card, run.device), kind_of(result)
    for start in counted(range(0, len(rows), 16), "drawing the report's maps", len(rows), 16):
        part = rows[start : start + 16]
        indices = [int(result.indices[row]) for row in part]
        pictures = [tested.split.decode(i, at_least=card.resize) for i in indices]
        squares = np.stack([fit(picture, card) for picture in pictures])
        targets = _targets(tested, part, truth=truth)
        explanation = explain(run.model, normalize(torch.from_numpy(squares).to(run.device)), METHOD, targets)
        layer = explanation.layer
        for row, index, picture, heats, asked in zip(
            part, indices, pictures, explanation.maps.cpu().numpy(), targets.tolist(), strict=True
        ):
            sharp = _sharp(tested, index, picture, side)
            classes = tested.split.class_names(index)
            original, plain = Original(sharp, card, side), thumbnail(np.asarray(sharp), side)
            items.append(
                {
                    "picture": plain,
                    "maps": [
                        {
                            "map": thumbnail(original.under(heat), side) if heat.any() else plain,
                            "label": result.classes[number],
                            "probability": float(result.probabilities[row, number]),
                            "empty": not heat.any(),
                        }
                        for heat, number in zip(heats, asked, strict=True)
                    ],
                    "cut": original.cut,
                    "css": "tiny" if max(picture.size) <= 64 else "",
                    "name": Path(tested.split.picture_name(index)).name,
                    "classes": classes,
                    "beside": kind.beside(classes),
                }
            )
    return layer, items


def _targets(tested: Tested, rows: list[int], *, truth: bool) -> Tensor:
    """Return the classes to explain of each row, (B, 1) or (B, 2)."""
    named = tested.result.probabilities[rows].argmax(1, keepdim=True)
    if not truth:
        return named
    true = tested.result.truth()[rows][:, None]
    return torch.cat([named, torch.where(true < 0, named, true)], 1)


def _sharp(tested: Tested, index: int, picture: Image.Image, side: int) -> Image.Image:
    """Return a picture of at least `side` pixels a side if its file has them, else the one given."""
    if min(picture.size) >= side or WHOLE not in picture.info:
        return picture
    return tested.split.decode(index, at_least=side)
