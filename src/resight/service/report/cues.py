"""The spurious-cue finder of the report: the maps of each class in groups, with typical pictures of each."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from resight.core.console import counted
from resight.data.dataset import Split
from resight.data.prepare import Normalize, decode_split
from resight.evaluate.cues import Group, find_groups, small
from resight.saliency.methods import explain
from resight.service.run.run import Run
from resight.tasks.classify.result import TestResult

METHOD = "grad_cam"
BATCH = 32
ENOUGH = 12
"""A class that was named fewer times is not grouped."""
MOST_OF_CLASS, LEAST_OF_CLASS, MOST_IN_ALL = 200, 40, 2000
"""Maps: at most of one class, at least where there are many classes, at most of all classes."""
CLASSES = 12
"""Classes that are shown."""
LEAST_CELLS = 4
"""Sides of the layer's map below which every peak is at an edge."""


@dataclass(frozen=True)
class ClassGroups:
    """The groups of one class's maps.

    Attributes:
        name: of the class.
        named: test pictures with this answer.
        wrong: those of them that are wrong.
        rows: rows of the result whose maps were grouped; the groups' members index them.
        empty: maps left out because they are zero everywhere.
        groups: those with marks first.
    """

    name: str
    named: int
    wrong: int
    rows: list[int]
    empty: int
    groups: list[Group]


def find_cues(run: Run, split: Split, result: TestResult) -> list[ClassGroups]:
    """Group the maps of each class, over the test pictures with this answer, right or wrong.

    Pictures are taken by the answer, not the true class: the groups show the reasons for the answer.

    Args:
        run: the network.
        split: the tested split, its labels referring to the network's classes.
        result: the test.

    Returns:
        At most `CLASSES` classes: those with marks first, then those with the most groups, then errors.
    """
    wrong = result.wrong()
    named = {c: rows for c, rows in rows_by_name(result).items() if len(rows) >= ENOUGH}
    order = sorted(named, key=lambda c: (-int(wrong[named[c]].sum()), -len(named[c]), c))
    each = min(MOST_OF_CLASS, max(LEAST_OF_CLASS, MOST_IN_ALL // max(len(order), 1)))
    kept: dict[int, list[int]] = {}
    empty: dict[int, int] = {}
    maps: dict[str, Tensor] = {}
    edges, left = True, MOST_IN_ALL
    for number in counted(order, "looking at maps, classes"):
        rows = named[number]
        count = min(each, len(rows), left)
        if count < ENOUGH:
            continue
        left -= count
        chosen = rows[torch.linspace(0, len(rows) - 1, count).round().long()].tolist()
        heats, cells = _maps(run, split, result, chosen, number)
        edges = edges and cells >= LEAST_CELLS
        alive = heats.amax((1, 2)) > 0
        empty[number] = int((~alive).sum())
        kept[number] = [row for row, there in zip(chosen, alive.tolist(), strict=True) if there]
        if kept[number]:
            maps[result.classes[number]] = heats[alive]
    mistaken = {result.classes[c]: wrong[rows] for c, rows in kept.items() if rows}
    groups = find_groups(maps, mistaken, edges=edges)
    found = [
        ClassGroups(name, len(named[c]), int(wrong[named[c]].sum()), rows, empty[c], groups[name])
        for c, rows in kept.items()
        if (name := result.classes[c]) in groups
    ]
    found.sort(key=lambda c: (-sum(g.marks for g in c.groups), -len(c.groups), -c.wrong))
    return found[:CLASSES]


def rows_by_name(result: TestResult) -> dict[int, Tensor]:
    """Return for each answered class its rows, ascending."""
    predicted = result.probabilities.argmax(1)
    order = predicted.argsort(stable=True)
    classes, counts = predicted.unique(return_counts=True)
    return dict(zip(classes.tolist(), order.split(counts.tolist()), strict=True))


def _maps(run: Run, split: Split, result: TestResult, rows: list[int], number: int) -> tuple[Tensor, int]:
    """Return the maps (N, h, w) of rows for one class, and the shorter side of the layer's map in cells."""
    indices = [int(result.indices[row]) for row in rows]
    _, squares, _ = decode_split(split.take(indices), run.preprocessing, strict=True)
    normalize = Normalize(run.preprocessing, run.device)
    heats, cells = [], 0
    for start in range(0, len(squares), BATCH):
        pixels = torch.from_numpy(np.stack(squares[start : start + BATCH]))
        answer = explain(run.model, normalize(pixels.to(run.device)), METHOD, number)
        heats.append(small(answer.maps).cpu())
        cells = min(answer.raw.shape[-2:])
    return torch.cat(heats), cells
