"""One step: forward and backward of a batch, in as many parts as memory asks for."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from resight.core import seeds
from resight.core.device import autocast, ran_out_of_memory
from resight.core.distributed import world
from resight.core.errors import TrainingError
from resight.data.batches import Batch
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.training.checkpoints import Progress

LEAST_PART = 2
"""Batch normalization needs two pictures."""


@dataclass
class Step:
    """Forward and backward of one step, in as many parts as memory asks for.

    Attributes:
        model: the network.
        objective: see `fit`.
        optimizer: whose gradients are filled.
        share: pictures of a full step of this process; the loss is the sum over them divided by it, so that
            parts and processes add up, and a picture that was left out counts nothing.
        precision: of the products.
        buffers: the network's.
        before: what they were before the step.
    """

    model: Classifier | Solver
    objective: Callable[[Tensor, Any, float], tuple[Tensor, Tensor]]
    optimizer: torch.optim.Optimizer
    share: int
    precision: torch.dtype
    buffers: list[Tensor] = field(init=False)
    before: list[Tensor] = field(init=False)

    def __post_init__(self) -> None:
        """Make room for the statistics as they were; one of several processes never takes a step again."""
        self.buffers = list(self.model.buffers())
        self.before = [b.clone() for b in self.buffers] if world().processes == 1 else []

    def __call__(
        self, batch: Batch, step: int, done: float, seed: int, progress: Progress, say: Callable[[str], None]
    ) -> Tensor:
        """Fill the gradients; returns this process's mean loss and its sums, (1 + sums,) float32.

        Args:
            batch: its pictures.
            step: from 0, of the whole training.
            done: share of the training that is done.
            seed: of the run.
            progress: how many parts are taken; more from now on, if memory ran out.
            say: tells the user of that.

        Raises:
            ValueError: if there are more pictures than a full step has.
            TrainingError: if memory ran out and nothing is left to halve.
        """
        if len(batch.marks) > self.share:
            raise ValueError(f"a batch of {len(batch.marks)} pictures, but a step takes {self.share}")
        if self.before:  # statistics move in the forward pass
            torch._foreach_copy_(self.before, self.buffers)  # pyright: ignore[reportPrivateImportUsage]
        while True:
            try:
                return self._try(batch, step, done, seed, progress.parts)
            except (RuntimeError, MemoryError) as error:
                if not ran_out_of_memory(error):
                    raise
                fault = (str(error) or "no memory").splitlines()[0][:200]
            self.optimizer.zero_grad()
            # Other processes wait inside the step, so one alone cannot take it again.
            if world().processes > 1 or self.share // (2 * progress.parts) < LEAST_PART:
                raise TrainingError(
                    f"out of memory in epoch {progress.epoch + 1}, step {progress.step + 1} ({fault}); the "
                    "last good state is kept. Resume with: resight train --resume RUN --set "
                    f"parts={2 * progress.parts}, or train from scratch with a smaller batch_size or "
                    "image_size"
                )
            if self.before:
                torch._foreach_copy_(self.buffers, self.before)  # pyright: ignore[reportPrivateImportUsage]
            progress.parts *= 2
            say(
                f"out of memory: from now on a step is computed in {progress.parts} parts of "
                f"{-(-self.share // progress.parts)} pictures; batch normalization sees one part at a time"
            )

    def _try(self, batch: Batch, step: int, done: float, seed: int, parts: int) -> Tensor:
        device = batch.images.device
        self.optimizer.zero_grad()
        found = torch.zeros(1, device=device)
        length = -(-self.share // parts)
        starts = range(0, max(len(batch.marks), 1), length)
        for number, start in enumerate(starts):
            part = slice(start, start + length)
            images, marks = batch.images[part], batch.marks[part]
            torch.manual_seed(seeds.torch_seed(seed, step, world().rank * parts + number))
            with _together(self.objective, last=start == starts[-1]):
                with autocast(device, self.precision):
                    loss, sums = self.objective(images, marks, done)
                loss = loss * (len(marks) / self.share)
                loss.backward()
            with torch.no_grad():
                found = found + torch.cat([loss[None], sums.to(loss.dtype)])
        return found


def _together(objective: Any, *, last: bool) -> AbstractContextManager:
    """Processes exchange gradients in the last part of a step only."""
    return nullcontext() if last or not hasattr(objective, "no_sync") else objective.no_sync()
