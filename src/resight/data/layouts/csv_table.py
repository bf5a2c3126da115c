"""Tables of picture files: csv and its kin with the columns path, label and, if it is there, split.

The first line names the columns, in any case and with any of the usual names. A file without such a line
is read only where it has two columns and the first row's first field is a file that is there: path, label.
"""

import os
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from resight.core.errors import DataError
from resight.data.dataset import Dataset, FilePictures, Split
from resight.data.label_columns import LabelColumn, labelled_splits, number_labels
from resight.data.labels import one_line, shown
from resight.data.layouts.delimited import DELIMITERS, Row, Text, read_delimited
from resight.data.layouts.features import plain
from resight.data.layouts.splits import WORDS, split_of
from resight.data.layouts.table import dataset_of_splits

SUFFIXES = (".csv", ".tsv")
PATHS = ({"path"}, {"filepath", "imagepath", "imgpath", "picturepath"}, {"file", "filename", "image", "img"}
         | {"imagefile", "imagename", "picture", "imagefilename", "photo"})  # fmt: skip
LABELS = ({"label"}, {"class", "category", "target", "classname", "labelname", "categoryname", "classlabel"})
SEVERAL = "labels"
SPLITS = {"split", "set", "subset", "partition", "datasplit", "phase", "usage"}
"""Names of columns as `plain` has them; of paths and labels, the first set that a column is in decides."""
LONGEST_PATH = 4096


@dataclass(frozen=True)
class _Header:
    """Which column is what.

    Attributes:
        names: of all columns, as the file has them.
        path: the column of paths.
        label: the column of labels.
        several: whether it lists any number of classes, with semicolons between them.
        split: the column that may name splits; None if there is none.
    """

    names: tuple[str, ...]
    path: int
    label: int
    several: bool
    split: int | None


@dataclass(frozen=True)
class _Entry:
    """What a row says: its line, picture, labels (one, or any number) and split."""

    line: int
    path: Path
    labels: tuple[str, ...]
    split: str


def open_csv(file: Path) -> Dataset:
    """Open a csv with the columns path, label and, if it is there, split.

    Instead of label, a column labels: any number of classes with semicolons between them. Paths are
    relative to the csv's own folder.

    Raises:
        DataError: if columns, rows or files are missing or not clear, naming the line.
    """
    text = read_delimited(file)
    header, rows, notes = _table(text)
    rows = [_fitted(file, header, row) for row in rows]
    entries, noted = _entries(file, header, rows)
    doubled = _doubled(file, entries, several=header.several)
    used = {header.path, header.label, header.split}
    unused = tuple(
        f"column {name.strip() or number + 1!r}: is neither path, label nor split"
        for number, name in enumerate(header.names)
        if number not in used
    )
    return _dataset(
        file, entries, several=header.several, notes=(*text.notes, *notes, *noted, *doubled), unused=unused
    )


def _table(text: Text) -> tuple[_Header, list[Row], tuple[str, ...]]:
    """Find the delimiter by the header that makes sense with it, and cut the text."""
    firsts = {d: row for d in (text.delimiter or DELIMITERS) if (row := text.first(d)) is not None}
    for delimiter, first in firsts.items():
        if header := _header(text.file, first):
            return header, list(text.rows(delimiter))[1:], ()
    for delimiter, first in firsts.items():
        if len(first.fields) == 2 and found(text.file.parent, first.fields[0]) is not None:
            note = f"{text.file.name} has no header line: its columns are read as path, label"
            return (
                _Header(("path", "label"), 0, 1, several=False, split=None),
                list(text.rows(delimiter)),
                (note,),
            )
    first = next(iter(firsts.values()), None)
    if first is None and text.text.strip():
        list(text.rows(","))  # says what is wrong with it
    held = shown(", ".join(first.fields)) if first else "nothing"
    raise DataError(
        f"{text.file}: its first line holds {held}; it needs a header line path,label[,split] and rows below "
        "(or labels, separated by semicolons)"
    )


