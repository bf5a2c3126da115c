"""Splits by content: no picture on both sides, the same on every machine and for every seed.

Whether a picture is held out is a function of its own content: the digest of its bytes, read as a number in
[0, 1), is below the share. So adding or removing pictures moves no other picture from one split to another.
The one exception keeps every class on both sides, and is noted by name: see `hold_out`.
"""

from collections import defaultdict
from dataclasses import dataclass, replace

import numpy as np

from resight.core.console import counted
from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split

TEST_SHARE = 0.2
NAMED = 6
"""Pictures that a note names; of more it gives the count."""


def place(content: str, name: str) -> float:
    """Return a picture's position in [0, 1): it is held out for `name` if that is below the share.

    Test and validation read different halves of the digest, so that validation is a share of what the test
    leaves.

    Args:
        content: 128-bit digest in hexadecimal.
        name: "test" or "val".
    """
    half = content[:16] if name == "test" else content[16:]
    return int(half, 16) / 2**64


@dataclass(frozen=True)
class Contents:
    """The contents of a split: pictures that are copies count as one.

    Attributes:
        of: the digest of each picture, (N,).
        classes: class numbers of each content that may be held out; a content that is in several
            classes contradicts itself and may not.
        members: contents by class number.
    """

    of: list[str]
    classes: dict[str, tuple[int, ...]]
    members: dict[int, list[str]]

    @classmethod
    def read(cls, split: Split) -> "Contents":
        """Read the digests of a split."""
        own = [split.digest(index) for index in counted(range(len(split)), "hashing pictures")]
        labels = defaultdict(set)
        for index, content in enumerate(own):
            labels[content].add(split.class_numbers(index))
        classes = {content: next(iter(found)) for content, found in labels.items() if len(found) == 1}
        members = defaultdict(list)
        for content, numbers in classes.items():
            for number in numbers:
                members[number].append(content)
        return cls(own, classes, dict(members))

    def may_leave(self, content: str, out: set[str]) -> bool:
        """Return whether each class of a content keeps another one when it is taken out too."""
        return all(any(c != content and c not in out for c in self.members[n]) for n in self.classes[content])


def hold_out(split: Split, share: float, name: str) -> tuple[Split, Split, tuple[str, ...]]:
    """Take out the pictures whose position (see `place`) is below a share.

    Copies of a picture share a digest and so stay together. A picture that is in several classes stays in
    the first part, whose labels it contradicts already. A class of which nothing is below the share gives
    its nearest picture: for a test every class does, for validation those of which the share asks for half a
    picture or more. A class of which everything is below it keeps its farthest picture.

    Args:
        split: what to divide.
        share: in [0, 1).
        name: "test" or "val", the name of the part taken out.

    Returns:
        What stays, what was taken out, and which pictures are on their side for their class's sake, in words.
    """
    contents = Contents.read(split)
    where = {content: place(content, name) for content in contents.classes}
    out = {content for content, at in where.items() if at < share}
    ranked = {n: sorted(found, key=where.__getitem__) for n, found in sorted(contents.members.items())}
    kept, taken = [], []
    for members in ranked.values():
        if out.issuperset(members):
            out.discard(members[-1])
            kept.append(members[-1])
    for members in ranked.values():
        wanted = name == "test" or round(share * len(members)) > 0
        nearest = next((c for c in members if contents.may_leave(c, out)), None)
        if wanted and nearest is not None and out.isdisjoint(members):
            out.add(nearest)
            taken.append(nearest)
    notes = (
        *_for_their_class(split, contents, taken, f"are in the {name} split"),
        *_for_their_class(split, contents, [c for c in kept if c not in out], f"are not in the {name} split"),
    )
    leaves = np.array([content in out for content in contents.of], dtype=bool)
    return split.take(np.flatnonzero(~leaves)), split.take(np.flatnonzero(leaves), name), notes


def _for_their_class(split: Split, contents: Contents, moved: list[str], what: str) -> tuple[str, ...]:
    """Return a note that names the pictures that are on a side for their class's sake, if there are any."""
    moved = [c for c in moved if len(contents.members[contents.classes[c][0]]) > 1]
    if not moved:
        return ()
    names = [split.picture_name(contents.of.index(content)) for content in moved[:NAMED]]
    more = f" and {len(moved) - NAMED} more" if len(moved) > NAMED else ""
    return (f"{len(moved)} pictures {what} so that their class is in both splits: {', '.join(names)}{more}",)


def hold_out_by_rank(split: Split, share: float, name: str) -> tuple[Split, Split]:
    """Take an exact share out of each class (`Split.strata`), by rank of the digests.

    So were all splits made before Resight held out by `hold_out`: for the runs of that time, and for the
    built-in data sets, whose pictures never change and whose figures are published. Adding a picture can move
    others. Copies of a picture, and pictures that are in several classes, as in `hold_out`.
    """
    classes_of = defaultdict(set)
    by_class = defaultdict(list)
    for index, stratum in enumerate(counted(split.strata().tolist(), "hashing pictures")):
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


def _divided(dataset: Dataset, share: float, name: str) -> tuple[Split, Split, tuple[str, ...]]:
    if dataset.by_rank:
        return *hold_out_by_rank(dataset.train, share, name), ()
    return hold_out(dataset.train, share, name)


def with_test_split(dataset: Dataset) -> Dataset:
    """Give a data set a test split if it has none of its own.

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
        note = "its val split is used as the test split: no epoch or setting is chosen on it"
        return replace(dataset, splits=splits, notes=(*dataset.notes, note))
    for number, count in enumerate(splits["train"].class_counts()):
        if count < 2:
            raise DataError(
                f"{dataset.name}: class {dataset.classes[number]!r} has one picture, which cannot be "
                "both trained on and tested; add pictures of it"
            )
    splits["train"], splits["test"], notes = _divided(dataset, TEST_SHARE, "test")
    if not len(splits["test"]):
        raise DataError(
            f"{dataset.name}: no picture can be held out for testing: those of a class are copies of one, or "
            "are in other classes too; see: resight check, and add pictures"
        )
    note = (
        f"it has no splits: {len(splits['test'])} pictures are held out as the test "
        "split by a hash of their content"
    )
    absent = [dataset.classes[n] for n in np.flatnonzero(splits["test"].class_counts() == 0)]
    if absent:
        more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
        notes = (*notes, f"no test picture of: {', '.join(absent[:NAMED])}{more}")
    return replace(dataset, splits=splits, notes=(*dataset.notes, note, *notes))


def with_validation(dataset: Dataset, share: float) -> Dataset:
    """Give a data set a validation split, held out of training if it has none of its own.

    Args:
        dataset: the data set.
        share: of the training pictures; 0 leaves the data set without.
    """
    if "val" in dataset.splits or share == 0:
        return dataset
    train, val, notes = _divided(dataset, share, "val")
    if not len(val):
        return dataset
    splits = {**dataset.splits, "train": train, "val": val}
    return replace(dataset, splits=splits, notes=(*dataset.notes, *notes))
