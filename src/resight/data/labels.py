"""What a label says: one rule for tables, shards, and whoever else reads labels.

A label is a number that counts through its file's own table of class names, else a name. Of names:

- White space around them does not count.
- A label is missing if it is null, NaN, empty, -1, or a text that numpy and pandas write for a missing
  number (`nan`, `NaN`, `NAN`, `<NA>`). Its row is unlabelled: counted, named and left out, never a class.
- Where a file has class names, -1 is missing only if no row of the split has a label; one among labelled
  rows is refused as any number out of range.
- Two Unicode forms of one name (é as one code point, or as e and an accent) are one class, and that is noted.
- Two spellings of one number (`0` and `0.0`, `0001` and `1`) are refused: they may be one class or two.
- Names that differ only in case, inner white space or invisible characters stay two classes, which is noted.
- `None`, `null`, `NA` and `n/a` are names, which is noted.
- Control characters, and more than 1,000 characters, are refused: such a text is no name.

Names in a table of class names keep their spelling; a text matches one of them by these rules.
"""

import math
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from resight.core.errors import DataError
from resight.data.dataset import Split

MINUS = frozenset({"-1", "-1.0"})
MISSING = frozenset({"", "nan", "NaN", "NAN", "<NA>"}) | MINUS
DOUBTFUL = frozenset({"none", "null", "na", "n/a"})
LONGEST = 1000
"""Characters of a class name."""


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
    lookups: "list[Lookup | None]"
    notes: tuple[str, ...]

    def find(self, file: int, word: str) -> int:
        """Return the class that a word means in a file; -1 if it means none."""
        lookup = self.lookups[file]
        if lookup is None:
            return self._by_form.get(_form(word), -1)
        name = lookup.name(word)
        return -1 if name is None else self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, int]:
        return {name: number for number, name in enumerate(self.classes)}

    @cached_property
    def _by_form(self) -> dict[str, int]:
        return {_form(name): number for number, name in enumerate(self.classes)}


