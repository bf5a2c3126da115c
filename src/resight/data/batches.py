"""Training batches: resident sets augmented on the device, larger ones streamed through workers.

Both kinds give the same sequence for the same (seed, epoch), from any step on, whatever the number
of workers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.console import counted
from resight.core.errors import DataError, PictureError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops
from resight.data.augment.draws import Draws
from resight.data.augment.pipeline import Pipeline
from resight.data.augment.warp import Warp
from resight.data.dataset import Split
from resight.data.marks import ClassMarks, Marks
from resight.data.order import Order, sample_of
from resight.data.prepare import Normalize
from resight.data.samples import Samples
from resight.data.stream import Readers, stream


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        images: (B, 3, S, S) float32, normalized, channels last.
        marks: what is true of them.
        faults: pictures that could not be read and were left out.
        samples: sample numbers, (B,).
        keys: draw keys, (B,): what was drawn for each sample.
        sizes: (width, height) of what each sample was cut from, in pixels, (B, 2).
    """

    images: Tensor
    marks: Marks
    faults: tuple[PictureError, ...] = ()
    samples: NDArray[np.int64] | None = None
    keys: NDArray[np.int64] | None = None
    sizes: NDArray[np.int64] | None = None


class Batches(Protocol):
    """A training split in batches."""

    @property
    def order(self) -> Order:
        """Which samples each step sees, and how many steps an epoch has."""
        ...

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on."""
        ...


class _Augmented:
    """What both kinds share: the operations that come after crop and mirroring, and where marks go."""

    def __init__(self, normalize: Normalize, pipeline: Pipeline, order: Order, card: Preprocessing) -> None:
        if pipeline.mixes and order.processes > 1 and order.share % 2:
            raise UsageError(
                f"batch_size={order.size} gives each of {order.processes} processes an odd number of "
                f"pictures to mix in pairs; take a multiple of {2 * order.processes}"
            )
        self.normalize, self.pipeline, self.order, self.card = normalize, pipeline, order, card

    def warp(self, epoch: int, batch: Batch) -> Warp:
        """Return how the pictures of a batch of an epoch were moved, for `move_points` and its like.

        Places are shares of a picture's sides, so marks may count in the picture at its full size although it
        was decoded at a smaller one. Resident squares are the pictures of resident batches.
        """
        assert batch.keys is not None and batch.sizes is not None  # both kinds give them
        draws = self._draws(epoch, batch.keys)
        return self.pipeline.warp(draws, [(int(w), int(h)) for w, h in batch.sizes], self.card)

    def _warp(self, draws: Draws, sizes: NDArray[np.int64]) -> Warp:
        """Return how whole pictures of these sizes were moved."""
        card = self.normalize.preprocessing
        return self.pipeline.warp(draws, [(int(w), int(h)) for w, h in sizes], card)

    def _cut_from(self, sizes: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sizes of the pictures that the samples were cut from, as they were decoded.

        Args:
            sizes: of what was read.
            whole: of the pictures decoded whole.
        """
        del whole
        return sizes

    def _draws(self, epoch: int, keys: NDArray[np.int64]) -> Draws:
        return Draws(self.order.seed, epoch, keys, self.normalize.device)

    def _batch(
        self,
        squares: Tensor,
        marks: Marks,
        draws: Draws,
        positions: NDArray[np.int64],
        sizes: NDArray[np.int64],
        faults: tuple[PictureError, ...] = (),
    ) -> Batch:
        images, marks = self.pipeline.finish(squares, marks, self.normalize, draws, positions)
        marks = marks.moved(lambda whole: self._warp(draws, self._cut_from(sizes, whole))).drawn(draws)
        return Batch(images, marks, faults, sample_of(draws.samples), draws.samples, sizes)


