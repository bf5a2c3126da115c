"""The life of a job, which all of them share: its folder is held, it speaks, it is stopped and resumed."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from resight.core import console, settings
from resight.core.distributed import world
from resight.core.errors import ModelFileError, PictureError, UsageError
from resight.core.files import locked
from resight.service.run.folder import leave_empty, resume_line, stop_asked
from resight.training.checkpoints import require_same
from resight.training.loop import Stopped

Settings = TypeVar("Settings")


@dataclass(frozen=True)
class Life:
    """One job, from its folder to its end.

    Attributes:
        folder: that it writes to.
        console: where it speaks.
        command: that resumes it: "train", "train-gan" or "train-decoder".
        name: of the run, as that command takes it; by default the folder.
    """

    folder: Path
    console: Console
    command: str = "train"
    name: str = ""

    @property
    def resume_line(self) -> str:
        """The command that resumes it."""
        return resume_line(self.name or self.folder, self.command)

    def say(self, line: str) -> None:
        """Print a line."""
        console.say(self.console, line)

    def leave_out(self, faults: Iterable[PictureError]) -> None:
        """Name pictures that are left out."""
        for fault in faults:
            self.say(f"left out: {fault}")

    def announce(self, lines: Iterable[str]) -> None:
        """Say what is about to be done."""
        for line in lines:
            self.say(line)

    def resuming(self, epoch: int, step: int | None = None) -> None:
        """Say where it resumes: after so many epochs, and so many steps of the next one."""
        steps = "" if step is None else f", step {step}"
        self.say(f"resuming {self.name or self.folder} at epoch {epoch + 1}{steps}")

    @contextmanager
    def held(self) -> Iterator[None]:
        """Hold the folder, and show the progress of all loops."""
        with locked(self.folder), console.shown_on(self.console):
            yield

    @contextmanager
    def prepared(self) -> Iterator[None]:
        """Take the folder away again where preparing fails before anything is written to it."""
        try:
            yield
        except BaseException:
            if world().is_main:
                leave_empty(self.folder)
            raise

    @contextmanager
    def stoppable(self) -> Iterator[threading.Event]:
        """Let a signal stop the training, which then saves its state, and say how to resume it.

        Raises:
            KeyboardInterrupt: if it was stopped.
        """
        with self.resumable(), stop_asked() as stop:
            try:
                yield stop
            except Stopped:
                raise KeyboardInterrupt from None

    @contextmanager
    def resumable(self) -> Iterator[None]:
        """Say how to resume a job that was interrupted, in training or after it."""
        try:
            yield
        except KeyboardInterrupt:
            self.stopped()
            raise

    def stopped(self, state: str = "", *, resumes: bool = True) -> None:
        """Say that it was stopped, what is on disk, and how to resume it."""
        cure = f"; resume with: {self.resume_line}" if resumes else ""
        self.say(f"stopped{state and f'; {state}'}{cure}")


def identity_of(chosen: Any, free: Sequence[str]) -> dict[str, Any]:
    """Return the settings that a resumed job must share: all but the free ones."""
    return {key: value for key, value in asdict(chosen).items() if key not in free}


def as_recorded(
    recorded: dict[str, Any],
    kind: type[Settings],
    said: Sequence[str],
    free: Sequence[str],
    folder: Path,
    where: str,
) -> Settings:
    """Return the settings of a resumed job, with the user's changes: only the free ones may differ.

    Args:
        recorded: the settings in recipe.json.
        kind: their class.
        said: `key=value` words of the user.
        free: settings that do not change what is learned so far.
        folder: of the job.
        where: the record, in words that "is damaged" follows.

    Raises:
        ModelFileError: if the record is damaged, or other settings differ; these are named.
    """
    try:
        before = settings.from_dict(kind, recorded)
    except UsageError as error:
        raise ModelFileError(f"{where} is damaged, or of a newer Resight ({error})") from error
    after = settings.override(before, said)
    old, new = (identity_of(chosen, free) for chosen in (before, after))
    require_same(folder, {"settings": old}, {"settings": new})
    return after
