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
from collections.abc import Callable, Collection, Iterable, Sequence

import numpy as np

from resight.core.errors import DataError

MINUS = frozenset({"-1", "-1.0"})
MISSING = frozenset({"", "nan", "NaN", "NAN", "<NA>"}) | MINUS
DOUBTFUL = frozenset({"none", "null", "na", "n/a"})
LONGEST = 1000
"""Characters of a class name."""


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
        where: returns its place.

    Raises:
        DataError: if it holds control characters or is longer than 1,000 characters.
    """
    name = text.strip()
    if len(name) > LONGEST:
        raise DataError(
            f"{where()}: the label has {len(name):,} characters, too long for a class name; look for a "
            "quote that is not closed"
        )
    if any(unicodedata.category(letter) == "Cc" for letter in name):
        raise DataError(f"{where()}: the label {shown(name)} holds a control character; write a name")
    return name


def shown(value: object) -> str:
    """Return a label as messages show it: quoted, at most 80 characters."""
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def one_line(text: str) -> str:
    """Return a name for a message: characters that cannot be printed become question marks."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def class_table(names: Sequence[str], where: str) -> tuple[str, ...]:
    """Return a table of class names as it is.

    Raises:
        DataError: if a name is empty, or appears twice.
    """
    seen: dict[str, int] = {}
    for number, name in enumerate(names):
        if not name.strip():
            raise DataError(f"{where}: class {number} has an empty name; name it")
        if name in seen:
            raise DataError(
                f"{where}: classes {seen[name]} and {number} are both named {shown(name)}; rename one"
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
            self._forms[form_of(name)].append(name)

    def name(self, value: object) -> str | None:
        """Return the class name that a number or a text means; None if it means none of the table's."""
        if isinstance(value, str):
            if not (self.digits_count and re.fullmatch(r"[0-9]{1,18}", value.strip())):
                alike = self._forms.get(form_of(value), [])
                return value if value in self._names else alike[0] if len(alike) == 1 else None
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return None
        whole = math.isfinite(value) and value == int(value)
        return self.table[int(value)] if whole and 0 <= value < len(self.table) else None


def form_of(name: str) -> str:
    """Return a name in its composed Unicode form, without white space around it."""
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
        forms[form_of(word)].append(word)
    for name in fixed:
        fixed_forms[form_of(name)].append(name)
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
        f"{len(several)} class names have several Unicode forms, which are read as one, such as "
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
    return (f"names that look alike are different classes: {pairs}{more}; rename them if they are one class",)
