"""One object of each picture and all its other boxes: for losses that look at many places of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from resight.data.augment.draws import Draws
from resight.data.dataset import Split
from resight.data.marks import OneBox, WarpOf
from resight.data.objects import ObjectMarks


@dataclass(frozen=True)
class ClassBoxes(OneBox):
    """The largest object of each picture's class, as `OneBox` has it, and all objects.

    Attributes:
        objects: all boxes of the B pictures, of every class.
    """

    objects: ObjectMarks

    @classmethod
    def read(cls, split: Split, index: int) -> Any:
        """Return what `OneBox.read` and `ObjectMarks.read` do.

        Raises:
            DataError: as these.
        """
        return OneBox.read(split, index), ObjectMarks.read(split, index)

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the class of the picture, and each object's class, box and flags."""
        return ObjectMarks.said(split, index)

    @classmethod
    def together(cls, read: Sequence[Any]) -> "ClassBoxes":
        """Return the objects of B pictures as one."""
        first = OneBox.together([one for one, _ in read])
        return _joined(first, ObjectMarks.together([every for _, every in read]))

    @classmethod
    def joined(cls, parts: Sequence[Any]) -> "ClassBoxes":
        """Return the objects of all parts, in order."""
        first = OneBox.joined([part.largest for part in parts])
        return _joined(first, ObjectMarks.joined([part.objects for part in parts]))

    @property
    def largest(self) -> OneBox:
        """The objects alone that the pictures are about."""
        return OneBox(self.labels, self.boxes, self.sizes, self.seen)

    def to(self, device: torch.device) -> "ClassBoxes":
        """Return the same; boxes stay on the CPU until they are moved."""
        return _joined(self.largest.to(device), self.objects.to(device))

    def moved(self, warp_of: WarpOf) -> "ClassBoxes":
        """Return the boxes round what the moved pictures show of them."""
        warp = warp_of(self.sizes.numpy())
        return _joined(self.largest.moved(lambda sizes: warp), self.objects.moved(lambda sizes: warp))

    def drawn(self, draws: Draws) -> "ClassBoxes":
        """Return the marks with the random bits of each picture and epoch."""
        return _joined(self.largest, self.objects.drawn(draws))

    def __getitem__(self, part: slice | Tensor) -> "ClassBoxes":
        return _joined(self.largest[part], self.objects[part])


def _joined(largest: OneBox, objects: ObjectMarks) -> ClassBoxes:
    return ClassBoxes(largest.labels, largest.boxes, largest.sizes, largest.seen, objects)
