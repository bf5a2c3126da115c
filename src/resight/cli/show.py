"""Output as text and tables, or as JSON."""

import json
import sys
from collections.abc import Iterable
from typing import Any

import typer
from rich.console import Console
from rich.table import Table

from resight.core.errors import UsageError
from resight.core.figures import to_json
from resight.core.text import printable, printable_json


def whole_numbers(words: str, option: str) -> tuple[int, ...]:
    """Read whole numbers separated by commas.

    Raises:
        UsageError: if one is not a whole number.
    """
    try:
        return tuple(int(w) for w in words.split(",") if w.strip())
    except ValueError:
        raise UsageError(f"{option} {words!r}: give whole numbers separated by commas") from None


def names(words: str, option: str) -> list[str]:
    """Read names separated by commas.

    Raises:
        UsageError: if one is empty.
    """
    found = [word.strip() for word in words.split(",")]
    if not all(found):
        raise UsageError(f"{option} {words!r}: give names separated by commas")
    return found


def form(word: str, allowed: tuple[str, ...]) -> str:
    """Return the output format.

    Raises:
        UsageError: if the format is unknown.
    """
    if word not in allowed:
        raise UsageError(f"--format {word!r} is not one of {', '.join(allowed)}")
    return word


def document(answer: Any) -> None:
    """Print one JSON document."""
    typer.echo(printable_json(json.dumps(to_json(answer), ensure_ascii=False)))


def table(columns: Iterable[str], rows: Iterable[Iterable[object]]) -> None:
    """Print a table; as wide as its content if the output is not a terminal."""
    console = Console(soft_wrap=not sys.stdout.isatty(), emoji=False, markup=False)  # names are not markup
    if not console.is_terminal:
        console.width = 10_000
    grid = Table(box=None, pad_edge=False, header_style="dim")
    for number, column in enumerate(columns):
        grid.add_column(column, justify="left" if number == 0 else "right", overflow="fold")
    for row in rows:
        grid.add_row(*(printable(str(cell)) for cell in row))
    console.print(grid, highlight=False, markup=False)


def say(line: str, *, err: bool = False) -> None:
    """Print a line; control characters, which file and class names may contain, become escapes."""
    typer.echo(printable(line), err=err)


def one(name: str, value: str, *, as_json: bool) -> None:
    """Print a single value."""
    if as_json:
        document({name: value})
    else:
        say(value)


def progress(line: str) -> None:
    """Print a progress line to standard error."""
    say(line, err=True)


def error(percent: float, interval: tuple[float, float]) -> str:
    """Return an error with its interval as text."""
    low, high = interval
    return f"{percent:.1f} ({low:.0f}-{high:.0f})"


def in_bytes(count: int) -> str:
    """Return a number of bytes as text: 1 MB is 10^6 bytes."""
    return f"{count / 1e6:.2f} MB" if count >= 1e4 else f"{count:,} B"
