"""Where a service speaks while it works: standard error, without colours or markup of its own."""

from typing import Any

from rich.console import Console

from resight.core.text import printable


class PlainConsole(Console):
    """A rich console that prints text as it is: no markup, no highlighting, control characters escaped."""

    def print(self, *objects: Any, **options: Any) -> None:
        """Print; see `rich.console.Console.print`."""
        shown = (printable(o) if isinstance(o, str) else o for o in objects)
        super().print(*shown, **{"highlight": False, "markup": False, "soft_wrap": True, **options})


def stderr_console(*, quiet: bool = False) -> PlainConsole:
    """Return a console on standard error; a quiet one says nothing."""
    return PlainConsole(stderr=True, quiet=quiet, emoji=False)
