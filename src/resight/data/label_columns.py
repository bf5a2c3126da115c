"""The labels of several files, as numbers through one list of classes; see `labels.py` for the rule.

Each file is read by its own table of class names, and files meet by name, so tables in different orders, and
files of names and files of numbers, go together. Rows and splits without labels are left out here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Split
from resight.data.labels import (
    DOUBTFUL,
    Lookup,
    clean,
    form_of,
    is_minus,
    is_missing,
    one_spelling,
    shown,
)


@dataclass(frozen=True)
class LabelColumn:
    """The labels of one file.

    Attributes:
        file: the file, for messages.
        values: the distinct labels as the file has them: text, numbers, None.
        rows: which of `values` each row has, (N,).
        where: says where a row is, such as "train.parquet: row 3".
        names: the file's own table of class names; None if it has none.
        digits_count: whether a text of digits counts through the table as a number does.
    """

    file: str
    values: Sequence[Any]
    rows: NDArray[np.int64]
    where: Callable[[int], str]
    names: tuple[str, ...] | None = None
    digits_count: bool = False

    def first(self, value: int) -> str:
        """Return where the first row is that has this of `values`."""
        return self.where(int(np.flatnonzero(self.rows == value)[0]))


@dataclass(frozen=True)
class Labels:
    """Labels of several files, as numbers through the same classes.

    Attributes:
        classes: the names that the numbers count through.
        numbers: the class of each row of each file, -1 where the label is missing.
        lookups: the table of class names by which each file was read; None for none.
        notes: what was decided, in words for the user.
    """

    classes: tuple[str, ...]
    numbers: list[NDArray[np.int64]]
    lookups: list[Lookup | None]
    notes: tuple[str, ...]

    def find(self, file: int, word: str) -> int:
        """Return the class that a word means in a file; -1 if it means none."""
        lookup = self.lookups[file]
        if lookup is None:
            return self._by_form.get(form_of(word), -1)
        name = lookup.name(word)
        return -1 if name is None else self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    @cached_property
    def _by_form(self) -> dict[str, int]:
        return {form_of(name): number for number, name in enumerate(self.classes)}


def number_labels(columns: Sequence[LabelColumn]) -> Labels:
    """Read the labels of the files of a data set, each file by its own table of class names.

    A file of numbers without a table is read by the table on which all others agree.

    Raises:
        DataError: if a label is none of its file's classes or no name, numbers have no table that fits, or
            two labels spell the same number.
    """
    tables, notes = _tables(columns)
    shared: dict[tuple[tuple[str, ...] | None, bool], Lookup] = {
        (table, column.digits_count): Lookup(table, digits_count=column.digits_count)
        for column, table in zip(columns, tables, strict=True)
        if table is not None
    }
    lookups = [
        shared.get((table, column.digits_count)) for column, table in zip(columns, tables, strict=True)
    ]
    named = [
        [_class_name(column, number, lookup) for number in range(len(column.values))]
        for column, lookup in zip(columns, lookups, strict=True)
    ]
    listed = dict.fromkeys(name for table in tables for name in table or ())
    free = dict.fromkeys(
        name
        for own, table in zip(named, tables, strict=True)
        for name in own
        if table is None and name is not None
    )
    _refuse_equal_numbers(columns, named, free)
    spelling, merged = one_spelling(free, listed)
    classes = tuple(dict.fromkeys((*listed, *spelling.values())))
    number = {name: i for i, name in enumerate(classes)}
    numbers = []
    for column, own in zip(columns, named, strict=True):
        table = np.array(
            [-1 if n is None else number[n if n in listed else spelling[n]] for n in own], dtype=np.int64
        )
        numbers.append(table[column.rows] if len(column.rows) else np.zeros(0, np.int64))
    return Labels(classes, numbers, lookups, (*notes, *merged, *_doubtful(free)))


def refuse_stray_minus(columns: Sequence[LabelColumn], labels: Labels, which: Sequence[int]) -> None:
    """Refuse -1 where a file has class names, in a split in which other rows have labels.

    Args:
        columns: all files.
        labels: what was read of them.
        which: the split's files among them.

    Raises:
        DataError: naming the first such row.
    """
    if not any((labels.numbers[i] >= 0).any() for i in which):
        return
    for i in which:
        lookup = labels.lookups[i]
        for number, value in enumerate(columns[i].values if lookup else ()):
            if lookup and value is not None and is_minus(value) and lookup.name(value) is None:
                raise DataError(
                    f"{columns[i].first(number)} has label -1, but there are {len(lookup.table)} classes "
                    "(-1 means unlabelled); fix it, or leave the label empty"
                )


def labelled_splits(
    name: str,
    splits: Mapping[str, Split],
    missing: Mapping[str, NDArray[np.bool_]],
    where: Mapping[str, Callable[[int], str]],
) -> tuple[dict[str, Split], tuple[str, ...]]:
    """Leave unlabelled rows out, and splits in which no row has a label.

    Args:
        name: the data set, for messages.
        splits: the splits with all their rows.
        missing: of each split, which rows have no label, (N,).
        where: of each split, says where a row is.

    Returns:
        The splits, and notes that count and name what was left out.

    Raises:
        DataError: if no training row, or no row at all, has a label.
    """
    kept, notes = {}, []
    for split, part in splits.items():
        gone = np.flatnonzero(missing[split])
        if len(gone) < len(part):
            kept[split] = part if not len(gone) else part.take(np.flatnonzero(~missing[split]))
            if len(gone):
                notes.append(
                    f"{len(gone)} of {len(part)} rows of {split} have no label and are left out, such as "
                    f"{where[split](int(gone[0]))}".rstrip(":")
                )
            continue
        fault = f"none of its {len(part)} rows has a label" if len(part) else "it has no rows"
        if split == "train" or len(splits) == 1:
            raise DataError(
                f"{name}: its {split} split cannot be used: {fault}; fill in labels (-1 means none)"
            )
        notes.append(f"the {split} split is left out: {fault}")
    if not kept:
        raise DataError(f"{name}: no row has a label; fill in labels (-1 means none)")
    return kept, tuple(notes)


def _tables(columns: Sequence[LabelColumn]) -> tuple[list[tuple[str, ...] | None], tuple[str, ...]]:
    """Return the table by which each file is read: its own; for bare numbers, the one of all others."""
    own = [column.names for column in columns]
    known = {names for names in own if names is not None}
    bare = [i for i, c in enumerate(columns) if c.names is None and _has_number(c)]
    if not known or not bare:
        return own, ()
    first, named = columns[bare[0]], next(c for c in columns if c.names is not None)
    if len(known) > 1:
        raise DataError(
            f"{first.file}: has class numbers but no class names, and the names in other files differ "
            "from each other; write the names into it"
        )
    for i in bare:
        own[i] = named.names
    more = f" and {len(bare) - 1} more files" if len(bare) > 1 else ""
    return own, (f"{first.file}{more} has no class names: its numbers are taken as those of {named.file}",)


def _has_number(column: LabelColumn) -> bool:
    return any(
        re.fullmatch(r"[0-9]+", value.strip())
        if isinstance(value, str) and column.digits_count
        else isinstance(value, int | float) and not isinstance(value, bool) and not is_missing(value)
        for value in column.values
    )


def _class_name(column: LabelColumn, number: int, lookup: Lookup | None) -> str | None:
    """Return the class name of one of a file's labels; None if the label is missing."""
    value = column.values[number]
    if lookup is not None:
        name = lookup.name(value)
        if name is None and not is_missing(value):
            raise DataError(
                f"{column.first(number)} has label {shown(value)}, which is not one of {len(lookup.table)} "
                "classes; fix the label or the table of class names"
            )
        return name
    if is_missing(value):
        return None
    return clean(value, lambda: column.first(number)) if isinstance(value, str) else str(value)


def _refuse_equal_numbers(
    columns: Sequence[LabelColumn], named: Sequence[Sequence[str | None]], words: Iterable[str]
) -> None:
    spelled: dict[Decimal, str] = {}
    for word in words:
        if not re.fullmatch(r"[+-]?[0-9]{1,40}(\.[0-9]{0,40})?", word):
            continue
        other = spelled.setdefault(Decimal(word), word)
        if other != word:
            places = [
                next(c.first(own.index(w)) for c, own in zip(columns, named, strict=True) if w in own)
                for w in (other, word)
            ]
            raise DataError(
                f"{places[1]} has label {word!r} and {places[0]} has {other!r}, two spellings of one number; "
                "spell all labels alike"
            )


def _doubtful(words: Iterable[str]) -> tuple[str, ...]:
    found = [word for word in words if word.casefold() in DOUBTFUL]
    return tuple(
        f"{word!r} is read as a class name; leave the label empty if there is none" for word in found[:1]
    )