class ResidentBatches(_Augmented):
    """A small set as one uint8 tensor on the device, augmented in whole batches.

    Args:
        squares: (N, S, S, 3) uint8, on the device.
        marks: of all N, on the device.
        normalize: applied to what is cropped, mirrored and altered.
        pipeline: the operations, none that cuts from whole pictures.
        order: of the samples.
    """

    def __init__(
        self, squares: Tensor, marks: Marks, normalize: Normalize, pipeline: Pipeline, order: Order
    ) -> None:
        count, side = squares.shape[:2]
        super().__init__(normalize, pipeline, order, Preprocessing(size=side, resize=side))
        self.marks, self.count, self.side = marks, count, side
        self.flips, self.pad = pipeline.flip is not None, pipeline.padding(side)
        self.positions, self.sizes = np.arange(order.share), np.full((order.share, 2), side)
        width = side + 2 * self.pad
        # The set lies padded, and a second time mirrored, so that a batch is one gather.
        self.pixels = torch.zeros(
            (2 if self.flips else 1) * count, width, width, 3, dtype=torch.uint8, device=squares.device
        )
        inside = slice(self.pad, self.pad + side)
        self.pixels[:count, inside, inside] = squares
        if self.flips:
            for start in counted(
                range(0, count, 4096), "mirroring pictures", count, 4096
            ):  # flip needs a copy
                part = slice(start, min(start + 4096, count))
                self.pixels[count:][part] = self.pixels[part].flip(2)
        row, window = width * 3, 2 * self.pad + 1
        self.windows = self.pixels.as_strided(
            (len(self.pixels), window, window, side, side * 3), (width * row, row, 3, row, 1)
        )

    def _cut_from(self, sizes: NDArray[np.int64], whole: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the sizes of the whole pictures: the resident squares were cut from them once."""
        del sizes
        return whole

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on."""
        for keys in self.order.keys(epoch, start):
            draws, indices = self._draws(epoch, keys), sample_of(keys)
            chosen = indices
            top, left = crops.offsets(draws, 2 * self.pad)
            if self.flips:  # cropped, then mirrored: in the mirrored copy the crop lies mirrored too
                mirrored = self.pipeline.is_mirrored(draws)
                chosen = indices + self.count * mirrored
                left = np.where(mirrored, 2 * self.pad - left, left)
            device = self.pixels.device
            where = torch.from_numpy(np.stack([chosen, top, left, indices])).to(device, non_blocking=True)
            cut = self.windows[where[0], where[1], where[2]].view(-1, self.side, self.side, 3)
            yield self._batch(
                cut, self.marks[where[3]], draws, self.positions[: len(cut)], self.sizes[: len(cut)]
            )


class StreamedBatches(_Augmented):
    """A set that is read sample by sample: from whole decoded pictures in memory, or from its files.

    Crop and mirroring happen where the sample is read, the rest on the device.

    Args:
        split: the training split.
        cached: its decoded pictures, or None to decode in worker processes.
        preprocessing: input size.
        normalize: applied on the device.
        pipeline: the operations.
        order: of the samples.
        readers: who reads ahead.
        kind: of marks.
        strict: stop at a broken picture instead of leaving it out.
    """

    def __init__(
        self,
        split: Split,
        cached: list[NDArray[np.uint8]] | None,
        preprocessing: Preprocessing,
        normalize: Normalize,
        pipeline: Pipeline,
        order: Order,
        readers: Readers,
        kind: type[Marks] = ClassMarks,
        *,
        strict: bool,
    ) -> None:
        super().__init__(normalize, pipeline, order, preprocessing)
        # Workers need no generator, and could not be handed one.
        steps = tuple(s for s in pipeline.steps if s.operation.kind in ("crop", "flip"))
        self.samples = Samples(split, cached, preprocessing, Pipeline(steps), order.seed, kind)
        self.strict, self.readers = strict, readers if cached is None else Readers(0)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on.

        Raises:
            PictureError: at a broken picture, if strict.
            DataError: if a worker dies or hangs, or a whole batch cannot be read.
        """
        device = self.normalize.device
        keys = ([(epoch, int(key)) for key in part] for part in self.order.keys(epoch, start))
        for read in stream(self.samples.__getitem__, self.samples.together, keys, self.readers):
            if read.faults and self.strict:
                raise read.faults[0]
            if not len(read.keys):
                raise DataError(f"no picture of a batch can be read; the first: {read.faults[0]}")
            yield self._batch(
                read.squares.to(device, non_blocking=True), read.marks.to(device),
                self._draws(epoch, read.keys), read.positions, read.sizes, tuple(read.faults),
            )  # fmt: skip


def resident_bytes(split: Split, preprocessing: Preprocessing, pipeline: Pipeline) -> int:
    """Return what a split takes in memory as padded, mirrored squares."""
    pad, copies = pipeline.padding(preprocessing.size), 2 if pipeline.flip else 1
    return len(split) * copies * (preprocessing.size + 2 * pad) ** 2 * 3
