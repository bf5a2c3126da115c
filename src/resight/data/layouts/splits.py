"""The names that people give to splits."""

import re
from pathlib import Path

from resight.core.errors import DataError
from resight.data.layouts.parts import NEUTRAL
from resight.data.layouts.tree import has_picture, has_picture_below, subfolders

WORDS = {
    "train": ("train", "training", "trainval"),
    "val": ("val", "valid", "validation", "dev", "devel", "development", "eval", "evaluation"),
    "test": ("test", "testing"),
}
"""What a split is called, in lower case, before an ending such as _set, -images or 2017."""

ENDING = r"(?:[_\- ]?(?:set|data|dataset|split|images|imgs|pictures))?(?:[_\- ]?(?:19|20)\d\d)?"
NAMED = {
    split: re.compile(rf"(?:{'|'.join(words)}){ENDING}", re.IGNORECASE) for split, words in WORDS.items()
}


def split_of(name: str) -> str | None:
    """Return the split that a folder or file is named after ("Training_Set", "val2017"), if it is one."""
    return next((split for split, pattern in NAMED.items() if pattern.fullmatch(name)), None)


def split_in(stem: str) -> str | None:
    """Return the split that a file's name contains, as a whole ("testset") or in a word ("a-test-01")."""
    words = re.split(r"[^a-z]+", stem.lower())
    return split_of(stem) or next((split for split, known in WORDS.items() if set(known) & set(words)), None)


def split_folders(root: Path) -> dict[str, Path]:
    """Return the folders of a folder that are named after splits, train first.

    Raises:
        DataError: if two are named after one split.
    """
    found: dict[str, Path] = {}
    for folder in subfolders(root):
        if split := split_of(folder.name):
            if split in found:
                raise DataError(
                    f"{root}: has two folders for the split {split}, {found[split].name} and {folder.name}; "
                    "merge them, or move one elsewhere"
                )
            found[split] = folder
    return {split: found[split] for split in WORDS if split in found}


def is_classless(folder: Path) -> bool:
    """Return whether pictures are in a folder itself, or in folders whose names are not classes."""
    empty = True
    for inner in subfolders(folder):
        if has_picture_below(inner):
            if not (split_of(inner.name) or inner.name.lower() in NEUTRAL) or not has_picture(inner):
                return False
            empty = False
    return not empty or has_picture(folder)
