"""Train, choose, calibrate, test, report: the main job."""

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich.console import Console

from resight.core.console import stderr_console
from resight.core.device import ran_out_of_memory
from resight.core.distributed import lost_another, world
from resight.core.errors import DataError, TrainingError
from resight.core.files import locked, write_json
from resight.core.registry import lookup
from resight.data.dataset import Dataset
from resight.data.folding import to_fold
from resight.data.levels import settled
from resight.data.open import open_as_it_is, require_fit
from resight.data.splitting import with_test_split
from resight.models.zoo import NETWORKS
from resight.service.run.data import split_as
from resight.service.run.folder import leave_empty, run_folder, stop_asked
from resight.service.run.run import RECIPE_FILE, read_recipe_file
from resight.service.train.finish import calibrated, delivered, tested
from resight.service.train.folds import Task, agreed_folds, require_folds, train_folds
from resight.service.train.words import choose
from resight.training.loop import Stopped
from resight.training.recipes import RECIPES


def train(
    data: str,
    *,
    model: str = "",
    recipe: str = "",
    epochs: int | None = None,
    seed: int | None = None,
    folds: int | None = None,
    changes: Sequence[str] = (),
    out: str | None = None,
    resume: bool = False,
    data_root: str | None = None,
    strict: bool = False,
    console: Console | None = None,
) -> dict[str, Any]:
    """Train a network, test it and write its report.

    Args:
        data: what `open_dataset` takes.
        model: name of a network; by default the recipe's choice.
        recipe: name of a recipe; by default "photos" for photos, else "fast", see `default_recipe`.
        epochs: in place of the recipe's.
        seed: in place of the recipe's.
        folds: test by cross-validation with so many folds, see `resight.service.train.folds`.
        changes: key=value words over the recipe's settings.
        out: the run folder; by default runs/DATA-MODEL-N.
        resume: go on with the run in `out` (or the latest run of this data and model).
        data_root: see `open_dataset`.
        strict: stop at a broken picture.
        console: where progress is shown; by default standard error.

    Returns:
        The test figures, and "run": the folder.

    Raises:
        ResightError: in one line.
        KeyboardInterrupt: after saving, if interrupted.
    """
    started, among = time.perf_counter(), world()
    console = console or stderr_console(quiet=not among.is_main)
    if folds is not None:
        require_folds(folds)
    if recipe:
        lookup(RECIPES, recipe, "recipe")
    if model:
        lookup(NETWORKS, model, "model", "All names: resight models")
    with among.main_first():
        raw = open_as_it_is(data, data_root)
        require_fit(raw)
        dataset = to_fold(raw) if folds else with_test_split(raw)
    if "train" not in dataset.splits:
        raise DataError(f"{data}: has no training pictures")
    dataset = settled(dataset)
    words = list(changes)
    words += [f"epochs={epochs}"] if epochs is not None else []
    words += [f"seed={seed}"] if seed is not None else []

    def say(line: str) -> None:
        console.print(line, highlight=False, markup=False, soft_wrap=True)

    before = among.from_main(lambda: _record_in(out, resume=resume))
    choice = choose(dataset, model, recipe, words, before, say)
    with ExitStack() as stack:

        def take() -> tuple[Path, bool]:
            folder, old = run_folder(out, data, choice.recipe.model, resume=resume)
            stack.enter_context(locked(folder))
            return folder, old

        folder, resume = among.from_main(take)
        if count := among.from_main(lambda: agreed_folds(folder, folds, resume=resume)):
            whole = to_fold(raw)
            if resume:
                before = among.from_main(lambda: read_recipe_file(folder))
                choice = choose(settled(whole), model, recipe, words, before, say)
            task = Task(data, data_root, choice, folder, count, resume, strict, console, started)
            try:
                with _stoppable(console, f"{task.command} --out {folder} --resume") as stop:
                    return train_folds(task, whole, stop)
            finally:
                leave_empty(folder)
        if resume:
            dataset = _as_before(raw, folder) or dataset
            before = among.from_main(lambda: read_recipe_file(folder))
            choice = choose(dataset, model, recipe, words, before, say)
        try:
            with _in_one_line("start the same command again"):
                job = choice.kind.prepare(
                    dataset, choice, folder, console, data_root, resume=resume, strict=strict
                )  # fmt: skip
        except BaseException:
            if among.is_main:
                leave_empty(folder)
            raise
        recipe = choice.base
        if among.is_main:
            write_json(job.run / RECIPE_FILE, job.record(data, data_root, recipe))
        again = f"{job.command(data, data_root, recipe)} --out {job.run} --resume"
        with _stoppable(console, again) as stop:
            job.fit(stop)
        with _in_one_line(f"resume with: {again}"):
            run = calibrated(job)
            return delivered(job, run, tested(job, run, strict=strict), console, started)


@contextmanager
def _stoppable(console: Console, again: str) -> Iterator[threading.Event]:
    """Let a training be stopped by a signal, and say how to resume it."""
    with stop_asked() as stop, _in_one_line(f"resume with: {again}"):
        try:
            yield stop
        except Stopped:
            console.print(f"stopped; resume with: {again}", highlight=False, markup=False, soft_wrap=True)
            raise KeyboardInterrupt from None


def _record_in(out: str | None, *, resume: bool) -> dict[str, Any]:
    """Return recipe.json of the run that is named to be resumed; empty if none is."""
    if out is None or not (resume or world().restarts) or not (Path(out) / RECIPE_FILE).exists():
        return {}
    return read_recipe_file(Path(out))


def _as_before(raw: Dataset, folder: Path) -> Dataset | None:
    """Return the data set with the test split that a run began with; None if its pictures are others now."""
    record = read_recipe_file(folder)
    learned, share = record.get("data_fingerprint"), record.get("recipe", {}).get("val_share", 0)
    found = split_as(raw, learned, share) if learned and "train" in raw.splits else None
    return with_test_split(replace(raw, by_rank=found.by_rank)) if found else None


@contextmanager
def _in_one_line(cure: str) -> Iterator[None]:
    """Turn torch's errors when another process is gone, or memory ran out beside a step, into one line.

    Raises:
        TrainingError: how to continue.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if ran_out_of_memory(error):
            fault = (str(error) or "no memory").splitlines()[0][:200]
            raise TrainingError(
                f"out of memory outside of a step ({fault}); set a smaller batch_size=, image_size= or "
                f"memory_gib=, or {cure}"
            ) from error
        if not lost_another(error):
            raise
        raise TrainingError(f"another process of this training ended or does not answer; {cure}") from error
