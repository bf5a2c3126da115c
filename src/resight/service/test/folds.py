"""The k-fold figure of a run: every picture judged once, by a network that did not see it."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resight.core.errors import DataError, ModelFileError
from resight.core.figures import to_json
from resight.data.dataset import Dataset, Split
from resight.data.open import open_as_it_is, require_fit
from resight.service.run.data import RunData, learned_among, recognized
from resight.service.run.run import MODEL_FILE, Run, open_run
from resight.service.test.test import Seen, notes_on_learned, test_split
from resight.tasks.classify.result import TestResult

FOLD = "fold-{}"
"""The folder of a fold within the run's."""


@dataclass(frozen=True)
class Judged:
    """What the network of one fold says of its pictures.

    Attributes:
        number: of the fold, from 1.
        split: the fold's pictures.
        result: the answers.
        learned: which of the answered pictures it, or a run behind it, learned all the same, (n,); None if
            that is not known.
    """

    number: int
    split: Split
    result: TestResult
    learned: NDArray[np.bool_] | None


@dataclass(frozen=True)
class FoldFigures:
    """What a run says of its folds.

    Attributes:
        count: how many there are.
        filled: the numbers of those that hold pictures.
        n: pictures of all of them.
        wrong: of these.
        top1_error: share of wrong ones, in percent.
        top1_interval: of 95 %.
        errors: of each filled fold, in percent.
        pictures: of each filled fold.
        deviation: of the errors, in points; None for one fold.
    """

    count: int
    filled: list[int]
    n: int
    wrong: int
    top1_error: float
    top1_interval: Sequence[float]
    errors: list[float]
    pictures: list[int]
    deviation: float | None

    @property
    def words(self) -> str:
        """The figure in words."""
        low, high = self.top1_interval
        return (
            f"{self.count}-fold error {self.top1_error:.2f} % (95 % interval {low:.2f} to {high:.2f}, "
            f"n = {self.n:,}; single folds {min(self.errors):.1f} to {max(self.errors):.1f} %)"
        )


@dataclass(frozen=True)
class Pooled:
    """All folds together.

    Attributes:
        split: the pictures of all folds, in the order of their source; named "test".
        result: the answers to them.
        figures: of the result, and under "protocol" and "folds" how they came about.
        folds: what stands under "folds".
        seen: see `seen_before`.
        notes: what to say of pictures that were learned all the same.
    """

    split: Split
    result: TestResult
    figures: dict[str, Any]
    folds: FoldFigures
    seen: Seen
    notes: list[str]

    @property
    def note(self) -> str:
        """What a report says of figures that come from folds."""
        return (
            f"{protocol(self.folds.count)}; {self.folds.words}; the maps and features on this page are of "
            "the delivered network"
        )


def protocol(count: int) -> str:
    """Return in words how a k-fold figure comes about."""
    return (
        f"{count}-fold: each picture tested by a network that did not see it; the delivered network saw all "
        "of them"
    )


def has_folds(run: Run) -> bool:
    """Return whether a run is that of a network on all pictures, whose figure comes from folds."""
    return "folds" in run.facts and "fold" not in run.facts["folds"]


def judge(run: Run, dataset: Dataset, **protocol: Any) -> Judged:
    """Test the network of a fold on its pictures.

    Args:
        run: of the fold.
        dataset: divided as for the fold.
        protocol: views, scales, strict and workers, see `test_split`.
    """
    result, split = test_split([run], dataset, **protocol), dataset.split("test")
    mask = learned_among(run, RunData(dataset, own=True), split)
    learned = None if mask is None else mask[result.indices.numpy()]
    return Judged(run.facts["folds"]["fold"], split, result, learned)


def judge_folds(run: Run, data: str | None = None, data_root: str | None = None, **protocol: Any) -> Pooled:
    """Test the networks of a run's folds again, each on its pictures.

    Args:
        run: see `has_folds`.
        data: where the run's pictures are; by default where they were.
        data_root: see `open_dataset`.
        protocol: views, scales, strict and workers, see `test_split`.

    Raises:
        ResightError: in one line, if the folds are missing any more or their pictures changed.
    """
    raw = open_as_it_is(
        data or str(run.facts["data"]), data_root or (None if data else run.facts.get("data_root"))
    )
    require_fit(raw)
    judged = []
    for place in _places(run):
        of_fold = open_run(str(place))
        found = recognized(of_fold, raw, whole=False)
        if found is None:
            raise DataError(
                f"{raw.name}: its pictures changed since {place} was trained, so it is unknown which of "
                "them it was trained on; put them back, or give unseen pictures with --data"
            )
        judged.append(judge(of_fold, found.with_levels(of_fold.preprocessing.levels), **protocol))
    return pool(run.facts["folds"]["count"], judged)


def _places(run: Run) -> list[Path]:
    """Return the folders of the folds that hold pictures."""
    numbers = run.facts["folds"]["filled"]
    places = [run.folder / FOLD.format(k) for k in numbers] if run.folder else []
    missing = [place for place in places if not (place / MODEL_FILE).is_file()]
    if missing or not places:
        test = run.facts.get("test", {})
        cause = f"{missing[0]} is missing" if missing else "the folds are in its run folder"
        raise ModelFileError(
            f"{run.name}: was trained on all its pictures, and its test figure is that of its folds "
            f"({test.get('top1_error', float('nan')):.2f} %); {cause}; give the whole run folder, or give "
            "unseen pictures with --data"
        )
    return places


def pool(count: int, judged: Sequence[Judged]) -> Pooled:
    """Put the answers of all folds together.

    Args:
        count: how many folds there are, empty ones included.
        judged: of each fold that holds pictures, one or more.
    """
    first, sizes = judged[0], [len(j.split) for j in judged]
    positions = np.concatenate([j.split.positions for j in judged])
    order = np.argsort(positions, kind="stable")
    labels = np.concatenate([j.split.labels for j in judged])[order]
    split = replace(first.split, positions=positions[order], labels=labels)
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    starts = np.cumsum([0, *sizes[:-1]])
    indices = torch.from_numpy(
        np.concatenate([rank[j.result.indices.numpy() + s] for j, s in zip(judged, starts, strict=True)])
    )
    rows = indices.argsort()
    faults = tuple(fault for j in judged for fault in j.result.faults)
    result = replace(
        first.result,
        probabilities=torch.cat([j.result.probabilities for j in judged])[rows],
        labels=torch.cat([j.result.labels for j in judged])[rows],
        indices=indices[rows],
        faults=faults,
    )
    figures = result.figures()
    folds = _of_folds(count, judged, figures)
    figures |= {"protocol": protocol(count), "folds": to_json(folds)}
    masks = [j.learned for j in judged if j.learned is not None]
    learned = np.concatenate(masks)[rows.numpy()] if len(masks) == len(judged) else None
    if learned is None:
        return Pooled(split, result, figures, folds, Seen(None), [])
    seen, notes = notes_on_learned("the networks of the folds, or runs behind them", learned, result)
    return Pooled(split, result, figures, folds, seen, notes)


def _of_folds(count: int, judged: Sequence[Judged], figures: dict[str, Any]) -> FoldFigures:
    """Return what a run says of its folds, from the figures of all their pictures."""
    errors = [100 * float(j.result.wrong().double().mean()) for j in judged]
    return FoldFigures(
        count=count,
        filled=[j.number for j in judged],
        **{key: figures[key] for key in ("n", "wrong", "top1_error", "top1_interval")},
        errors=errors,
        pictures=[len(j.result.labels) for j in judged],
        deviation=statistics.stdev(errors) if len(errors) > 1 else None,
    )
