"""Pictures with label maps: masks in files beside them, or the masks of objects painted into one.

What cannot be used is left out, counted and noted.
"""

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.console import counted
from resight.core.device import cores
from resight.core.errors import DataError, PictureError
from resight.data.dataset import VOID, Dataset, FilePictures, Split, multi_hot
from resight.data.frames import Frame, read_frame
from resight.data.labelling import Framed, split_of
from resight.data.layouts.boxes import AnnotatedPicture, Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.mask_folders import LISTS, Folders, folders_of, listed, matched
from resight.data.layouts.mask_values import NAMED_IN, Meaning, meaning_of
from resight.data.maps import BACKGROUND, UNKNOWN, VALUES, FileMaps, PaintedMaps, read_values

READ = (
    "they are read from images/ and masks/ with files of the same names, from Pascal VOC's "
    "SegmentationClass/, or from COCO and YOLO with outlines"
)


@dataclass(frozen=True)
class Mapped:
    """The rule of pictures with a class for every pixel: a picture has all classes that its map shows.

    Attributes:
        void: value of masks that does not count; negative for none.
    """

    void: int = VOID

    def takes(self, picture: AnnotatedPicture, notes: Notes) -> bool:
        """Take every picture."""
        del picture, notes
        return True

    def dataset(self, name: str, splits: Framed, notes: Notes) -> Dataset:
        """Return a data set of the maps that the masks of objects are painted into.

        The classes are the background, which comes first, and those that have a mask in a training picture.

        Raises:
            DataError: if no training picture has a mask.
        """
        shown = {label for picture, _ in splits["train"] for label, _ in picture.segments}
        if not shown:
            raise DataError(
                f"{name}: its training pictures have boxes and no masks; label maps need outlines"
            )
        classes = (BACKGROUND, *sorted(shown - {BACKGROUND}))
        usable = {split: [row for row in every if _is_usable(*row, notes)] for split, every in splits.items()}
        built = {split: _painted(split, rows, classes, notes) for split, rows in usable.items() if rows}
        if "train" not in built:
            raise DataError(f"{name}: has no usable training picture: {'; '.join(notes.lines())}")
        return Dataset(name, classes, built, notes=notes.lines())


def _is_usable(picture: AnnotatedPicture, frame: Frame, notes: Notes) -> bool:
    """Return whether all of a picture's objects can be painted; else a note says why not."""
    if frame.size is None:
        notes.add("pictures cannot be read and are left out", picture.path)
        return False
    if any(box not in picture.outlines for box in (*picture.boxes, *picture.ignored)):
        notes.add("pictures have objects without an outline and are left out", picture.path)
        return False
    return True


def _painted(
    split: str, pictures: Sequence[tuple[AnnotatedPicture, Frame]], classes: tuple[str, ...], notes: Notes
) -> Split:
    part = split_of(split, pictures)
    own = [frozenset(label for label, _ in picture.segments) for picture, _ in pictures]
    for other in sorted(frozenset().union(*own) - {*classes}):
        notes.add(f"classes of {split} pictures are in no training picture and do not count", other)
    sizes = [size for _, frame in pictures if (size := frame.turned_size())]
    labels = multi_hot([(labels & {*classes}) | {BACKGROUND} for labels in own], classes)
    masks = part.masks or _NoMasks()
    return replace(
        part, labels=labels, classes=classes, boxes=None, ignored=None, masks=None,
        maps=PaintedMaps(masks, sizes, own, classes),
    )  # fmt: skip


class _NoMasks:
    """The masks of pictures that show none."""

    def mask(self, position: int, name: str) -> None:
        """Return None."""

    def instance(self, position: int, edges: tuple[float, ...]) -> None:
        """Return None."""


@dataclass(frozen=True)
class _Masked:
    """A picture, the frame of its mask, the mask's file, and which values it has, (256,) bool."""

    picture: Path
    frame: Frame
    mask: Path
    has: NDArray[np.bool_]


def claim_mapped(root: Path) -> Claim | None:
    """Claim folders of pictures and of masks of the same names."""
    folders = folders_of(root)
    if not folders:
        return None
    inside = [
        path.relative_to(root).parts[0] for pair in folders.values() for path in (pair.images, pair.masks)
    ]
    used = frozenset([*inside, *NAMED_IN, Path(LISTS).parts[0], "README.md", "README.txt", "README"])
    return Claim("pictures with masks", used, lambda rule: open_mapped(root, rule))


