"""Folders of pictures: one folder a class, with or without train, val and test above them."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from resight.core.errors import DataError
from resight.core.files import dead_link
from resight.data.dataset import Dataset, FilePictures, Split, multi_hot
from resight.data.layouts.claim import Claim, left_over
from resight.data.layouts.parts import IMAGES, MASK_ENDING, NEUTRAL
from resight.data.layouts.splits import split_folders, split_of
from resight.data.layouts.tree import (
    files_in,
    has_picture,
    has_picture_below,
    is_picture,
    is_visible,
    list_pictures,
    subfolders,
)

MASKED = 0.25
"""Share of a class folder's pictures from which on masks among them are refused."""

Rows = list[tuple[Path, str]]


def claim_folder(root: Path) -> Claim | None:
    """Claim a folder whose folders hold pictures, or split folders with such folders in them.

    A folder with nothing but one folder of such folders is none: that is a wrapper.
    """
    folders = subfolders(root)
    if any(split_of(f.name) and _pictured(f) for f in folders):
        used = frozenset(f.name for f in folders if split_of(f.name))
        return Claim("class folders in splits", used, lambda _: open_folder(root))
    if any(map(has_picture, folders)) or len(_pictured(root)) > 1:
        return Claim("class folders", frozenset(f.name for f in folders), lambda _: open_folder(root))
    return None


def open_folder(root: Path) -> Dataset:
    """Open a folder of class folders, or of split folders with class folders in them.

    A class folder's pictures are in it, or in one folder in it. Pictures deeper down belong to their
    class if it has pictures of its own, which is noted.

    Raises:
        DataError: if there is nothing to learn from, a folder cannot be read, or the folders do not look
            like classes: see `_refuse_parts` and `_check_nesting`.
    """
    if any(split_of(f.name) and _pictured(f) for f in subfolders(root)):
        return _of_splits(root)
    notes: list[str] = []
    rows = _class_rows(root, notes, split_names=True)
    if len({label for _, label in rows}) == 1:
        _refuse_one_class(root, rows[0][1])
    return _with_ignored(dataset_of_files(str(root), {"train": rows}), [root], notes)


def _refuse_one_class(root: Path, name: str) -> None:
    beside = [p for p in (*subfolders(root), *files_in(root)) if p.name != name]
    raise DataError(
        f"{root}: holds one class only, {name!r}; a classifier needs at least two class folders"
        + (f" (next to it: {_short(beside)}, not recognized)" if beside else "")
    )


def _of_splits(root: Path) -> Dataset:
    folders = split_folders(root)
    _refuse_siblings(root, folders)
    if "train" not in folders:
        raise DataError(f"{root}: has {', '.join(folders)} but no train folder; add one or rename them")
    files: dict[str, Rows] = {}
    notes: list[str] = []
    unused: list[str] = []
    for split, folder in folders.items():
        rows = _class_rows(folder, notes)
        loose = has_picture(folder)
        if loose and not rows and split == "train":
            raise DataError(
                f"{folder}: its pictures are not in class folders, so their classes are unknown; make one "
                "folder per class"
            )
        if rows or split == "train":
            files[split] = rows
            unused += left_over(folder, {f.name for f in subfolders(folder)}, "is next to the class folders")
        elif loose:
            unused.append(f"{folder}: its pictures are not in class folders, so their classes are unknown")
        else:
            notes.append(f"{folder} holds no pictures and is left out")
    train = {label for _, label in files["train"]}
    for split in files:
        files[split] = _spelled_as(train, files[split], folders[split], notes)
    dataset = _with_ignored(dataset_of_files(str(root), files), [folders[s] for s in files], notes)
    return replace(dataset, unused=tuple(unused))


def _refuse_siblings(root: Path, splits: dict[str, Path]) -> None:
    """Refuse folders with pictures next to the splits: classes, or a split of an unknown name."""
    beside = [f for f in subfolders(root) if f not in splits.values() and has_picture_below(f)]
    if beside:
        known = _short(list(splits.values()))
        raise DataError(
            f"{root}: has pictures in {_short(beside)} next to {known}, which are not split names; rename "
            "them train, val or test, or move them elsewhere"
        )


def _class_rows(root: Path, notes: list[str], *, split_names: bool = False) -> Rows:
    """Return the pictures of every class folder with the folder's name.

    Args:
        root: what holds the class folders.
        notes: is added to.
        split_names: whether a class folder must not be named after a split.
    """
    for file in files_in(root):
        if not file.suffix and (target := dead_link(file)):
            raise DataError(f"{file}: is a link to {target}, which does not exist; fix the link")
    files = {folder: paths for folder in subfolders(root) if (paths := list_pictures(folder))}
    if split_names:
        _refuse_splits_without_classes(root, [*files], notes)
    _refuse_parts(root, [*files])
    _refuse_alike(root, [f.name for f in files])
    _check_nesting(root, files, notes)
    rows = [(path, folder.name) for folder, paths in files.items() for path in paths]
    _refuse_masks(root, rows)
    return rows


