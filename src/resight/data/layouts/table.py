"""Tables of pictures: parquet in the Hugging Face layout, and csv with path,label[,split].

A column of lists in parquet, or the csv's column `labels`, gives pictures any number of classes each.
"""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.core.errors import DataError
from resight.data.dataset import Dataset, Split, multi_hot
from resight.data.layouts.folder import check_classes, dataset_of_files, dataset_of_several
from resight.data.shards.columns import ColumnPictures, unreadable

MIRRORS = b"resight.mirrors"
"""Key of a parquet file's schema metadata: b"false" where a mirrored picture is of another class."""
SPLIT_PREFIXES = {"train": ("train",), "val": ("val", "valid", "validation"), "test": ("test",)}


def parquet_shards(folder: Path) -> dict[str, list[Path]]:
    """Return the parquet files of a folder by split: `train.parquet` or `train-*.parquet`."""
    shards = {}
    for split, prefixes in SPLIT_PREFIXES.items():
        files = [f for f in sorted(folder.glob("*.parquet")) if f.stem.split("-")[0] in prefixes]
        if files:
            shards[split] = files
    return shards


def open_parquet(name: str, shards: dict[str, list[Path]]) -> Dataset:
    """Open parquet files whose rows hold encoded pictures and label numbers or names.

    Labels are read at once, pictures a row group at a time when they are asked for.

    Args:
        name: what the user called the data set.
        shards: the files of each split, in order.

    Raises:
        DataError: if the columns are not there, a file cannot be read, or the classes do not fit.
    """
    built = {split: _split(split, files) for split, files in shards.items()}
    return dataset_of_splits(name, built, mirrors=_mirrors(next(iter(shards.values()))[0]))


def _mirrors(file: Path) -> bool:
    """Return what the file says of mirrored pictures, in its schema metadata; most say nothing."""
    return (pq.read_schema(file).metadata or {}).get(MIRRORS) != b"false"


def dataset_of_splits(
    name: str, built: dict[str, Split], *, mirrors: bool = True, notes: tuple[str, ...] = ()
) -> Dataset:
    """Build a data set of splits whose labels count through classes of their own.

    Raises:
        DataError: if there is no training split (and not a test split alone), or the classes do not fit.
    """
    if "train" not in built:
        if len(built) == 1 and "test" in built:  # a test set alone, to test a finished run on
            test = built["test"]
            classes = tuple(sorted(test.classes))
            return Dataset(name, classes, {"test": test.fitted(classes)}, mirrors, notes)
        raise DataError(f"{name}: has {', '.join(built)} but no train split; add or rename one")
    train = built["train"]
    classes = tuple(sorted({train.classes[i] for i in np.flatnonzero(train.class_counts())}))
    check_classes(name, classes)
    splits = {split: part.fitted(classes) for split, part in built.items()}
    return Dataset(name, classes, splits, mirrors, notes)


def _split(split: str, files: list[Path]) -> Split:
    schema, picture_column, label_column = _columns(files[0])
    names = _class_names(schema, label_column)
    values: list = []
    for file in files:
        try:
            part = pq.read_table(file, columns=[label_column])[label_column].to_pylist()
        except (pa.ArrowInvalid, OSError, KeyError) as error:
            raise unreadable(file, error) from error
        several = _holds_lists(schema.field(label_column).type)
        _check_labels(file, part, names, several=several)
        values += part
    if _holds_lists(schema.field(label_column).type):
        classes, labels = _label_lists(values, names)
    else:
        classes, labels = _labels(values, names)
    return Split(split, ColumnPictures(files, picture_column), np.arange(len(labels)), labels, classes)


def _check_labels(file: Path, values: list, names: list[str] | None, *, several: bool) -> None:
    listed = [(row, v) for row, value in enumerate(values) for v in (value or [])] if several else None
    for row, value in enumerate(values) if listed is None else listed:
        if value is None:
            raise DataError(f"{file}: row {row} has no label; fill it in or remove the row")
        if names is None or isinstance(value, str):
            continue
        if not isinstance(value, int) or not 0 <= value < len(names):
            raise DataError(
                f"{file}: row {row} has label {value!r}, which is none of its {len(names)} classes "
                "(-1 means unlabelled); mend it or remove the row"
            )


