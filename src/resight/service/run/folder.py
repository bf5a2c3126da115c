"""The folder that a training writes to: chosen, taken up, or left as it was; and the wish to stop."""

import glob
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.files import LOCK
from resight.data.open import parted_name
from resight.service.run.run import RECIPE_FILE, read_recipe_file


def run_folder(out: str | None, data: str, model: str, *, resume: bool) -> tuple[Path, bool]:
    """Return the folder of the run, and whether a run in it is taken up.

    A new folder without a name is made, so that nobody else takes it. A job that its launcher started again
    takes up what it began, if it came that far.

    Raises:
        UsageError: if it is taken, or there is nothing to resume.
    """
    place = Path(out) if out else None
    if place is None:
        stem = f"{Path(parted_name(data)[1]).stem or 'data'}-{model}"
        numbers = [
            int(n)
            for p in Path("runs").glob(f"{glob.escape(stem)}-*")
            if (n := p.name[len(stem) + 1 :]).isdigit()
        ]
        number = max(numbers, default=0)
        if resume and not number:
            raise UsageError(f"there is no run of {stem} under runs/ to resume; name it with --out")
        if number and (resume or world().restarts):
            place = Path("runs") / f"{stem}-{number}"
        while place is None:  # another training may take the same number at the same moment
            number += 1
            with suppress(FileExistsError):
                (folder := Path("runs") / f"{stem}-{number}").mkdir(parents=True)
                return folder, False
    if world().restarts:
        resume = (place / RECIPE_FILE).exists()
    if resume:
        read_recipe_file(place)
        return place, True
    if place.exists() and (not place.is_dir() or any(path.name != LOCK for path in place.iterdir())):
        raise UsageError(f"{place}: is not empty; go on with --resume, or choose another --out")
    return place, False


def leave_empty(folder: Path) -> None:
    """Take an empty run folder away: nothing is lost."""
    with suppress(OSError):
        if not any(path.name != LOCK for path in folder.iterdir()):
            (folder / LOCK).unlink(missing_ok=True)
            folder.rmdir()


@contextmanager
def stop_asked() -> Iterator[threading.Event]:
    """Turn Ctrl-C and SIGTERM into a wish to stop; a second Ctrl-C stops at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:
        del frame
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    before = {s: signal.signal(s, ask) for s in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
