"""Folders of pictures: one folder a class, with or without train, val and test above them."""

import os
from pathlib import Path

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset, FilePictures, Split
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
    found = {split: _first_folder(root, names) for split, names in SPLIT_FOLDERS.items()}
    folders = {split: path for split, path in found.items() if path}
    if not folders:
        return dataset_of_files(str(root), {"train": _class_files(root)})
    if "train" not in folders:
        raise DataError(f"{root}: has {', '.join(folders)} but no train folder; add one or rename them")
    return dataset_of_files(str(root), {split: _class_files(path) for split, path in folders.items()})


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
        built[split] = Split(split, pictures, np.arange(len(rows)), labels, own).relabelled(classes)
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


def _first_folder(root: Path, names: tuple[str, ...]) -> Path | None:
    return next((root / n for n in names if (root / n).is_dir()), None)


def _class_files(root: Path) -> list[tuple[Path, str]]:
    try:
        folders = sorted(f for f in root.iterdir() if f.is_dir() and not f.name.startswith("."))
    except OSError as error:
        raise DataError(f"{root}: cannot be read ({error.strerror}); check its permissions") from error
    return [(path, folder.name) for folder in folders for path in list_pictures(folder)]
