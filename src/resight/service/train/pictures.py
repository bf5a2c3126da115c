"""The pictures of a training, read before its first step."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.distributed import world
from resight.core.errors import DataError, PictureError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops
from resight.data.augment.draws import Draws
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.augment.warp import Warp
from resight.data.batches import resident_bytes
from resight.data.dataset import Dataset, Split
from resight.data.marks import AnyMarks, ClassMarks
from resight.data.prepare import Normalize, decode_split
from resight.service.train.normalization import normalization_of
from resight.training.recipe import Recipe


def read_training(
    dataset: Dataset,
    recipe: Recipe,
    weights_card: Preprocessing | None,
    frame: str = "crop",
    *,
    strict: bool,
) -> tuple[Dataset, list[np.ndarray] | None, Preprocessing, list[PictureError]]:
    """Decode the training split if it fits in memory, and settle the preprocessing on it."""
    card, cache, whole, needed = _cards(dataset.train, recipe, frame)
    pictures: list[np.ndarray] | None = None
    faults: list[PictureError] = []
    train = dataset.train
    if needed <= recipe.memory_gib * 2**30:
        train, pictures, faults = decode_split(train, cache, whole=whole, strict=strict)
        require_every_class(dataset, train)
        dataset = replace(dataset, splits={**dataset.splits, "train": train})
    return dataset, pictures, normalization_of(card, recipe, train, pictures, weights_card), faults


def _cards(
    train: Split, recipe: Recipe, frame: str = "crop"
) -> tuple[Preprocessing, Preprocessing, bool, float]:
    """Return what the network sees, what memory holds, whether that is whole pictures, and its bytes."""
    size = recipe.image_size
    pipeline = Pipeline(tuple(s for s in parse(recipe.augment) if s.operation.kind in ("crop", "flip")))
    crop, photos = pipeline.crop, pipeline.whole
    resize = round(size * 8 / 7) if photos and frame == "crop" else size
    card = Preprocessing(size=size, resize=resize, levels=train.levels, frame=frame)
    if photos and crop:
        # Whole pictures, large enough to be cut from: about 4/3 as wide as high.
        cache = replace(card, resize=crops.cached_side(crop.name, crop.value, size))
        return card, cache, photos, len(train) * cache.resize**2 * 4
    return card, card, photos, resident_bytes(train, card, pipeline)


def kept_bytes(train: Split, recipe: Recipe) -> float:
    """Return what a training split takes in memory; 0 if it is read from its files in every epoch."""
    needed = _cards(train, recipe)[3]
    return needed if needed <= recipe.memory_gib * 2**30 else 0.0


def require_every_class(dataset: Dataset, train: Split) -> None:
    """Refuse a data set of which a whole class cannot be read.

    Args:
        dataset: gives the classes.
        train: what could be read of its training split.

    Raises:
        DataError: naming the classes.
    """
    missing = np.flatnonzero(train.class_counts() == 0)
    if len(missing):
        names = ", ".join(dataset.classes[m] for m in missing)
        raise DataError(
            f"{dataset.name}: no picture of {names} can be read; see: resight check {dataset.name}"
        )


def first_images(dataset: Dataset, card: Preprocessing, normalize: Normalize) -> Tensor:
    """Return some plain training images, evenly spaced, normalized: 2,000 of 32 x 32, fewer larger ones."""
    most = max(32, 2000 * 32 * 32 // card.size**2)
    chosen = np.unique(np.linspace(0, len(dataset.train) - 1, most).astype(int))
    _, squares, _ = decode_split(dataset.train.take(chosen), card)
    return normalize(torch.from_numpy(np.stack(squares)).to(normalize.device))


def shown_by(card: Preprocessing, sizes: NDArray[np.int64]) -> Warp:
    """Return how whole pictures of some sizes, (N, 2), become the squares of a test."""
    draws = Draws(0, 0, np.arange(len(sizes)))
    return Pipeline(()).warp(draws, [(int(w), int(h)) for w, h in sizes], card)


def validation_of(
    dataset: Dataset,
    card: Preprocessing,
    faults: list[PictureError],
    kind: type[AnyMarks] = ClassMarks,
    *,
    strict: bool,
) -> tuple[Tensor, AnyMarks] | None:
    """Return this process's squares of the validation split and their marks, moved as these are.

    None if there is none.

    Raises:
        PictureError: the first fault, if strict.
    """
    if "val" not in dataset.splits:
        return None
    whole = dataset.splits["val"]
    part, squares, more = decode_split(whole.take(world().share(len(whole))), card, strict=strict)
    faults += world().gathered(more)
    if not sum(world().all_of(len(part) if squares else 0)):
        return None
    pixels = np.stack(squares) if squares else np.empty((0, card.size, card.size, 3), np.uint8)
    return torch.from_numpy(pixels), kind.of_split(part).moved(lambda sizes: shown_by(card, sizes))


def squares_of(
    dataset: Dataset, split: str, card: Preprocessing, faults: list[PictureError], *, strict: bool
) -> tuple[Tensor, Tensor] | None:
    """Return the squares and labels of a split, in memory; None if there are none."""
    if split not in dataset.splits:
        return None
    part, squares, more = decode_split(dataset.splits[split], card, strict=strict)
    faults += more
    if not squares:
        return None
    return torch.from_numpy(np.stack(squares)), torch.from_numpy(part.labels)
