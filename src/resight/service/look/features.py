"""The penultimate features of test pictures as a cloud, and the loss around the network."""

import time
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from resight.core.errors import DataError, UsageError
from resight.data.dataset import Split
from resight.evaluate.surface import Surface, affordable, loss_surface
from resight.metrics.embedding import FEWEST, STEPS, perplexity_for, tsne
from resight.models import cost
from resight.models.cost import evaluating
from resight.render.embedding import Cloud
from resight.service.look.data import known, read, some
from resight.service.run.run import Run
from resight.tasks.classify.task import of_network

SMALL, SMALL_SIDE, LARGE_SIDE = 64, 32, 48
"""Pictures up to `SMALL` pixels have thumbnails of `SMALL_SIDE`, larger ones of `LARGE_SIDE`."""


def find_cloud(run: Run, split: Split, most: int, seed: int, steps: int = STEPS) -> Cloud:
    """Place test pictures by the input features of the last layer (t-SNE).

    Args:
        run: the network.
        split: the pictures; for a data set with other classes none is marked right or wrong.
        most: pictures, evenly spaced.
        seed: of t-SNE.
        steps: of t-SNE.

    Raises:
        UsageError: if there are too few pictures.
    """
    try:
        split, fits = known(run, split), True
    except DataError:
        fits = False
    side = SMALL_SIDE if run.preprocessing.size <= SMALL else LARGE_SIDE
    vectors, said, thumbnails, indices = [], [], [], []
    for batch in read(run, split, some(split, most)):
        with torch.inference_mode(), evaluating(run.model):
            features = run.model.forward_features(batch.images)
            vectors.append(run.model.forward_head(features, pre_logits=True).float().flatten(1).cpu())
            said.append(run.model.forward_head(features).argmax(1).cpu())
        thumbnails += [_small(square, side) for square in batch.squares]
        indices += batch.indices
    if len(indices) < FEWEST:
        raise UsageError(f"t-SNE of {len(indices)} pictures is meaningless: it needs {FEWEST} or more")
    strata = split.strata()[indices] if fits else np.full(len(indices), -1)
    return Cloud(
        tsne(torch.cat(vectors).numpy(), seed, steps),
        np.stack(thumbnails),
        strata,
        torch.cat(said).numpy(),
        [split.class_names(i) if fits else () for i in indices],
        [Path(split.picture_name(i)).name for i in indices],
        [run.class_name(i) for i in range(run.model.num_classes)],
    )


def _small(square: np.ndarray, side: int) -> np.ndarray:
    if square.shape[0] == side:
        return square
    way = Image.Resampling.NEAREST if square.shape[0] < side else Image.Resampling.LANCZOS
    return np.asarray(Image.fromarray(square).resize((side, side), way))


def read_cloud(cloud: Cloud, split: str) -> str:
    """Return how to read a cloud."""
    wrong = sum(cloud.wrong())
    return (
        f"t-SNE (van der Maaten and Hinton 2008) of the inputs of the last layer, for {len(cloud.names):,} "
        f"pictures of the {split} split, {wrong} of them classified wrongly; perplexity "
        f"{perplexity_for(len(cloud.names)):g}. Nearby pictures look similar to the network. The size of a "
        "cluster and the distance between far clusters mean nothing."
    )


def find_surface(run: Run, split: Split, seed: int) -> tuple[Surface, float]:
    """Return the loss around a network on some pictures, and its seconds.

    Grid and number of pictures follow from the cost of a picture.

    Raises:
        DataError: if the split's classes are not the run's, or no picture can be read.
    """
    split = known(run, split)
    split = split.take(np.flatnonzero(split.kind.known(split.labels)))
    started = time.perf_counter()
    size, count = affordable(cost.multiply_adds(run.model, run.preprocessing.size, run.model.in_channels))
    batches = list(read(run, split, some(split, count)))
    if not batches:
        raise DataError(f"the {split.name} split has no picture that can be read")
    indices = [i for batch in batches for i in batch.indices]
    labels = torch.from_numpy(split.labels[indices]).to(run.device)
    images, criterion = torch.cat([b.images for b in batches]), of_network(run.model).criterion()
    surface = loss_surface(run.model, images, labels, size, seed=seed, criterion=criterion)
    return surface, time.perf_counter() - started


def read_surface(surface: Surface, split: str) -> str:
    """Return how to read a surface."""
    return (
        f"Mean loss on {surface.pictures:,} pictures of the {split} split, without augmentation, along two "
        "random directions, in which every filter has the norm of the network's filter (Li et al. 2018, "
        "section 4); 1 is a step as long as the weights. Biases and batch normalization stay fixed, with its "
        "running statistics. These are two of many directions: a round bowl here proves nothing about the "
        "others."
    )
