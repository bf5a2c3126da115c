"""Tests by votes of a network with its dropout on; see `resight.evaluate.votes`."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from resight.core.distributed import world
from resight.core.errors import PictureError, UsageError
from resight.data.dataset import Dataset
from resight.evaluate.scores import split_reader
from resight.evaluate.votes import mean_and_spread, votes_of
from resight.export.network import OnnxNetwork
from resight.service.run.run import Run
from resight.tasks.classify.result import TestResult
from resight.tasks.classify.task import of_labels
from resight.tasks.task import SolverTask

LEAST, MOST = 2, 1000


@dataclass(frozen=True)
class Votes:
    """How far the votes lie apart: deviations of the probability of the class that is named.

    Attributes:
        n: votes a picture.
        spread: mean over all pictures.
        spread_right: over those that are named right; None without any.
        spread_wrong: over the others; None without any.
    """

    n: int
    spread: float
    spread_right: float | None
    spread_wrong: float | None


def require_votes(votes: int) -> None:
    """Refuse a number of votes out of range.

    Raises:
        UsageError: naming the range.
    """
    if not LEAST <= votes <= MOST:
        raise UsageError(f"--votes {votes}: must be {LEAST} to {MOST}")


def require_votable(runs: Sequence[Run], votes: int, *, plain: bool = True) -> None:
    """Refuse what has no votes.

    Args:
        runs: what is asked.
        votes: how often.
        plain: whether one view of each picture is seen, and no folds are tested.

    Raises:
        UsageError: naming what it is.
    """
    require_votes(votes)
    run = runs[0]
    if isinstance(run.task, SolverTask):
        raise UsageError(f"--votes is about classes; --task {run.task.name} has other answers")
    if len(runs) > 1 or not plain:
        raise UsageError("--votes is about one run and one view of each picture; leave ensembles, views out")
    if isinstance(run.network, OnnxNetwork):
        raise UsageError(f"{run.name}: an exported network has no dropout; give the run it came from")


def voted(
    run: Run, dataset: Dataset, split: str, votes: int, *, strict: bool, workers: int
) -> tuple[TestResult, Votes]:
    """Return the mean of the votes on a split, as a test gives its answers, and how far they lie apart.

    Raises:
        ResightError: in one line.
    """
    require_votable([run], votes)
    classes = run.model.classes
    part = dataset.split(split).relabelled(classes)
    read = split_reader(part, [run.preprocessing], ())
    found = votes_of(run.member(classes), run.name, read, world().share(len(part)), votes, workers)
    means, spreads = [], {}
    for index, answer in found:
        if isinstance(answer, PictureError):
            means.append((index, answer))
            continue
        mean, spreads[index] = mean_and_spread(answer)
        means.append((index, mean))
    result = of_labels(part).result.gathered(means, torch.from_numpy(part.labels), classes, strict=strict)
    every = dict(world().gathered(list(spreads.items())))
    apart = torch.tensor([every[index] for index in result.indices.tolist()], dtype=torch.float64)
    wrong = result.wrong()
    right, other = (float(apart[rows].mean()) if rows.any() else None for rows in (~wrong, wrong))
    return result, Votes(votes, float(apart.mean()), right, other)
