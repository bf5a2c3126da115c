"""Samples read one by one: decoded, cropped, mirrored; what a streamed batch is made of."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.utils.data import Dataset as TorchDataset

from resight.core.errors import PictureError
from resight.core.preprocessing import Preprocessing
from resight.data.augment import crops
from resight.data.augment.draws import Draws
from resight.data.augment.pipeline import Pipeline
from resight.data.dataset import Split
from resight.data.marks import Marks
from resight.data.order import sample_of
from resight.data.prepare import Picture, size_of


@dataclass(frozen=True)
class Sample:
    """A sample: its square (S, S, 3), its marks, its draw key, and (width, height) before the crop."""

    square: NDArray[np.uint8]
    marks: Any
    key: int
    size: tuple[int, int]


@dataclass(frozen=True)
class Read:
    """The samples of a step that could be read, and the faults of the others.

    Attributes:
        squares: (B, S, S, 3) uint8.
        marks: of the squares.
        keys: draw keys, (B,).
        positions: in the step, (B,).
        sizes: (B, 2).
        faults: of the others.
    """

    squares: Tensor
    marks: Marks
    keys: NDArray[np.int64]
    positions: NDArray[np.int64]
    sizes: NDArray[np.int64]
    faults: list[PictureError]


class Samples(TorchDataset):
    """One cropped and mirrored sample by (epoch, draw key); lives in worker processes.

    Args:
        split: where samples are read from.
        cached: its decoded pictures, or None to read them.
        preprocessing: input size.
        pipeline: crop and mirroring.
        seed: of the run.
        kind: of marks.
    """

    def __init__(
        self,
        split: Split,
        cached: list[NDArray[np.uint8]] | None,
        preprocessing: Preprocessing,
        pipeline: Pipeline,
        seed: int,
        kind: type[Marks],
    ) -> None:
        self.split, self.cached, self.preprocessing = split, cached, preprocessing
        self.pipeline, self.seed, self.kind = pipeline, seed, kind

    def __len__(self) -> int:
        return len(self.split)

    def __getitem__(self, key: tuple[int, int]) -> Sample | PictureError:
        epoch, drawn = key
        try:
            square, size = self._square(epoch, drawn)
        except PictureError as error:
            return error
        return Sample(square, self.kind.read(self.split, sample_of(drawn)), drawn, size)

    def _square(self, epoch: int, drawn: int) -> tuple[NDArray[np.uint8], tuple[int, int]]:
        index = sample_of(drawn)
        size, crop = self.preprocessing.size, self.pipeline.crop
        if self.cached is not None:
            image: Picture = Image.fromarray(self.cached[index])
        else:
            floor = self.preprocessing.resize
            if crop and self.pipeline.whole:
                floor = crops.decoded_side(crop.name, crop.value, size)
            image = self.split.read(index, at_least=floor)
        draws = Draws(self.seed, epoch, np.array([drawn]))
        return self.pipeline.square(image, draws, self.preprocessing), size_of(image)

    def together(self, samples: list[Sample | PictureError]) -> Read:
        """Return the samples of a step as one."""
        good = [(place, s) for place, s in enumerate(samples) if isinstance(s, Sample)]
        return Read(
            torch.from_numpy(np.stack([s.square for _, s in good])) if good else torch.empty(0),
            self.kind.together([s.marks for _, s in good]),
            np.array([s.key for _, s in good], dtype=np.int64),
            np.array([place for place, _ in good], dtype=np.int64),
            np.array([s.size for _, s in good], dtype=np.int64),
            [s for s in samples if isinstance(s, PictureError)],
        )
