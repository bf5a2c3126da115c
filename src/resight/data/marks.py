"""Marks: what is true of the pictures of a batch, and what is learned of it.

A kind of marks says how one picture's are read, how those of many lie together, and what happens to them on
the way to the loss. Batches and the training loop carry them and know no kind.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core.errors import DataError, UsageError
from resight.data.augment.draws import Draws
from resight.data.augment.warp import Warp, move_boxes
from resight.data.dataset import Box, Split, named_classes

WarpOf = Callable[[NDArray[np.int64]], Warp]
"""How B pictures are moved, from the (width, height) of each, decoded whole, (B, 2)."""


class Marks(Protocol):
    """The marks of B pictures."""

    @classmethod
    def read(cls, split: Split, index: int) -> Any:
        """Return the marks of a split's picture `index`; in a reader, so numbers or arrays."""
        ...

    @classmethod
    def together(cls, read: Sequence[Any]) -> Self:
        """Return what `read` gave of B pictures as one, on the CPU."""
        ...

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the marks of a picture in words that change when they do; see `fingerprint`."""
        ...

    @classmethod
    def of_split(cls, split: Split) -> Self:
        """Return the marks of all pictures of a split, on the CPU."""
        ...

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the marks of the pictures of all parts, in order."""
        ...

    def to(self, device: torch.device) -> Self:
        """Return the same on a device."""
        ...

    def moved(self, warp_of: WarpOf) -> Self:
        """Return the marks where the pictures' moves take them, in shares of the moved pictures' sides."""
        ...

    def drawn(self, draws: Draws) -> Self:
        """Return the marks with what the loss draws for each picture; the same where it draws nothing."""
        ...

    def __len__(self) -> int:
        """Return B."""
        ...

    def __getitem__(self, part: slice | Tensor) -> Self:
        """Return the marks of a run of the pictures, or of those at places (N,)."""
        ...


@dataclass(frozen=True)
class ClassMarks:
    """Classes of pictures.

    Attributes:
        labels: class numbers (B,), or (B, classes) float32 of 0 and 1 where a picture may have several.
        shown: what shall be answered: the labels, or how much of a blended picture is of each class,
            (B, classes) float32.
    """

    labels: Tensor
    shown: Tensor

    @classmethod
    def of(cls, labels: Tensor) -> "ClassMarks":
        """Return the marks of pictures that are not blended."""
        return cls(labels, labels)

    @classmethod
    def read(cls, split: Split, index: int) -> Any:
        """Return a picture's label."""
        return split.labels[index]

    @classmethod
    def together(cls, read: Sequence[Any]) -> "ClassMarks":
        """Return the labels of B pictures as one."""
        return cls.of(torch.from_numpy(np.array(read)))

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the names of a picture's classes; its boxes are not learned, so they may change."""
        return named_classes(split, index)

    @classmethod
    def of_split(cls, split: Split) -> "ClassMarks":
        """Return the labels of a split."""
        return cls.of(torch.from_numpy(split.labels))

    @classmethod
    def joined(cls, parts: Sequence["ClassMarks"]) -> "ClassMarks":
        """Return the labels of all parts, in order."""
        return cls(torch.cat([p.labels for p in parts]), torch.cat([p.shown for p in parts]))

    def to(self, device: torch.device) -> "ClassMarks":
        """Return the same on a device."""
        labels = self.labels.to(device)
        return ClassMarks(labels, labels if self.shown is self.labels else self.shown.to(device))

    def moved(self, warp_of: WarpOf) -> "ClassMarks":
        """Return the same: a picture stays of its class wherever it is moved to."""
        del warp_of
        return self

    def drawn(self, draws: Draws) -> "ClassMarks":
        """Return the same."""
        del draws
        return self

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice | Tensor) -> "ClassMarks":
        labels = self.labels[part]
        return ClassMarks(labels, labels if self.shown is self.labels else self.shown[part])


