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
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader
from torch.utils.data import Dataset as TorchDataset

from resight.core import seeds
from resight.core.errors import DataError, PictureError
from resight.core.preprocessing import Preprocessing
from resight.data import augment
from resight.data.dataset import Split
from resight.data.prepare import Normalize, fit


@dataclass(frozen=True)
class Batch:
    """What one training step sees.

    Attributes:
        images: (B, 3, S, S) float32, normalized, channels last.
        labels: (B,) class numbers.
        faults: pictures that could not be read and were left out.
    """

    images: Tensor
    labels: Tensor
    faults: tuple[PictureError, ...] = ()


class Batches(Protocol):
    """A training split in batches."""

    steps: int
    """Batches an epoch."""

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on."""
        ...


def _batch_indices(seed: int, epoch: int, count: int, batch: int, start: int) -> Iterator[NDArray]:
    """Yield the sample numbers of each batch; an incomplete last batch is left to other epochs."""
    order = seeds.permutation(seed, epoch, count)
    for step in range(start, steps_per_epoch(count, batch)):
        yield order[step * batch : (step + 1) * batch]


def steps_per_epoch(count: int, batch: int) -> int:
    """Return how many full batches an epoch has; one, if there are too few samples for a full one."""
    return max(1, count // batch)


class ResidentBatches:
    """A small set as one uint8 tensor on the device, augmented in whole batches.

    Args:
        squares: (N, S, S, 3) uint8, on the device.
        labels: (N,), on the device.
        normalize: applied last.
        operations: names out of `augment.BATCHED`.
        batch: samples a batch.
        seed: of the run.
    """

    def __init__(
        self,
        squares: Tensor,
        labels: Tensor,
        normalize: Normalize,
        operations: tuple[str, ...],
        batch: int,
        seed: int,
    ) -> None:
        self.labels, self.normalize, self.batch, self.seed = labels, normalize, batch, seed
        self.count, self.side = squares.shape[:2]
        self.steps = steps_per_epoch(self.count, batch)
        self.flips = "flip" in operations
        self.pad = augment.padding(operations, self.side)
        width = self.side + 2 * self.pad
        # The set lies padded, and a second time mirrored, so that a batch is one gather.
        self.pixels = torch.zeros(
            (2 if self.flips else 1) * self.count,
            width,
            width,
            3,
            dtype=torch.uint8,
            device=squares.device,
        )
        inside = slice(self.pad, self.pad + self.side)
        self.pixels[: self.count, inside, inside] = squares
        if self.flips:
            for start in range(0, self.count, 4096):  # in parts: flip needs a copy
                part = slice(start, min(start + 4096, self.count))
                self.pixels[self.count :][part] = self.pixels[part].flip(2)
        row, window = width * 3, 2 * self.pad + 1
        self.windows = self.pixels.as_strided(
            (len(self.pixels), window, window, self.side, self.side * 3),
            (width * row, row, 3, row, 1),
        )

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on."""
        for indices in _batch_indices(self.seed, epoch, self.count, self.batch, start):
            chosen = indices
            top, left = augment.offsets(self.seed, epoch, indices, 2 * self.pad)
            if self.flips:  # cropped, then mirrored: in the mirrored copy the crop lies mirrored too
                mirrored = augment.is_mirrored(self.seed, epoch, indices)
                chosen = indices + self.count * mirrored
                left = np.where(mirrored, 2 * self.pad - left, left)
            device = self.pixels.device
            where = torch.from_numpy(np.stack([chosen, top, left, indices])).to(device, non_blocking=True)
            cut = self.windows[where[0], where[1], where[2]].view(-1, self.side, self.side, 3)
            yield Batch(self.normalize(cut), self.labels[where[3]])


