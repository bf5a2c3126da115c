"""Tiny-ImageNet's folder: a folder for each synset, with one box for each picture."""

import math
from collections import Counter
from pathlib import Path

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.labelling import dataset_of_boxes
from resight.data.layouts.boxes import AnnotatedPicture, Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.tree import list_pictures

SYNSETS, WORDS, VAL_BOXES = "wnids.txt", "words.txt", "val/val_annotations.txt"


def is_tiny_imagenet(root: Path) -> bool:
    """Return whether a folder holds wnids.txt and train/."""
    return (root / SYNSETS).is_file() and (root / "train").is_dir()


def claim_tiny_imagenet(root: Path) -> Claim | None:
    """Claim a folder with wnids.txt and train/."""
    if not is_tiny_imagenet(root):
        return None
    used = frozenset([SYNSETS, WORDS, "train", "val"])
    return Claim("Tiny-ImageNet's folder", used, lambda _: open_tiny_imagenet(root))


def open_tiny_imagenet(root: Path) -> Dataset:
    """Open a folder in the layout of Tiny-ImageNet.

    A class is called by the first of its synset's words, or by its WordNet number where two share that
    word. Boxes hold their last column and row, counted from 0. The label is the folder's (train) or the
    list's (val), so that a picture without a box stays. Pictures in test/ have no labels and are left out.

    Raises:
        DataError: if there is nothing to learn from, or a list cannot be read.
    """
    notes, names = Notes(), _class_names(root)
    splits: dict[str, list[AnnotatedPicture]] = {"train": []}
    for folder in sorted((root / "train").glob("*/")):
        if folder.name not in names:
            notes.add(f"folders of train are not in {SYNSETS} and are left out", folder)
    for synset, name in names.items():
        folder = root / "train" / synset
        if not folder.is_dir():
            notes.add(f"classes of {SYNSETS} have no folder in train", synset)
            continue
        file = folder / f"{synset}_boxes.txt"
        boxes = {row[0]: row[1:] for row in _rows(file, "\t")} if file.is_file() else {}
        for path in list_pictures(folder):
            splits["train"].append(_picture(path, name, boxes.pop(path.name, []), file, notes))
        for missing in boxes:
            notes.add("annotated pictures are missing and are left out", file.with_name(missing))
    if (root / VAL_BOXES).is_file():
        splits["val"] = []
        there = {path.name: path for path in list_pictures(root / "val" / "images")}
        for row in _rows(root / VAL_BOXES, "\t"):
            path = there.get(row[0])
            synset = row[1] if len(row) > 1 else ""
            if path is None:
                notes.add("annotated pictures are missing and are left out", f"val/images/{row[0]}")
            elif not synset:
                notes.add(f"lines of {VAL_BOXES} have no class and are left out", row[0])
            else:
                label = names.get(synset, synset)
                splits["val"].append(_picture(path, label, row[2:], root / VAL_BOXES, notes))
    return dataset_of_boxes(str(root), splits, notes)


def _picture(path: Path, label: str, words: list[str], file: Path, notes: Notes) -> AnnotatedPicture:
    try:
        x0, y0, x1, y1 = (float(word) for word in words)
        if not all(math.isfinite(edge) for edge in (x0, y0, x1, y1)):
            raise ValueError
    except ValueError:
        notes.add("pictures have no box with four numbers", path)
        return AnnotatedPicture(path, str(file), None, [], label)
    return AnnotatedPicture(path, f"{file}, {path.name}", None, [(label, x0, y0, x1 + 1, y1 + 1)], label)


def _class_names(root: Path) -> dict[str, str]:
    """Return the class name of each synset of the data set."""
    synsets = [row[0] for row in _rows(root / SYNSETS, None)]
    words = {}
    if (root / WORDS).is_file():
        words = {row[0]: row[1].split(",")[0].strip() for row in _rows(root / WORDS, "\t") if len(row) > 1}
    first = {synset: words.get(synset) or synset for synset in synsets}
    shared = Counter(first.values())
    return {synset: name if shared[name] == 1 else synset for synset, name in first.items()}


def _rows(file: Path, separator: str | None) -> list[list[str]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); copy it again") from error
    return [[word.strip() for word in line.split(separator)] for line in lines if line.strip()]
