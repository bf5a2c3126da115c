"""The data that a run answers for: those that it was trained on, known by content, or others."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split, fingerprint
from resight.data.folding import fold, in_folds, to_fold
from resight.data.open import as_test, open_as_it_is, require_fit
from resight.data.splitting import with_validation
from resight.service.run.members import (
    Digests,
    Members,
    can_be_known,
    members_of,
    short_digests,
    with_content,
)
from resight.service.run.run import Run, absolute
from resight.tasks.classify.task import ONE_CLASS
from resight.tasks.task import Task


@dataclass(frozen=True)
class RunData:
    """A data set opened for a run.

    Attributes:
        dataset: split as the run's was, if it is the run's own.
        own: whether it is what the run was trained on, by content.
    """

    dataset: Dataset
    own: bool


def dataset_of(run: Run, data: str | None, data_root: str | None = None) -> Dataset:
    """Return the data set of `data_of`."""
    return data_of(run, data, data_root).dataset


def data_of(run: Run, data: str | None, data_root: str | None = None) -> RunData:
    """Open a data set for a run.

    Without `data` it is the one that the run was trained on, split as it was then; pictures that came
    since are left out. A place that holds the same pictures is split so too. Other data without splits of
    their own are a test split as a whole.

    Raises:
        DataError: if the run does not say what it was trained on and nothing is named, or if the pictures
            have changed since and it is not known which of them it learned.
    """
    place = run.facts.get("data")
    if not data and not place:
        raise DataError(f"{run.name}: does not state its training data; give the data with --data")
    named = data if data and place not in (data, absolute(data)) else None
    root = data_root or (None if named else run.facts.get("data_root"))
    raw = opened_for(run.task, named or str(place), root)
    if found := recognized(run, raw, whole=named is not None):
        return RunData(found.with_levels(run.preprocessing.levels), own=True)
    if named:
        return RunData(as_test(raw).with_levels(run.preprocessing.levels), own=False)
    if run.facts.get("data_fingerprint") is None:
        raise DataError(
            f"{run.name}: does not state how its data were split; give unseen pictures with --data"
        )
    raise DataError(
        f"{place}: its pictures changed since {run.name} was trained, so its test split may hold training "
        "pictures; give unseen pictures with --data"
    )


def opened_for(task: Task, data: str, data_root: str | None = None) -> Dataset:
    """Open a data set with the splits that it has, labelled as a task needs it; see `open_as_it_is`.

    Raises:
        DataError: if it cannot be opened, or has nothing that the task learns.
    """
    raw = open_as_it_is(data, data_root, task.rule)
    if not task.open_set:
        require_fit(raw)
    return task.labelled(raw)


def recognized(run: Run, raw: Dataset, *, whole: bool = True) -> Dataset | None:
    """Return a data set split as the run's was, if its pictures are the run's own; None if they are not.

    Args:
        run: says which pictures it learned, or at least their fingerprint.
        raw: a data set as it is.
        whole: all of the run's pictures must be there, and no others; else one of its test pictures
            is enough.
    """
    learned = run.facts.get("data_fingerprint")
    if learned is None or "train" not in raw.splits:
        return None
    share = run.facts.get("recipe", {}).get("val_share", 0)
    members = members_of(run.facts, run.name)
    if members and members.of != learned:
        members = None  # of another task than this head's
    count = len(members.splits["train"]) if members else None
    folds = run.facts.get("folds")
    how = run.task
    if (
        found := _folded_as(raw, learned, share, folds)
        if folds
        else split_as(raw, learned, share, count, how)
    ):
        return found
    return _by_members(run, raw, members, whole=whole) if members else None


def _folded_as(raw: Dataset, learned: str, share: float, folds: dict[str, Any]) -> Dataset | None:
    """Return a data set divided as for a fold, or for the network on all pictures; see `split_as`.

    Args:
        raw: a data set as it is, with a training split.
        learned: the fingerprint of the training split.
        share: of the training pictures that is held out for validation.
        folds: {"count", "fold"} of a fold, {"count"} of the network on all pictures, which has a test split
            only where the data set has one of its own.
    """
    try:
        dataset = to_fold(raw)
        if "fold" in folds:
            dataset = fold(dataset, in_folds(dataset, folds["count"]), folds["fold"])
        dataset = with_validation(dataset, share)
    except DataError:
        return None
    return dataset if fingerprint(dataset.train) == learned else None


def split_as(
    raw: Dataset, learned: str, share: float, count: int | None = None, task: Task = ONE_CLASS
) -> Dataset | None:
    """Return a data set divided by the rule that gives a known training split; None if none does.

    Runs made before splits followed content have theirs by rank within each class, see `hold_out_by_rank`.

    Args:
        raw: a data set as it is, with a training split.
        learned: the fingerprint of the training split.
        share: of the training pictures that is held out for validation.
        count: of the training split, if it is known.
        task: divides it, and says what is learned of a picture.
    """
    for by_rank in dict.fromkeys((raw.by_rank, True)):
        try:
            dataset = with_validation(task.divided(replace(raw, by_rank=by_rank)), share)
        except DataError:
            continue
        known = count in (None, len(dataset.train))
        if known and fingerprint(dataset.train, task.kind.said) == learned:
            return dataset
    return None


def _by_members(run: Run, raw: Dataset, members: Members, *, whole: bool) -> Dataset | None:
    """Return the run's own pictures among those of a data set, in the splits that the run had them in."""
    if not can_be_known(raw.splits.values()):
        return None
    sources = dict(raw.splits)
    if "test" not in sources and "val" in sources:
        sources["test"] = replace(sources.pop("val"), name="test")
    if "fold" in (run.facts.get("folds") or {}):
        sources.pop("test", None)  # a fold's test pictures are of the training split
    digests = {name: short_digests(split) for name, split in sources.items()}
    splits, left = {}, {name: np.ones(len(split), bool) for name, split in sources.items()}
    for name, own in members.splits.items():
        source = name if name in sources else "train"
        there = np.isin(digests[source], with_content(own)) & left[source]
        left[source] &= ~there
        splits[name] = sources[source].take(np.flatnonzero(there), name)
    new = sum(int((rest & (digests[name] > 0)).sum()) for name, rest in left.items())
    found = np.concatenate(list(digests.values()))
    gone = len(np.setdiff1d(with_content(np.concatenate(list(members.splits.values()))), found))
    tested = "test" if "test" in members.splits else "train"
    if (whole and (new or gone)) or not len(splits.get(tested, ())):
        return None
    note = (
        f"the pictures changed since {run.name} was trained: {new} new ones are left out, {gone} are missing"
    )
    notes = (*raw.notes, note) if new or gone else raw.notes
    return replace(raw, splits={k: v for k, v in splits.items() if len(v)}, notes=notes)


