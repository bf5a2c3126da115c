"""A training's pictures as batches: which operations, which samples, from memory or read ahead."""

import numpy as np
import torch

from resight.core.device import cores, free_memory
from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import Batches, ResidentBatches, StreamedBatches, resident_bytes
from resight.data.dataset import Dataset
from resight.data.marks import ClassMarks, Marks
from resight.data.order import Order
from resight.data.prepare import Normalize
from resight.data.stream import Readers
from resight.tasks.classify.task import of_labels
from resight.training.machine import Machine
from resight.training.recipe import Recipe


def make_batches(
    dataset: Dataset,
    recipe: Recipe,
    machine: Machine,
    pictures: list[np.ndarray] | None,
    normalize: Normalize,
    kind: type[Marks] = ClassMarks,
    *,
    strict: bool,
    learned: str | None = None,
) -> Batches:
    """Return this process's training batches: resident where pictures and operations allow it, else streamed.

    Args:
        dataset: its training split is read.
        recipe: the operations, and which samples make a step.
        machine: the workers.
        pictures: the decoded training split; None to read it from its files.
        normalize: of the network's preprocessing, on its device.
        kind: of marks.
        strict: stop at a broken picture.
        learned: fingerprint of the training split, which a generator must have learned too.

    Raises:
        UsageError: if classes shall be drawn equally often and pictures have several.
        ResightError: see `make_pipeline`.
    """
    train, card, device = dataset.train, normalize.preprocessing, normalize.device
    if recipe.balance == "sampling":
        why = "balance=sampling draws one class per picture; use balance=loss"
        of_labels(train).require_one(dataset.name, why, UsageError)
    pipeline = make_pipeline(dataset, recipe, card, learned)
    order = Order(
        len(train), recipe.batch_size, recipe.seed,
        blocks=train.blocks() if pictures is None else None,
        labels=train.labels if recipe.balance == "sampling" else None,
        rank=world().rank, processes=world().processes,
    )  # fmt: skip
    fits = resident_bytes(train, card, pipeline) <= free_memory(device) / 2  # the network needs the rest
    if pictures is not None and not pipeline.whole and fits:
        squares = torch.from_numpy(np.stack(pictures)).to(device)
        return ResidentBatches(squares, kind.of_split(train).to(device), normalize, pipeline, order)
    count = cores() if machine.workers < 0 else machine.workers
    processes = machine.readers == "processes" or (machine.readers == "auto" and device.type == "cuda")
    readers = Readers(count, processes, machine.timeout)
    return StreamedBatches(train, pictures, card, normalize, pipeline, order, readers, kind, strict=strict)


def make_pipeline(dataset: Dataset, recipe: Recipe, card: Preprocessing, learned: str | None) -> Pipeline:
    """Return the recipe's operations, with the generator that it names.

    Raises:
        ResightError: if there is no such generator, or it learned other pictures or classes.
    """
    steps = parse(recipe.augment)
    folder = next((step.folder for step in steps if step.folder), "")
    if not folder:
        return Pipeline(steps, len(dataset.classes))
    from resight.service.gan.synthetic import open_gan

    gan = open_gan(folder, dataset.classes, card.size, learned)
    return Pipeline(steps, len(dataset.classes), gan.generated, gan.noise)
