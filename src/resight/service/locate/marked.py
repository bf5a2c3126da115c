"""Pictures with their known class and annotations."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.errors import DataError, PictureError, UsageError
from resight.core.levels import BY_TYPE, Levels
from resight.data.dataset import Dataset, Split
from resight.data.decode import SUFFIXES, decode
from resight.data.frames import Frame, read_frame
from resight.data.given import expand
from resight.data.layouts.builtin import BUILTIN
from resight.data.open import as_test, is_annotated, open_as_it_is, require_fit
from resight.data.prepare import FILTERS
from resight.data.splitting import with_test_split
from resight.service.pictures import Unread
from resight.service.run.data import RunData, learned_among, recognized, unknown_note
from resight.service.run.run import Run, absolute

BATCH = 16
ALL = "all"
"""All splits."""


@dataclass(frozen=True)
class Picture:
    """The known facts of a picture.

    Attributes:
        path: its name.
        split: of the data set, and the place there; None for a file of its own.
        index: place in the split.
        label: the name of its class, if it is known.
        boxes: class name and box (x0, y0, x1, y1) of every object, if they are known.
        levels: of a file of its own: which values are black and white in pictures of more than 8 bits.
    """

    path: str
    split: Split | None = None
    index: int = 0
    label: str | None = None
    boxes: list[tuple[str, tuple[float, float, float, float]]] | None = None
    levels: Levels = BY_TYPE

    def decode(self) -> Image.Image:
        """Return the whole picture.

        Raises:
            PictureError: if it cannot be read.
        """
        if self.split:
            return self.split.decode(self.index)
        return decode(Path(self.path), levels=self.levels)

    def frame(self, size: tuple[int, int]) -> Frame:
        """Return the frame of the picture's annotations, see `resight.data.frames`.

        Args:
            size: (width, height) of the picture as `decode` returns it.
        """
        content = self.split.encoded(self.index) if self.split else Path(self.path)
        if content is None:  # pixels without a file: they are stored as they are seen
            return Frame(size)
        frame = read_frame(content, None)
        return frame if frame.turned_size() == size else Frame(size)

    def mask(self, side: int) -> NDArray[np.bool_] | None:
        """Return the mask of the picture's own class as a square (side, side), where it is known."""
        if self.split is None:
            return None
        if self.label is None or self.label not in self.split.classes:
            return None
        mask = self.split.picture_mask(self.index, self.split.classes.index(self.label))
        if mask is None:
            return None
        return np.asarray(Image.fromarray(mask).resize((side, side), Image.Resampling.NEAREST), dtype=bool)


def pictures_of(
    run: Run, paths: Sequence[str], split: str | None, data_root: str | None
) -> tuple[list[Picture], list[str]]:
    """Return the pictures that the arguments mean, and notes about their data set.

    Args:
        run: the splits of its own data set are kept.
        paths: a data set, or pictures, folders and patterns.
        split: of a data set, or "all"; by default "test" if boxes are known, else all.
        data_root: see `open_dataset`.

    Raises:
        ResightError: in one line.
    """
    if len(paths) != 1 or _is_plain(paths[0]):
        if split not in (None, ALL):
            raise UsageError("--split needs a data set; these are pictures")
        return [Picture(str(path), levels=run.preprocessing.levels) for path in expand(paths)], []
    raw = open_as_it_is(paths[0], data_root)
    require_fit(raw)
    elsewhere = run.facts.get("data") not in (paths[0], absolute(paths[0]))
    found = recognized(run, raw, whole=elsewhere)
    dataset = found or (as_test(raw) if elsewhere else with_test_split(raw))
    dataset = dataset.with_levels(run.preprocessing.levels)
    marked = any(part.boxes is not None for part in dataset.splits.values())
    chosen = [split] if split else ["test"] if marked else [ALL]
    names = list(dataset.splits) if chosen == [ALL] else chosen
    notes = list(dataset.notes)
    if marked:
        given = RunData(dataset, own=found is not None)
        notes += _learned_notes(run, given, [dataset.split(name) for name in names])
    return [p for name in names for p in _of_split(dataset, name)], notes


def _learned_notes(run: Run, given: RunData, splits: Sequence[Split]) -> list[str]:
    """Return notes on evaluated pictures that the run was trained on."""
    masks = [learned_among(run, given, split) for split in splits]
    if any(mask is None for mask in masks):
        return unknown_note(run)
    if seen := sum(int(mask.sum()) for mask in masks if mask is not None):
        these = f"{seen} of these {sum(map(len, splits))} pictures were used to train or select {run.name}"
        return [f"{these}, so the measures of boxes are not a test"]
    return []


def _is_plain(word: str) -> bool:
    """Return whether an argument means pictures (a file, pattern or folder of pictures), not a data set."""
    path = Path(word)
    if word in BUILTIN:
        return False
    if not path.is_dir():
        return path.suffix.lower() in SUFFIXES or any(c in word for c in "*?[")
    try:
        inside = [p for p in path.iterdir() if p.suffix.lower() in SUFFIXES and not p.name.startswith(".")]
        return any(p.is_file() for p in inside) and not is_annotated(path)
    except OSError as error:
        raise DataError(f"{word}: cannot be read ({error.strerror}); check its permissions") from error


def _of_split(dataset: Dataset, name: str) -> Iterator[Picture]:
    split = dataset.split(name)
    for index in range(len(split)):
        names, marked = split.class_names(index), split.picture_boxes(index)
        if len(names) > 1 and marked:  # of several classes, that of the largest box
            largest = max(marked, key=lambda b: (b.x1 - b.x0) * (b.y1 - b.y0))
            names = (split.classes[largest.label],) if largest.label >= 0 else ()
        yield Picture(
            split.picture_name(index),
            split,
            index,
            names[0] if len(names) == 1 else None,
            None
            if marked is None
            else [(split.classes[b.label], (b.x0, b.y0, b.x1, b.y1)) for b in marked if b.label >= 0],
        )


def squares_of(
    run: Run, pictures: Sequence[Picture], errors: list[Unread]
) -> Iterator[tuple[list[tuple[Picture, Image.Image]], Tensor]]:
    """Yield pictures as they are, and as whole squares (B, S, S, 3) uint8, `BATCH` at a time.

    Args:
        run: gives the side S, and the classes that a picture may have.
        pictures: what to read.
        errors: gets each picture that is left out.

    Raises:
        DataError: if none is left.
    """
    side, kind = run.preprocessing.size, FILTERS[run.preprocessing.interpolation]
    for start in range(0, len(pictures), BATCH):
        good, squares = [], []
        for picture in pictures[start : start + BATCH]:
            try:
                image = picture.decode()
            except PictureError as error:
                errors.append(Unread(picture.path, f"{error.fault}; {error.cure}"))
                continue
            if picture.label is not None and picture.label not in run.model.classes:
                fault = f"the network knows no class {picture.label!r}"
                cure = "rename the class, or give the picture as a single file"
                errors.append(Unread(picture.path, f"{fault}; {cure}"))
                continue
            good.append((picture, image))
            squares.append(np.asarray(image.resize((side, side), kind)))
        if good:
            yield good, torch.from_numpy(np.stack(squares))
    if errors and len(errors) == len(pictures):
        raise DataError(f"{errors[0].path}: {errors[0].error}; no picture is left")
