"""Train, choose, calibrate, test, report: the main job."""

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from resight.core.console import stderr_console
from resight.core.device import ran_out_of_memory
from resight.core.distributed import lost_another, world
from resight.core.errors import DataError, TrainingError
from resight.core.files import locked, write_json
from resight.core.registry import lookup
from resight.data.dataset import Dataset
from resight.data.levels import settled
from resight.data.open import open_as_it_is, require_fit
from resight.data.splitting import with_test_split
from resight.metrics.calibration import fit_temperature
from resight.models.modelfile import save_model
from resight.models.zoo import NETWORKS
from resight.service.run.data import RunData, split_as
from resight.service.run.folder import leave_empty, run_folder, stop_asked
from resight.service.run.run import MODEL_FILE, RECIPE_FILE, REPORT_FILE, open_run, read_recipe_file
from resight.service.test.test import seen_before, test_split
from resight.service.train.classic import ClassicJob
from resight.service.train.job import Job
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
    if recipe:
        lookup(RECIPES, recipe, "recipe")
    if model:
        lookup(NETWORKS, model, "model", "All names: resight models")
    with among.main_first():
        raw = open_as_it_is(data, data_root)
        require_fit(raw)
        dataset = with_test_split(raw)
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
        with stop_asked() as stop, _in_one_line(f"resume with: {again}"):
            try:
                job.fit(stop)
            except Stopped:
                console.print(f"stopped; resume with: {again}", highlight=False, markup=False, soft_wrap=True)
                raise KeyboardInterrupt from None
        with _in_one_line(f"resume with: {again}"):
            return _finish(job, console, data_root, started, strict=strict)


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


def _measures(figures: dict[str, Any]) -> str:
    """Return what the error is called; before it, of several classes, the mean average precision."""
    if not figures["multi_label"]:
        return "test error"
    if figures["map"] is None:
        return "one-error"
    low, high = figures["map_interval"]
    return f"mean average precision {figures['map']:.2f} % (95 % interval {low:.2f} to {high:.2f}), one-error"


def _finish(
    job: Job | ClassicJob, console: Console, data_root: str | None, started: float, *, strict: bool
) -> dict[str, Any]:
    """Calibrate and test the best weights, write them with their figures, and the report."""
    from resight.service.report.report import write_report

    world().wait()  # until the main process has written the best weights
    run = open_run(str(job.run))
    facts = {**job.facts(), "best_epoch": run.facts["best_epoch"]}
    facts["temperature"] = 1.0
    if job.validation:
        logits, labels = job.validation_logits(run.model, torch.float32)
        facts["temperature"] = fit_temperature(logits, labels) if len(labels) >= 20 else 1.0
    facts["seconds"] = sum(row["seconds"] for row in job.progress.history)
    run.facts.clear()
    run.facts.update(facts)
    result = test_split([run], job.dataset, strict=strict)
    figures = result.figures()
    seen, notes = seen_before([run], RunData(job.dataset, own=True), "test", result, figures)
    facts["left_out"] = job.progress.faults
    figures["skipped"] = [*job.progress.faults, *figures["skipped"]]
    known = ("n", "top1_error", "top1_interval", "top5_error", "ece", "map", "map_interval")
    facts["test"] = {k: figures[k] for k in known if k in figures}
    run.facts.update(facts)
    report = job.run / REPORT_FILE
    if world().is_main:
        save_model(job.run / MODEL_FILE, run.model, run.model.state_dict(), facts)
        report = write_report(run, job.dataset, result, figures, own=True)
    seconds = time.perf_counter() - started
    low, high = figures["top1_interval"]
    console.print(f"report {report}; {seconds:.0f} s in all", highlight=False, markup=False, soft_wrap=True)
    return {
        "run": str(job.run),
        "data": job.dataset.name,
        "split": "test",
        "notes": [*job.dataset.notes, *notes],
        **figures,
        **seen,
        "report": str(report),
        "seconds": seconds,
        "summary": f"{_measures(figures)} {figures['top1_error']:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f}, n = {figures['n']:,})",
    }
