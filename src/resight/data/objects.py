"""Objects as marks: boxes with classes, and masks where they are learned, moved with the picture."""

import zlib
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.core import seeds
from resight.core.errors import DataError
from resight.data.augment.draws import Draws
from resight.data.augment.warp import Warp, move_boxes, move_masks
from resight.data.dataset import Split, named_classes
from resight.data.marks import WarpOf

IN_SIGHT = 0.3
"""Share of a box that must be left in sight, or the object is neither found nor missed."""


@dataclass(frozen=True)
class ObjectMarks:
    """The objects of B pictures.

    Attributes:
        boxes: of each picture x0, y0, x1, y1, half-open, (n, 4): as they are read, in pixels of the whole
            picture, float64; once they are moved, in shares of the sides of the moved picture, clipped to it,
            float32.
        labels: class numbers of each picture, (n,).
        ignored: which are neither found nor missed, (n,) bool: difficult ones, crowds, and what a move has
            taken out of sight but for a rest.
        crowds: which stand for several objects, (n,) bool.
        sizes: (width, height) of the whole pictures, (B, 2).
        words: 64 random bits of each picture and epoch for what a loss draws, (B,); 0 where nothing is.
    """

    boxes: tuple[Tensor, ...]
    labels: tuple[Tensor, ...]
    ignored: tuple[Tensor, ...]
    crowds: tuple[Tensor, ...]
    sizes: Tensor
    words: Tensor

    @classmethod
    def read(cls, split: Split, index: int) -> tuple[Any, ...]:
        """Return boxes (n, 4), labels, which are ignored and which are crowds, (n,) each, and the size.

        Raises:
            DataError: if the data set has no boxes, or the picture's size is not known.
        """
        own, size = split.picture_boxes(index), split.picture_size(index)
        if own is None or size is None:
            fault = "the data set has no boxes" if own is None else "its size is not known"
            raise DataError(f"{split.picture_name(index)}: {fault}; this task needs both; take it out")
        passed = split.ignored[int(split.positions[index])] if split.ignored is not None else ()
        crowds = [box for box in passed if box not in own]
        every = [*own, *crowds]
        # Of a class that is not learned: such an object is neither found nor missed.
        ignored = [box in passed or box.label < 0 for box in every]
        return (
            np.array([box[1:] for box in every], dtype=np.float64).reshape(-1, 4),
            np.array([box.label for box in every], dtype=np.int64),
            np.array(ignored, dtype=bool),
            np.arange(len(every)) >= len(own),
            size,
        )

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return the classes of the picture, and each object's class, box and flags."""
        boxes, labels, ignored, crowds, size = cls.read(split, index)
        rows = zip(boxes.tolist(), labels.tolist(), ignored.tolist(), crowds.tolist(), strict=True)
        named = (
            f"{split.classes[label] if label >= 0 else ''}:{','.join(f'{edge:g}' for edge in box)}:{i:d}{c:d}"
            for box, label, i, c in rows
        )
        return f"{named_classes(split, index)} {' '.join(named)} of {size}"

    @classmethod
    def together(cls, read: Sequence[tuple[Any, ...]]) -> Self:
        """Return the objects of B pictures as one."""
        count = len(read)
        columns = [tuple(torch.from_numpy(row[i]) for row in read) for i in range(4)]
        sizes = torch.tensor([row[4] for row in read], dtype=torch.int64).view(count, 2)
        return cls(*columns, sizes, torch.zeros(count, dtype=torch.int64))  # type: ignore[arg-type]

    @classmethod
    def of_split(cls, split: Split) -> Self:
        """Return the objects of a split."""
        return cls.together([cls.read(split, index) for index in range(len(split))])

    @classmethod
    def joined(cls, parts: Sequence[Self]) -> Self:
        """Return the objects of all parts, in order."""
        lists = {}
        for field in fields(cls):
            columns = [getattr(part, field.name) for part in parts]
            whole = field.name in ("sizes", "words")
            lists[field.name] = torch.cat(columns) if whole else tuple(one for own in columns for one in own)
        return cls(**lists)

    def to(self, device: torch.device) -> Self:
        """Return the same; boxes stay on the CPU until they are moved, which is computed there."""
        return replace(self, labels=tuple(own.to(device) for own in self.labels))

    def moved(self, warp_of: WarpOf) -> Self:
        """Return the boxes round what the moved pictures show of them; what is out of sight is left out.

        An object of which less than `IN_SIGHT` is left becomes one that is ignored.
        """
        if not len(self):
            return self
        warp, rows = warp_of(self.sizes.numpy()), []
        for row, boxes in enumerate(self.boxes):
            moved, seen = move_boxes(boxes[None], warp.of(row), self.sizes[row : row + 1], 1)
            shown = ((moved[0, :, 2:] - moved[0, :, :2]) > 0).all(1)
            ignored = self.ignored[row] | (seen[0] < IN_SIGHT)
            device = self.labels[row].device
            rows.append((
                moved[0, shown].to(device, torch.float32), self.labels[row][shown.to(device)],
                ignored[shown], self.crowds[row][shown],
            ))  # fmt: skip
        boxes, labels, ignored, crowds = ([row[i] for row in rows] for i in range(4))
        return replace(
            self, boxes=tuple(boxes), labels=tuple(labels), ignored=tuple(ignored), crowds=tuple(crowds)
        )

    def drawn(self, draws: Draws) -> Self:
        """Return the marks with the random bits of each picture and epoch."""
        words = seeds.bits(draws.seed, draws.epoch, draws.samples, "objects")
        return replace(self, words=torch.from_numpy(words.view(np.int64)[: len(draws.samples)].copy()))

    def __len__(self) -> int:
        return len(self.sizes)

    def __getitem__(self, part: slice | Tensor) -> Self:
        rows = list(range(len(self))[part]) if isinstance(part, slice) else part.tolist()
        lists = {
            field.name: tuple(getattr(self, field.name)[row] for row in rows)
            for field in fields(self)
            if field.name not in ("sizes", "words") and len(getattr(self, field.name))
        }
        return replace(self, **lists, sizes=self.sizes[rows], words=self.words[rows])


