"""The product's own training loop as a block, and the peak memory of a block."""

import time
from collections.abc import Callable, Iterator

import torch

from resight.bench.interleave import Block
from resight.bench.peak import peak_of
from resight.bench.rows import PEAK
from resight.core.device import pick_device, pick_precision, wait_for
from resight.data.batches import Batch
from resight.data.order import Order
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.tasks.task import Loss
from resight.training.checkpoints import Progress
from resight.training.loop import Actions, fit
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Recipe


class _UntilLate:
    """Batches until a deadline, one at least, as one long epoch of steps of `batch` pictures."""

    def __init__(self, source: Callable[[int], Iterator[Batch]], batch: int) -> None:
        self.order = Order(10**9, batch, 0)
        self.source, self.deadline, self.turn, self.done = source, 0.0, 0, 0

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        del epoch, start
        while True:
            self.turn += 1
            for batch in self.source(self.turn):
                if self.done and time.perf_counter() > self.deadline:
                    return
                self.done += len(batch.marks)
                yield batch


def training(
    model: Classifier | Solver,
    objective: Loss,
    counts: tuple[str, ...],
    source: Callable[[int], Iterator[Batch]],
    recipe: Recipe,
) -> Block:
    """Return a block that trains with the product's own loop.

    Args:
        model: the network; it is moved to the device.
        objective: its loss.
        counts: names of what the loss counts.
        source: from the number of a turn to its batches.
        recipe: the settings.
    """
    device, precision = pick_device(), pick_precision(recipe.precision, pick_device())
    model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    objective.to(device)
    optimizer, batches = make_optimizer(model, recipe), _UntilLate(source, recipe.batch_size)
    actions = Actions(lambda *_: lambda *_: None, lambda *_: None, lambda: None, lambda: False, print)

    def block(seconds: float) -> tuple[int, float]:
        progress, started = Progress(sums=dict.fromkeys(counts, 0.0)), time.perf_counter()
        batches.deadline, batches.done = started + seconds, 0
        fit(model, objective, batches, recipe, optimizer, None, progress, precision, actions)
        wait_for(device)
        return batches.done, time.perf_counter() - started

    return block


def remembering(block: Block) -> Block:
    """Return a block that also measures its peak memory, the first time, which is a warm-up."""
    facts: dict[str, float | None] = {}

    def measured(seconds: float) -> tuple[int, float]:
        if facts:
            return block(seconds)
        result, facts[PEAK] = peak_of(lambda: block(seconds), pick_device())
        return result

    measured.facts = facts  # type: ignore[attr-defined]
    return measured
