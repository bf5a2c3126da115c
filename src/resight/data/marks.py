"""Marks: what is true of the pictures of a batch, and what is learned of it.

A kind of marks says how one picture's are read, how those of many lie together, and what happens to them on
the way to the loss. Batches and the training loop carry them and know no kind.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self, TypeVar

import numpy as np
import torch
from torch import Tensor

from resight.core.errors import UsageError
from resight.data.dataset import Split, named_classes


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

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, part: slice | Tensor) -> "ClassMarks":
        labels = self.labels[part]
        return ClassMarks(labels, labels if self.shown is self.labels else self.shown[part])


AnyMarks = TypeVar("AnyMarks", bound=Marks)


def classes_of(marks: Any, operation: str) -> Any:
    """Return marks that are classes.

    Raises:
        UsageError: if they are not, and an operation blends or draws by the class.
    """
    if not isinstance(marks, ClassMarks):
        raise UsageError(f"augment={operation} goes by the class of a picture; this task has other marks too")
    return marks
