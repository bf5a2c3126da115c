"""A data set: named splits of pictures with labels, and the class names of the training split."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.console import counted
from resight.core.errors import DataError
from resight.core.files import digest
from resight.core.imagenet import are_synsets_of, imagenet_synsets
from resight.core.levels import BY_TYPE, Levels
from resight.data.decode import decode, decode_either
from resight.data.files import too_large_for_memory
from resight.data.label_kinds import LabelKind, kind_of
from resight.data.pictures import ArrayPictures as ArrayPictures
from resight.data.pictures import FilePictures as FilePictures
from resight.data.pictures import Pictures
from resight.data.points import KeyPoints


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


def multi_hot(names: Sequence[Collection[str]], classes: tuple[str, ...]) -> NDArray[np.float32]:
    """Return the labels (N, classes) of pictures that have several classes each."""
    number = {label: i for i, label in enumerate(classes)}
    labels = np.zeros((len(names), len(classes)), np.float32)
    for row, of_picture in enumerate(names):
        labels[row, [number[label] for label in of_picture]] = 1
    return labels


class Masks(Protocol):
    """Where masks come from: by position and class name, drawn when they are asked for."""

    def mask(self, position: int, name: str) -> NDArray[np.bool_] | None:
        """Return where in the picture the class is, (H, W); None if it is not marked."""
        ...

    def instance(self, position: int, edges: tuple[float, ...]) -> NDArray[np.bool_] | None:
        """Return where in the picture the object with a box is, (H, W); None if it is not marked."""
        ...


class Maps(Protocol):
    """Where label maps come from: by position, read when they are asked for."""

    def read(self, position: int) -> NDArray[np.uint8]:
        """Return the class number of each pixel of a picture, (H, W), and `VOID` where none counts."""
        ...

    def relabelled(self, classes: tuple[str, ...]) -> "Maps":
        """Return the same with numbers that count through other classes; `VOID` for what these lack."""
        ...


VOID = 255
"""In a label map: a pixel that counts neither for nor against an answer."""


@dataclass(frozen=True)
class Split:
    """Some pictures of a data set and their labels.

    Attributes:
        name: "train", "val" or "test".
        pictures: the source.
        positions: which pictures of the source belong to the split, (N,).
        labels: class numbers into `classes`, (N,), -1 where unknown; or, where a picture may have several
            classes, (N, classes) float32, 1 for each that it has.
        classes: the names that the labels count through.
        boxes: of each of the source's pictures; None if the data set has no boxes.
        masks: of the source's pictures; None if the data set has no masks.
        ignored: boxes of each of the source's pictures that count neither for nor against a detector: crowds,
            which are not among `boxes`, and difficult objects, which are; None if none are known.
        sizes: (width, height) of each of the source's pictures, decoded whole; None where it is not known.
        levels: which values are black and white in pictures of more than 8 bits.
        points: of the source's pictures; None if the data set has no key points.
        maps: label maps of the source's pictures; None if the data set has none.
    """

    name: str
    pictures: Pictures
    positions: NDArray[np.int64]
    labels: NDArray
    classes: tuple[str, ...]
    boxes: Sequence[tuple[Box, ...]] | None = None
    masks: Masks | None = None
    ignored: Sequence[tuple[Box, ...]] | None = None
    sizes: Sequence[tuple[int, int] | None] | None = None
    levels: Levels = BY_TYPE
    points: KeyPoints | None = None
    maps: Maps | None = None

    def __len__(self) -> int:
        return len(self.positions)

    @property
    def kind(self) -> LabelKind:
        """Of the labels: one class a picture, or any number."""
        return kind_of(self.labels)

    def class_counts(self) -> NDArray[np.int64]:
        """Return how many pictures have each class, (classes,)."""
        return self.kind.counts(self.labels, len(self.classes))

    def class_numbers(self, index: int) -> tuple[int, ...]:
        """Return the class numbers of the split's picture `index`: one, or as many as it has."""
        return self.kind.numbers(self.labels[index])

    def class_names(self, index: int) -> tuple[str, ...]:
        """Return the classes of the split's picture `index`: one, or as many as it has."""
        return tuple(self.classes[number] for number in self.class_numbers(index))

    def strata(self) -> NDArray[np.int64]:
        """Return the class by which each picture is counted where a share of every class is wanted, (N,).

        Of several classes the rarest in the split; -1 for a picture that has none.
        """
        return self.kind.strata(self.labels, len(self.classes))

    def picture_name(self, index: int) -> str:
        """Return what to call the split's picture `index`."""
        return self.pictures.name(int(self.positions[index]))

    def decode(self, index: int, at_least: int | None = None) -> Image.Image:
        """Return the split's picture `index` as an RGB image; see `decode`."""
        content = self.content(index)
        if isinstance(content, np.ndarray):
            return Image.fromarray(content)
        return decode(content, self.picture_name(index), at_least=at_least, levels=self.levels)

    def read(self, index: int, at_least: int | None = None) -> Image.Image | Tensor:
        """Return the split's picture `index` in the form that is prepared fastest; see `decode_either`."""
        content = self.content(index)
        if isinstance(content, np.ndarray):
            return Image.fromarray(content)
        return decode_either(content, self.picture_name(index), at_least=at_least, levels=self.levels)

    def content(self, index: int) -> bytes | NDArray[np.uint8]:
        """Return the encoded bytes of the split's picture `index`, or its RGB pixels (H, W, 3).

        Raises:
            PictureError: if it cannot be read, or does not fit in memory.
        """
        try:
            return self.pictures.content(int(self.positions[index]))
        except MemoryError as error:
            raise too_large_for_memory(self.picture_name(index)) from error

    def encoded(self, index: int) -> bytes | None:
        """Return the split's picture `index` as it is stored; None where only pixels are."""
        content = self.pictures.content(int(self.positions[index]))
        return None if isinstance(content, np.ndarray) else content

    def picture_boxes(self, index: int) -> tuple[Box, ...] | None:
        """Return the boxes of the split's picture `index`; None if the data set has no boxes."""
        return None if self.boxes is None else self.boxes[int(self.positions[index])]

    def picture_size(self, index: int) -> tuple[int, int] | None:
        """Return (width, height) of the split's picture `index`, decoded whole; None if it is not known."""
        return None if self.sizes is None else self.sizes[int(self.positions[index])]

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

    def picture_instance(self, index: int, box: Box) -> NDArray[np.bool_] | None:
        """Return where the object with one of its boxes is in the split's picture `index`, (H, W).

        None if the data set has no masks, or none of that object.

        Raises:
            DataError: if the mask cannot be read.
        """
        return None if self.masks is None else self.masks.instance(int(self.positions[index]), box[1:])

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

    def _present(self) -> list[str]:
        return [self.classes[i] for i in np.flatnonzero(self.class_counts())]

    def foreign(self, classes: tuple[str, ...]) -> list[str]:
        """Return the classes of the split's pictures that are none of `classes`."""
        known = set(classes)
        return [name for name in self._present() if name not in known]

    def fitted(self, classes: tuple[str, ...]) -> "Split":
        """Return the split relabelled to `classes`, and behind them those that it has besides.

        `open_dataset` refuses a split that has some; `resight check` counts its pictures.
        """
        extra = self.foreign(classes)
        if extra and are_synsets_of(self._present(), classes):
            extra = []
        return self.relabelled((*classes, *extra))

    def relabelled(self, classes: tuple[str, ...]) -> "Split":
        """Return the split with labels that count through `classes`, matched by name.

        WordNet numbers, as ImageNet's folders are called, match the names that official weights have.

        Boxes of a class that `classes` lacks stay, with the label -1.

        Raises:
            DataError: if the split has pictures of a class that `classes` lacks.
        """
        if classes == self.classes:
            return self
        number = {name: i for i, name in enumerate(classes)}
        extra = self.foreign(classes)
        if extra and are_synsets_of(self._present(), classes):
            return replace(self.relabelled(imagenet_synsets()), classes=classes)
        if extra:
            raise DataError(
                f"split {self.name!r} has classes that the training split lacks: {_short(extra)}; "
                f"known classes: {_short(classes)}. Rename them, or add such pictures to the training split"
            )
        table = np.array([number.get(name, -1) for name in self.classes] + [-1], dtype=np.int64)

        def renumbered(boxes: Sequence[tuple[Box, ...]] | None) -> list[tuple[Box, ...]] | None:
            if boxes is None:
                return None
            return [tuple(b._replace(label=int(table[b.label])) for b in picture) for picture in boxes]

        labels = self.kind.renumbered(self.labels, table, len(classes))
        boxes, ignored = renumbered(self.boxes), renumbered(self.ignored)
        maps = None if self.maps is None else self.maps.relabelled(classes)
        return replace(self, labels=labels, classes=classes, boxes=boxes, ignored=ignored, maps=maps)


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
        unused: files, folders, columns and rows that were found and not used, each with the reason.
        by_rank: whether pictures are held out by rank within each class, see `hold_out_by_rank`.
    """

    name: str
    classes: tuple[str, ...]
    splits: dict[str, Split]
    mirrors: bool = True
    notes: tuple[str, ...] = field(default=())
    unused: tuple[str, ...] = field(default=())
    by_rank: bool = False

    @property
    def train(self) -> Split:
        """The training split."""
        return self.splits["train"]

    @property
    def kind(self) -> LabelKind:
        """Of its labels: one class a picture, or any number."""
        return next(iter(self.splits.values())).kind

    def split(self, name: str) -> Split:
        """Return a split by name.

        Raises:
            DataError: if there is none of that name.
        """
        if name not in self.splits:
            raise DataError(f"{self.name}: has no split {name!r}; its splits: {', '.join(self.splits)}")
        return self.splits[name]

    def with_levels(self, levels: Levels) -> "Dataset":
        """Return the data set with one scale for all splits, as a run has it or `levels.settled` finds it."""
        return replace(
            self, splits={name: replace(split, levels=levels) for name, split in self.splits.items()}
        )


FINGERPRINT_DIGESTS = 200_000
"""Above so many pictures a fingerprint uses their sizes, not their content, unless an index has digests."""


def shared_pictures(first: Split, second: Split) -> int:
    """Return how many pictures of the second split stand in the first too, by content."""
    known = {first.digest(i) for i in counted(range(len(first)), "looking for leaks")}
    return sum(second.digest(i) in known for i in counted(range(len(second)), "looking for leaks"))


def named_classes(split: Split, index: int) -> str:
    """Return the classes of a picture as a fingerprint has them."""
    return ";".join(split.class_names(index))


def fingerprint(split: Split, said: Callable[[Split, int], str] = named_classes) -> str:
    """Return a digest of a split's content and of what is learned of it that changes when either does.

    It does not depend on where the data lie, nor in which files: a folder and the shards that were packed
    of it have the same one, as long as the folder is small enough to be read for it.

    Args:
        split: the pictures.
        said: what is learned of a picture, in words; see `Marks.said`.
    """
    whole = split.pictures.indexed or len(split) <= FINGERPRINT_DIGESTS
    rows = []
    for index, position in enumerate(counted(split.positions.tolist(), "hashing pictures")):
        content = split.pictures.digest(position) if whole else str(split.pictures.size_on_disk(position))
        rows.append(f"{content} {said(split, index)}")
    return digest("\n".join(sorted(rows)).encode())
