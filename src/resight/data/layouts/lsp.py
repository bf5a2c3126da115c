"""Leeds Sports Pose and its extension: joints.mat with the joints of all pictures, which are in images/."""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.layouts.boxes import Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.pointed import PointedPicture, dataset_of_points
from resight.data.layouts.tree import pictures_in
from resight.data.points import HIDDEN, LSP, UNMARKED, VISIBLE

FILE, PICTURES, VARIABLE = "joints.mat", "images", "joints"
LISTS = {"train": "train.txt", "val": "val.txt", "test": "test.txt"}
NUMBERED = re.compile(r"im0*([1-9]\d*)")
FIRST_TEST = 1_000
"""Of the 2,000 pictures of the first set, the first thousand are for training, the others for testing."""


def claim_lsp(root: Path) -> Claim | None:
    """Claim a folder with a joints.mat."""
    if not (root / FILE).is_file():
        return None
    used = frozenset([FILE, PICTURES, *LISTS.values(), "README.txt", "origin.csv", "visualized"])
    return Claim("a Leeds Sports Pose folder", used, lambda _: open_lsp(root))


def open_lsp(root: Path) -> Dataset:
    """Open a folder in the layout of Leeds Sports Pose.

    joints.mat holds the matrix "joints" of 14 joints by x, y and a flag, for each picture: (14, 3, N) in the
    extended set, where the flag says whether a joint is marked at all; (3, 14, N) in the first set, where all
    are marked and it says whether the joint is seen. Picture imNNNNN.jpg is number NNNNN, from 1. The file's
    numbers are read; nothing in it is run. Splits are the lists train.txt, val.txt and test.txt; without any,
    those of the first set's 2,000 pictures, else all pictures are for training.

    Source: the README of either set; Johnson and Everingham 2010 and 2011.

    Raises:
        DataError: if joints.mat cannot be read or has another form, or a list names what is not there.
    """
    joints = read_joints(root / FILE)
    extended = joints.shape[0] == len(LSP)
    rows = joints if extended else joints.transpose(1, 0, 2)
    notes, numbered = Notes(), _numbered(root)
    splits = {
        split: [
            PointedPicture(
                numbered[n], f"{root / FILE}, picture {n}", rows[:, :2, n - 1],
                _states(rows[:, 2, n - 1], extended=extended),
            )
            for n in numbers
        ]
        for split, numbers in _splits(root, numbered, rows.shape[2], extended=extended).items()
    }  # fmt: skip
    listed = {picture.path for pictures in splits.values() for picture in pictures}
    for path in pictures_in(root / PICTURES):
        if path not in listed:
            notes.add("pictures are in no list, or have no number in joints.mat, and are left out", path)
    return dataset_of_points(str(root), LSP, splits, notes)


def read_joints(file: Path) -> NDArray[np.float64]:
    """Return the matrix "joints" of a MATLAB file, (14, 3, N) or (3, 14, N).

    Raises:
        DataError: if the file cannot be read, or holds no such matrix.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(str(file), variable_names=[VARIABLE])
    except NotImplementedError as error:
        raise DataError(f"{file}: is MATLAB 7.3, which is not read; save it in MATLAB with -v7") from error
    except Exception as error:
        raise DataError(f"{file}: is not a readable MATLAB file ({error}); copy it again") from error
    joints = content.get(VARIABLE)
    if not isinstance(joints, np.ndarray) or joints.dtype.kind not in "fiu" or joints.ndim != 3:
        raise DataError(f"{file}: holds no matrix {VARIABLE!r} of numbers with three sides; see docs/data.md")
    if joints.shape[:2] not in ((14, 3), (3, 14)):
        raise DataError(
            f"{file}: its matrix {VARIABLE!r} is {' x '.join(map(str, joints.shape))}; Leeds Sports Pose has "
            "14 x 3 x N or 3 x 14 x N; write other joints as a csv with NAME_x and NAME_y"
        )
    joints = joints.astype(np.float64)
    absent = np.isnan(joints).any(1) & (joints[:, 2] == 0) if joints.shape[1] == 3 else np.zeros(0, bool)
    if absent.any():
        joints = np.where(absent[:, None], 0.0, joints)
    if not np.isfinite(joints).all():
        raise DataError(f"{file}: holds places that are not finite numbers; give such joints the flag 0")
    return joints


def _states(flags: NDArray[np.float64], *, extended: bool) -> NDArray[np.int8]:
    return np.where(flags > 0, VISIBLE, UNMARKED if extended else HIDDEN).astype(np.int8)


def _numbered(root: Path) -> dict[int, Path]:
    """Return the pictures by number."""
    found: dict[int, Path] = {}
    for path in pictures_in(root / PICTURES):
        if match := NUMBERED.fullmatch(path.stem):
            number = int(match[1])
            if number in found:
                raise DataError(
                    f"{path}: has the number of {found[number].name}, so their joints cannot be told apart; "
                    "rename one of them"
                )
            found[number] = path
    return found


def _splits(root: Path, numbered: dict[int, Path], count: int, *, extended: bool) -> dict[str, list[int]]:
    lists = {split: root / name for split, name in LISTS.items() if (root / name).is_file()}
    there = sorted(number for number in numbered if number <= count)
    if not lists:
        if not extended and count == 2 * FIRST_TEST:
            return {
                "train": [n for n in there if n <= FIRST_TEST],
                "test": [n for n in there if n > FIRST_TEST],
            }
        return {"train": there}
    splits, seen = {}, {}
    for split, file in lists.items():
        numbers = []
        for line, name in _lines(file):
            match = NUMBERED.fullmatch(Path(name).stem)
            if match is None or int(match[1]) not in numbered or int(match[1]) > count:
                raise DataError(
                    f"{file}:{line}: names {name!r}, which is not in {PICTURES}/ or {FILE}; fix the name"
                )
            number = int(match[1])
            if number in seen:
                raise DataError(
                    f"{file}:{line}: names {name!r}, which {seen[number]} names too; list a picture once"
                )
            seen[number] = f"{file.name}:{line}"
            numbers.append(number)
        splits[split] = numbers
    return splits


def _lines(file: Path) -> list[tuple[int, str]]:
    try:
        lines = file.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error}); save it as UTF-8 text") from error
    return [(number, line.strip()) for number, line in enumerate(lines, 1) if line.strip()]
