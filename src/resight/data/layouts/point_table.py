"""Tables of key points: a csv with a column of pictures and two columns for each point.

The columns of points are NAME_x and NAME_y, with NAME_visible where that is known (0 not marked, 1 hidden, 2
or true seen); or x0, y0, x1, y1 and so on; or, as pandas writes an array, 0, 1, 2 and so on, x before y.
"""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.labels import shown
from resight.data.layouts.boxes import Notes
from resight.data.layouts.claim import Claim
from resight.data.layouts.csv_table import PATHS, SPLITS, found
from resight.data.layouts.delimited import DELIMITERS, Row, read_delimited
from resight.data.layouts.features import plain
from resight.data.layouts.pointed import PointedPicture, dataset_of_points
from resight.data.layouts.splits import WORDS, split_in, split_of
from resight.data.layouts.tree import files_in, subfolders
from resight.data.points import FACE, HIDDEN, UNMARKED, VISIBLE, Skeleton, swaps_of

NAMES = frozenset({"", "unnamed: 0", "name", *(word for words in PATHS for word in words)})
PART = re.compile(r"(.+)[_\- ](x|y|visible|visibility|v)", re.IGNORECASE)
STATES = {
    "": VISIBLE, "0": UNMARKED, "1": HIDDEN, "2": VISIBLE, "0.0": UNMARKED, "1.0": HIDDEN, "2.0": VISIBLE,
    "false": HIDDEN, "true": VISIBLE,
}  # fmt: skip
SUFFIXES = (".csv", ".tsv")


@dataclass(frozen=True)
class Header:
    """Which column is what: numbers of columns.

    Attributes:
        path: of the pictures.
        split: that names splits; None if there is none.
        names: of the points, (J,).
        x: of each point, (J,).
        y: of each point, (J,).
        states: of each point; None where there is none, (J,).
        named: whether the file names the points, rather than number them.
    """

    path: int
    split: int | None
    names: tuple[str, ...]
    x: tuple[int, ...]
    y: tuple[int, ...]
    states: tuple[int | None, ...]
    named: bool


def claim_point_table(root: Path) -> Claim | None:
    """Claim a folder with tables of points: one, or one for each split by its name."""
    tables = [file for end in SUFFIXES for file in files_in(root, end) if header_of(file)]
    if not tables:
        return None
    used = {file.name for file in tables} | {folder.name for folder in subfolders(root)}
    return Claim(
        "a folder with tables of key points", frozenset(used), lambda _: open_tables(str(root), tables)
    )


def header_of(file: Path) -> Header | None:
    """Return which column of a table is what; None if it is no table of points."""
    try:
        return _parsed(file)[0]
    except DataError:
        return None


def open_tables(name: str, tables: list[Path]) -> Dataset:
    """Open tables of points.

    A table's split is in its column "split", else in its file's name (training_points.csv); without either
    all pictures are for training. Pictures are named from the table's folder, or from the folder of their
    split beside it. x and y are pixels, 0 the middle of the first one; both cells empty: the point is not
    marked. Points named left_... and right_... (or l_... and r_...) swap when a picture is mirrored. 68
    numbered points are those of 300-W.

    Args:
        name: what the user called the data set.
        tables: the files.

    Raises:
        DataError: naming the file and line that are not clear.
    """
    notes = Notes()
    read = [(file, *_parsed(file)) for file in tables]
    skeleton = _skeleton(read[0][0], read[0][1], notes)
    splits: dict[str, list[PointedPicture]] = {}
    seen: dict[str, str] = {}
    for file, header, rows in read:
        if header.names != read[0][1].names:
            raise DataError(f"{file}: has other points than {tables[0].name}; give both the same columns")
        own = split_in(file.stem) or "train"
        if len(tables) > 1 and header.split is None and split_in(file.stem) is None:
            raise DataError(
                f"{file}: is one of {len(tables)} tables of points, but its name has no split (train, val, "
                "test); rename it, or give the one table that you mean"
            )
        for row in rows:
            split = _split(file, header, row) or own
            picture = _picture(file, header, row, split)
            key = os.path.normpath(picture.path)
            if key in seen:
                raise DataError(
                    f"{picture.source}: names {picture.path.name}, which {seen[key]} names too; keep one row "
                    "a picture, and cut pictures of several people into one each"
                )
            seen[key] = picture.source
            splits.setdefault(split, []).append(picture)
    return dataset_of_points(name, skeleton, {s: splits[s] for s in WORDS if s in splits}, notes)


def _skeleton(file: Path, header: Header, notes: Notes) -> Skeleton:
    if header.named:
        return Skeleton(header.names, swaps_of(header.names, str(file)))
    if len(header.names) == len(FACE):
        notes.add("tables number 68 points, which are read as the 68 points of a face (300-W)", file)
        return FACE
    notes.add("tables number their points, so pictures are not mirrored: left and right are not known", file)
    return Skeleton(header.names)


def _parsed(file: Path) -> tuple[Header, list[Row]]:
    """Return a table's header and rows, with the delimiter that makes sense of it.

    Raises:
        DataError: if it is no table of points, saying what is missing.
    """
    text = read_delimited(file)
    fault = "its first line names no points"
    for delimiter in text.delimiter or DELIMITERS:
        first = text.first(delimiter)
        if first is None or len(first.fields) < 3:
            continue
        header = _header(file, first)
        if isinstance(header, Header):
            return header, list(text.rows(delimiter))[1:]
        fault = header
    raise DataError(
        f"{file}: {fault}; a table of key points has a column path and, for each point, NAME_x and NAME_y "
        "(or x0, y0, x1, y1 and so on)"
    )


