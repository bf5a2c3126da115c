"""Folders of pictures: one folder a class, with or without train, val and test above them."""

import os
from dataclasses import replace
from pathlib import Path

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset, FilePictures, Split, multi_hot
from resight.data.decode import SUFFIXES

SPLIT_FOLDERS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation"),
    "test": ("test", "testing"),
}


def open_folder(root: Path) -> Dataset:
    """Open a folder of class folders.

    Raises:
        DataError: if there is nothing to learn from, or a folder cannot be read.
    """
    folders = _split_folders(root)
    if not folders:
        return _with_ignored(dataset_of_files(str(root), {"train": _class_files(root)}), [root])
    if "train" not in folders:
        raise DataError(f"{root}: has {', '.join(folders)} but no train folder; add one or rename them")
    files = {split: _class_files(path) for split, path in folders.items()}
    return _with_ignored(dataset_of_files(str(root), files), list(folders.values()))


def _with_ignored(dataset: Dataset, roots: list[Path]) -> Dataset:
    """Note what lies among the class folders and is not taken for a picture."""
    ignored, empty = [], []
    for root in roots:
        for folder in _subfolders(root):
            names = [p for p in folder.rglob("*") if p.is_file() and not p.name.startswith(".")]
            ignored += [p for p in names if not _is_picture(p.name)]
            if not any(_is_picture(p.name) for p in names):
                empty.append(folder)
    notes = list(dataset.notes)
    if ignored:
        notes.append(
            f"{len(ignored)} files are not named like pictures and are ignored, such as {ignored[0]}"
        )
    if empty:
        notes.append(f"{len(empty)} folders hold no pictures and are no class, such as {empty[0]}")
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


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files below a folder, sorted, hidden ones left out.

    Raises:
        DataError: if a folder cannot be read.
    """
    files: list[Path] = []

    def refuse(error: OSError) -> None:
        raise DataError(
            f"{error.filename}: cannot be read ({error.strerror}); check its permissions"
        ) from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        files += [Path(where, n) for n in sorted(names) if _is_picture(n)]
    return files


def _is_picture(name: str) -> bool:
    return not name.startswith(".") and Path(name).suffix.lower() in SUFFIXES


def _split_folders(root: Path) -> dict[str, Path]:
    """Return the folders named train, val and test, in any spelling of upper and lower case."""
    found = {}
    for folder in _subfolders(root):
        for split, names in SPLIT_FOLDERS.items():
            if folder.name.lower() in names:
                found.setdefault(split, folder)
    return {split: found[split] for split in SPLIT_FOLDERS if split in found}


def _subfolders(root: Path) -> list[Path]:
    try:
        return sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror}); check its permissions") from error


def _class_files(root: Path) -> list[tuple[Path, str]]:
    return [(path, folder.name) for folder in _subfolders(root) for path in list_pictures(folder)]