def _pictured(root: Path) -> list[Path]:
    return [folder for folder in subfolders(root) if has_picture_below(folder)]


def _refuse_splits_without_classes(root: Path, folders: Sequence[Path], notes: list[str]) -> None:
    """Refuse folders named after splits that hold pictures and no class folders.

    A train is also a vehicle: one folder of that name next to two others is a class, which is noted.
    """
    named = [f for f in folders if split_of(f.name)]
    if len(named) == 1 and named[0].name.lower() == "train" and len(folders) > 2:
        notes.append(f"{named[0]} holds pictures but no class folders, so it is read as a class")
    elif named:
        raise DataError(
            f"{root}: the pictures in {_short(named)} are not in class folders, so they have no class; "
            "make one folder per class in each, or list them in a csv with path,label,split"
        )


def _refuse_parts(root: Path, folders: Sequence[Path]) -> None:
    """Refuse folders of which one is called images: parts of a layout, not classes."""
    part = next((f.name for f in folders if f.name.lower() in IMAGES - {"image"}), None)
    if part is None:
        return
    beside = [p for p in (*subfolders(root), *files_in(root)) if p.name != part]
    with_them = f", next to {_short(beside)}," if beside else ""
    raise DataError(
        f"{root}: holds pictures in {part}/{with_them} but no class folders, which is not a known "
        "layout; make one folder per class, or give the annotations as COCO, Pascal VOC, YOLO or csv"
    )


def _refuse_masks(root: Path, rows: Rows) -> None:
    """Refuse class folders in which masks lie beside their pictures (0.png, 0_mask.png)."""
    named = [path.with_suffix("") for path, _ in rows if MASK_ENDING.search(path.name.rpartition(".")[0])]
    if len(named) <= MASKED * len(rows):
        return
    stems = {path.with_suffix("") for path, _ in rows}
    own = {mask: MASK_ENDING.sub("", mask.name) for mask in named}
    masks = sorted(mask for mask, name in own.items() if name and mask.with_name(name) in stems)
    if len(masks) > MASKED * len(rows):
        raise DataError(
            f"{root}: this looks like a segmentation set: {len(masks)} masks are among the pictures, such as "
            f"{masks[0].relative_to(root)}; move them elsewhere to classify the pictures"
        )


def _refuse_alike(root: Path, names: Sequence[str]) -> None:
    """Refuse two class folders whose names differ only in case, Unicode form or spaces at the ends.

    Names of one letter may differ in case: they are classes of letters.
    """
    seen: dict[str, str] = {}
    for name in names:
        key = _nfc(name).strip()
        other = seen.setdefault(key if len(key) == 1 else key.casefold(), name)
        if other != name:
            raise DataError(
                f"{root}: the class folders {other!r} and {name!r} differ only in "
                f"{_difference(other, name)}; merge or rename them"
            )


def _spelled_as(train: set[str], rows: Rows, folder: Path, notes: list[str]) -> Rows:
    """Return a split's rows with the class names of training, where only the Unicode form differs.

    Raises:
        DataError: if a class differs from one of training only in case or in spaces at the ends.
    """
    by_form = {_nfc(name): name for name in train}
    by_case = {_nfc(name).strip().casefold(): name for name in train}
    spelled: dict[str, str] = {}
    for name in sorted({label for _, label in rows} - train):
        same = by_form.get(_nfc(name))
        alike = by_case.get(_nfc(name).strip().casefold())
        if same:
            notes.append(f"{folder / name}: is the class {same!r} of train, in another Unicode form")
            spelled[name] = same
        elif alike and len(alike) > 1:
            raise DataError(
                f"{folder / name}: differs from the class folder {alike!r} of train only in "
                f"{_difference(alike, name)}; rename one of them"
            )
    return [(path, spelled.get(label, label)) for path, label in rows]


def _nfc(name: str) -> str:
    return unicodedata.normalize("NFC", name)


def _difference(first: str, second: str) -> str:
    if _nfc(first) == _nfc(second):
        return "their Unicode form (NFC, NFD)"
    if _nfc(first).strip() == _nfc(second).strip():
        return "spaces at the ends"
    return "upper and lower case"