def number_labels(columns: Sequence[LabelColumn]) -> Labels:
    """Read the labels of the files of a data set, each file by its own table of class names.

    A file of numbers without a table is read by the table on which all others agree.

    Raises:
        DataError: if a label is none of its file's classes or no name, numbers have no table that fits, or
            two labels spell the same number.
    """
    tables, notes = _tables(columns)
    shared = {
        (table, column.digits_count): Lookup(table, digits_count=column.digits_count)
        for column, table in zip(columns, tables, strict=True)
        if table is not None
    }
    lookups = [
        shared[table, column.digits_count] if table is not None else None
        for column, table in zip(columns, tables, strict=True)
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
    """Refuse -1 beside class names in a split in which other rows have labels.

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
                    f"{columns[i].first(number)} has label -1, which is none of {len(lookup.table)} classes "
                    "(-1 means unlabelled); mend it, or leave the label empty"
                )


def is_minus(value: object) -> bool:
    """Return whether a label is -1, as a number or as text."""
    if isinstance(value, str):
        return value.strip() in MINUS
    return isinstance(value, int | float) and not isinstance(value, bool) and value == -1


def is_missing(value: object) -> bool:
    """Return whether a label says that there is none: null, NaN, empty or -1."""
    if value is None or (isinstance(value, float | np.floating) and math.isnan(value)):
        return True
    if isinstance(value, str):
        return value.strip() in MISSING
    return is_minus(value)


def clean(text: str, where: Callable[[], str]) -> str:
    """Return the name in a text, without white space around it.

    Args:
        text: a label.
        where: says where it stands.

    Raises:
        DataError: if it holds control characters or is longer than 1,000 characters.
    """
    name = text.strip()
    if len(name) > LONGEST:
        raise DataError(
            f"{where()}: the label has {len(name):,} characters, so it is no class name; look for a "
            "quote that is not closed"
        )
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise DataError(f"{where()}: the label {shown(name)} holds a control character; write a name")
    return name


def shown(value: object) -> str:
    """Return a label as messages show it: quoted, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def class_table(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return a table of class names as it is.

    Raises:
        DataError: if a name is empty, or stands twice.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{where}: class {number} has an empty name; name it")
        if name in seen:
            raise DataError(
                f"{where}: classes {seen[name]} and {number} are both called {shown(name)}; name them apart"
            )
        seen[name] = number
    return tuple(names)


class Lookup:
    """Finds what a label means in a table of class names.

    Args:
        table: the names, by number.
        digits_count: whether a text of digits counts through the table as a number does.
    """

    def __init__(self, table: tuple[str, ...], *, digits_count: bool) -> None:
        self.table, self.digits_count = table, digits_count
        self._names = set(table)
        self._forms: dict[str, list[str]] = defaultdict(list)
        for name in table:
            self._forms[_form(name)].append(name)

    def name(self, value: object) -> str | None:
        """Return the class name that a number or a text means; None if it means none of the table's."""
        if isinstance(value, str):
            if not (self.digits_count and re.fullmatch(r"[0-9]{1,18}", value.strip())):
                alike = self._forms.get(_form(value), [])
                return value if value in self._names else alike[0] if len(alike) == 1 else None
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        whole = math.isfinite(value) and value == int(value)
        return self.table[int(value)] if whole and 0 <= value < len(self.table) else None


def _form(name: str) -> str:
    return unicodedata.normalize("NFC", name.strip())


def one_spelling(words: Iterable[str], fixed: Collection[str] = ()) -> tuple[dict[str, str], tuple[str, ...]]:
    """Return the class name of each word, where Unicode forms of one name are one class.

    Args:
        words: names without white space around them.
        fixed: names that keep their spelling, and lend it to others of the same form.

    Returns:
        The name of each word: its own, the fixed one's, or, where there are several forms, the composed one
        (NFC); and a note if there are several.
    """
    forms: dict[str, list[str]] = defaultdict(list)
    fixed_forms: dict[str, list[str]] = defaultdict(list)
    for word in words:
        forms[_form(word)].append(word)
    for name in fixed:
        fixed_forms[_form(name)].append(name)
    names, several = {}, []
    for form, spelled in forms.items():
        known = fixed_forms.get(form, [])
        name = known[0] if len(known) == 1 else spelled[0] if len(spelled) == 1 else form
        if any(word != name for word in spelled):
            several.append(name)
        names.update(dict.fromkeys(spelled, name))
    if not several:
        return names, ()
    return names, (
        f"{len(several)} class names come in several Unicode forms, which are taken as one, such as "
        f"{shown(several[0])}",
    )


def lookalikes(classes: Iterable[str]) -> tuple[str, ...]:
    """Return a note if names differ only in case, white space, Unicode form or invisible characters."""
    looks: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        visible = "".join(c for c in unicodedata.normalize("NFKC", name) if unicodedata.category(c) != "Cf")
        looks[" ".join(visible.casefold().split())].append(name)
    alike = [names for names in looks.values() if len(names) > 1]
    if not alike:
        return ()
    pairs = "; ".join(" and ".join(ascii(name) for name in names) for names in alike[:3])
    more = f" and {len(alike) - 3} more" if len(alike) > 3 else ""
    return (
        f"classes that look alike are learned as different ones: {pairs}{more}; rename them if they are one",
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
                f"{name}: its {split} split cannot be used: {fault}; fill in labels (-1 counts as none)"
            )
        notes.append(f"the {split} split is left out: {fault}")
    if not kept:
        raise DataError(f"{name}: no row has a label; fill in labels (-1 counts as none)")
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
            f"{first.file}: has class numbers and no class names, and the other files' names differ "
            "from each other; write the names into it"
        )
    for i in bare:
        own[i] = named.names
    more = f" and {len(bare) - 1} more files" if len(bare) > 1 else ""
    return own, (f"{first.file}{more} has no class names: its numbers count through those of {named.file}",)


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
                f"{column.first(number)} has label {shown(value)}, which is none of {len(lookup.table)} "
                "classes; mend the label or the table of class names"
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
        f"{word!r} is taken for a class name; leave the label empty where there is none" for word in found[:1]
    )
