"""Test a run of a task with a head of its own: what it answers to a split, and the figures."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch

from resight.core.distributed import world
from resight.core.errors import PictureError, UsageError
from resight.core.figures import to_json
from resight.data.dataset import Dataset, Split
from resight.evaluate.asked import Asked
from resight.evaluate.gathering import gather
from resight.evaluate.scores import split_reader
from resight.export.answers import OnnxSolver
from resight.export.deployed import CLASSIFY, Onnx, is_onnx
from resight.service.run.data import RunData
from resight.service.run.run import Run, open_any
from resight.tasks.result import Result
from resight.tasks.task import SolverTask
from resight.tasks.tasks import task_of


@dataclass(frozen=True)
class Solved:
    """What a test gave: the result, and the pictures that could not be read and do not count."""

    result: Result
    faults: tuple[PictureError, ...]

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types, with the pictures that were left out."""
        return {**self.result.figures(), "skipped": to_json([fault.row for fault in self.faults])}


def open_tested(name: str) -> Run:
    """Open a RUN to test: any that `open_any` takes, or an .onnx file of a task with a head of its own.

    Raises:
        ModelFileError: if it cannot be used.
    """
    if not is_onnx(name) or (file := Onnx(name)).task == CLASSIFY:
        return open_any(name)
    network = OnnxSolver(file)
    return Run(name, None, network, file.facts, torch.device("cpu"), task_of(file.facts))  # type: ignore[arg-type]


def task_of_run(run: Run) -> SolverTask:
    """Return the task of a run that has a head of its own."""
    assert isinstance(run.task, SolverTask)  # the caller asked
    return run.task


def require_plain(runs: list[Run], views: str, scales: tuple[int, ...]) -> None:
    """Refuse what a task with a head of its own cannot be tested with.

    Raises:
        UsageError: naming it.
    """
    task = next(run.task.name for run in runs if isinstance(run.task, SolverTask))
    if len(runs) > 1:
        raise UsageError(f"several runs: --task {task} has no ensembles; test each on its own")
    if views != "single" or scales:
        raise UsageError(
            f"--views and --scales average the answers of classifiers; --task {task} sees one view"
        )


def solved(
    run: Run, given: RunData, split: str = "test", *, strict: bool = False, workers: int = 0
) -> Solved:
    """Return the result of a split.

    Args:
        run: what is tested.
        given: the data; if they are the run's own, baselines are fitted on their training pictures.
        split: its name.
        strict: stop at a broken picture.
        workers: processes that decode.

    Raises:
        PictureError: the first fault, if strict; or if nothing could be read.
    """
    task = task_of_run(run)
    part = tested_split(run, given.dataset, split)
    train = given.dataset.splits.get("train") if given.own else None
    answers, faults = gather(_answers(run, task, part, workers), strict=strict)
    known = None if train is None or task.open_set else train.relabelled(run.network.classes)
    return Solved(task.result(answers, part, known), faults)


def _answers(run: Run, task: SolverTask, part: Split, workers: int) -> Iterator[tuple[int, Any]]:
    """Yield (index, answer or PictureError) of a split's pictures; a file sees them decoded whole."""
    if isinstance(run.network, OnnxSolver):
        return run.network.answers(part.decode, len(part))
    card = run.preprocessing
    asked = Asked(
        run.network, card, torch.float32, split_reader(part, [card], ()),  # type: ignore[arg-type]
        world().share(len(part)), workers, run.temperature,
    )  # fmt: skip
    return task.answers(asked)


def tested_split(run: Run, dataset: Dataset, split: str) -> Split:
    """Return a split whose labels count through the network's classes; through its own, in an open set.

    Raises:
        DataError: if it has other classes than the network, and the task cannot tell them.
    """
    part = dataset.split(split)
    return part if run.task.open_set else part.relabelled(run.network.classes)