def _columns(file: Path) -> tuple[pa.Schema, str, str]:
    """Return the schema, the picture column and the label column."""
    try:
        schema = pq.read_schema(file)
    except (pa.ArrowInvalid, OSError) as error:
        raise unreadable(file, error) from error
    picture = next((f.name for f in schema if _holds_pictures(f.type)), None)
    label = next((n for n in schema.names if n in ("label", "labels", "fine_label")), None)
    if picture is None or label is None:
        raise DataError(
            f"{file}: has columns {', '.join(schema.names)}; needs encoded pictures "
            "(bytes, or a struct with bytes) and a column 'label'"
        )
    return schema, picture, label


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the ClassLabel names of the Hugging Face schema metadata, if there are any."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(metadata)["info"]["features"] if metadata else {}
    except (ValueError, KeyError, TypeError):
        return None
    feature: Any = features.get(column, {})
    inner = feature.get("feature") if isinstance(feature, dict) else None  # of a list
    feature = inner if isinstance(inner, dict) else feature
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = [names[str(i)] for i in range(len(names))]
    return list(names) if names else None


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _labels(values: list, names: list[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    if names is not None and not any(isinstance(v, str) for v in values):
        return tuple(names), np.asarray(values, dtype=np.int64)
    spelled = [str(v) for v in values]  # without names the label itself is the name
    classes = tuple(sorted(set(spelled)))
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[s] for s in spelled], dtype=np.int64)


def _holds_lists(kind: pa.DataType) -> bool:
    return pa.types.is_list(kind) or pa.types.is_large_list(kind)


def _label_lists(values: list, names: list[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the classes, and the labels (N, classes) of rows that list theirs."""
    table = dict(enumerate(names or ()))
    spelled = [[str(table.get(v, v)) for v in value or ()] for value in values]
    classes = tuple(names or sorted({name for row in spelled for name in row}))
    return classes, multi_hot(spelled, classes)


def open_csv(file: Path) -> Dataset:
    """Open a csv with the columns path, label and, if it is there, split.

    Instead of label, a column labels: any number of classes with semicolons between them. Paths are
    relative to the csv's own folder.

    Raises:
        DataError: if a column or a file is missing.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as csv ({error}); save it as UTF-8 csv") from error
    header = set(rows[0]) if rows else set()
    several = "labels" in header and "label" not in header
    if "path" not in header or not header & {"label", "labels"}:
        held = ", ".join(rows[0]) if rows else "nothing"
        raise DataError(
            f"{file}: holds {held}; needs a header line path,label[,split] and rows below (or labels, with "
            "semicolons between several)"
        )
    splits: dict[str, list[tuple[Path, str]]] = {}
    for line, row in enumerate(rows, start=2):
        split = _split_name(row.get("split") or "train")
        if split is None:
            raise DataError(f"{file}:{line}: split {row['split']!r} is none of train, val, test")
        label = row["labels"] or "" if several else row["label"]
        if not row["path"] or not (label or several):
            raise DataError(f"{file}:{line}: path or label is missing; fill it in or remove the row")
        splits.setdefault(split, []).append((file.parent / row["path"], label))
    missing = next((p for part in splits.values() for p, _ in part if not p.is_file()), None)
    if missing:
        raise DataError(f"{file}: names {missing}, which is not there; mend the path or remove the row")
    if "train" not in splits:
        raise DataError(f"{file}: has no rows of split train; add some or leave the column out")
    if several:
        return dataset_of_several(
            str(file),
            {split: [(path, _parted(cell)) for path, cell in part] for split, part in splits.items()},
        )
    return dataset_of_files(str(file), splits)


def _parted(cell: str) -> tuple[str, ...]:
    """Return the class names of a cell."""
    return tuple(name for word in cell.split(";") if (name := word.strip()))


def _split_name(word: str) -> str | None:
    word = word.strip().lower()
    return next((s for s, p in SPLIT_PREFIXES.items() if word in p or word == s + "ing"), None)
