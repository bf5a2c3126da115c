"""Test runs on a split: one network or an ensemble, with the protocol stated."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.distributed import world
from resight.core.errors import DataError, UsageError
from resight.core.figures import to_json
from resight.data.dataset import Dataset, Split
from resight.evaluate.scores import probabilities_of, split_reader
from resight.evaluate.views import check_views
from resight.export.network import OnnxNetwork, answers_of
from resight.service.run.data import RunData, data_of, learned_among, learned_note, unknown_note
from resight.service.run.run import Run
from resight.service.test.solved import open_tested, require_plain, solved
from resight.service.test.votes import require_votable, voted
from resight.tasks.classify.result import TestResult
from resight.tasks.classify.task import ANY_CLASSES, ONE_CLASS, of_labels, of_network
from resight.tasks.result import Result
from resight.tasks.task import SolverTask


@dataclass(frozen=True)
class Seen:
    """How many of the tested pictures a run, or a run behind it, learned or was chosen on.

    Attributes:
        trained_on: how many; None if that is not known.
        others: figures of the rest as JSON, {"n", "top1_error", "top1_interval"} or those of the task's
            headline; None without a rest, or where `trained_on` is 0 or None.
    """

    trained_on: int | None
    others: dict[str, Any] | None = None


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
    votes: int | None = None,
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
        votes: passes of each picture with dropout left on, whose mean is the answer; see
            `resight.evaluate.votes`.

    The figure of a run of `--folds` without a test split is that of its folds, each tested again.

    Returns:
        The JSON of `resight test`, with the keys of `seen_before`; of folds also those of `Pooled.figures`;
        with votes also "votes", see `Votes`.

    Raises:
        ResightError: in one line.
    """
    from resight.service.test.folds import has_folds, judge_folds  # it tests each fold by `test_split`

    check_views(views, scales)
    opened = [open_tested(name) for name in runs]
    solver = any(isinstance(run.task, SolverTask) for run in opened)
    if votes is not None:
        require_votable(opened, votes, plain=views == "single" and not scales)
    if solver:
        require_plain(opened, views, scales)
    given = data_of(opened[0], data, data_root)
    dataset = given.dataset
    if solver:
        found = solved(opened[0], given, split, strict=strict, workers=workers)
        tables = [asdict(table) for table in found.result.tables()]
        said = found.result.headline().line()
        figures = {"task": opened[0].task.name, "said": said, **found.figures(), "tables": tables}
        seen, notes = seen_before(opened, given, split, found.result)
    elif votes is not None:
        result, spread = voted(opened[0], dataset, split, votes, strict=strict, workers=workers)
        figures = {**result.figures(), "votes": to_json(spread)}
        seen, notes = seen_before(opened, given, split, result)
    elif given.own and has_folds(opened[0]) and split == "test" and "test" not in dataset.splits:
        if len(opened) > 1:
            raise UsageError(
                f"{runs[0]}: its test figure is that of its folds; test it alone, or give --data"
            )
        how = {"views": views, "scales": scales, "strict": strict, "workers": workers}
        pooled = judge_folds(opened[0], data, data_root, **how)
        figures, seen, notes = pooled.figures, pooled.seen, pooled.notes
    else:
        result = test_split(opened, dataset, split, views, scales, strict=strict, workers=workers)
        figures = result.figures()
        seen, notes = seen_before(opened, given, split, result)
    return {
        "run": runs[0] if len(runs) == 1 else list(runs),
        "data": dataset.name,
        "split": split,
        "views": views,
        "scales": list(scales),
        "temperature": [run.temperature for run in opened],
        "notes": [*dataset.notes, *notes],
        **figures,
        **to_json(seen),
    }


def seen_before(
    runs: Sequence[Run], given: RunData, split: str, result: TestResult | Result
) -> tuple[Seen, list[str]]:
    """Say how many of the tested pictures the runs, or runs behind them, learned or were chosen on.

    Args:
        runs: what was tested.
        given: on what.
        split: which of its splits.
        result: what came out.

    Returns:
        How many, and what to say of it.
    """
    part, first = given.dataset.split(split), runs[0].facts.get("data_fingerprint")
    masks = []
    for run in runs:
        own = given.own and run.facts.get("data_fingerprint") == first
        mask = learned_among(run, replace(given, own=own), part)
        if mask is None:
            return Seen(None), unknown_note(run)
        masks.append(mask)
    learned = np.any(masks, axis=0)[result.indices.numpy()]
    return notes_on_learned(" or ".join(run.name for run in runs), learned, result)


def notes_on_learned(
    names: str, learned: NDArray[np.bool_], result: TestResult | Result
) -> tuple[Seen, list[str]]:
    """Return what `seen_before` does, where it is known which of the tested pictures were learned.

    Args:
        names: who learned them.
        learned: whether each picture of the result was, (N,).
        result: what came out.
    """
    count, rest = int(learned.sum()), np.flatnonzero(~learned)
    if not count:
        return Seen(0), []
    others, told = None, ""
    if len(rest):
        others, told = _told(result.part(torch.from_numpy(rest)))
    note = learned_note(names, count, len(learned), others, told)
    return Seen(count, others), [note]


def _told(result: TestResult | Result) -> tuple[dict[str, Any], str]:
    """Return the main figure of a result with its interval, as JSON and in words."""
    if isinstance(result, TestResult):
        figures = result.figures()
        low, high = figures["top1_interval"]
        words = f"error is {figures['top1_error']:.2f} % (95 % interval {low:.2f} to {high:.2f})"
        return {key: figures[key] for key in ("n", "top1_error", "top1_interval")}, words
    head = result.headline()
    interval = None if head.interval is None else list(head.interval)
    return {"n": len(result.indices), head.key: head.figure, "interval": interval}, head.line(guess=False)


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
    labels = torch.from_numpy(part.labels)
    for run in runs:
        _require_alike(run, part, dataset.name)
    whole = runs[0].model if len(runs) == 1 and views == "single" and not scales else None
    if isinstance(whole, OnnxNetwork):
        answers = answers_of(whole.opened, split_reader(part, [runs[0].preprocessing], scales), len(part))
        return of_labels(part).result.gathered(answers, labels, classes, strict=strict)
    members = [run.member(classes) for run in runs]
    read = split_reader(part, [run.preprocessing for run in runs], scales)
    answers = probabilities_of(members, read, world().share(len(part)), views, scales, workers)
    return of_labels(part).result.gathered(answers, labels, classes, strict=strict)


def _require_alike(run: Run, part: Split, name: str) -> None:
    """Refuse a run and a data set of this name if only one of them has one class per picture.

    Raises:
        DataError: naming which has.
    """
    learned, shown = of_network(run.model), of_labels(part)
    if learned != shown:
        named = {learned: run.name, shown: name}
        raise DataError(
            f"{named[ANY_CLASSES]}: is multi-label, but {named[ONE_CLASS]} has one class per picture; they "
            "cannot be combined"
        )
