"""Label maps as marks: a class for each pixel, moved with the picture, never a mean of two."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import DataError
from resight.core.files import digest
from resight.data.augment.draws import Draws
from resight.data.augment.warp import Warp, move_labels
from resight.data.dataset import VOID, Split, named_classes
from resight.data.marks import WarpOf


@dataclass(frozen=True)
class LabelMaps:
    """The label maps of B pictures.

    Attributes:
        maps: class numbers of the pixels of each whole picture, and `VOID`, (H, W) uint8.
        warps: how each picture is moved; empty as they are read.
    """

    maps: tuple[Tensor, ...]
    warps: tuple[Warp, ...] = ()

    @classmethod
    def read(cls, split: Split, index: int) -> NDArray[np.uint8]:
        """Return the label map of a picture, (H, W).

        Raises:
            DataError: if the data set has none, or it cannot be read.
        """
        if split.maps is None:
            raise DataError(f"{split.picture_name(index)}: has no label map; take it out")
        return split.maps.read(int(split.positions[index]))

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the classes of the picture, its size, and a digest of where they are."""
        own = cls.read(split, index)
        return f"{named_classes(split, index)} {own.shape[1]}x{own.shape[0]} {digest(own.tobytes())}"

    @classmethod
    def together(cls, read: Sequence[NDArray[np.uint8]]) -> Self:
        """Return the maps of B pictures as one."""
        return cls(tuple(torch.from_numpy(own) for own in read))

    @classmethod
    def of_split(cls, split: Split) -> Self:
        """Return the maps of a split."""
        return cls.together([cls.read(split, index) for index in range(len(split))])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the maps of all parts, in order."""
        return cls(
            tuple(own for part in parts for own in part.maps),
            tuple(own for part in parts for own in part.warps),
        )

    def to(self, device: torch.device) -> Self:
        """Return the same; maps stay on the CPU until they are drawn."""
        del device
        return self

    def moved(self, warp_of: WarpOf) -> Self:
        """Return the maps with the moves of their pictures."""
        if not len(self):
            return self
        sizes = np.array([own.shape[::-1] for own in self.maps], dtype=np.int64)
        warp = warp_of(sizes)
        return replace(self, warps=tuple(warp.of(row) for row in range(len(self))))

    def drawn(self, draws: Draws) -> Self:
        """Return the same: the loss draws nothing."""
        del draws
        return self

    def at(self, side: int) -> Tensor:
        """Return the class numbers of the pixels of the moved pictures, (B, side, side) uint8, on the CPU.

        Each pixel has the class of the nearest one of the picture; `VOID` where there is none.
        """
        each = [move_labels(own, warp, side, VOID) for own, warp in zip(self.maps, self.warps, strict=True)]
        return torch.stack(each) if each else torch.zeros(0, side, side, dtype=torch.uint8)

    def __len__(self) -> int:
        return len(self.maps)

    def __getitem__(self, part: slice | Tensor) -> Self:
        rows = list(range(len(self))[part]) if isinstance(part, slice) else part.tolist()
        warps = tuple(self.warps[row] for row in rows) if self.warps else ()
        return replace(self, maps=tuple(self.maps[row] for row in rows), warps=warps)