def _check_nesting(root: Path, files: dict[Path, list[Path]], notes: list[str]) -> None:
    """Refuse class folders with folders of pictures instead of pictures, and note those that hold both.

    Args:
        root: what holds the class folders.
        files: the pictures below each of them.
        notes: is added to.
    """
    linked = [i for folder in files for i in subfolders(folder) if i.is_symlink()]
    if linked:
        notes.append(f"{len(linked)} links to folders in class folders are not followed, such as {linked[0]}")
    level = len(root.parts) + 2  # of a picture that is in a class folder itself
    deep = {f: paths for f, paths in files.items() if any(len(path.parts) != level for path in paths)}
    bare = {
        f: _folders_of(f, paths) for f, paths in deep.items() if all(len(p.parts) != level for p in paths)
    }
    named = {f: names for f, names in bare.items() if not _says_nothing(f, names)}
    if len(named) > 1 and len(named) == len(files) and len(set(named.values())) == 1:
        _refuse_same_folders(root, [*files], next(iter(named.values())))
    for folder, names in bare.items():
        place = folder
        while len(names) == 1:
            place = place / names[0]
            names = _folders_of(place, files[folder])
        if len(names) > 1 and all(path.parent != place for path in files[folder]):
            raise DataError(
                f"{place}: holds no pictures, only the folders {_short(names)}: classes within a class; "
                f"move them up to be classes of their own, or their pictures into {folder.name}"
            )
    said = [f for f in deep if f not in bare or f in named]
    if said:
        notes.append(
            f"{len(said)} class folders hold folders, whose pictures get the same class, such as {said[0]}"
        )


def _folders_of(place: Path, paths: Sequence[Path]) -> tuple[str, ...]:
    """Return the names of the folders in a folder that hold some of the pictures below it."""
    parts = (path.relative_to(place).parts for path in paths)
    return tuple(sorted({first for first, *rest in parts if rest}))


def _says_nothing(folder: Path, names: Sequence[str]) -> bool:
    """Return whether a class folder holds all its pictures in one folder with a meaningless name."""
    return len(names) == 1 and (names[0].lower() in NEUTRAL or names[0] == folder.name)


def _refuse_same_folders(root: Path, folders: Sequence[Path], names: Sequence[str]) -> None:
    if all(map(split_of, names)):
        raise DataError(
            f"{root}: each of {_short(folders)} holds {_short(names)}: splits within classes; put splits "
            f"above, as {names[0]}/{folders[0].name}"
        )
    raise DataError(
        f"{root}: each of {_short(folders)} holds the folders {_short(names)}: these look like splits or "
        "parts of a data set, not classes; name them train, val and test, or give one of them"
    )


def _short(items: Sequence[Path | str], most: int = 5) -> str:
    names = [item if isinstance(item, str) else item.name for item in items]
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _with_ignored(dataset: Dataset, roots: list[Path], notes: list[str]) -> Dataset:
    """Note what is among the class folders but is not read as a picture."""
    ignored, empty = [], []
    for root in roots:
        for folder in subfolders(root):
            others, count = [], 0
            for where, inner, names in os.walk(folder):
                inner[:] = sorted(name for name in inner if is_visible(name))
                count += len(names)
                others += [Path(where, n) for n in sorted(names) if not is_picture(n)]
            ignored += [path for path in others if is_visible(path.name)]
            if len(others) == count:
                empty.append(folder)
    notes = [*dataset.notes, *notes]
    if ignored:
        notes.append(
            f"{len(ignored)} files do not have a picture suffix and are ignored, such as {ignored[0]}"
        )
    if empty:
        notes.append(f"{len(empty)} folders hold no pictures and are not classes, such as {empty[0]}")
    return replace(dataset, notes=tuple(notes))


def dataset_of_several(name: str, splits: dict[str, list[tuple[Path, tuple[str, ...]]]]) -> Dataset:
    """Build a data set from (file, class names) rows of each split; a picture may have none.

    Raises:
        DataError: if the training split is empty or has a single class, or another split has a
            class that the training split lacks.
    """
    classes = tuple(sorted({label for _, labels in splits["train"] for label in labels}))
    check_classes(name, classes)
    built = {}
    for split, rows in splits.items():
        own = tuple(sorted({label for _, labels in rows for label in labels}))
        labels = multi_hot([labels for _, labels in rows], own)
        pictures = FilePictures([path for path, _ in rows])
        built[split] = Split(split, pictures, np.arange(len(rows)), labels, own).fitted(classes)
    return Dataset(name, classes, built)


def dataset_of_files(name: str, splits: dict[str, list[tuple[Path, str]]]) -> Dataset:
    """Build a data set from (file, class name) rows of each split.

    Raises:
        DataError: if the training split is empty or has a single class, or another split has a
            class that the training split lacks.
    """
    classes = tuple(sorted({label for _, label in splits["train"]}))
    check_classes(name, classes)
    built = {}
    for split, rows in splits.items():
        own = tuple(sorted({label for _, label in rows}))
        number = {label: i for i, label in enumerate(own)}
        labels = np.array([number[label] for _, label in rows], dtype=np.int64)
        pictures = FilePictures([path for path, _ in rows])
        built[split] = Split(split, pictures, np.arange(len(rows)), labels, own).fitted(classes)
    return Dataset(name, classes, built)


def check_classes(name: str, classes: tuple[str, ...]) -> None:
    """Refuse a training split that teaches nothing.

    Raises:
        DataError: if there are fewer than two classes.
    """
    if not classes:
        raise DataError(f"{name}: holds no class folders with pictures; make one folder per class")
    if len(classes) == 1:
        raise DataError(
            f"{name}: holds one class only, {classes[0]!r}; a classifier needs at least two class folders"
        )
