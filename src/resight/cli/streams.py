"""Standard output and standard error that may be closed, full, unread, or unable to encode a name.

Results go to standard output: if it cannot be written, the command fails with one line. Progress goes to
standard error: if it cannot be written, the work continues.
"""

import io
import os
import sys
from contextlib import suppress
from typing import Any, TextIO, cast

from resight.core.errors import ResightError


class Around(io.TextIOBase):
    """A text stream that wraps another one."""

    def __init__(self, target: TextIO) -> None:
        self.target = target

    def __getattr__(self, name: str) -> Any:
        return getattr(self.target, name)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """The target's; with None, callers would write to its buffer."""
        return self.target.encoding

    @property
    def errors(self) -> str | None:  # type: ignore[override]
        """How the target handles characters that its encoding lacks."""
        return self.target.errors

    def isatty(self) -> bool:
        """Return whether the target is a terminal."""
        return self.target.isatty()

    def fileno(self) -> int:
        """Return the target's file descriptor."""
        return self.target.fileno()


class Answers(Around):
    """Standard output: a failed write is an error in one line, except when the reader closed the pipe."""

    def write(self, text: str) -> int:
        """Write the text.

        Raises:
            ResightError: if the target cannot be written.
        """
        if text == "":  # typer writes this to detect a text stream, and ignores the errors
            return 0
        try:
            return self.target.write(text)
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def flush(self) -> None:
        """Flush the target.

        Raises:
            ResightError: if the target cannot be written.
        """
        try:
            self.target.flush()
        except (OSError, ValueError) as error:
            raise self._fault(error) from error

    def _fault(self, error: OSError | ValueError) -> Exception:
        """Return the error to raise, and drop the unwritten text: Python would complain about it on exit."""
        with suppress(OSError, ValueError):
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self.target.fileno())
            os.close(nowhere)
        if isinstance(error, BrokenPipeError):
            return error
        why = getattr(error, "strerror", None) or "it is closed"
        return ResightError(
            f"standard output cannot be written ({why}); redirect it to a writable file or program"
        )


class Progress(Around):
    """Standard error: text that cannot be written is dropped."""

    def write(self, text: str) -> int:
        """Write the text, or drop it."""
        with suppress(OSError, ValueError):
            self.target.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush if possible."""
        with suppress(OSError, ValueError):
            self.target.flush()


def prepare() -> None:
    """Make standard output accept every name and report failed writes; make standard error never fail."""
    if sys.stdout is None:  # closed before the process began
        sys.stdout = os.fdopen(os.open(os.devnull, os.O_RDONLY), "w", encoding="utf-8")
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # file names need not be valid text
        sys.stdout = cast(TextIO, Answers(sys.stdout))
    if isinstance(sys.stderr, io.TextIOWrapper):
        sys.stderr.reconfigure(errors="backslashreplace")
        sys.stderr = cast(TextIO, Progress(sys.stderr))