class StreamedBatches:
    """A set that is read sample by sample: from whole decoded pictures in memory, or from its files.

    Args:
        split: the training split.
        cached: its decoded pictures, or None to decode in worker processes.
        preprocessing: input size, deviation for colour.
        normalize: applied on the device.
        operations: names out of `augment.OPERATIONS`.
        batch: samples a batch.
        seed: of the run.
        workers: worker processes.
        strict: stop at a broken picture instead of leaving it out.
    """

    def __init__(
        self,
        split: Split,
        cached: list[NDArray[np.uint8]] | None,
        preprocessing: Preprocessing,
        normalize: Normalize,
        operations: tuple[str, ...],
        batch: int,
        seed: int,
        workers: int,
        *,
        strict: bool,
    ) -> None:
        self.samples = _Samples(split, cached, preprocessing, operations, seed)
        self.normalize, self.seed, self.batch, self.strict = normalize, seed, batch, strict
        self.colour = preprocessing.std if "pca-colour" in operations else None
        self.workers = workers if cached is None else 0
        self.steps = steps_per_epoch(len(split), batch)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of an epoch from step `start` on.

        Raises:
            PictureError: at a broken picture, if strict.
            DataError: if a worker process dies, or a whole batch cannot be read.
        """
        indices = list(_batch_indices(self.seed, epoch, len(self.samples), self.batch, start))
        loader = DataLoader(
            self.samples,
            batch_sampler=[[(epoch, int(i)) for i in part] for part in indices],  # type: ignore[arg-type]
            num_workers=self.workers,
            collate_fn=_collate,
            # A pinned generator, so that making an iterator draws nothing from torch's own.
            generator=torch.Generator().manual_seed(self.seed),
        )
        try:
            for pixels, labels, numbers, faults in loader:
                if faults and self.strict:
                    raise faults[0]
                if not len(numbers):
                    raise DataError(f"a whole batch of pictures cannot be read; the first: {faults[0]}")
                images = self.normalize(pixels.to(self.normalize.device, non_blocking=True))
                if self.colour:
                    augment.pca_colour(images, self.seed, epoch, numbers, self.colour)
                yield Batch(images, labels.to(self.normalize.device), tuple(faults))
        except RuntimeError as error:
            if "DataLoader worker" in str(error):
                raise DataError(
                    f"a data worker died ({str(error).splitlines()[0]}); go on with --resume, "
                    "and with --set workers=0 if it happens again"
                ) from error
            raise


class _Samples(TorchDataset):
    """One augmented sample by (epoch, index); lives in worker processes."""

    def __init__(
        self,
        split: Split,
        cached: list[NDArray[np.uint8]] | None,
        preprocessing: Preprocessing,
        operations: tuple[str, ...],
        seed: int,
    ) -> None:
        self.split, self.cached, self.preprocessing = split, cached, preprocessing
        self.operations, self.seed = operations, seed

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> tuple[NDArray[np.uint8] | PictureError, int, int]:
        epoch, index = key
        try:
            square = self._square(epoch, index)
        except PictureError as error:
            return error, -1, index
        return square, int(self.split.labels[index]), index

    def _square(self, epoch: int, index: int) -> NDArray[np.uint8]:
        size = self.preprocessing.size
        crop = next((op for op in self.operations if op in augment.CROPS), "")
        if self.cached is not None:
            image = Image.fromarray(self.cached[index])
        else:
            # The smallest box that may be cut is half the picture's side (an area of a quarter).
            floor = 2 * size if crop == "resized-crop" else round(480 * size / 224)
            image = self.split.decode(index, at_least=floor)
        width, height = image.size
        if crop == "resized-crop":
            box = augment.resized_crop_box(self.seed, epoch, index, width, height)
            square = augment.cut_box(image, box, size)
        elif crop == "scale-jitter":
            box = augment.scale_jitter_box(self.seed, epoch, index, width, height, size)
            square = augment.cut_box(image, box, size)
        else:
            square = fit(image, self.preprocessing)
            if crop:
                square = self._pad_crop(square, epoch, index)
        if "flip" in self.operations and augment.is_mirrored(self.seed, epoch, np.array([index]))[0]:
            square = square[:, ::-1]
        return square

    def _pad_crop(self, square: NDArray[np.uint8], epoch: int, index: int) -> NDArray[np.uint8]:
        side = len(square)
        pad = augment.padding(self.operations, side)
        padded = np.pad(square, ((pad, pad), (pad, pad), (0, 0)))
        top, left = augment.offsets(self.seed, epoch, np.array([index]), 2 * pad)
        return padded[top[0] : top[0] + side, left[0] : left[0] + side]


def _collate(samples: list) -> tuple[Tensor, Tensor, NDArray, list[PictureError]]:
    good = [s for s in samples if not isinstance(s[0], PictureError)]
    faults = [s[0] for s in samples if isinstance(s[0], PictureError)]
    pixels = torch.from_numpy(np.stack([s[0] for s in good])) if good else torch.empty(0)
    labels = torch.tensor([s[1] for s in good], dtype=torch.int64)
    return pixels, labels, np.array([s[2] for s in good], dtype=np.int64), faults


def resident_bytes(split: Split, preprocessing: Preprocessing, operations: tuple[str, ...]) -> int:
    """Return what a split takes in memory as padded, mirrored squares."""
    pad = augment.padding(operations, preprocessing.size)
    copies = 2 if "flip" in operations else 1
    return len(split) * copies * (preprocessing.size + 2 * pad) ** 2 * 3
