"""The folder that a training writes to: chosen, resumed, or left as it was; and the wish to stop."""

import glob
import shlex
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.files import LOCK
from resight.data.open import parted_name
from resight.service.run.run import RECIPE_FILE, read_recipe_file


def resume_line(folder: Path | str, command: str = "train") -> str:
    """Return the command that resumes a run."""
    return shlex.join(["resight", command, "--resume", str(folder)])


def named(
    places: Sequence[str], out: str | None, command: str, *, resume: bool
) -> tuple[str | None, str | None]:
    """Tell the data set from the run among the words of a training: DATA, `--resume RUN`, or both.

    Args:
        places: what was named without an option.
        out: what was named with --out.
        command: of the training: "train" or "train-gan".
        resume: whether a run is resumed.

    Returns:
        The data set, None for that of the run; and the run to resume, None for a new one, or for the latest
        run of the data set.

    Raises:
        UsageError: if there are too few or too many of them.
    """
    how = f"resight {command} --resume RUN"
    if len(places) > 1 + resume:
        raise UsageError(
            f"{', '.join(places)}: give one data set" + (f", and one run: {how}" if resume else "")
        )
    if not resume:
        if not places:
            raise UsageError(f"give the data set: resight {command} DATA; a run is resumed with: {how}")
        return places[0], None
    runs = [place for place in places if (Path(place) / RECIPE_FILE).is_file()]
    others = [place for place in places if place not in runs]
    if out is not None:
        runs = [run for run in runs if Path(run).resolve() != Path(out).resolve()] + [out]
    if len(runs) > 1:
        raise UsageError(f"{', '.join(runs)}: these are several runs; give one: {how}")
    if len(others) > 1:
        raise UsageError(f"{', '.join(others)}: no {RECIPE_FILE} in them, so none of them is a run to resume")
    if not runs and not others:
        raise UsageError(f"give the run: {how}")
    return (others or [None])[0], (runs or [None])[0]


def run_folder(out: str | None, data: str, model: str, *, resume: bool) -> tuple[Path, bool]:
    """Return the folder of the run, and whether a run in it is resumed.

    A new folder without a name is made, so that nobody else takes it. A job that its launcher started again
    resumes what it began, if it came that far.

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
            raise UsageError(f"no run of {stem} under runs/ to resume; give the run after --resume")
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
        line = resume_line(place, "train-gan" if model == "gan" else "train")
        cure = f"resume its run with: {line}, or " if (place / RECIPE_FILE).is_file() else ""
        raise UsageError(f"{place}: is not empty; {cure}choose another --out")
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
