"""Tables of pictures: parquet in the Hugging Face layout, and csv with path,label[,split]."""

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from resight.core.errors import DataError
from resight.data.dataset import ColumnPictures, Dataset, Split
from resight.data.folder import check_classes, dataset_of_files

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

    Args:
        name: what the user called the data set.
        shards: the files of each split, in order.

    Raises:
        DataError: if the columns are not there, a file cannot be read, or the classes do not fit.
    """
    tables = {split: _read(files) for split, files in shards.items()}
    built = {split: _split(split, shards[split][0], table) for split, table in tables.items()}
    if "train" not in built:
        if len(built) == 1 and "test" in built:  # a test set alone, to test a finished run on
            test = built["test"]
            return Dataset(name, tuple(sorted(test.classes)), {"test": test})
        raise DataError(f"{name}: has {', '.join(built)} but no train parquet; add or rename one")
    train = built["train"]
    classes = tuple(sorted({train.classes[i] for i in np.unique(train.labels)}))
    check_classes(name, classes)
    return Dataset(name, classes, {split: part.relabelled(classes) for split, part in built.items()})


def _read(files: list[Path]) -> pa.Table:
    tables = []
    for file in files:
        try:
            tables.append(pq.read_table(file))
        except (pa.ArrowInvalid, OSError) as error:
            reason = str(error).splitlines()[0]
            raise DataError(f"{file}: cannot be read as parquet ({reason}); copy it again") from error
    return pa.concat_tables(tables, promote_options="permissive")


def _split(split: str, file: Path, table: pa.Table) -> Split:
    picture_column = next((f.name for f in table.schema if _holds_pictures(f.type)), None)
    label_column = next((n for n in table.column_names if n in ("label", "labels", "fine_label")), None)
    if picture_column is None or label_column is None:
        raise DataError(
            f"{file}: has columns {', '.join(table.column_names)}; needs encoded pictures "
            "(bytes, or a struct with bytes) and a column 'label'"
        )
    column = table[picture_column]
    paths: list[str | None] = [None] * len(table)
    if pa.types.is_struct(column.type):
        fields = [column.type.field(i).name for i in range(column.type.num_fields)]
        if "path" in fields:
            paths = pa.compute.struct_field(column, "path").to_pylist()  # type: ignore[attr-defined]
        column = pa.compute.struct_field(column, "bytes")  # type: ignore[attr-defined]
    names = [path or f"{file.name} row {row}" for row, path in enumerate(paths)]
    values = table[label_column].to_pylist()
    if any(v is None for v in values):
        raise DataError(f"{file}: row {values.index(None)} has no label; fill it in or remove the row")
    classes, labels = _labels(file, values, _class_names(table.schema, label_column))
    pictures = ColumnPictures(column, names)
    return Split(split, pictures, np.arange(len(table)), labels, classes)


def _class_names(schema: pa.Schema, column: str) -> list[str] | None:
    """Return the ClassLabel names of the Hugging Face schema metadata, if there are any."""
    metadata = (schema.metadata or {}).get(b"huggingface")
    try:
        features = json.loads(metadata)["info"]["features"] if metadata else {}
    except (ValueError, KeyError, TypeError):
        return None
    feature: Any = features.get(column, {})
    names = feature.get("names") if isinstance(feature, dict) else None
    if isinstance(names, dict):
        names = [names[str(i)] for i in range(len(names))]
    return list(names) if names else None


def _holds_pictures(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(kind.field(i).name == "bytes" for i in range(kind.num_fields))
    return pa.types.is_binary(kind) or pa.types.is_large_binary(kind)


def _labels(file: Path, values: list, names: list[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    if names is not None and not all(isinstance(v, str) for v in values):
        for row, value in enumerate(values):
            if not isinstance(value, int) or not 0 <= value < len(names):
                raise DataError(
                    f"{file}: row {row} has label {value!r}, which is none of its {len(names)} classes "
                    "(-1 means unlabelled); mend it or remove the row"
                )
        return tuple(names), np.asarray(values, dtype=np.int64)
    spelled = [str(v) for v in values]  # without names the label itself is the name
    classes = tuple(sorted(set(spelled)))
    number = {name: i for i, name in enumerate(classes)}
    return classes, np.array([number[s] for s in spelled], dtype=np.int64)


def open_csv(file: Path) -> Dataset:
    """Open a csv with the columns path, label and, if it is there, split.

    Paths are relative to the csv's own folder.

    Raises:
        DataError: if a column or a file is missing.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            rows = list(csv.DictReader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{file}: cannot be read as csv ({error}); save it as UTF-8 csv") from error
    if not rows or not {"path", "label"} <= set(rows[0]):
        header = ", ".join(rows[0]) if rows else "nothing"
        raise DataError(f"{file}: holds {header}; needs a header line path,label[,split] and rows below")
    splits: dict[str, list[tuple[Path, str]]] = {}
    for line, row in enumerate(rows, start=2):
        split = _split_name(row.get("split") or "train")
        if split is None:
            raise DataError(f"{file}:{line}: split {row['split']!r} is none of train, val, test")
        if not row["path"] or not row["label"]:
            raise DataError(f"{file}:{line}: path or label is missing; fill it in or remove the row")
        splits.setdefault(split, []).append((file.parent / row["path"], row["label"]))
    missing = next((p for part in splits.values() for p, _ in part if not p.is_file()), None)
    if missing:
        raise DataError(f"{file}: names {missing}, which is not there; mend the path or remove the row")
    if "train" not in splits:
        raise DataError(f"{file}: has no rows of split train; add some or leave the column out")
    return dataset_of_files(str(file), splits)


def _split_name(word: str) -> str | None:
    word = word.strip().lower()
    return next((s for s, p in SPLIT_PREFIXES.items() if word in p or word == s + "ing"), None)