@dataclass(frozen=True)
class OneBox:
    """One object of each picture: its class and its box.

    Attributes:
        labels: class numbers, (B,).
        boxes: x0, y0, x1, y1, half-open, (B, 4): as they are read, in pixels of the whole picture, float64;
            once they are moved, in shares of the sides of the moved picture, clipped to it, float32.
        sizes: (width, height) of the whole pictures, (B, 2).
        seen: share of the box that is left in sight, (B,); 1 as it is read.
    """

    labels: Tensor
    boxes: Tensor
    sizes: Tensor
    seen: Tensor

    @classmethod
    def read(cls, split: Split, index: int) -> tuple[int, Box, tuple[int, int]]:
        """Return the label, the largest box of that class, and the picture's size.

        Raises:
            DataError: if the picture has no such box, or its size is not known.
        """
        label = int(split.labels[index])
        own = [box for box in split.picture_boxes(index) or () if box.label == label]
        size = split.picture_size(index)
        if not own or size is None:
            fault = "its size is not known" if own else "it has no box of its class"
            raise DataError(f"{split.picture_name(index)}: {fault}; this task needs both; take it out")
        return label, max(own, key=lambda box: (box.x1 - box.x0) * (box.y1 - box.y0)), size

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the class and the box."""
        _, box, size = cls.read(split, index)
        return f"{named_classes(split, index)} {','.join(f'{edge:g}' for edge in box[1:])} of {size}"

    @classmethod
    def together(cls, read: Sequence[tuple[int, Box, tuple[int, int]]]) -> "OneBox":
        """Return the objects of B pictures as one."""
        return cls(
            torch.tensor([label for label, _, _ in read], dtype=torch.int64),
            torch.tensor([box[1:] for _, box, _ in read], dtype=torch.float64).view(len(read), 4),
            torch.tensor([size for _, _, size in read], dtype=torch.int64).view(len(read), 2),
            torch.ones(len(read), dtype=torch.float64),
        )

    @classmethod
    def of_split(cls, split: Split) -> "OneBox":
        """Return the objects of a split."""
        return cls.together([cls.read(split, index) for index in range(len(split))])

    @classmethod
    def joined(cls, parts: Sequence["OneBox"]) -> "OneBox":
        """Return the objects of all parts, in order."""
        names = [field.name for field in fields(cls)]
        return cls(*(torch.cat([getattr(part, name) for part in parts]) for name in names))

    def to(self, device: torch.device) -> "OneBox":
        """Return the same; boxes stay on the CPU until they are moved, which is computed there."""
        return OneBox(self.labels.to(device), self.boxes, self.sizes, self.seen)

    def moved(self, warp_of: WarpOf) -> "OneBox":
        """Return the boxes round what the moved pictures show of them."""
        warp = warp_of(self.sizes.numpy())
        boxes, seen = move_boxes(self.boxes[:, None], warp, self.sizes, 1)
        device = self.labels.device
        places = boxes[:, 0].to(device, torch.float32)
        return OneBox(self.labels, places, self.sizes, seen[:, 0].to(device, torch.float32))

    def drawn(self, draws: Draws) -> "OneBox":
        """Return the same."""
        del draws
        return self

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice | Tensor) -> "OneBox":
        def cut(tensor: Tensor) -> Tensor:
            return tensor[part if isinstance(part, slice) else part.to(tensor.device)]

        return OneBox(cut(self.labels), cut(self.boxes), cut(self.sizes), cut(self.seen))


AnyMarks = TypeVar("AnyMarks", bound=Marks)


def classes_of(marks: Any, operation: str) -> Any:
    """Return marks that are classes.

    Raises:
        UsageError: if they are not, and an operation blends or draws by the class.
    """
    if not isinstance(marks, ClassMarks):
        raise UsageError(f"augment={operation} goes by the class of a picture; this task has other marks too")
    return marks
