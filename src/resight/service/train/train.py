"""Train, choose, calibrate, test, report: the main job."""

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from torch import nn

from resight.core import settings
from resight.core.console import stderr_console
from resight.core.device import ran_out_of_memory
from resight.core.distributed import lost_another, world
from resight.core.errors import DataError, TrainingError, UsageError
from resight.core.files import locked, write_json
from resight.core.registry import lookup
from resight.data.dataset import Dataset
from resight.data.levels import settled
from resight.data.open import open_as_it_is, require_fit
from resight.data.prepare import typical_side
from resight.data.splitting import with_test_split
from resight.metrics.calibration import fit_temperature
from resight.models.initialization import shapes_only
from resight.models.modelfile import is_model_file, load_model, save_model
from resight.models.weights import OFFICIAL, of_zoo
from resight.models.zoo import NETWORKS, create_model, list_options, read_options
from resight.service.run.data import RunData, split_as
from resight.service.run.folder import leave_empty, run_folder, stop_asked
from resight.service.run.run import MODEL_FILE, RECIPE_FILE, REPORT_FILE, open_run, read_recipe_file
from resight.service.test.test import seen_before, test_split
from resight.service.train.classic import ClassicJob, is_classic, read_recipe
from resight.service.train.job import Job
from resight.service.train.weight_files import weight_file
from resight.training.loop import Stopped
from resight.training.machine import Machine
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES


def train(
    data: str,
    *,
    model: str = "",
    recipe: str = "fast",
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
        recipe: name of a recipe.
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
    build = lookup(RECIPES, recipe, "recipe")
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
    chosen, machine, kind = _choose(build, dataset, model, recipe, words)
    with ExitStack() as stack:

        def take() -> tuple[Path, bool]:
            folder, old = run_folder(out, data, chosen.model, resume=resume)
            stack.enter_context(locked(folder))
            return folder, old

        folder, resume = among.from_main(take)
        if resume and (before := _as_before(raw, folder)):
            dataset = before
            chosen, machine, kind = _choose(build, dataset, model, recipe, words)
        try:
            with _in_one_line("start the same command again"):
                job = kind.prepare(
                    dataset, chosen, machine, folder, console, data_root, resume=resume, strict=strict
                )  # fmt: skip
        except BaseException:
            if among.is_main:
                leave_empty(folder)
            raise
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


def _choose(
    build: Any, dataset: Dataset, model: str, recipe: str, words: list[str]
) -> tuple[Any, Machine, Any]:
    """Return the settings, how they are spread over the hardware, and who does the work."""
    named = [value for key, value in settings.pairs(words) if key == "model"]
    if is_classic(name := (named or [model])[-1]):
        return read_recipe(dataset, name, recipe, words), Machine(), ClassicJob
    chosen, machine = _build_recipe(build, dataset, model, words)
    if is_classic(chosen.model):
        raise UsageError(f"weights={chosen.weights}: are of {chosen.model}, which is fitted anew")
    return chosen, machine, Job


def _build_recipe(build: Any, dataset: Dataset, model: str, words: list[str]) -> tuple[Recipe, Machine]:
    """Let the recipe look at the facts, then apply the user's words."""
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"--set {wrong[0]!r} is not key=value")
    words = ["=".join(part.strip() for part in word.split("=", 1)) for word in words]
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    weights, size = given.get("weights", ""), 0
    model = model or given.get("model", "")
    if weights.startswith("zoo:"):
        network, weights = of_zoo(weights)
        model = model or network
        words = [*words, f"weights={weights}"]
    if weights and weights not in OFFICIAL:
        path = weight_file(weights)
        if not model or is_model_file(path):
            other, facts = load_model(path)
            model = model or facts["architecture"]
            size = other.preprocessing.size if other.preprocessing else 0
    elif weights:
        size = 224
    facts = Facts(
        model=model,
        pictures=len(dataset.train),
        side=typical_side(dataset.train),
        mirrors=dataset.mirrors,
        weights_size=size,
        least_size=NETWORKS[model].least_size if model in NETWORKS else 0,
        normalized=_is_normalized(model, given) if model in NETWORKS else True,
    )
    recipe = build(facts)
    if recipe.normalize == "weights" and not weights:
        raise UsageError("fine-tune starts from given weights: add --set weights=RUN, torchvision or PATH")
    words = _with_operations(recipe, words)
    words = _with_options(recipe, given.get("model") or recipe.model, words)
    return settings.override_both(recipe, Machine(), words)


def _is_normalized(model: str, given: dict[str, str]) -> bool:
    words = [f"{k}={v}" for k, v in given.items() if k in list_options(model)]
    words += [word for word in given.get("options", "").split(",") if word]
    with shapes_only():
        network = create_model(model, **read_options(model, words))
    return any(isinstance(m, nn.BatchNorm2d) for m in network.modules())


def _with_operations(recipe: Recipe, words: list[str]) -> list[str]:
    """Turn words about one operation (augment.rotation=15, augment.flip=off) into the setting `augment`."""
    own = [word.removeprefix("augment.") for word in words if word.startswith("augment.")]
    if not own:
        return words
    rest = [word for word in words if not word.startswith("augment.")]
    listed = [word.partition("=")[2].split(",") for word in rest if word.startswith("augment=")]
    operations = {
        re.split("[:@]", step)[0]: step for step in (listed[-1] if listed else recipe.augment) if step
    }
    for word in own:
        name, _, value = word.partition("=")
        operations.pop(name, None)
        if value != "off":
            # Commas part the operations of a list, so inside of one they are semicolons.
            colon = "" if value.startswith("@") or not value else ":"
            operations[name] = f"{name}{colon}{value.replace(',', ';')}"
    kept = [word for word in rest if not word.startswith("augment=")]
    return [*kept, f"augment={','.join(operations.values())}"]


def _with_options(recipe: Recipe, model: str, words: list[str]) -> list[str]:
    """Turn the words that are options of the network (activation=elu) into the setting `options`."""
    known = list_options(model) if model in NETWORKS else {}
    own = [w for w in words if w.partition("=")[0] in known]
    rest = [w for w in words if w not in own]
    if not own:
        return rest
    before = [w.partition("=")[2].split(",") for w in rest if w.startswith("options=")]
    kept = before[-1] if before else list(recipe.options)
    changed = {w.partition("=")[0] for w in own}
    options = [*(o for o in kept if o and o.partition("=")[0] not in changed), *own]
    return [*(w for w in rest if not w.startswith("options=")), f"options={','.join(options)}"]


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