@dataclass(frozen=True)
class MaskedObjects(ObjectMarks):
    """The objects of B pictures with their masks.

    Attributes:
        masks: of the objects of each picture as it is read, (N, H, W) bool.
        numbers: which of these each box has, (n,).
        warps: how each picture is moved; empty as it is read.
    """

    masks: tuple[Tensor, ...] = ()
    numbers: tuple[Tensor, ...] = ()
    warps: tuple[Warp, ...] = ()

    @classmethod
    def read(cls, split: Split, index: int) -> tuple[Any, ...]:
        """Return what `ObjectMarks.read` does, and masks (n, H, W).

        Raises:
            DataError: if an object has no mask, or it cannot be read.
        """
        return (*ObjectMarks.read(split, index), masks_of(split, index))

    @classmethod
    def said(cls, split: Split, index: int) -> str:
        """Return what `ObjectMarks.said` does, and a checksum of the masks."""
        packed = np.packbits(masks_of(split, index))
        return f"{ObjectMarks.said(split, index)} {zlib.crc32(packed.tobytes()):08x}"

    @classmethod
    def together(cls, read: Sequence[tuple[Any, ...]]) -> Self:
        """Return the objects of B pictures as one."""
        plain = ObjectMarks.together(read)
        own = {field.name: getattr(plain, field.name) for field in fields(plain)}
        masks = tuple(torch.from_numpy(row[5]) for row in read)
        return cls(**own, masks=masks, numbers=tuple(torch.arange(len(mask)) for mask in masks))

    def moved(self, warp_of: WarpOf) -> Self:
        """Return the marks where the moves take them; masks are moved when they are drawn."""
        if not len(self):
            return self
        warp = warp_of(self.sizes.numpy())
        columns = (self.boxes, self.numbers, self.ignored, self.crowds, self.sizes, self.words)
        # Numbers go with the boxes, as labels do.
        plain = ObjectMarks(*columns).moved(lambda sizes: warp)
        device, numbers = self.labels[0].device, plain.labels
        return replace(
            self, boxes=tuple(own.to(device) for own in plain.boxes),
            ignored=plain.ignored, crowds=plain.crowds,
            labels=tuple(own[rows.to(device)] for own, rows in zip(self.labels, numbers, strict=True)),
            numbers=numbers, warps=tuple(warp.of(row) for row in range(len(self))),
        )  # fmt: skip

    def drawn_masks(self, row: int, side: int) -> Tensor:
        """Return the masks of the boxes of a picture as it is moved, (n, side, side) bool, on the CPU."""
        masks = self.masks[row][self.numbers[row]]
        if not len(masks):
            return torch.zeros(0, side, side, dtype=torch.bool)
        return move_masks(masks[None], self.warps[row], side)[0]


def masks_of(split: Split, index: int) -> NDArray[np.bool_]:
    """Return the masks of a picture's objects, in the order of `ObjectMarks.read`, (n, H, W).

    A crowd or a difficult object without a mask fills its box.

    Raises:
        DataError: if another object has no mask, or one cannot be read.
    """
    size, own = split.picture_size(index), split.picture_boxes(index) or ()
    passed = split.ignored[int(split.positions[index])] if split.ignored is not None else ()
    width, height = size or (0, 0)
    found = []
    for box in (*own, *(box for box in passed if box not in own)):
        mask = split.picture_instance(index, box)
        if mask is None and box in passed:
            mask = np.zeros((height, width), bool)
            mask[round(box.y0) : round(box.y1), round(box.x0) : round(box.x1)] = True
        if mask is None:
            raise DataError(
                f"{split.picture_name(index)}: an object has a box but no mask; add it, or set "
                "detect.masks=false"
            )
        found.append(mask)
    return np.array(found, dtype=bool).reshape(-1, height, width)
