"""The content of a folder as all readers see it, without hidden files and files of operating systems."""

import os
from pathlib import Path

from resight.core.errors import DataError
from resight.data.decode import SUFFIXES

LEAVINGS = frozenset(
    [
        "__macosx",
        "thumbs.db",
        "desktop.ini",
        "@eadir",
        "lost+found",
        "$recycle.bin",
        "system volume information",
    ]
)
"""Names, in lower case, of files that operating systems and network drives add."""


def is_visible(name: str) -> bool:
    """Return whether a name is the user's: not hidden, and none of `LEAVINGS`."""
    return not name.startswith(".") and name.casefold() not in LEAVINGS


def is_picture(name: str) -> bool:
    """Return whether a file's name is a picture's; what it holds is decided by its content."""
    stem, _, ending = name.rpartition(".")  # a hundred thousand names: no Path is made of them
    return bool(stem) and f".{ending.lower()}" in SUFFIXES and is_visible(name)


def refused(where: Path, error: OSError) -> DataError:
    """Return the error for a file or folder that the system does not let us read."""
    return DataError(f"{error.filename or where}: cannot be read ({error.strerror}); check its permissions")


def _names(folder: Path) -> tuple[list[str], list[str]]:
    """Return the names of the visible folders, and of the visible files, in a folder itself, sorted."""
    folders, files = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if is_visible(entry.name):
                    (folders if entry.is_dir() else files).append(entry.name)
    except OSError as error:
        raise refused(folder, error) from error
    return sorted(folders), sorted(files)


def listed(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the visible folders, and the visible files, that are in a folder itself, sorted.

    Links to files and folders count as what they point to; a link to nothing counts as a file.

    Raises:
        DataError: if the folder cannot be read.
    """
    folders, files = _names(folder)
    return [folder / name for name in folders], [folder / name for name in files]


def subfolders(folder: Path) -> list[Path]:
    """Return the visible folders in a folder, sorted; none if it is not there."""
    return [folder / name for name in _names(folder)[0]] if folder.is_dir() else []


def files_in(folder: Path, suffix: str = "") -> list[Path]:
    """Return the visible files in a folder itself, sorted; none if it is not there.

    Args:
        folder: the folder.
        suffix: that they have, in any case; all without.
    """
    names = _names(folder)[1] if folder.is_dir() else []
    return [folder / name for name in names if name.lower().endswith(suffix)]


def pictures_in(folder: Path) -> list[Path]:
    """Return the pictures in a folder itself, sorted; none if the folder is not there."""
    names = _names(folder)[1] if folder.is_dir() else []
    return [folder / name for name in names if is_picture(name)]


def list_pictures(folder: Path) -> list[Path]:
    """Return the picture files below a folder, sorted, hidden ones left out.

    Raises:
        DataError: if a folder cannot be read.
    """
    files: list[Path] = []

    def refuse(error: OSError) -> None:
        raise refused(folder, error) from error

    for where, folders, names in os.walk(folder, onerror=refuse):
        folders[:] = sorted(f for f in folders if is_visible(f))
        files += [Path(where, n) for n in sorted(names) if is_picture(n)]
    return files


def has_picture(folder: Path) -> bool:
    """Return whether a picture is in a folder itself; stops at the first one."""
    try:
        with os.scandir(folder) as entries:
            return any(is_picture(entry.name) and not entry.is_dir() for entry in entries)
    except OSError as error:
        raise refused(folder, error) from error


def has_picture_below(folder: Path) -> bool:
    """Return whether a picture lies anywhere below a folder; stops at the first one."""
    return has_picture(folder) or any(
        has_picture_below(inner) for inner in subfolders(folder) if not inner.is_symlink()
    )