def _header(file: Path, row: Row) -> _Header | None:
    """Return which column is what; None if the row names no path or no label.

    Raises:
        DataError: if two columns have one name, or several may be the path or the label.
    """
    names = tuple(plain(name.removeprefix("\ufeff")) for name in row.fields)
    several = SEVERAL in names and "label" not in names
    path = next((f for words in PATHS if (f := [i for i, n in enumerate(names) if n in words])), [])
    label = next((f for words in LABELS if (f := [i for i, n in enumerate(names) if n in words])), [])
    if several:
        label = [names.index(SEVERAL)]
    if not path or not label:
        return None
    twice = next((n for n in names if n and names.count(n) > 1), None)
    if twice is not None:
        raise DataError(f"{file}:{row.line}: two columns are named {shown(twice)}; rename one")
    for what, found in (("path", path), ("label", label)):
        if len(found) > 1:
            listed = ", ".join(one_line(row.fields[i].strip()) for i in found)
            raise DataError(
                f"{file}:{row.line}: columns {listed} could each be the {what}; rename the right one {what!r}"
            )
    splits = [i for i, n in enumerate(names) if n in SPLITS]
    exact = [i for i in splits if names[i] == "split"]
    return _Header(row.fields, path[0], label[0], several, next(iter(exact or splits), None))


def _fitted(file: Path, header: _Header, row: Row) -> Row:
    """Return a row with as many fields as the header has names, empty ones at its end left out.

    Raises:
        DataError: if it has another number of fields, or text in a column without a name.
    """
    count = len(header.names)
    if len(row.fields) < count or any(field.strip() for field in row.fields[count:]):
        raise DataError(
            f"{file}:{row.line}: has {len(row.fields)} fields, but the header has {count}; quote fields "
            "that hold the delimiter, and fill in missing ones"
        )
    for number, name in enumerate(header.names):
        if number and not name.strip() and row.fields[number].strip():  # the first may be pandas' index
            raise DataError(
                f"{file}:{row.line}: has {shown(row.fields[number])} in column {number + 1}, which has no "
                "name; name it, or quote fields that hold the delimiter"
            )
    return Row(row.line, row.fields[:count])


def _entries(file: Path, header: _Header, rows: Sequence[Row]) -> tuple[list[_Entry], tuple[str, ...]]:
    splits, notes = _splits(file, header, rows)
    entries = []
    for row, split in zip(rows, splits, strict=True):
        place = row.fields[header.path]
        if not place.strip():
            raise DataError(f"{file}:{row.line}: its path is missing; fill it in or remove the row")
        path = found(file.parent, place)
        if path is None:
            windows = " (a Windows path)" if re.match(r"\s*[A-Za-z]:[\\/]", place) else ""
            raise DataError(
                f"{file}:{row.line}: names {shown(place)}{windows}, which does not exist; fix the path, "
                "relative to the folder of the csv, or remove the row"
            )
        cell = row.fields[header.label]
        labels = tuple(w for word in cell.split(";") if (w := word.strip())) if header.several else (cell,)
        entries.append(_Entry(row.line, path, labels, split))
    if header.several and not any(";" in row.fields[header.label] for row in rows):
        comma = next((row.fields[header.label] for row in rows if "," in row.fields[header.label]), None)
        if comma is not None:
            notes = (*notes, f"{shown(comma)} is read as one class; separate several with semicolons")
    return entries, notes


def _splits(file: Path, header: _Header, rows: Sequence[Row]) -> tuple[list[str], tuple[str, ...]]:
    """Return the split of each row: train if no column names one."""
    cells = [row.fields[header.split].strip() if header.split is not None else "" for row in rows]
    splits = [split_of(cell.strip()) for cell in cells]
    if not any(cells):
        return ["train"] * len(rows), ()
    assert header.split is not None
    name = header.names[header.split].strip()
    if plain(name) != "split" and not any(splits):  # a column "set" may be of something else
        return ["train"] * len(rows), (
            f"column {name!r} has no split names (train, val, test) and is not used",
        )
    for row, cell, split in zip(rows, cells, splits, strict=True):
        if split is None:
            raise DataError(
                f"{file}:{row.line}: split {shown(cell)} in column {name!r} is not one of train, val, test"
                "; write one of these"
            )
    return [split for split in splits if split], ()


