"""Splits by content: no picture on both sides, the same on every machine and for every seed."""

from collections import defaultdict
from dataclasses import replace

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split

TEST_SHARE = 0.2


def hold_out(split: Split, share: float, name: str) -> tuple[Split, Split]:
    """Take a stratified share out of a split, by rank of content digest within each class (`Split.strata`).

    Copies of a picture share a digest and so stay together; a picture that stands in several classes
    stays in the first part, whose labels it contradicts already.

    Args:
        split: what to divide.
        share: of each class, in [0, 1).
        name: the name of the part taken out.

    Returns:
        What stays, and what was taken out.
    """
    classes_of = defaultdict(set)
    by_class = defaultdict(list)
    for index, stratum in enumerate(split.strata().tolist()):
        content = split.digest(index)
        classes_of[content].add(split.class_names(index))
        by_class[stratum].append((content, index))
    taken = np.zeros(len(split), dtype=bool)
    for ranked in by_class.values():
        ranked.sort()
        quota = min(round(share * len(ranked)), len(ranked) - 1)
        out = {c for c, _ in ranked[:quota]} - {c for c, _ in ranked[quota:]}
        for content, index in ranked:
            taken[index] = content in out and len(classes_of[content]) == 1
    return split.take(np.flatnonzero(~taken)), split.take(np.flatnonzero(taken), name)


def with_test_split(dataset: Dataset) -> Dataset:
    """Give a data set a test split where it has none of its own.

    A split named "val" that comes without a "test" becomes the test split: nothing is chosen on it,
    and validation is held out of the training pictures instead.

    Raises:
        DataError: if a class has too few pictures to be on both sides.
    """
    splits = dict(dataset.splits)
    if "test" in splits:
        return dataset
    if "val" in splits:
        splits["test"] = replace(splits.pop("val"), name="test")
        note = "its val split is used as the test split: nothing is chosen on it"
    else:
        for number, count in enumerate(splits["train"].class_counts()):
            if count < 2:
                raise DataError(
                    f"{dataset.name}: class {dataset.classes[number]!r} has one picture, which cannot be "
                    "both learned and tested; add pictures or remove the class"
                )
        splits["train"], splits["test"] = hold_out(splits["train"], TEST_SHARE, "test")
        if not len(splits["test"]):
            raise DataError(
                f"{dataset.name}: {len(splits['train'])} pictures are too few to hold some out for a "
                "test; add pictures (three of each class at least)"
            )
        note = (
            f"it has no splits of its own: {len(splits['test'])} pictures are held out as the test "
            "split by a hash of their content"
        )
    return replace(dataset, splits=splits, notes=(*dataset.notes, note))


def with_validation(dataset: Dataset, share: float) -> Dataset:
    """Give a data set a validation split, held out of training where it has none of its own.

    Args:
        dataset: the data set.
        share: of the training pictures of each class; 0 leaves the data set without.
    """
    if "val" in dataset.splits or share == 0:
        return dataset
    train, val = hold_out(dataset.train, share, "val")
    if not len(val):
        return dataset
    splits = {**dataset.splits, "train": train, "val": val}
    return replace(dataset, splits=splits)
