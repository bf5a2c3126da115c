"""Which samples a step sees: a function of (seed, epoch, position), never of worker, process or history."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from resight.core import seeds
from resight.core.errors import UsageError

Keys = TypeVar("Keys", int, NDArray[np.int64])
WINDOW = 16
"""Blocks that are shuffled into one another, where samples are in blocks on disk."""
OCCURRENCE = 40
"""Bits of a draw key that hold the sample; the bits above count its earlier uses in the epoch."""


@dataclass(frozen=True)
class Order:
    """The samples of each step.

    Attributes:
        count: samples of the training split.
        batch: samples a step, over all processes.
        seed: of the run.
        blocks: first sample of each run of samples stored together on disk, rising from 0; None if any
            sample is as near as another. Whole blocks are then shuffled, and the samples of every WINDOW
            blocks among themselves, so that files are read a part at a time.
        labels: class number of each sample, to draw every class equally often, with repetition; None to
            see every sample once.
        rank: number of this process.
        processes: how many share a step.

    Raises:
        UsageError: if the processes cannot share a step equally.
    """

    count: int
    batch: int
    seed: int
    blocks: NDArray[np.int64] | None = None
    labels: NDArray[np.int64] | None = None
    rank: int = 0
    processes: int = 1

    def __post_init__(self) -> None:
        """Refuse a step that cannot be shared."""
        if self.size % self.processes:
            raise UsageError(
                f"batch_size={self.size} cannot be shared by {self.processes} processes; take a multiple of "
                f"{self.processes}"
            )

    @property
    def size(self) -> int:
        """Samples a step: the batch, or what there is if that is less."""
        if self.count >= self.batch:
            return self.batch
        return max(self.count - self.count % self.processes, self.processes)

    @property
    def share(self) -> int:
        """Samples a step of this process."""
        return self.size // self.processes

    @property
    def steps(self) -> int:
        """Steps an epoch; an incomplete last batch is left to other epochs."""
        return max(1, self.count // self.batch)

    def epoch(self, epoch: int) -> NDArray[np.int64]:
        """Return the samples of an epoch in order."""
        if self.labels is not None:
            return balanced(self.labels, self.seed, epoch)
        if self.blocks is not None:
            return windowed(self.blocks, self.count, self.seed, epoch)
        return seeds.permutation(self.seed, epoch, self.count)

    def batches(self, epoch: int, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield this process's samples of each step from step `start` on: one run of the step's samples."""
        return (sample_of(keys) for keys in self.keys(epoch, start))

    def keys(self, epoch: int, start: int = 0) -> Iterator[NDArray[np.int64]]:
        """Yield the draw keys of this process's samples of each step from step `start` on.

        What is drawn for a sample depends on its key. Without repetition that is the sample itself; a sample
        that comes again in the epoch has another one (see `draw_keys`), and so is augmented otherwise.
        """
        order, share = self.epoch(epoch), self.share
        keys = order if self.labels is None else draw_keys(order)
        for step in range(start, self.steps):
            first = step * self.size + self.rank * share
            yield keys[first : first + share]


def draw_keys(order: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the draw key of each position of an epoch, (N,): sample + 2^40 times its earlier occurrences.

    Args:
        order: the samples of a whole epoch, (N,), so that all processes and a resumed run count alike.
    """
    by_sample = np.argsort(order, kind="stable")
    together = order[by_sample]
    before = np.empty_like(order)
    before[by_sample] = np.arange(len(order)) - np.searchsorted(together, together)
    return order + (before << OCCURRENCE)


def sample_of(keys: Keys) -> Keys:
    """Return the sample that a draw key belongs to, or the samples of many."""
    return keys & ((1 << OCCURRENCE) - 1)


def balanced(labels: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return len(labels) samples in which every class is equally often, to one.

    Classes take turns; within a class the samples come in shuffled rounds, so that a rare class repeats
    all its samples before any of them comes again. The whole is shuffled at the end.
    """
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    each = -(-len(labels) // len(members))
    drawn = []
    for number, samples in enumerate(members):
        rounds = -(-each // len(samples))
        shuffled = [
            samples[np.argsort(seeds.bits(seed, epoch, samples, f"balance/{number}/{turn}"), kind="stable")]
            for turn in range(rounds)
        ]
        drawn.append(np.concatenate(shuffled)[:each])
    chosen = np.stack(drawn, axis=1).reshape(-1)[: len(labels)]
    return chosen[seeds.permutation(seed, epoch, len(chosen))]


def windowed(blocks: NDArray[np.int64], count: int, seed: int, epoch: int) -> NDArray[np.int64]:
    """Return a shuffle in which samples of only WINDOW blocks are mixed at a time."""
    ends = np.append(blocks[1:], count)
    shuffled = np.argsort(seeds.bits(seed, epoch, np.arange(len(blocks)), "blocks"), kind="stable")
    parts = []
    for first in range(0, len(shuffled), WINDOW):
        together = [np.arange(int(blocks[b]), int(ends[b])) for b in shuffled[first : first + WINDOW]]
        samples = np.concatenate(together)
        parts.append(samples[np.argsort(seeds.bits(seed, epoch, samples, "order"), kind="stable")])
    return np.concatenate(parts)
