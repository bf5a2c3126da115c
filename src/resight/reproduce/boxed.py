"""Data sets with boxes that experiments make: the user's true boxes, and boxes from class activation maps."""

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from resight.data.dataset import Split
from resight.data.open import open_as_it_is
from resight.data.splitting import with_test_split
from resight.reproduce.laboratory import Laboratory
from resight.service.locate.annotations import write_coco
from resight.service.locate.answer import Box, Located, Row
from resight.service.locate.locate import locate
from resight.service.locate.search import Wish
from resight.tasks.detect.result import Detected, DetectResult
from resight.tasks.localize.task import Localize

TRUE = "true-boxes"
"""The name of the set that `write_true` writes."""


def write_true(lab: Laboratory, folder: Path) -> None:
    """Write the user's pictures of one class each with their true boxes, as COCO, with a test split."""
    task = Localize()
    raw = open_as_it_is(lab.given(), lab.data_root, task.rule)
    for name, split in with_test_split(task.labelled(raw)).splits.items():
        rows = []
        (folder / name).mkdir(parents=True, exist_ok=True)
        for index in range(len(split)):
            picture, path = split.decode(index), folder / name / f"{index:05d}.png"
            picture.save(path)
            rows.append(Row(str(path), *picture.size, true_boxes(split, index)))
        write_coco(folder / "annotations" / f"instances_{name}.json", rows, split.classes, "true boxes")


def true_boxes(split: Split, index: int) -> list[Box]:
    """Return the boxes of a picture's class, as a file has them."""
    own = [box for box in split.picture_boxes(index) or () if box.label == split.labels[index]]
    return [Box(split.classes[b.label], 1.0, (b.x0, b.y0, b.x1 - b.x0, b.y1 - b.y0), "true") for b in own]


def write_located(lab: Laboratory, folder: Path, run: Path) -> None:
    """Write the set of `write_true` with boxes that a classifier's maps give; the test split keeps its own.

    Args:
        lab: where the experiment runs.
        folder: to write to.
        run: of the classifier, which learned labels alone.
    """
    source = Path(lab.set_of(TRUE))
    shutil.copytree(source, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("done"))
    answer = locate(str(run), [str(source)], Wish(classes="true", split="all"))
    found = defaultdict(list)
    for one in answer.boxes:
        found[Path(one.path).relative_to(source)].append(one.box)
    dataset = open_as_it_is(str(source), None, Localize().rule)
    for name, split in dataset.splits.items():
        if name == "test":
            continue
        rows = []
        for index in range(len(split)):
            place, size = Path(split.picture_name(index)).relative_to(source), split.picture_size(index)
            rows.append(Row(str(folder / place), *(size or (0, 0)), found[place]))
        write_coco(folder / "annotations" / f"instances_{name}.json", rows, split.classes, answer.how)


def figures_of_maps(run: Path, source: Path | str) -> dict[str, Any]:
    """Return the figures of the boxes that a classifier's maps give to the test pictures of a set.

    Keys are those of `resight test`: errors in percent, and the average precision of these boxes as
    detections, each with its interval.

    Args:
        run: of the classifier.
        source: what `write_true` wrote.
    """
    answer = locate(str(run), [str(source)], Wish(split="test"))
    figures = next(iter(answer.metrics.values()))
    precision = judged(answer, open_as_it_is(str(source), None, Localize().rule).split("test")).figures()
    return {
        "gt_known_error": figures.gt_known_error, "gt_known_interval": figures.gt_known_interval,
        "localization_error": figures.top1_error, "localization_interval": figures.top1_interval,
        "ap50": precision["ap50"], "ap50_interval": precision["ap50_interval"],
    }  # fmt: skip


def judged(answer: Located, split: Split) -> DetectResult:
    """Return boxes that `locate` found in a split, judged as detections."""
    number = {name: n for n, name in enumerate(split.classes)}
    found = defaultdict(list)
    for one in answer.boxes:
        x, y, w, h = one.box.box
        found[one.path].append(((x, y, x + w, y + h), number[one.box.label], one.box.score))
    answers = []
    for index in range(len(split)):
        own, size = found[split.picture_name(index)], split.picture_size(index)
        boxes, labels, scores = zip(*own, strict=True) if own else ((), (), ())
        said = Detected(
            np.array(boxes, np.float64).reshape(-1, 4), np.array(labels, np.int64),
            np.array(scores, np.float64), size or (0, 0),
        )  # fmt: skip
        answers.append((index, said))
    return DetectResult.of(answers, split)