def found(folder: Path, place: str) -> Path | None:
    """Return the file that a path names, perhaps in another system's spelling; None if it is not there."""
    for spelled in _spellings(place):
        try:
            if len(spelled) <= LONGEST_PATH and (folder / spelled).is_file():
                return folder / spelled
        except (OSError, ValueError):  # a name longer than the system's, or a character it cannot hold
            continue
    return None


def _spellings(place: str) -> Iterator[str]:
    """Yield a path as written, without white space around it, with slashes, and in both Unicode forms."""
    for text in (place, place.strip()):
        for slashed in (text, text.replace("\\", "/")):
            yield slashed
            yield unicodedata.normalize("NFC", slashed)
            yield unicodedata.normalize("NFD", slashed)


def _doubled(file: Path, entries: Sequence[_Entry], *, several: bool) -> tuple[str, ...]:
    """Refuse rows of one picture that contradict each other, and note those that agree.

    Raises:
        DataError: if they have different labels or splits.
    """
    seen: dict[str, _Entry] = {}
    again: list[_Entry] = []
    for entry in entries:
        first = seen.setdefault(os.path.normpath(entry.path), entry)
        if first is entry:
            continue
        labels = [{unicodedata.normalize("NFC", w.strip()) for w in e.labels} for e in (first, entry)]
        if labels[0] != labels[1]:
            cure = "" if several else ", or list both in one row, in a column labels, separated by semicolons"
            own, other = (shown("; ".join(e.labels)) for e in (entry, first))
            raise DataError(
                f"{file}:{entry.line}: has the labels {own} for {shown(entry.path.name)}, line {first.line} "
                f"has {other}; fix one of the two{cure}"
            )
        if first.split != entry.split:
            raise DataError(
                f"{file}:{entry.line}: has {shown(entry.path.name)} in {entry.split}, line {first.line} "
                f"has it in {first.split}; a picture belongs to one split"
            )
        again.append(entry)
    if not again:
        return ()
    first = seen[os.path.normpath(again[0].path)]
    return (
        f"{len(again)} rows name a picture that another row names too, with the same label, such as lines "
        f"{first.line} and {again[0].line}",
    )


def _dataset(
    file: Path, entries: Sequence[_Entry], *, several: bool, notes: tuple[str, ...], unused: tuple[str, ...]
) -> Dataset:
    """Build the data set of the rows."""
    words = [word for entry in entries for word in entry.labels]
    owner = [number for number, entry in enumerate(entries) for _ in entry.labels]
    values = list(dict.fromkeys(words))
    number_of = {word: number for number, word in enumerate(values)}
    rows = np.array([number_of[word] for word in words], dtype=np.int64)
    column = LabelColumn(str(file), values, rows, lambda i: f"{file}:{entries[owner[i]].line}")
    labels = number_labels([column])
    numbers, owners = labels.numbers[0], np.array(owner, dtype=np.int64)
    if several:
        kept = numbers >= 0  # an empty cell lists no class; so does one that says nan
        table = np.zeros((len(entries), len(labels.classes)), np.float32)
        table[owners[kept], numbers[kept]] = 1
    else:
        table = numbers
    splits, missing, where = {}, {}, {}
    for split in WORDS:
        own = np.array([i for i, entry in enumerate(entries) if entry.split == split], dtype=np.int64)
        if len(own):
            pictures = FilePictures([entries[i].path for i in own])
            splits[split] = Split(split, pictures, np.arange(len(own)), table[own], labels.classes)
            missing[split] = np.zeros(len(own), bool) if several else table[own] < 0
            where[split] = partial(_line, [entries[i].line for i in own])
    if not splits:
        raise DataError(f"{file}: has no rows; it needs a header line path,label[,split] and rows below")
    kept_splits, left_out = labelled_splits(str(file), splits, missing, where)
    return dataset_of_splits(str(file), kept_splits, notes=(*notes, *labels.notes, *left_out), unused=unused)


def _line(lines: Sequence[int], row: int) -> str:
    return f"line {lines[row]}"
