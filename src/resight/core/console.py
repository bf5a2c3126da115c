"""Console output of a running service: standard error, without colours or markup of its own.

The caller chooses where progress is shown (`shown_on`); every long loop runs through `counted`.
A library call shows nothing unless it is asked to.
"""

import time
from collections.abc import Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from rich.console import Console
from rich.errors import LiveError

from resight.core.text import printable

if TYPE_CHECKING:
    from rich.progress import ProgressColumn

Thing = TypeVar("Thing")

PATIENCE = 2.0
"""Seconds after which a loop that is still running gets a bar."""
EVERY = 30.0
"""Seconds between two lines of progress where standard error is not a terminal."""
_SHOWN: ContextVar[Console | None] = ContextVar("shown", default=None)


class PlainConsole(Console):
    """A rich console that prints text as it is: no markup, no highlighting, control characters escaped."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; see `rich.console.Console.print`."""
        shown = (printable(o) if isinstance(o, str) else o for o in objects)
        super().print(*shown, **{"highlight": False, "markup": False, "soft_wrap": True, **options})


def stderr_console(*, quiet: bool = False) -> PlainConsole:
    """Return a console on standard error; a quiet one prints nothing."""
    return PlainConsole(stderr=True, quiet=quiet, emoji=False)


def say(console: Console, line: str) -> None:
    """Print a line as it is: no markup, no highlighting, no wrapping."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown_on(console: Console) -> Iterator[None]:
    """Show the progress of all loops inside the block on a console."""
    token = _SHOWN.set(console)
    try:
        yield
    finally:
        _SHOWN.reset(token)


def tell(line: str) -> None:
    """Print one line where progress is shown; nothing where it is not."""
    if (console := _SHOWN.get()) is not None:
        console.print(line)


def show_on(console: Console) -> None:
    """Show the progress of all loops on a console, from now on."""
    _SHOWN.set(console)


def counted(things: Iterable[Thing], what: str, total: int | None = None, step: int = 1) -> Iterator[Thing]:
    """Yield things; if that takes more than a few seconds, show how many are done.

    A terminal shows a bar that disappears at the end; other outputs get a line every half minute; nothing if
    progress is not shown (see `shown_on`) or inside another bar.

    Args:
        things: what the loop iterates over.
        what: the activity, such as "reading pictures".
        total: the final count; by default the number of things, if known.
        step: how much each thing adds to the count.
    """
    console = _SHOWN.get()
    if console is None or console.quiet:
        yield from things
        return
    if total is None and isinstance(things, Sized):
        total = len(things)
    with _Counter(console, what, total) as counter:
        for thing in things:
            yield thing
            counter.advance(step)


class Bar:
    """A bar on a terminal, which goes away at the end.

    Args:
        console: the terminal.
        columns: of `rich.progress`.
        what: the activity.
        total: the final count; None if it is unknown.
        done: the count so far.
        shown: what columns show besides.

    Raises:
        LiveError: if the terminal shows another bar.
    """

    def __init__(
        self, console: Console, columns: "Sequence[ProgressColumn]", what: str, total: int | None, done: int,
        **shown: Any,
    ) -> None:  # fmt: skip
        from rich.progress import Progress

        self.progress = Progress(*columns, console=console, transient=True)
        self.progress.start()
        self.task = self.progress.add_task(what, total=total, completed=done, **shown)

    def move(self, done: int, **shown: Any) -> None:
        """Show a count."""
        self.progress.update(self.task, completed=done, **shown)

    def stop(self) -> None:
        """Take the bar away."""
        self.progress.stop()


class _Counter:
    """The progress of a loop."""

    def __init__(self, console: Console, what: str, total: int | None) -> None:
        self.console, self.what, self.total, self.done = console, what, total, 0
        self.last = time.monotonic()
        self.bar: Bar | None = None
        self.silent = False

    def __enter__(self) -> "_Counter":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.bar:
            self.bar.stop()

    def advance(self, step: int) -> None:
        """Note that one more thing is done."""
        self.done += step
        if self.total is not None:
            self.done = min(self.done, self.total)
        if self.bar:
            self.bar.move(self.done)
            return
        now, terminal = time.monotonic(), self.console.is_terminal
        if self.silent or now - self.last < (PATIENCE if terminal else EVERY):
            return
        self.last = now
        if terminal:
            self._start_bar()
        elif self.done != self.total:
            of = "" if self.total is None else f" of {self.total:,}"
            say(self.console, f"{self.what}: {self.done:,}{of}")

    def _start_bar(self) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(),
        )  # fmt: skip
        try:
            self.bar = Bar(self.console, columns, self.what, self.total, self.done)
        except LiveError:  # another bar is shown, which this loop is a part of
            self.silent = True
