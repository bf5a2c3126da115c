"""Tables of names: a lookup that fails with the nearest names."""

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from typing import TypeVar

from resight.core.errors import UnknownNameError

Entry = TypeVar("Entry")


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known names most like `name`, best first."""
    known = list(known)
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=0.5)
    return [lowered[c] for c in close] or sorted(known)[:count]


def lookup(table: Mapping[str, Entry], name: str, what: str, cure: str = "") -> Entry:
    """Return `table[name]`.

    Args:
        table: name to entry.
        name: the name asked for.
        what: the kind of thing, for the message ("model", "recipe").
        cure: where all names are listed.

    Raises:
        UnknownNameError: with the nearest names.
    """
    if name in table:
        return table[name]
    close = ", ".join(nearest(name, table))
    article = "an" if what[0] in "aeiou" else "a"
    raise UnknownNameError(f"{name!r} is not {article} {what}; nearest: {close}{'. ' + cure if cure else ''}")


def matching(table: Mapping[str, Entry], pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern, in the table's order."""
    return [name for name in table if fnmatch.fnmatch(name, pattern)]
