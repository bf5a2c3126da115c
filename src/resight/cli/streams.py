"""Standard output and error as they may be: closed, full, read by nobody, or without an encoding for a name.

Standard output carries the answer: when it cannot be written, the command fails with one line. Standard error
carries progress: when it cannot be written, the work continues.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

from resight.core.errors import ResightError


class Around(io.TextIOBase):
    """A text stream around another one."""

    def __init__(self, target: TextIO) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The target's; None would make others write to its buffer."""
        return self.target.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the target treats what its encoding lacks."""
        return self.target.errors

    def isatty(self) -> bool:
        """Return whether a person reads along."""
        return self.target.isatty()

    def fileno(self) -> int:
        """Return the target's file descriptor."""
        return self.target.fileno()


class Answers(Around):
    """Standard output: what cannot be written is an error in one line; a reader that left is none."""

    def write(self, text: str) -> int:
        """Write the text.

        Raises:
            ResightError: if the target cannot take it.
        """
        if text == "":  # typer asks so whether this is a text stream, and swallows what it hears
            return 0
        try:
            return self.target.write(text)
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def flush(self) -> None:
        """Flush the target.

        Raises:
            ResightError: if the target cannot take what was written.
        """
        try:
            self.target.flush()
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError | ValueError) -> Exception:
        """Return what to raise, and drop what is not written yet: Python would complain at its end."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.target.fileno())
            os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return error
        why = getattr(error, "strerror", None) or "it is closed"
        return ResightError(
            f"standard output cannot be written ({why}); send it to a file or program that can take it"
        )


class Progress(Around):
    """Standard error: what it cannot take is dropped."""

    def write(self, text: str) -> int:
        """Write, or drop, the text."""
        with suppress(OSError, ValueError):
            self.target.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what can be written."""
        with suppress(OSError, ValueError):
            self.target.flush()


def prepare() -> None:
    """Make standard output take every name and say when it takes nothing, and standard error never stop."""
    if sys.stdout is None:  # closed before the process began
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
        sys.stdout = cast(TextIO, Answers(sys.stdout))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
        sys.stderr = cast(TextIO, Progress(sys.stderr))
