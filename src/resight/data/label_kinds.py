"""The two kinds of labels: a picture is of one class, or has any number of them.

Labels are an array with a row for each picture. A kind knows what a row says and answers for it.
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class LabelKind(Protocol):
    """How the labels of N pictures are read and counted."""

    def numbers(self, label: NDArray) -> tuple[int, ...]:
        """Return the class numbers of one picture."""
        ...

    def counts(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return how many pictures have each class, (classes,)."""
        ...

    def known(self, labels: NDArray) -> NDArray[np.bool_]:
        """Return which pictures have a label at all, (N,)."""
        ...

    def strata(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return the class by which each picture is counted where a share of every class is wanted, (N,)."""
        ...

    def examples(self, labels: NDArray) -> NDArray[np.int64]:
        """Return the places of pictures that show every class once."""
        ...

    def renumbered(self, labels: NDArray, table: NDArray[np.int64], classes: int) -> NDArray:
        """Return labels that count through other classes.

        Args:
            labels: of the pictures.
            table: the new number of each old one, -1 where there is none; and -1 behind them.
            classes: number of the new ones.
        """
        ...


class OneLabel:
    """A picture is of one class: its number, -1 where it is unknown, (N,)."""

    def numbers(self, label: NDArray) -> tuple[int, ...]:
        """Return the class number, if it is known."""
        return (int(label),) if label >= 0 else ()

    def counts(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return how many pictures are of each class."""
        return np.bincount(labels[labels >= 0], minlength=classes)

    def known(self, labels: NDArray) -> NDArray[np.bool_]:
        """Return which pictures' class is known."""
        return labels >= 0

    def strata(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return the class itself."""
        del classes
        return labels

    def examples(self, labels: NDArray) -> NDArray[np.int64]:
        """Return the first picture of each class."""
        return np.unique(labels, return_index=True)[1]

    def renumbered(self, labels: NDArray, table: NDArray[np.int64], classes: int) -> NDArray:
        """Return the new number of each picture's class."""
        del classes
        return table[labels]


class AnyLabels:
    """A picture has any number of classes, or none: 1 for each that it has, (N, classes) float32."""

    def numbers(self, label: NDArray) -> tuple[int, ...]:
        """Return the numbers of all its classes."""
        return tuple(np.flatnonzero(label).tolist())

    def counts(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return how many pictures have each class."""
        del classes
        return (labels > 0).sum(0)

    def known(self, labels: NDArray) -> NDArray[np.bool_]:
        """Return that every picture has a label: to have no class is one too."""
        return np.ones(len(labels), dtype=bool)

    def strata(self, labels: NDArray, classes: int) -> NDArray[np.int64]:
        """Return the rarest of a picture's classes, -1 without any.

        It runs out first (Sechidis, Tsoumakas and Vlahavas 2011, "On the stratification of multi-label data",
        section 3).
        """
        rarity = np.where(labels > 0, self.counts(labels, classes), len(labels) + 1)
        return np.where((labels > 0).any(1), rarity.argmin(1), -1)

    def examples(self, labels: NDArray) -> NDArray[np.int64]:
        """Return a picture that has each class."""
        return labels.argmax(0)

    def renumbered(self, labels: NDArray, table: NDArray[np.int64], classes: int) -> NDArray:
        """Return the columns in the places of the new numbers."""
        new, kept = np.zeros((len(labels), classes), np.float32), np.flatnonzero(table[:-1] >= 0)
        new[:, table[kept]] = labels[:, kept]
        return new


ONE, ANY = OneLabel(), AnyLabels()


def kind_of(labels: NDArray) -> LabelKind:
    """Return the kind of an array of labels: numbers of classes, or a column for each class."""
    return ANY if labels.ndim == 2 else ONE
