"""Pictures with key points, as annotation files describe them, put right in the picture as it is decoded.

What cannot be used is left out, counted and noted.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError, PictureError
from resight.core.files import digest
from resight.data.dataset import Dataset, FilePictures, Split
from resight.data.decode import decode
from resight.data.frames import Frame, read_frame
from resight.data.labelling import Framed
from resight.data.layouts.boxes import AnnotatedPicture, Notes
from resight.data.pictures import Pictures
from resight.data.points import UNMARKED, KeyPoints, Skeleton


@dataclass(frozen=True)
class Pointed:
    """The rule of pictures with key points: layouts that have them are read for them, all others refused."""

    def takes(self, picture: AnnotatedPicture, notes: Notes) -> bool:
        """Take every picture."""
        del picture, notes
        return True

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Refuse pictures that have boxes alone.

        Raises:
            DataError: always.
        """
        del splits, notes
        raise DataError(f"{name}: has boxes and no key points; see docs/data.md for those that are read")


POINTS = Pointed()
CLASS = "pose"
"""The one class of all pictures with key points."""
HALF = 0.5
"""In annotations x = 0 is the middle of the first pixel, in `KeyPoints` its outer edge."""
Crop = tuple[int, int, int, int]
"""Left, top, right and bottom of a part of a picture, in whole pixels, half-open."""


@dataclass(frozen=True)
class PointedPicture:
    """A picture, or one person of it, as an annotation file describes it.

    Attributes:
        path: the picture.
        source: the annotation, as a note names it.
        places: x and y of each joint in pixels of the picture as it is stored, 0 being the middle of the
            first pixel, (J, 2).
        states: of each joint, see `resight.data.points`, (J,).
        size: (width, height) that the annotation states; None if it states none.
        box: edges of the person in the same pixels, half-open, which is all that is seen of the picture; None
            for the whole picture.
    """

    path: Path
    source: str
    places: NDArray[np.float64]
    states: NDArray[np.int8]
    size: tuple[int, int] | None = None
    box: tuple[float, float, float, float] | None = None


@dataclass(frozen=True)
class CroppedPictures(Pictures):
    """Parts of pictures in files, each decoded whole and cut.

    The digest is the file's, so that the people of one picture are never on both sides of a split.

    Attributes:
        files: the file of each part.
        crops: of each part, in the picture as it is decoded.
    """

    files: FilePictures
    crops: Sequence[Crop]

    def __len__(self) -> int:
        return len(self.crops)

    def name(self, position: int) -> str:
        """Return the path and the part's left upper corner and size."""
        left, top, right, bottom = self.crops[position]
        return f"{self.files.name(position)} [{right - left}x{bottom - top}+{left}+{top}]"

    def content(self, position: int) -> NDArray[np.uint8]:
        """Return the part's pixels.

        Raises:
            PictureError: if the file cannot be read.
        """
        left, top, right, bottom = self.crops[position]
        whole = np.asarray(decode(self.files.content(position), self.files.name(position)))
        return np.ascontiguousarray(whole[top:bottom, left:right])

    def size_on_disk(self, position: int) -> int:
        """Return the size of the part's pixels."""
        left, top, right, bottom = self.crops[position]
        return 3 * (right - left) * (bottom - top)

    def digest(self, position: int) -> str:
        """Return the digest of the file."""
        try:
            return self.files.digest(position)
        except PictureError:
            return digest(self.name(position).encode())


@dataclass(frozen=True)
class _Placed:
    """A picture's joints in what is seen of it: its size, its part, places and states."""

    picture: PointedPicture
    size: tuple[int, int]
    crop: Crop
    places: NDArray[np.float64]
    states: NDArray[np.int8]


def dataset_of_points(
    name: str, skeleton: Skeleton, splits: Mapping[str, Sequence[PointedPicture]], notes: Notes
) -> Dataset:
    """Build a data set from the pictures with points of each split.

    Args:
        name: what the user called it.
        skeleton: what the joints are.
        splits: the pictures, in order; "train" must be there, or there is "test" alone.
        notes: what the reader has noted; it is added to.

    Raises:
        DataError: if the training split is empty, or all places are shares of the picture's sides.
    """
    _refuse_shares(name, splits)
    placed = {split: [p for one in rows if (p := _placed(one, notes))] for split, rows in splits.items()}
    built = {split: _split(split, skeleton, rows) for split, rows in placed.items() if rows}
    if "train" not in built and set(built) != {"test"}:
        causes = "; ".join(notes.lines()) or "it lists none"
        raise DataError(f"{name}: has no usable training picture with key points: {causes}")
    return Dataset(name, (CLASS,), built, mirrors=bool(skeleton.swaps), notes=notes.lines())


def _refuse_shares(name: str, splits: Mapping[str, Sequence[PointedPicture]]) -> None:
    every = [p.places[p.states != UNMARKED] for rows in splits.values() for p in rows]
    marked = np.concatenate(every) if every else np.empty((0, 2))
    if len(marked) and marked.min() >= 0 and marked.max() <= 1:
        raise DataError(
            f"{name}: all {len(marked)} key points are between 0 and 1, so they are shares of the picture's "
            "sides, not pixels; multiply them by its width and height"
        )


def _placed(picture: PointedPicture, notes: Notes) -> _Placed | None:
    """Return a picture's joints as the decoder turns it; None, with a note, if it cannot be used."""
    frame = read_frame(picture.path, picture.size)
    size = frame.turned_size()
    if size is None:
        notes.add("pictures cannot be read and are left out", picture.path)
        return None
    if picture.size and picture.size != frame.size:
        what = "pictures differ in size from what their annotations state, so key points may be wrong"
        notes.add(what, picture.source)
    crop = _crop(picture, frame, size)
    if crop[0] >= crop[2] or crop[1] >= crop[3]:
        notes.add("people have a box without area in their picture and are left out", picture.source)
        return None
    places = np.array([frame.turned_box(x, y, x, y)[:2] for x, y in picture.places + HALF]) - crop[:2]
    seen = (crop[2] - crop[0], crop[3] - crop[1])
    states = picture.states.copy()
    outside = (states != UNMARKED) & ~((places >= 0) & (places <= seen)).all(1)
    if outside.any():
        notes.add("pictures have joints outside what is seen of them, which are not learned", picture.source)
    states[outside] = UNMARKED
    if not (states != UNMARKED).any():
        notes.add("pictures have no joint that is marked and are left out", picture.source)
        return None
    places[states == UNMARKED] = 0
    return _Placed(picture, seen, crop, places, states)


def _crop(picture: PointedPicture, frame: Frame, size: tuple[int, int]) -> Crop:
    if picture.box is None:
        return 0, 0, *size
    x0, y0, x1, y1 = frame.turned_box(*picture.box)
    left, top = max(0, int(np.floor(x0))), max(0, int(np.floor(y0)))
    return left, top, min(size[0], int(np.ceil(x1))), min(size[1], int(np.ceil(y1)))


def _split(name: str, skeleton: Skeleton, rows: Sequence[_Placed]) -> Split:
    files = FilePictures([row.picture.path for row in rows])
    cut = any(row.picture.box is not None for row in rows)
    points = KeyPoints(
        skeleton, np.stack([row.places for row in rows]), np.stack([row.states for row in rows])
    )
    return Split(
        name,
        CroppedPictures(files, [row.crop for row in rows]) if cut else files,
        np.arange(len(rows)),
        np.zeros(len(rows), np.int64),
        (CLASS,),
        sizes=[row.size for row in rows],
        points=points,
    )