def learned_among(run: Run, given: RunData, split: Split) -> NDArray[np.bool_] | None:
    """Return which pictures of a split the run, or a run behind it, learned or was chosen on, (N,).

    Returns:
        None if that is not known: an older run does not say it, nor does one of more than 200,000 pictures.
    """
    known = _known(run, given)
    return np.isin(short_digests(split), known) if known is not None and can_be_known([split]) else None


def _known(run: Run, given: RunData) -> Digests | None:
    if members := members_of(run.facts, run.name):
        return members.known()
    if not given.own:
        return None
    parts = [part for name, part in given.dataset.splits.items() if name in ("train", "val")]
    return with_content(np.concatenate([short_digests(p) for p in parts])) if can_be_known(parts) else None


def learned_note(runs: str, count: int, of: int, others: dict[str, Any] | None, told: str) -> str:
    """Return what to say of a figure that counts pictures which the runs learned.

    Args:
        runs: their names.
        count: how many they learned.
        of: how many were tested.
        others: figures of the rest; None without a rest.
        told: the rest's figure in words.
    """
    these = f"{count} of these {of} pictures were used to train or select {runs}"
    if others is None:
        return f"{these}: the figure says nothing about new pictures"
    return f"{these}: on the {others['n']} others the {told}"


def unknown_note(run: Run) -> list[str]:
    """Return what to say of a run whose pictures are not known; nothing of official weights."""
    if not run.facts.get("data"):
        return []
    cause = f"{run.name} does not state which pictures it was trained on"
    return [f"{cause}: if it was trained on some of these, the figures are too good"]
