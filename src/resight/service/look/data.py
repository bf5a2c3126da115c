"""The pictures for views of a network: some of a split, in batches, as squares and tensors."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import DataError, PictureError
from resight.data.dataset import Dataset, Split
from resight.data.prepare import Normalize, decode_split
from resight.service.run.run import Run
from resight.tasks.classify.task import of_labels, of_network

BATCH = 64
ENOUGH = 500
"""A smaller validation split is left aside: the strongest pictures are looked for in the training split."""


@dataclass(frozen=True)
class Batch:
    """Pictures that could be read.

    Attributes:
        indices: which of the split, B.
        squares: as the network sees them, (S, S, 3) uint8 each.
        images: the same, normalized, on the run's device, (B, 3, S, S).
    """

    indices: list[int]
    squares: list[NDArray[np.uint8]]
    images: Tensor


def some(split: Split, most: int) -> list[int]:
    """Return up to `most` pictures of a split, evenly spaced."""
    return np.unique(np.linspace(0, len(split) - 1, min(most, len(split))).round().astype(int)).tolist()


def read(run: Run, split: Split, indices: Sequence[int]) -> Iterator[Batch]:
    """Yield pictures of a split, broken ones left out (a test names them)."""
    normalize = Normalize(run.preprocessing, run.device)
    index_of = {int(position): i for i, position in enumerate(split.positions)}
    for start in range(0, len(indices), BATCH):
        part, squares, _ = decode_split(split.take(list(indices[start : start + BATCH])), run.preprocessing)
        if squares:
            images = normalize(torch.from_numpy(np.stack(squares)).to(run.device))
            yield Batch([index_of[int(p)] for p in part.positions], squares, images)


def is_grey(dataset: Dataset, most: int = 16) -> bool:
    """Say whether some pictures of a data set, evenly spaced, are grey."""
    split = searched_split(dataset)
    for index in some(split, most):
        try:
            pixels = np.asarray(split.decode(index))
        except PictureError:
            continue  # a test names it
        if (pixels != pixels[..., :1]).any():
            return False
    return True


def searched_split(dataset: Dataset) -> Split:
    """Return the split to search for the strongest pictures: validation if large enough, else training."""
    validation = dataset.splits.get("val")
    if validation is not None and len(validation) >= ENOUGH:
        return validation
    return dataset.splits.get("train") or next(iter(dataset.splits.values()))


def known(run: Run, split: Split) -> Split:
    """Return a split whose labels refer to the run's classes.

    Raises:
        DataError: if it has other classes, or several per picture where the run has one.
    """
    split = split.relabelled(run.model.classes)
    if of_labels(split) != of_network(run.model):
        raise DataError(f"{run.name}: one of the run and its data is multi-label, the other is not")
    return split
