"""K folds for cross-validation: the fold of a picture is a function of its content.

The digest that decides what is held out as a test (see `splitting.place`) decides the fold too: of K folds,
fold k takes the pictures that are in [(k - 1) / K, k / K). So pictures that are added or removed move no
other picture to another fold, equal pictures share a fold, and the first of five folds is what
`resight train` tests without folds. Each fold has near its share of every class, as a fair draw gives it, not
an exact share.
"""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split
from resight.data.splitting import NAMED, Contents, place, with_test_split

NO_FOLD = -1
"""Of pictures that are never judged: their labels contradict each other."""


@dataclass(frozen=True)
class Folds:
    """The folds of a split.

    Attributes:
        count: how many there are, K.
        numbers: the fold of each picture, 1 to K, or `NO_FOLD`; (N,).
        notes: which pictures are an exception, in words.
    """

    count: int
    numbers: NDArray[np.int64]
    notes: tuple[str, ...] = ()

    def filled(self) -> list[int]:
        """Return the folds that hold pictures, rising."""
        return [k for k in range(1, self.count + 1) if (self.numbers == k).any()]


def to_fold(dataset: Dataset) -> Dataset:
    """Return a data set whose training split is divided into folds.

    A test split of its own, or a val split in its place, stays the test. Without one, all pictures are
    in the training split.
    """
    return with_test_split(dataset) if {"test", "val"} & dataset.splits.keys() else dataset


def fold_number(content: str, count: int) -> int:
    """Return the fold of a picture, from 1 to `count`, by the 128-bit digest of its content."""
    return min(int(place(content, "test") * count), count - 1) + 1


def in_folds(dataset: Dataset, count: int) -> Folds:
    """Divide the training split of a data set into folds.

    The one exception to the rule of content: a class that has all its pictures in one fold gives the next
    fold the one nearest to it, so that every network learns every class. A picture that is in
    several classes contradicts itself: it is in no fold, and every network is trained on it.

    Args:
        dataset: see `to_fold`.
        count: how many folds, 2 or more.

    Raises:
        DataError: if a class has fewer different pictures than there are folds.
    """
    split = dataset.train
    contents = Contents.read(split)
    least = min(len(contents.members.get(number, ())) for number in range(len(dataset.classes)))
    if least < count:
        name = next(n for i, n in enumerate(dataset.classes) if len(contents.members.get(i, ())) == least)
        cure = f"give --folds {least} or fewer, or add pictures of it" if least > 1 else "add pictures of it"
        raise DataError(
            f"{dataset.name}: class {name!r} has {least} different pictures, too few for {count} folds; "
            f"{cure}"
        )
    fold_of = {content: fold_number(content, count) for content in contents.classes}
    moved = _spread(dataset.name, contents, fold_of, count)
    numbers = np.array([fold_of.get(content, NO_FOLD) for content in contents.of], np.int64)
    return Folds(count, numbers, (*_moved(split, contents, moved), *_unjudged(split, numbers)))


def _spread(name: str, contents: Contents, fold_of: dict[str, int], count: int) -> list[str]:
    """Move a picture of each class that is in only one fold; returns the contents that were moved."""
    moved = []
    for members in (contents.members[n] for n in sorted(contents.members)):
        if len({fold_of[content] for content in members}) > 1:
            continue
        ranked = sorted(members, key=lambda content: place(content, "test"), reverse=True)
        free = (c for c in ranked if all(_can_lose(contents, fold_of, n, c) for n in contents.classes[c]))
        content = next(free, None)
        if content is None:
            raise DataError(
                f"{name}: the pictures of a class are all in one of {count} folds and cannot be split "
                "without splitting another class; choose another number of folds, or add pictures"
            )
        fold_of[content] = fold_of[content] % count + 1
        moved.append(content)
    return moved


def _can_lose(contents: Contents, fold_of: dict[str, int], number: int, content: str) -> bool:
    """Return whether a class stays in its fold when one of its contents leaves."""
    return any(fold_of[c] == fold_of[content] for c in contents.members[number] if c != content)


def _moved(split: Split, contents: Contents, moved: list[str]) -> tuple[str, ...]:
    if not moved:
        return ()
    names = _named(split, [contents.of.index(content) for content in moved])
    return (
        f"{len(moved)} pictures are moved to the next fold so that every network learns their class: {names}",
    )


def _unjudged(split: Split, numbers: NDArray[np.int64]) -> tuple[str, ...]:
    odd = np.flatnonzero(numbers == NO_FOLD).tolist()
    if not odd:
        return ()
    words = "are in several classes: they are trained on, and no fold tests them"
    return (f"{len(odd)} pictures {words}: {_named(split, odd)}",)


def _named(split: Split, indices: list[int]) -> str:
    names = ", ".join(split.picture_name(index) for index in indices[:NAMED])
    return names + (f" and {len(indices) - NAMED} more" if len(indices) > NAMED else "")


def fold(dataset: Dataset, folds: Folds, number: int) -> Dataset:
    """Return a data set whose test split is one fold and whose training split is the other folds.

    Args:
        dataset: what was divided.
        folds: see `in_folds`.
        number: of the fold, from 1.
    """
    train = dataset.train
    splits = {
        **dataset.splits,
        "train": train.take(np.flatnonzero(folds.numbers != number)),
        "test": train.take(np.flatnonzero(folds.numbers == number), "test"),
    }
    return replace(dataset, splits=splits)
