"""Tables of pictures in parquet, in the Hugging Face layout, and what all tables and shards share.

Which column is the picture and which the label is decided in `features.py`, what a label says in
`data/labels.py`. A column of lists gives pictures any number of classes each.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split
from resight.data.label_columns import LabelColumn, Labels, labelled_splits, number_labels, refuse_stray_minus
from resight.data.labels import lookalikes, shown
from resight.data.layouts.features import Columns, columns_of, needs_columns
from resight.data.layouts.splits import WORDS, split_of
from resight.data.shards.columns import ColumnPictures, unreadable

MIRRORS = b"resight.mirrors"
"""Key of a parquet file's schema metadata: b"false" where a mirrored picture is of another class."""
SPLIT_COLUMN = "split"


def parquet_shards(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of a folder by split: `train.parquet`, `train-*.parquet`, `train_0.parquet`.

    All are "train" if no name contains a split and the folder has no folders.
    """
    shards: dict[str, list[Path]] = {}
    files = _parquet_files(folder)
    for file in files:
        named = re.fullmatch(r"([^\W\d_]+)(-.*|_?\d+)?", file.stem)
        if named and (split := split_of(named[1])):
            shards.setdefault(split, []).append(file)
    if not shards and files and not any(f.is_dir() and not f.name.startswith(".") for f in folder.iterdir()):
        return {"train": files}  # nothing else in the folder can be the pictures
    return {split: shards[split] for split in WORDS if split in shards}


def _parquet_files(folder: Path) -> list[Path]:
    return sorted(
        f for f in folder.iterdir() if f.suffix.lower() == ".parquet" and not f.name.startswith(".")
    )


@dataclass(frozen=True)
class _File:
    """One parquet file: its columns and its labels.

    Attributes:
        path: where it is.
        columns: what its columns are.
        labels: the label of each row, or, where a row lists several, all of them in turn.
        counts: how many labels each row lists, -1 for null, (N,); None where a row has one.
    """

    path: Path
    columns: Columns
    labels: LabelColumn
    counts: NDArray[np.int64] | None

    @property
    def rows(self) -> int:
        return len(self.labels.rows) if self.counts is None else len(self.counts)


def open_parquet(name: str, shards: dict[str, list[Path]], folder: Path | None = None) -> Dataset:
    """Open parquet files whose rows hold encoded pictures and label numbers or names.

    Labels are read at once, pictures a row group at a time when they are asked for. Where no file name names
    a split, a column `split` does.

    Args:
        name: what the user called the data set.
        shards: the files of each split, in order.
        folder: where the files were found; parquet files there that are in no split are named.

    Raises:
        DataError: if the columns are missing, a file cannot be read, or the classes do not fit.
    """
    files = {split: [_read(file) for file in part] for split, part in shards.items()}
    every = [file for part in files.values() for file in part]
    _require_same_columns(files)
    columns = [file.labels for file in every]
    labels = number_labels(columns)
    built, start = {}, 0
    for split, part in files.items():
        which = range(start, start + len(part))
        refuse_stray_minus(columns, labels, which)
        built[split] = _split(split, part, labels, [labels.numbers[i] for i in which])
        start += len(part)
    places = {split: partial(_place, part) for split, part in files.items()}
    if set(shards) == {"train"}:
        built, places = _by_column(shards["train"], files["train"], built, places)
    missing = {split: mask for split, (_, mask) in built.items()}
    kept, left_out = labelled_splits(name, {s: part for s, (part, _) in built.items()}, missing, places)
    return dataset_of_splits(
        name,
        kept,
        mirrors=_mirrors(every[0].path),
        notes=(*labels.notes, *left_out, *_uncertain(every), *_respelled(every)),
        unused=(*_unused_columns(files, by_column=len(built) > len(files)), *_unused_files(folder, shards)),
    )


def dataset_of_splits(
    name: str,
    built: dict[str, Split],
    *,
    mirrors: bool = True,
    notes: tuple[str, ...] = (),
    unused: tuple[str, ...] = (),
) -> Dataset:
    """Build a data set of splits that each number their own classes.

    Raises:
        DataError: if there is no training split (and not a test split alone), or the classes do not fit.
    """
    if "train" not in built:
        if len(built) == 1 and "test" in built:  # a test set alone, to test a finished run on
            test = built["test"]
            classes = tuple(sorted(test.classes))
            return Dataset(name, classes, {"test": test.fitted(classes)}, mirrors, notes, unused)
        raise DataError(f"{name}: has {', '.join(built)} but no train split; add one or rename one")
    train = built["train"]
    classes = tuple(sorted({train.classes[i] for i in np.flatnonzero(train.class_counts())}))
    if len(classes) < 2:
        held = f"one class only, {shown(classes[0])}" if classes else "no class"
        raise DataError(
            f"{name}: the training split holds {held}; a classifier needs two classes or more"
            + "".join(f" ({note})" for note in notes[:1])
        )
    splits = {split: part.fitted(classes) for split, part in built.items()}
    return Dataset(name, classes, splits, mirrors, (*notes, *lookalikes(classes)), unused)


def _mirrors(file: Path) -> bool:
    """Return what the file says of mirrored pictures, in its schema metadata; most say nothing."""
    return (pq.read_schema(file).metadata or {}).get(MIRRORS) != b"false"


def _read(path: Path) -> _File:
    """Read a file's columns and labels."""
    columns = columns_of(path)
    if not columns.label:
        with pq.ParquetFile(path) as file:
            rows = np.zeros(file.metadata.num_rows, np.int64)
        return _File(path, columns, LabelColumn(str(path), [None], rows, partial(_row, path)), None)
    column = _column(path, columns.label)
    if not columns.several:
        values, rows = _distinct(path, column)
        return _File(
            path, columns, LabelColumn(str(path), values, rows, partial(_row, path), columns.names), None
        )
    lengths = pc.list_value_length(column)  # type: ignore[attr-defined]
    counts = lengths.fill_null(-1).to_numpy().astype(np.int64)
    values, rows = _distinct(path, pc.list_flatten(column))  # type: ignore[attr-defined]
    row_of = np.repeat(np.arange(len(counts)), np.maximum(counts, 0))
    where = partial(_listing_row, path, row_of)
    _refuse_flags(path, values, rows, counts, row_of)
    return _File(path, columns, LabelColumn(str(path), values, rows, where, columns.names), counts)


def _column(path: Path, column: str) -> pa.ChunkedArray:
    try:
        with pq.ParquetFile(path) as file:
            return file.read(columns=[column])[column]
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise unreadable(path, error) from error


def _distinct(path: Path, column: pa.ChunkedArray) -> tuple[list[Any], NDArray[np.int64]]:
    """Return the distinct values of a column, null among them, and which of them each row has."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if pa.types.is_null(column.type):
        return [None], np.zeros(len(column), np.int64)
    encoded: Any = column.combine_chunks().dictionary_encode()
    try:
        values = encoded.dictionary.to_pylist()
    except UnicodeDecodeError as error:
        raise unreadable(path, error) from error
    rows = encoded.indices.fill_null(len(values)).to_numpy(zero_copy_only=False).astype(np.int64)
    return ([*values, None] if encoded.null_count else values), rows


def _row(path: Path, row: int) -> str:
    return f"{path}: row {row}"


def _listing_row(path: Path, row_of: NDArray[np.int64], element: int) -> str:
    return f"{path}: row {row_of[element]}"


def _place(files: Sequence[_File], row: int) -> str:
    """Say where a row of several files is."""
    for file in files:
        if row < file.rows:
            return _row(file.path, row)
        row -= file.rows
    raise IndexError(row)


def _refuse_flags(
    path: Path,
    values: list[Any],
    rows: NDArray[np.int64],
    counts: NDArray[np.int64],
    row_of: NDArray[np.int64],
) -> None:
    """Refuse lists that hold a yes or a no for each class where the classes' numbers belong."""
    length = int(counts[0]) if len(counts) else 0
    if length < 2 or (counts != length).any() or not all(v in (0, 1) for v in values):
        return
    pairs = np.stack([row_of, rows])
    if np.unique(pairs, axis=1).shape[1] < len(rows):
        raise DataError(
            f"{path}: its rows list {length} zeros and ones; list the classes of each row by number or name"
        )


def _require_same_columns(files: dict[str, list[_File]]) -> None:
    for part in files.values():
        for file in part[1:]:
            first, own = part[0].columns, file.columns
            if own.picture != first.picture:
                raise DataError(
                    f"{file.path}: its picture column is {own.picture!r}, that of {part[0].path.name} is "
                    f"{first.picture!r}; give both the same name"
                )
    labelled = [file for part in files.values() for file in part if file.columns.label]
    for file in labelled[1:]:
        if file.columns.several != labelled[0].columns.several:
            raise DataError(
                f"{file.path}: {'lists several labels' if file.columns.several else 'has one label'} a row, "
                f"{labelled[0].path.name} does not; write both the same way"
            )
    for split, part in files.items():  # a split without labels is left out, but neither half of one nor train
        bare = [file for file in part if not file.columns.label]
        if bare and (split == "train" or len(files) == 1 or len(bare) < len(part)):
            raise DataError(needs_columns(bare[0].path, [bare[0].columns.picture, *bare[0].columns.unused]))


def _split(
    split: str, files: Sequence[_File], labels: Labels, numbers: list[NDArray[np.int64]]
) -> tuple[Split, NDArray[np.bool_]]:
    """Return a split with all its rows, and which of them have no label."""
    pictures = ColumnPictures([file.path for file in files], files[0].columns.picture)
    if not files[0].columns.several:
        own = np.concatenate(numbers)
        if len(own) != len(pictures):
            raise unreadable(
                files[0].path, ValueError(f"it has {len(own)} labels and {len(pictures)} pictures")
            )
        return Split(split, pictures, np.arange(len(own)), own, labels.classes), own < 0
    for file, of_file in zip(files, numbers, strict=True):
        if (of_file < 0).any():
            raise DataError(
                f"{file.labels.where(int(np.flatnonzero(of_file < 0)[0]))} lists a label that is missing or "
                "-1; fix it, or leave the list empty if a picture has no class"
            )
    counts = np.concatenate([file.counts for file in files if file.counts is not None])
    hot = np.zeros((len(counts), len(labels.classes)), np.float32)
    hot[np.repeat(np.arange(len(counts)), np.maximum(counts, 0)), np.concatenate(numbers)] = 1
    return Split(split, pictures, np.arange(len(counts)), hot, labels.classes), counts < 0


Built = dict[str, tuple[Split, NDArray[np.bool_]]]
Places = dict[str, Callable[[int], str]]


def _by_column(paths: list[Path], files: list[_File], built: Built, places: Places) -> tuple[Built, Places]:
    """Divide the only split by the column `split`, where all files have one."""
    if not all(SPLIT_COLUMN in file.columns.unused for file in files):
        return built, places
    words: list[str | None] = []
    for file in files:
        values, rows = _distinct(file.path, _column(file.path, SPLIT_COLUMN))
        if not all(v is None or isinstance(v, str) for v in values):
            return built, places
        named = [split_of((v or "").strip()) for v in values]
        if None in named:
            row = int(np.flatnonzero(rows == named.index(None))[0])
            raise DataError(
                f"{_row(file.path, row)}: split {shown(values[named.index(None)])} is not one of train, val, "
                "test; fix it or rename the column"
            )
        words += [named[i] for i in rows]
    (whole, missing), told = built["train"], np.array(words)
    if (told == "train").all():
        return built, places
    parts: Built = {}
    for split in WORDS:
        indices = np.flatnonzero(told == split)
        if len(indices):
            parts[split] = whole.take(indices, split), missing[indices]
            places = {**places, split: partial(_place_of, files, indices)}
    return parts, places


def _place_of(files: Sequence[_File], indices: NDArray[np.int64], row: int) -> str:
    return _place(files, int(indices[row]))


def _uncertain(files: Sequence[_File]) -> tuple[str, ...]:
    """Say which column is taken for the picture where neither features nor a known name do."""
    unsure = next((file for file in files if not file.columns.certain), None)
    if unsure is None:
        return ()
    return (f"the column {unsure.columns.picture!r} is read as the picture: no other matches better",)


def _respelled(files: Sequence[_File]) -> tuple[str, ...]:
    if not any(file.columns.respelled for file in files):
        return ()
    return ("its classes are the 1,000 of ImageNet; their names are read as official weights spell them",)


def _unused_columns(files: dict[str, list[_File]], *, by_column: bool) -> tuple[str, ...]:
    names = dict.fromkeys(c for part in files.values() for file in part for c in file.columns.unused)
    first = next(iter(files.values()))[0].columns
    return tuple(
        f"column {name!r}: is neither the picture ({first.picture!r}) nor the label ({first.label!r})"
        for name in names
        if not (by_column and name == SPLIT_COLUMN)
    )


def _unused_files(folder: Path | None, shards: dict[str, list[Path]]) -> tuple[str, ...]:
    if folder is None:
        return ()
    used = {file for part in shards.values() for file in part}
    return tuple(
        f"{file.name}: its name contains no split (train, val, test)"
        for file in _parquet_files(folder)
        if file not in used
    )
