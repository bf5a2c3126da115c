"""Test runs on a split: one network or an ensemble, with the protocol stated."""

from collections.abc import Sequence
from typing import Any

import torch

from resight.core.distributed import world
from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.evaluate.classify import TestResult, collect
from resight.evaluate.scores import probabilities_of, split_reader
from resight.evaluate.views import check_views
from resight.service.run.data import dataset_of
from resight.service.run.run import Run, open_run


def test(
    runs: Sequence[str],
    data: str | None = None,
    split: str = "test",
    views: str = "single",
    scales: tuple[int, ...] = (),
    *,
    data_root: str | None = None,
    strict: bool = False,
    workers: int = 0,
) -> dict[str, Any]:
    """Test one run, or several as an ensemble that averages probabilities.

    Args:
        runs: RUNs with the same classes.
        data: a data set; by default the one that the first run was trained on.
        split: "test", "val" or "train".
        views: "single", "flip" or "ten-crop".
        scales: shorter sides of whole pictures, see `resight.evaluate.views`.
        data_root: see `open_dataset`.
        strict: stop at a broken picture.
        workers: processes that decode.

    Returns:
        The JSON of `resight test`.

    Raises:
        ResightError: in one line.
    """
    check_views(views, scales)
    opened = [open_run(name) for name in runs]
    dataset = dataset_of(opened[0], data, data_root)
    result = test_split(opened, dataset, split, views, scales, strict=strict, workers=workers)
    figures = result.figures()
    return {
        "run": runs[0] if len(runs) == 1 else list(runs),
        "data": dataset.name,
        "split": split,
        "views": views,
        "scales": list(scales),
        "temperature": [run.temperature for run in opened],
        "notes": list(dataset.notes),
        **figures,
    }


def test_split(
    runs: Sequence[Run],
    dataset: Dataset,
    split: str = "test",
    views: str = "single",
    scales: tuple[int, ...] = (),
    *,
    strict: bool = False,
    workers: int = 0,
) -> TestResult:
    """Return the probabilities of a split's pictures, classes matched by name; see `test`."""
    classes = runs[0].model.classes
    part = dataset.split(split).relabelled(classes)
    for run in runs:
        if run.model.multi_label != part.multi_label:
            several, one = (run.name, dataset.name) if run.model.multi_label else (dataset.name, run.name)
            raise DataError(f"{several}: has several classes a picture, {one} has one; they do not fit")
    members = [run.member(classes) for run in runs]
    read = split_reader(part, [run.preprocessing for run in runs], scales)
    answers = probabilities_of(members, read, world().share(len(part)), views, scales, workers)
    return collect(answers, torch.from_numpy(part.labels), classes, strict=strict)