def _header(file: Path, row: Row) -> Header | str:
    """Return which column is what, or what is wrong.

    Raises:
        DataError: if two columns have one name.
    """
    names = [name.strip() for name in row.fields]
    folded = [name.casefold() for name in names]
    if twice := next((n for n in folded if n and folded.count(n) > 1), None):
        raise DataError(f"{file}:{row.line}: two columns are named {shown(twice)}; rename one")
    paths = [
        i for i, name in enumerate(folded) if (name in NAMES or plain(name) in NAMES) and (name or i == 0)
    ]
    if len(paths) != 1:
        which = " and ".join(shown(names[i]) for i in paths)
        return f"columns {which} could each name the picture" if paths else "no column names the picture"
    split = next((i for i, name in enumerate(folded) if plain(name) in SPLITS), None)
    rest = [i for i in range(len(names)) if i not in (paths[0], split)]
    numbered = _numbered(folded, rest)
    if numbered:
        x, y = numbered
        labels = tuple(str(i) for i in range(len(x)))
        return Header(paths[0], split, labels, x, y, (None,) * len(x), named=False)
    return _named(names, rest, paths[0], split)


def _numbered(folded: list[str], rest: list[int]) -> tuple[tuple[int, ...], tuple[int, ...]] | None:
    """Return the columns of x and of y where points are numbered, in their order; None if they are not."""
    if len(rest) % 2 or not rest:
        return None
    pairs = [f"{axis}{i}" for i in range(len(rest) // 2) for axis in "xy"]
    plainly = [str(i) for i in range(len(rest))]
    if [folded[i] for i in rest] not in (pairs, plainly):
        return None
    return tuple(rest[::2]), tuple(rest[1::2])


def _named(names: list[str], rest: list[int], path: int, split: int | None) -> Header | str:
    parts: dict[str, dict[str, int]] = {}
    for i in rest:
        match = PART.fullmatch(names[i])
        if match is None:
            return f"the column {shown(names[i])} is neither a picture, a split nor a point"
        parts.setdefault(match[1], {})[match[2].lower()[0]] = i
    for name, columns in parts.items():
        if missing := next((axis for axis in "xy" if axis not in columns), None):
            return f"the point {shown(name)} has no column {name}_{missing}"
    x, y = (tuple(columns[axis] for columns in parts.values()) for axis in "xy")
    states = tuple(columns.get("v") for columns in parts.values())
    return Header(path, split, tuple(parts), x, y, states, named=True)


def _split(file: Path, header: Header, row: Row) -> str | None:
    if header.split is None or header.split >= len(row.fields):
        return None
    cell = row.fields[header.split].strip()
    if not (split := split_of(cell)):
        raise DataError(
            f"{file}:{row.line}: split {shown(cell)} is not one of train, val, test; write one of these"
        )
    return split


def _picture(file: Path, header: Header, row: Row, split: str) -> PointedPicture:
    source = f"{file}:{row.line}"
    most = 1 + max(header.path, header.split or 0, *header.x, *header.y, *(s or 0 for s in header.states))
    if len(row.fields) != most and (len(row.fields) < most or any(f.strip() for f in row.fields[most:])):
        raise DataError(f"{source}: has {len(row.fields)} fields, but the header has {most}; fix the row")
    place = row.fields[header.path].strip()
    folders = [file.parent, *(f for f in subfolders(file.parent) if split_of(f.name) == split)]
    folders.append(file.parent / "images")
    path = next((p for folder in folders if place and (p := found(folder, place))), None)
    if path is None:
        raise DataError(
            f"{source}: names {shown(place)}, which is not in {file.parent} nor in its folder of the {split} "
            "split; fix the path, relative to the table's folder, or remove the row"
        )
    joints = [_joint(source, header, row, j) for j in range(len(header.names))]
    return PointedPicture(
        path,
        source,
        np.array([(x, y) for x, y, _ in joints], dtype=np.float64),
        np.array([state for _, _, state in joints], dtype=np.int8),
    )


def _joint(source: str, header: Header, row: Row, joint: int) -> tuple[float, float, int]:
    """Return x, y and state of a point.

    Raises:
        DataError: if a cell is no number, or one of the two is empty.
    """
    name, column = header.names[joint], header.states[joint]
    cells = [row.fields[at].strip() for at in (header.x[joint], header.y[joint])]
    word = row.fields[column].strip().lower() if column is not None else ""
    if word not in STATES:
        raise DataError(
            f"{source}: {name}_visible is {shown(word)}; write 0 (not marked), 1 (hidden) or 2 (seen)"
        )
    state = STATES[word]
    if not any(cells) or state == UNMARKED:
        return 0.0, 0.0, UNMARKED
    try:
        x, y = (float(cell) for cell in cells)
    except ValueError:
        x = y = math.nan
    if not (math.isfinite(x) and math.isfinite(y)):
        raise DataError(
            f"{source}: the point {shown(name)} is at {shown(', '.join(cells))}; write two numbers, or leave "
            "both cells empty if it is not marked"
        )
    return x, y, state
