"""Tables of names: a lookup that fails with the nearest names."""

import difflib
import fnmatch
from collections.abc import Iterable, Mapping
from typing import TypeVar

from resight.core.errors import UnknownNameError

Entry = TypeVar("Entry")


LIKE = 0.5
"""Share of letters in common (`difflib`) from which a name may be what was meant."""
FEW = 6
"""Names that a message lists where none is like the one asked for."""


def nearest(name: str, known: Iterable[str], count: int = 3) -> list[str]:
    """Return the known names most like `name`, best first; empty if none is similar."""
    lowered = {k.lower(): k for k in known}
    close = difflib.get_close_matches(name.lower(), lowered, n=count, cutoff=LIKE)
    return [lowered[c] for c in close]


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return "nearest: ..." with the known names most like `name`; "known: ..." if none is similar."""
    known = list(known)
    if close := nearest(name, known):
        return f"nearest: {', '.join(close)}"
    more = f" and {len(known) - FEW} more" if len(known) > FEW else ""
    return f"known: {', '.join(sorted(known)[:FEW])}{more}"


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
    article = "an" if what[0] in "aeiou" else "a"
    raise UnknownNameError(
        f"{name!r} is not {article} {what}; {suggestion(name, table)}{'. ' + cure if cure else ''}"
    )


def matching(table: Mapping[str, Entry], pattern: str = "*") -> list[str]:
    """Return the names that match a shell pattern, in the table's order."""
    return [name for name in table if fnmatch.fnmatch(name, pattern)]
