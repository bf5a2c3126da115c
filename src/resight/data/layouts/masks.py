"""Masks in COCO's forms, polygons and run lengths, drawn when they are asked for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Pictures
from resight.data.frames import Frame


@dataclass(frozen=True)
class FileMasks:
    """Masks that an annotation file gives for pictures.

    Attributes:
        pictures: the pictures.
        frames: of each picture.
        segments: of each picture, class name and segmentation of every object that has one.
        outlines: of each picture, the segmentation of an object by its edges in the picture as it is decoded.
    """

    pictures: Pictures
    frames: Sequence[Frame]
    segments: Sequence[Sequence[tuple[str, Any]]]
    outlines: Sequence[Mapping[tuple[float, ...], Any]] = ()

    def instance(self, position: int, edges: tuple[float, ...]) -> NDArray[np.bool_] | None:
        """Return where in a picture the object with a box is, (H, W); None if it is not marked.

        Raises:
            DataError: if its segmentation cannot be read.
        """
        found = self.outlines[position].get(edges) if self.outlines else None
        return None if found is None else self._drawn(position, "an object", [found])

    def mask(self, position: int, name: str) -> NDArray[np.bool_] | None:
        """Return where the class `name` is in a picture as `decode` returns it, (H, W).

        Returns:
            The union of the class's segmentations; None if the picture has none of them.

        Raises:
            DataError: if a segmentation cannot be read.
        """
        found = [segmentation for label, segmentation in self.segments[position] if label == name]
        return self._drawn(position, repr(name), found)

    def _drawn(self, position: int, what: str, found: Sequence[Any]) -> NDArray[np.bool_] | None:
        frame = self.frames[position]
        if not found or frame.size is None:
            return None
        union = np.zeros(frame.size[::-1], dtype=bool)
        for segmentation in found:
            try:
                union |= draw_segmentation(segmentation, frame.size)
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise DataError(
                    f"{self.pictures.name(position)}: a mask of {what} cannot be read ({error}); "
                    "fix it in the annotation file"
                ) from error
        return frame.turned_mask(union)


def draw_segmentation(segmentation: Any, size: tuple[int, int]) -> NDArray[np.bool_]:
    """Draw a COCO segmentation: polygons [[x, y, x, y, ...], ...], or run lengths {"counts", "size"}.

    Args:
        segmentation: as in the JSON.
        size: (width, height) of the picture.

    Returns:
        The mask (height, width).

    Raises:
        ValueError: if it is no segmentation of a picture of that size; TypeError, KeyError and
            OverflowError where its parts are of other kinds.
    """
    if isinstance(segmentation, list):
        return _polygons(segmentation, size)
    width, height = size
    if list(segmentation["size"]) != [height, width]:
        raise ValueError(f"it is for {segmentation['size']} rows and columns, not for {[height, width]}")
    counts = segmentation["counts"]
    return run_lengths(_unpacked(counts) if isinstance(counts, str) else counts, size)


def run_lengths(counts: Sequence[int], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the mask (height, width) of run lengths: of 0 and 1 in turn, down the columns.

    Raises:
        ValueError: if they do not fill a picture of `size` (width, height).
    """
    width, height = size
    lengths = np.asarray(counts, dtype=np.int64)
    pixels = width * height
    if lengths.ndim != 1 or not ((lengths >= 0) & (lengths <= pixels)).all() or lengths.sum() != pixels:
        raise ValueError(f"its run lengths do not sum to {width} x {height} pixels")
    values = np.arange(len(lengths)) % 2 == 1
    return np.repeat(values, lengths).reshape(width, height).T


def _unpacked(text: str) -> list[int]:
    """Return the run lengths of COCO's compressed string.

    Six bits a character from "0" on: five of the number, lowest first, and one that says that more
    follow; the last one's highest bit is the sign. From the fourth on a number is the difference to the
    run length two before.

    Source: the COCO API, maskApi.c, rleFrString.
    """
    counts: list[int] = []
    number = shift = 0
    for character in text:
        bits = ord(character) - ord("0")
        if not 0 <= bits < 64:
            raise ValueError(f"{character!r} is not valid in compressed run lengths")
        number |= (bits & 31) << shift
        shift += 5
        if bits & 32:
            continue
        if bits & 16:
            number -= 1 << shift
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    if shift:
        raise ValueError("its compressed run lengths are truncated")
    return counts


def _polygons(polygons: list[Any], size: tuple[int, int]) -> NDArray[np.bool_]:
    union = np.zeros(size[::-1], dtype=bool)
    for polygon in polygons:
        points = np.asarray(polygon, dtype=np.float64)
        if points.ndim != 1 or len(points) < 6 or len(points) % 2 or not (abs(points) < 1e9).all():
            raise ValueError("a polygon needs three or more points x, y")
        union |= _filled(points.reshape(-1, 2), size)
    return union


def _filled(points: NDArray[np.float64], size: tuple[int, int]) -> NDArray[np.bool_]:
    """Return the pixels whose centres are inside a polygon (N, 2), by the even-odd rule.

    Along a row every edge that is crossed turns outside into inside, or back. Pillow's polygons would
    cover all pixels that the outline touches; the COCO API differs from both at the outline.
    """
    width, height = size
    crossings = np.zeros((height, width + 1), dtype=bool)
    for (xa, ya), (xb, yb) in zip(points, np.roll(points, -1, axis=0), strict=True):
        first, last = np.ceil(np.clip([min(ya, yb), max(ya, yb)], 0, height) - 0.5).astype(int)
        rows = np.arange(first, last)
        if len(rows):
            x = xa + (rows + 0.5 - ya) * ((xb - xa) / (yb - ya))
            columns = np.ceil(np.clip(x, 0, width) - 0.5).astype(int)
            crossings[rows, columns] ^= True
    return np.logical_xor.accumulate(crossings, axis=1)[:, :width]
