"""What a training says of its held-out pictures before the first step, and of lost ones later."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from resight.core.errors import PictureError, TrainingError
from resight.data.dataset import FINGERPRINT_DIGESTS, Dataset, Split, shared_pictures
from resight.service.run.members import Members, note_members, notes_of
from resight.service.train.weight_files import runs_behind


def require_classes_left(train: Split, faults: Sequence[dict[str, str]]) -> None:
    """Refuse to train on when a class has no picture left that can be read.

    Raises:
        TrainingError: naming the classes.
    """
    if not faults:
        return
    lost = {fault["path"] for fault in faults}
    left = train.take([i for i in range(len(train)) if train.picture_name(i) not in lost])
    empty = np.flatnonzero((left.class_counts() == 0) & (train.class_counts() > 0)).tolist()
    gone = [train.classes[number] for number in empty if not _one_is_back(train, train.classes[number])]
    if gone:
        raise TrainingError(
            f"no picture of {', '.join(gone)} can be read any more (the first:   {faults[0]['path']}: "
            f"{faults[0]['fault']}); put the pictures back and resume with: resight train --resume RUN"
        )


def _one_is_back(train: Split, label: str) -> bool:
    """Return whether a picture of a class can be read: a resumed run remembers the faults found before."""
    for index in range(len(train)):
        if label in train.class_names(index):
            try:
                train.decode(index)
            except PictureError:
                continue
            return True
    return False


def with_leaks_noted(dataset: Dataset) -> tuple[Dataset, int]:
    """Say if test pictures are learned too, or chosen on: the test figure is then too good."""
    if "test" not in dataset.splits:  # the figure comes from folds
        return dataset, 0
    test = dataset.split("test")
    others = [split for split in dataset.splits.values() if split is not test]
    if sum(map(len, dataset.splits.values())) > FINGERPRINT_DIGESTS:
        note, leaks = "too many pictures to check for leaks here; use resight check", 0
    else:
        leaks = sum(shared_pictures(split, test) for split in others)
        note = (
            f"{leaks} test pictures are also in the training split, so the test error is too low; "
            "resight check lists them"
        )
        if not leaks:
            return dataset, 0
    return replace(dataset, notes=(*dataset.notes, note)), leaks


def with_members_noted(
    dataset: Dataset, learned: str, weights: str = "", teacher: str = ""
) -> tuple[Dataset, Members | None]:
    """Return the pictures of a training, and say which test pictures the runs behind it have seen.

    Args:
        dataset: with its splits.
        learned: the fingerprint of its training split.
        weights: the setting `weights`.
        teacher: the setting `teacher`.
    """
    members = note_members(dataset, learned, runs_behind(weights, teacher))
    notes = notes_of(members) if members else ()
    return replace(dataset, notes=(*dataset.notes, *notes)), members
