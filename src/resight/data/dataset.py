"""A data set: named splits of pictures with labels, and the class names of the training split."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.errors import DataError, PictureError
from resight.core.files import digest
from resight.data.decode import decode


class Pictures(Protocol):
    """Where pictures come from: by position, still encoded or as pixels."""

    def __len__(self) -> int:
        """Return how many there are."""
        ...

    def name(self, position: int) -> str:
        """Return what to call the picture in a report or an error."""
        ...

    def content(self, position: int) -> bytes | NDArray[np.uint8]:
        """Return the encoded bytes, or RGB pixels (H, W, 3)."""
        ...

    def size_on_disk(self, position: int) -> int:
        """Return the picture's size in bytes without reading it."""
        ...


@dataclass(frozen=True)
class FilePictures:
    """Pictures in files of their own."""

    paths: Sequence[Path]

    def __len__(self) -> int:
        return len(self.paths)

    def name(self, position: int) -> str:
        """Return the path."""
        return str(self.paths[position])

    def content(self, position: int) -> bytes:
        """Return the file's bytes.

        Raises:
            PictureError: if the file cannot be read.
        """
        try:
            return self.paths[position].read_bytes()
        except OSError as error:
            fault = f"cannot be read ({error.strerror})"
            raise PictureError(str(self.paths[position]), fault, "check its permissions") from error

    def size_on_disk(self, position: int) -> int:
        """Return the file's size."""
        try:
            return self.paths[position].stat().st_size
        except OSError:
            return 0


@dataclass(frozen=True)
class ColumnPictures:
    """Pictures as encoded bytes in a table's column (Hugging Face parquet)."""

    column: Any  # pyarrow.ChunkedArray of binary
    names: Sequence[str]

    def __len__(self) -> int:
        return len(self.names)

    def name(self, position: int) -> str:
        """Return the row's own name."""
        return self.names[position]

    def content(self, position: int) -> bytes:
        """Return the row's bytes; a null counts as an empty picture."""
        return self.column[position].as_py() or b""

    def size_on_disk(self, position: int) -> int:
        """Return the length of the row's bytes."""
        return len(self.content(position))


@dataclass(frozen=True)
class ArrayPictures:
    """Pictures as pixels in memory, (N, H, W, 3) uint8."""

    pixels: NDArray[np.uint8]
    prefix: str

    def __len__(self) -> int:
        return len(self.pixels)

    def name(self, position: int) -> str:
        """Return the prefix and the position."""
        return f"{self.prefix}[{position}]"

    def content(self, position: int) -> NDArray[np.uint8]:
        """Return the pixels."""
        return self.pixels[position]

    def size_on_disk(self, position: int) -> int:
        """Return the size of the pixels."""
        return int(self.pixels[position].nbytes)


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
        try:
            content = self.pictures.content(int(self.positions[index]))
        except PictureError:
            content = b""
        if len(content) == 0:
            return digest(f"nothing in {self.picture_name(index)}".encode())
        return digest(content.tobytes() if isinstance(content, np.ndarray) else content)

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
"""Above so many pictures a fingerprint uses their sizes, not their content."""


def shared_pictures(first: Split, second: Split) -> int:
    """Return how many pictures of the second split stand in the first too, by content."""
    known = {first.digest(i) for i in range(len(first))}
    return sum(second.digest(i) in known for i in range(len(second)))


def fingerprint(split: Split) -> str:
    """Return a digest of a split's content and labels that changes when either does.

    It does not depend on where the data lie: names of files do not enter.
    """
    whole = len(split) <= FINGERPRINT_DIGESTS
    rows = []
    for index in range(len(split)):
        size = split.pictures.size_on_disk(int(split.positions[index]))
        content = split.digest(index) if whole else str(size)
        rows.append(f"{content} {split.classes[split.labels[index]]}")
    return digest("\n".join(sorted(rows)).encode())
