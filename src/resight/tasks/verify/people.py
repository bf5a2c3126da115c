"""Who is held out: validation and test are other people, chosen by the hash of their names."""

from dataclasses import replace

import numpy as np

from resight.core.errors import DataError
from resight.core.files import digest
from resight.data.dataset import Dataset, Split
from resight.tasks.classify.task import of_labels

TEST_SHARE, VAL_SHARE = 0.25, 0.2
"""Of the people; of the rest."""
FEWEST = 2
"""People of a part, so that there are pairs of two."""


def divided(dataset: Dataset) -> Dataset:
    """Return a data set whose training, validation and test pictures are of different people.

    A person's part follows from the hash of the name alone: adding or removing others never moves it, except
    that each part gets two people at least, those whose hashes are smallest. A test or validation split that
    the data set has is kept, whoever is in it; test people who are in the training split too are noted.

    Raises:
        DataError: if there are too few people, or pictures have several classes.
    """
    of_labels(dataset).require_one(dataset.name, "--task verify needs one person per picture")
    splits = {name: of_its_own(split) for name, split in dataset.splits.items()}
    notes = list(dataset.notes)
    for name, share in (("test", TEST_SHARE), ("val", VAL_SHARE)):
        train = splits["train"]
        if name in splits:
            notes += _shared(train, splits[name])
            continue
        held = held_out(train.classes, share, name)
        if held is None and name == "test":
            raise DataError(
                f"{dataset.name}: has {len(train.classes)} people; --task verify needs {2 * FEWEST} or more, "
                "to hold some out"
            )
        if held is not None:
            mine = np.array([train.classes[label] in held for label in train.labels])
            splits[name] = of_its_own(train.take(np.flatnonzero(mine), name))
            splits["train"] = of_its_own(train.take(np.flatnonzero(~mine)))
            notes.append(f"{len(held)} people, by the hash of their names, are held out as {name}")
    return replace(dataset, classes=splits["train"].classes, splits=splits, notes=tuple(notes))


def _shared(train: Split, other: Split) -> list[str]:
    """Return a note where people of another split are learned too."""
    count = len(set(train.classes) & set(other.classes))
    if not count:
        return []
    return [
        f"{count} of {len(other.classes)} people of the {other.name} split are in the training split too, so "
        "its figures are not about other people"
    ]


def held_out(names: tuple[str, ...], share: float, part: str) -> set[str] | None:
    """Return the people of a part: whose hash is below a threshold, and as many more as it takes to be two.

    Returns:
        None if not two people would be left to learn.
    """
    if len(names) < FEWEST + 2:
        return None
    place = {name: int(digest(f"{part}/{name}".encode())[:8], 16) / 16**8 for name in names}
    ranked = sorted(names, key=lambda name: place[name])
    below = sum(place[name] < share for name in names)
    count = min(max(below, FEWEST), len(names) - FEWEST)
    return set(ranked[:count])


def of_its_own(split: Split) -> Split:
    """Return a split without pictures of unknown people, its labels counting through its own people."""
    known = split.take(np.flatnonzero(split.labels >= 0))
    own = tuple(sorted({known.classes[label] for label in np.unique(known.labels)}))
    return known.relabelled(own)
