"""A data set: named splits of pictures with labels, and the class names of the training split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.errors import DataError
from resight.core.files import digest
from resight.data.decode import decode, decode_either
from resight.data.pictures import ArrayPictures as ArrayPictures
from resight.data.pictures import FilePictures as FilePictures
from resight.data.pictures import Pictures


class Box(NamedTuple):
    """A box around one object, in pixels of the whole decoded picture.

    Edges are 0-based and half-open: the box is x1 - x0 wide, and holds column x0 but not column x1.

    Attributes:
        label: class number into the split's `classes`; -1 if its class is none of them.
        x0: left edge.
        y0: upper edge.
        x1: right edge.
        y1: lower edge.
    """

    label: int
    x0: float
    y0: float
    x1: float
    y1: float


class Masks(Protocol):
    """Where masks come from: by position and class name, drawn when they are asked for."""

    def mask(self, position: int, name: str) -> NDArray[np.bool_] | None:
        """Return where in the picture the class is, (H, W); None if it is not marked."""
        ...


@dataclass(frozen=True)
class Split:
    """Some pictures of a data set and their labels.

    Attributes:
        name: "train", "val" or "test".
        pictures: the source.
        positions: which pictures of the source belong to the split, (N,).
        labels: class numbers into `classes`, (N,); -1 where unknown.
        classes: the names that the labels count through.
        boxes: of each of the source's pictures; None if the data set has no boxes.
        masks: of the source's pictures; None if the data set has no masks.
    """

    name: str
    pictures: Pictures
    positions: NDArray[np.int64]
    labels: NDArray[np.int64]
    classes: tuple[str, ...]
    boxes: Sequence[tuple[Box, ...]] | None = None
    masks: Masks | None = None

    def __len__(self) -> int:
        return len(self.positions)

    def picture_name(self, index: int) -> str:
        """Return what to call the split's picture `index`."""
        return self.pictures.name(int(self.positions[index]))

    def decode(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return the split's picture `index` as an RGB image; see `decode`."""
        position = int(self.positions[index])
        content = self.pictures.content(position)
        if isinstance(content, np.ndarray):
            return Image.fromarray(content)
        return decode(content, self.pictures.name(position), at_least=at_least)

    def read(self, index: int, at_least: int | None = None) -> Image.Image | Tensor:
        """Return the split's picture `index` in the form that is prepared fastest; see `decode_either`."""
        position = int(self.positions[index])
        content = self.pictures.content(position)
        if isinstance(content, np.ndarray):
            return Image.fromarray(content)
        return decode_either(content, self.pictures.name(position), at_least=at_least)

    def picture_boxes(self, index: int) -> tuple[Box, ...] | None:
        """Return the boxes of the split's picture `index`; None if the data set has no boxes."""
        return None if self.boxes is None else self.boxes[int(self.positions[index])]

    def picture_mask(self, index: int, label: int) -> NDArray[np.bool_] | None:
        """Return where the class `label` is in the split's picture `index`.

        Returns:
            The union of the class's masks, (H, W) of the whole decoded picture; None if the data set
            has no masks, or none of that class in this picture.

        Raises:
            DataError: if a mask cannot be read.
        """
        if self.masks is None or not 0 <= label < len(self.classes):
            return None
        return self.masks.mask(int(self.positions[index]), self.classes[label])

    def digest(self, index: int) -> str:
        """Return the digest of the picture's content (encoded bytes, or pixels).

        A picture without content, or one that cannot be read, is like no other.
        """
        return self.pictures.digest(int(self.positions[index]))

    def blocks(self) -> NDArray[np.int64] | None:
        """Return the first index of each run of pictures that should be read together.

        Returns:
            Rising from 0, in the split's own numbering; None if any picture is as near as another, or if
            the split is not in the order of its source.
        """
        starts = self.pictures.blocks
        if starts is None or not len(self) or (np.diff(self.positions) < 0).any():
            return None
        own = np.unique(np.searchsorted(self.positions, starts))
        return own[own < len(self)].astype(np.int64)

    def take(self, indices: NDArray | Sequence[int], name: str | None = None) -> "Split":
        """Return the part of the split at `indices`."""
        indices = np.asarray(indices, dtype=np.int64)
        return replace(
            self, name=name or self.name, positions=self.positions[indices], labels=self.labels[indices]
        )

    def relabelled(self, classes: tuple[str, ...]) -> "Split":
        """Return the split with labels that count through `classes`, matched by name.

        Boxes of a class that `classes` lacks stay, with the label -1.

        Raises:
            DataError: if the split has pictures of a class that `classes` lacks.
        """
        if classes == self.classes:
            return self
        number = {name: i for i, name in enumerate(classes)}
        present = [self.classes[i] for i in np.unique(self.labels[self.labels >= 0])]
        extra = [name for name in present if name not in number]
        if extra:
            raise DataError(
                f"split {self.name!r} has classes that the training split lacks: {_short(extra)}; "
                f"known are {_short(classes)}. Rename or remove them"
            )
        table = np.array([number.get(name, -1) for name in self.classes] + [-1], dtype=np.int64)
        boxes = self.boxes
        if boxes is not None:
            boxes = [tuple(b._replace(label=int(table[b.label])) for b in picture) for picture in boxes]
        return replace(self, labels=table[self.labels], classes=classes, boxes=boxes)


def _short(names: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(repr(n) for n in names[:most])
    return shown + (f" and {len(names) - most} more" if len(names) > most else "")


@dataclass(frozen=True)
class Dataset:
    """A data set as `open_dataset` gives it.

    Attributes:
        name: what the user called it.
        classes: sorted names of the training split's classes; all splits' labels count through them.
        splits: "train", and "val" and "test" where there are any.
        mirrors: whether a mirrored picture is still of its class (not for digits).
        notes: what was decided about the splits, in words for the user.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    mirrors: bool = True
    notes: tuple[str, ...] = field(default=())

    @property
    def train(self) -> Split:
        """The training split."""
        return self.splits["train"]

    def split(self, name: str) -> Split:
        """Return a split by name.

        Raises:
            DataError: if there is none of that name.
        """
        if name not in self.splits:
            raise DataError(f"{self.name}: has no split {name!r}; it has {', '.join(self.splits)}")
        return self.splits[name]


FINGERPRINT_DIGESTS = 200_000
"""Above so many pictures a fingerprint uses their sizes, not their content, unless an index has digests."""


def shared_pictures(first: Split, second: Split) -> int:
    """Return how many pictures of the second split stand in the first too, by content."""
    known = {first.digest(i) for i in range(len(first))}
    return sum(second.digest(i) in known for i in range(len(second)))


def fingerprint(split: Split) -> str:
    """Return a digest of a split's content and labels that changes when either does.

    It does not depend on where the data lie, nor in which files: a folder and the shards that were packed
    of it have the same one, as long as the folder is small enough to be read for it.
    """
    whole = split.pictures.indexed or len(split) <= FINGERPRINT_DIGESTS
    rows = []
    for index, position in enumerate(split.positions.tolist()):
        content = split.pictures.digest(position) if whole else str(split.pictures.size_on_disk(position))
        rows.append(f"{content} {split.classes[split.labels[index]]}")
    return digest("\n".join(sorted(rows)).encode())