def open_mapped(root: Path, rule: Mapped) -> Dataset:
    """Open a folder of pictures and masks.

    A mask holds a number for each pixel, of a palette or of grey; see `meaning_of` for what it means. All
    masks are read once, so that a fault is known before a training. Without splits of their own all pictures
    are the training split.

    Args:
        root: the folder.
        rule: says which value does not count.

    Raises:
        DataError: if there is no usable training picture, a value has no name, or one class is left.
    """
    notes = Notes()
    splits = _splits(root, folders_of(root), notes)
    if "train" not in splits:
        raise DataError(f"{root}: has masks for {', '.join(splits)} but not for train; add such a folder")
    read = {split: _read(pairs, split, notes) for split, pairs in splits.items()}
    if not read["train"]:
        causes = "; ".join(notes.lines()) or "there is none"
        raise DataError(f"{root}: has no usable training picture with a mask: {causes}")
    every = [one for rows in read.values() for one in rows]
    used = np.flatnonzero(np.any([one.has for one in every], axis=0)).tolist()
    meaning = meaning_of(root, used, rule.void, notes)
    _require_known(every, meaning)
    shown = np.flatnonzero(np.any([one.has for one in read["train"]], axis=0)).tolist()
    values = [value for value in sorted(meaning.names) if value in shown and value not in meaning.void]
    classes = tuple(meaning.names[value] for value in values)
    _require_two(root, classes, meaning)
    built = {}
    for split, rows in read.items():
        for value in np.flatnonzero(np.any([one.has for one in rows], axis=0)).tolist() if rows else ():
            if value in meaning.names and value not in values:
                what = f"classes of {split} pictures are in no training picture and do not count"
                notes.add(what, meaning.names[value])
        part = _split(split, rows, values, classes, notes)
        if len(part):
            built[split] = part
    return Dataset(str(root), classes, built, notes=notes.lines())


def _splits(root: Path, folders: Mapping[str, Folders], notes: Notes) -> dict[str, list[tuple[Path, Path]]]:
    """Return the pictures of each split and their masks."""
    if "" not in folders:
        return {split: list(matched(pair, notes).values()) for split, pair in folders.items()}
    lists = listed(root)
    quiet = Notes() if lists else notes  # pictures in no list need no mask
    found = matched(folders[""], quiet)
    if not lists:
        return {"train": list(found.values())}
    splits = {}
    for split, names in lists.items():
        splits[split] = [found[name] for name in names if name in found]
        for name in names:
            if name not in found:
                notes.add("listed pictures have no mask, or are not there, and are left out", name)
    return splits


def _read(pairs: Sequence[tuple[Path, Path]], split: str, notes: Notes) -> list[_Masked]:
    """Read the masks of a split; what cannot be used is noted."""
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        looked = counted(pool.map(_look, pairs), f"reading {split} masks", len(pairs))
        results = list(looked)
    for result in results:
        if not isinstance(result, _Masked):
            notes.add(*result)
    return [result for result in results if isinstance(result, _Masked)]


def _look(pair: tuple[Path, Path]) -> _Masked | tuple[str, str]:
    """Return what a mask holds, or why it is left out: of many, and of this one."""
    picture, mask = pair
    try:
        values = read_values(mask)
    except PictureError as error:
        return "masks cannot be used and their pictures are left out", str(error)
    size = (values.shape[1], values.shape[0])
    frame = read_frame(picture, size)
    if frame.size is None:
        return "pictures cannot be read and are left out", str(picture)
    if frame.size != size:
        sides = f"{size[0]} x {size[1]}, its picture {frame.size[0]} x {frame.size[1]}"
        return "masks differ in size from their pictures, which are left out", f"{mask} ({sides})"
    has = np.bincount(values.reshape(-1), minlength=VALUES) > 0
    return _Masked(picture, frame, mask, has)


def _require_known(every: Sequence[_Masked], meaning: Meaning) -> None:
    """Refuse a mask that has a value of which nobody says what it means.

    Raises:
        DataError: naming the mask and the value.
    """
    known = np.zeros(VALUES, bool)
    known[[*meaning.names, *meaning.void]] = True
    for one in every:
        if len(odd := np.flatnonzero(one.has & ~known)):
            named = f"names {min(meaning.names)} to {max(meaning.names)}" if meaning.names else "names none"
            raise DataError(
                f"{one.mask}: has the value {odd[0]}, which {meaning.source or 'nothing'} does not name (it "
                f"{named}); add its name there, or say that it does not count: segment.void={odd[0]}"
            )


def _require_two(root: Path, classes: tuple[str, ...], meaning: Meaning) -> None:
    """Refuse masks that leave nothing to tell apart.

    Raises:
        DataError: naming the class, and the values that do not count.
    """
    if len(classes) < 2:
        shown = f"the class {classes[0]!r} alone" if classes else "no class"
        void = ", ".join(map(str, sorted(meaning.void))) or "none"
        raise DataError(
            f"{root}: its training masks show {shown}, and two are needed; of their values {void} does not "
            "count (segment.void)"
        )


def _split(
    name: str, rows: Sequence[_Masked], values: Sequence[int], classes: tuple[str, ...], notes: Notes
) -> Split:
    """Return the pictures of a split that show a class."""
    numbers = np.full(VALUES, VOID, np.int64)
    numbers[list(values)] = np.arange(len(values))
    names = [{classes[numbers[v]] for v in np.flatnonzero(one.has) if numbers[v] != VOID} for one in rows]
    for one, own in zip(rows, names, strict=True):
        if not own:
            notes.add("masks show no class that is learned and their pictures are left out", one.mask)
    kept = [(one, own) for one, own in zip(rows, names, strict=True) if own]
    had = np.any([one.has for one, _ in kept], axis=0) if kept else np.zeros(VALUES, bool)
    maps = FileMaps(
        [one.mask for one, _ in kept], [one.frame for one, _ in kept],
        tuple(np.where(had, numbers, UNKNOWN).tolist()), classes,
    )  # fmt: skip
    return Split(
        name,
        FilePictures([one.picture for one, _ in kept]),
        np.arange(len(kept)),
        multi_hot([own for _, own in kept], classes),
        classes,
        sizes=[one.frame.turned_size() for one, _ in kept],
        maps=maps,
    )
