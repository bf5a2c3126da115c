"""Train, choose, calibrate, test, report: the main job."""

import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console

from resight.core.console import say, shown_on, stderr_console
from resight.core.device import ran_out_of_memory
from resight.core.distributed import lost_another, world
from resight.core.errors import ResightError, TrainingError, UsageError
from resight.core.files import locked, write_json
from resight.core.threads import take_free_cores
from resight.service.run.folder import run_folder
from resight.service.run.life import Life
from resight.service.run.run import RECIPE_FILE, read_recipe_file
from resight.service.train.classic import ClassicJob
from resight.service.train.finish import finish
from resight.service.train.folds import Task, train_folds
from resight.service.train.job import Job
from resight.service.train.minutes import in_time
from resight.service.train.plan import Plan, Wish, asked, fresh, resumed
from resight.service.train.stages import KEY, command_of


def train(
    data: str | None = None,
    *,
    model: str = "",
    recipe: str = "",
    epochs: int | None = None,
    minutes: float | None = None,
    seed: int | None = None,
    folds: int | None = None,
    changes: Sequence[str] = (),
    out: str | None = None,
    resume: bool | str | Path = False,
    data_root: str | None = None,
    strict: bool = False,
    console: Console | None = None,
    task: str = "",
    share_cores: bool = False,
) -> dict[str, Any]:
    """Train a network, test it and write its report.

    Args:
        data: what `open_dataset` takes; None for that of the run that is resumed.
        model: name of a network; by default the recipe's choice.
        recipe: name of a recipe; by default "photos" for photos, else "fast", see `default_recipe`.
        epochs: in place of the recipe's. More than a finished run has continue it, see
            `resight.service.train.stages`.
        minutes: the training, with its test and report, may take so long; the speed is measured first, then
            the number of epochs is chosen, and a smaller image_size where time is short. A finished run is
            continued for so long.
        seed: in place of the recipe's.
        folds: test by cross-validation with so many folds, see `resight.service.train.folds`.
        changes: key=value words over the recipe's settings.
        out: the run folder; by default runs/DATA-MODEL-N.
        resume: a run to resume, by its folder; or True for that in `out`, or the latest run of this data and
            model. What is not named is taken from its recipe.json.
        data_root: see `open_dataset`.
        strict: stop at a broken picture.
        console: where progress is shown; by default standard error.
        task: what is learned, a name in `TASKS`; by default classification, or the task of the run.
        share_cores: leave cores to other programs that use them; sets torch's threads for this process, see
            `resight.core.threads`.

    Returns:
        The test figures, and "run": the folder.

    Raises:
        ResightError: in one line.
        KeyboardInterrupt: after saving, if interrupted.
    """
    started, among = time.perf_counter(), world()
    console = console or stderr_console(quiet=not among.is_main)
    words = tuple(changes)
    wish = asked(Wish(data or "", model, recipe, epochs, minutes, words, folds, data_root, task), seed)
    run = (str(resume) if not isinstance(resume, bool) else None) or out
    again = bool(resume)
    if not wish.data and not (again and run):
        raise UsageError("give the data set, or the run to resume")

    line = partial(say, console)
    # Of a run that is named, its record says what is trained.
    plan = None if run and _is_resumed(run, resume=again) else fresh(wish, line)
    with ExitStack() as stack:
        stack.enter_context(shown_on(console))

        def take() -> tuple[Path, bool]:
            folder, old = run_folder(run, wish.data, plan.recipe.model if plan else "", resume=again)
            stack.enter_context(locked(folder))
            return folder, old

        folder, old = among.from_main(take)
        life = Life(folder, console)
        with life.prepared(), _in_one_line("start the same command again", folder):
            if share_cores and (words := take_free_cores(_threads_of(folder) if old else None)):
                life.say(words)
            plan = resumed(folder, wish, line) if old or plan is None else plan
            plan = in_time(plan, life, started) if plan.minutes is not None else plan
            if plan.folds:
                folds_of = Task(plan, life, old, strict, started)
                with _stoppable(life) as stop:
                    return train_folds(folds_of, plan.dataset, stop)
            job = plan.choice.kind.prepare(
                plan.dataset, plan.choice, life, plan.data_root, resume=old, strict=strict, begun=plan.begun
            )
        if among.is_main:
            _write_record(job, plan)
        with _stoppable(life) as stop:
            job.fit(stop)
        with life.resumable(), _in_one_line(f"resume with: {life.resume_line}", folder):
            return finish(job, started, strict=strict)


def _threads_of(folder: Path) -> int | None:
    """Return how many threads a run began with; None if it has no record, or one that does not say."""
    return read_recipe_file(folder).get("threads") if (folder / RECIPE_FILE).is_file() else None


@contextmanager
def _stoppable(life: Life) -> Iterator[threading.Event]:
    """Let a training be stopped by a signal, and say how to resume it."""
    with life.stoppable() as stop, _in_one_line(f"resume with: {life.resume_line}", life.folder):
        yield stop


def _is_resumed(run: str, *, resume: bool) -> bool:
    """Return whether a run that is named is resumed: because it was asked for, or by its launcher."""
    return resume or bool(world().restarts and world().from_main((Path(run) / RECIPE_FILE).exists))


def _write_record(job: Job | ClassicJob, plan: Plan) -> None:
    """Write recipe.json."""
    record = job.record(plan.data, plan.data_root, plan.choice.base)
    if plan.stages:
        command = command_of(record["command"], plan.stages, job.run)
        record = {**record, "command": command, KEY: list(plan.stages)}
    write_json(job.run / RECIPE_FILE, record)


@contextmanager
def _in_one_line(cure: str, folder: Path) -> Iterator[None]:
    """Turn torch's errors when another process is gone, or memory ran out beside a step, into one line.

    What is raised below, where the run's name is not known, says RUN in its place.

    Raises:
        TrainingError: how to continue.
    """
    try:
        yield
    except ResightError as error:
        place = shlex.quote(str(folder))
        error.args = tuple(
            a.replace("--resume RUN", f"--resume {place}") if isinstance(a, str) else a for a in error.args
        )
        raise
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            fault = (str(error) or "no memory").splitlines()[0][:200]
            raise TrainingError(
                f"out of memory outside a step ({fault}); set a smaller batch_size=, image_size= or "
                f"memory_gib=, or {cure}"
            ) from error
        if not lost_another(error):
            raise
        raise TrainingError(
            f"another process of this training run ended or does not respond; {cure}"
        ) from error
