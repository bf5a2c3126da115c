"""Train, choose, calibrate, test, report: the main job."""

import shlex
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import torch
from rich.console import Console
from torch import Tensor, nn
from torch.nn import functional as F

import resight
from resight.core import settings
from resight.core.device import describe, pick_device, pick_precision
from resight.core.errors import DataError, UsageError
from resight.core.files import write_json
from resight.core.registry import lookup
from resight.data.batches import Batches
from resight.data.dataset import Dataset, fingerprint, shared_pictures
from resight.data.open import open_dataset
from resight.data.prepare import Normalize, typical_side
from resight.data.splitting import with_validation
from resight.evaluate.scores import logits_of
from resight.metrics.accuracy import topk_wrong
from resight.metrics.calibration import fit_temperature
from resight.models import cost
from resight.models.classifier import Classifier
from resight.models.modelfile import load_model, save_model
from resight.models.zoo import BUILDERS
from resight.service.preparation import (
    first_images,
    make_batches,
    make_model,
    read_training,
    validation_squares,
    weight_file,
)
from resight.service.runs import MODEL_FILE, RECIPE_FILE, open_run, read_recipe_file
from resight.service.test import test_split
from resight.training.checkpoints import Progress, load_state, save_state
from resight.training.ema import AveragedWeights
from resight.training.journal import Journal
from resight.training.loop import Actions, Stopped, fit, make_optimizer
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES

NOT_IDENTITY = ("workers", "memory_gib")
"""Settings that do not change what is learned; a run may be resumed with others."""


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
    console = console or Console(stderr=True)
    build = lookup(RECIPES, recipe, "recipe")
    if model:
        lookup(BUILDERS, model, "model", "All names: resight models")
    dataset = open_dataset(data, data_root)
    if "train" not in dataset.splits:
        raise DataError(f"{data}: has no training pictures")
    words = list(changes)
    words += [f"epochs={epochs}"] if epochs is not None else []
    words += [f"seed={seed}"] if seed is not None else []
    chosen = _build_recipe(build, dataset, model, words)
    started = time.perf_counter()
    job = _Job.prepare(
        dataset, chosen, Path(out) if out else None, console, data, resume=resume, strict=strict
    )
    write_json(job.run / RECIPE_FILE, job.record(data, data_root, recipe))
    with _signals() as stop:
        try:
            job.fit(stop)
        except Stopped:
            console.print(
                f"stopped; go on with: {job.command(data, data_root, recipe)} --resume",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
            raise KeyboardInterrupt from None
    return _finish(job, console, data_root, started, strict=strict)


def _build_recipe(build: Any, dataset: Dataset, model: str, words: list[str]) -> Recipe:
    """Let the recipe look at the facts, then apply the user's words."""
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    weights, size = given.get("weights", ""), 0
    model = model or given.get("model", "")
    if weights and weights not in ("torchvision", "timm"):
        path = weight_file(weights)
        if not model or path.name == MODEL_FILE:
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
    )
    recipe = build(facts)
    if recipe.normalize == "weights" and not weights:
        raise UsageError("fine-tune starts from given weights: add --set weights=RUN, torchvision or PATH")
    return settings.override(recipe, words)


@dataclass
class _Job:
    """One training, prepared."""

    dataset: Dataset
    recipe: Recipe
    run: Path
    console: Console
    model: Classifier
    network: nn.Module
    batches: Batches
    validation: tuple[Tensor, Tensor] | None
    normalize: Normalize
    optimizer: torch.optim.SGD
    averages: AveragedWeights | None
    progress: Progress
    precision: torch.dtype
    identity: dict[str, Any]

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        recipe: Recipe,
        out: Path | None,
        console: Console,
        data: str,
        *,
        resume: bool,
        strict: bool,
    ) -> "_Job":
        device = pick_device()
        precision = pick_precision(recipe.precision, device)
        torch.manual_seed(recipe.seed)
        dataset = _with_leaks_noted(with_validation(dataset, recipe.val_share))
        run = _run_folder(out, data, recipe, resume=resume)
        model, card = make_model(recipe, len(dataset.classes))
        dataset, pictures, card, faults = read_training(dataset, recipe, card, strict=strict)
        for fault in faults:
            console.print(f"left out: {fault}", highlight=False, markup=False, soft_wrap=True)
        model.classes, model.preprocessing = dataset.classes, card
        model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        normalize = Normalize(card, device)
        batches = make_batches(dataset, recipe, pictures, normalize, device, strict=strict)
        if not recipe.weights:
            model.initialize_from(first_images(dataset, card, normalize))
        validation = validation_squares(dataset, card, faults, strict=strict)
        optimizer = make_optimizer(model, recipe)
        averages = AveragedWeights(model, recipe.ema) if recipe.ema else None
        identity = {
            "recipe": {k: v for k, v in settings.to_dict(recipe).items() if k not in NOT_IDENTITY},
            "data": fingerprint(dataset.train),
        }
        progress = load_state(run, model, optimizer, averages, identity) if resume else None
        if progress:
            where = f"epoch {progress.epoch + 1}, step {progress.step}"
            console.print(f"going on with {run} at {where}", highlight=False, markup=False, soft_wrap=True)
        else:
            progress = Progress(faults=[{"path": f.name, "fault": f.fault, "cure": f.cure} for f in faults])
        network: nn.Module = model
        if _should_compile(recipe, batches, device):
            network = torch.compile(model)  # type: ignore[assignment]
        job = cls(
            dataset, recipe, run, console, model, network, batches, validation, normalize, optimizer,
            averages, progress, precision, identity,
        )  # fmt: skip
        job.announce()
        return job

    def announce(self) -> None:
        """Say in two lines what is about to be done."""
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.dataset.splits.items())
        r = self.recipe
        lines = [
            f"{self.dataset.name}: {sizes} pictures of {len(self.dataset.classes)} classes"
            + "".join(f"; {note}" for note in self.dataset.notes),
            f"{r.model}, {cost.parameters(self.model):,} parameters, input {r.image_size}, "
            f"{r.epochs} epochs of {self.batches.steps} x {r.batch_size}, "
            f"{str(self.precision).removeprefix('torch.')} on {describe(self.normalize.device)}; "
            f"run folder {self.run}",
        ]
        for line in lines:
            self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def fit(self, stop: threading.Event) -> None:
        """Train to the last epoch."""
        counts = np.bincount(self.dataset.train.labels, minlength=len(self.dataset.classes))
        chance = 100 * (1 - counts.max() / counts.sum())
        with Journal(self.run, self.console, chance) as journal:

            def begin_epoch(epoch: int, done: int) -> Any:
                return journal.start_bar(epoch, self.recipe.epochs, self.batches.steps, done)

            def end_epoch(state: dict[str, Tensor], rate: float) -> None:
                journal.stop_bar()
                self.end_epoch(state, rate)
                left = (self.recipe.epochs - self.progress.epoch - 1) * self.batches.steps
                journal.epoch(self.progress.history, self.recipe.epochs, left)

            def save() -> None:
                save_state(
                    self.run,
                    self.model,
                    self.optimizer,
                    self.averages,
                    self.progress,
                    self.identity,
                )

            actions = Actions(begin_epoch, end_epoch, save, stop.is_set)
            fit(
                self.model, self.network, self.batches, self.recipe, self.optimizer, self.averages,
                self.progress, self.precision, actions,
            )  # fmt: skip

    def end_epoch(self, state: dict[str, Tensor], rate: float) -> None:
        """Judge the epoch's weights and keep them if they are the best."""
        p = self.progress
        row = {
            "epoch": p.epoch + 1,
            "step": (p.epoch + 1) * self.batches.steps,
            "lr": rate,
            "train_loss": p.loss_sum / max(p.step, 1),
            "train_error": 100 * p.wrong / max(p.seen, 1),
            "seconds": p.seconds,
            "images_per_second": p.seen / max(p.seconds, 1e-9),
        }
        error = 0.0  # without validation the last epoch is kept
        if self.validation:
            logits = self.judge(state)
            labels = self.validation[1]
            error = 100 * float(topk_wrong(logits, labels, 1).double().mean())
            row |= {"val_loss": float(F.cross_entropy(logits, labels)), "val_error": error}
        p.history.append(row)
        if error <= p.best_error:
            p.best_epoch, p.best_error = p.epoch + 1, error
            save_model(self.run / MODEL_FILE, self.model, state, self.facts())

    def judge(self, state: dict[str, Tensor]) -> Tensor:
        """Return the validation logits of some weights."""
        assert self.validation is not None
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(state)
        self.model.eval()
        logits = logits_of(self.model, self.validation[0], self.normalize, self.precision)
        self.model.load_state_dict(own)
        return logits

    def facts(self) -> dict[str, Any]:
        """Return what the model file says besides the network."""
        return {
            "recipe": settings.to_dict(self.recipe),
            "data": _absolute(self.dataset.name),
            "data_fingerprint": self.identity["data"],
            "best_epoch": self.progress.best_epoch,
            "resight": resight.__version__,
        }

    def record(self, data: str, data_root: str | None, recipe: str) -> dict[str, Any]:
        """Return recipe.json: everything needed to train again."""
        return {
            "command": self.command(data, data_root, recipe),
            "base": recipe,
            "recipe": settings.to_dict(self.recipe),
            "data": _absolute(data),
            "data_root": data_root,
            "data_fingerprint": self.identity["data"],
            "classes": list(self.dataset.classes),
            "splits": {name: len(split) for name, split in self.dataset.splits.items()},
            "notes": list(self.dataset.notes),
            "multiply_adds": cost.multiply_adds(self.model, self.recipe.image_size),
            "parameters": cost.parameters(self.model),
            "hardware": describe(self.normalize.device),
            "precision": str(self.precision).removeprefix("torch."),
            "versions": {
                "resight": resight.__version__,
                "torch": torch.__version__,
                "python": sys.version.split()[0],
            },
        }

    def command(self, data: str, data_root: str | None, recipe: str) -> str:
        """Return the exact command of this run."""
        words = ["resight", "train", data]
        words += ["--recipe", recipe] if recipe != "fast" else []
        words += ["--data-root", data_root] if data_root else []
        for key, value in settings.to_dict(self.recipe).items():
            text = ",".join(map(str, value)) if isinstance(value, list) else str(value)
            words += ["--set", f"{key}={text}"]
        return shlex.join([*words, "--out", str(self.run)])


def _with_leaks_noted(dataset: Dataset) -> Dataset:
    """Add a note if test pictures are learned too: the test figure would be too good."""
    shared = shared_pictures(dataset.train, dataset.split("test"))
    if not shared:
        return dataset
    note = (
        f"{shared} test pictures stand in the training split too, so the test error is too good; "
        "resight check names them"
    )
    return replace(dataset, notes=(*dataset.notes, note))


def _absolute(data: str) -> str:
    return str(Path(data).resolve()) if Path(data).exists() else data


def _run_folder(out: Path | None, data: str, recipe: Recipe, *, resume: bool) -> Path:
    """Return the folder of the run.

    Raises:
        UsageError: if it is taken, or there is nothing to resume.
    """
    if out is None:
        stem = f"{Path(data).stem or 'data'}-{recipe.model}"
        taken = sorted(Path("runs").glob(f"{stem}-*"), key=lambda p: p.stat().st_mtime)
        if resume:
            if not taken:
                raise UsageError(f"there is no run of {stem} under runs/ to resume; name it with --out")
            return taken[-1]
        numbers = [int(p.name.rsplit("-", 1)[1]) for p in taken if p.name.rsplit("-", 1)[1].isdigit()]
        return Path("runs") / f"{stem}-{max(numbers, default=0) + 1}"
    if resume:
        read_recipe_file(out)
        return out
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UsageError(f"{out}: is not empty; go on with --resume, or choose another --out")
    return out


def _should_compile(recipe: Recipe, batches: Batches, device: torch.device) -> bool:
    """Whether compiling pays: it costs about a minute, and gains nothing on two CPU threads."""
    if recipe.compile != "auto":
        return recipe.compile == "on"
    return device.type == "cuda" and recipe.epochs * batches.steps > 10_000


@contextmanager
def _signals() -> Iterator[threading.Event]:
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


def _finish(
    job: _Job, console: Console, data_root: str | None, started: float, *, strict: bool
) -> dict[str, Any]:
    """Calibrate and test the best weights, write them with their figures, and the report."""
    from resight.service.report import write_report

    run = open_run(str(job.run))
    facts = {k: v for k, v in run.facts.items() if k in (*job.facts(), "best_epoch")}
    facts["temperature"] = 1.0
    if job.validation and len(job.validation[1]) >= 20:
        logits = logits_of(run.model, job.validation[0], job.normalize, torch.float32)
        facts["temperature"] = fit_temperature(logits, job.validation[1])
    facts["seconds"] = sum(row["seconds"] for row in job.progress.history)
    run.facts.clear()
    run.facts.update(facts)
    result = test_split([run], job.dataset, strict=strict)
    figures = result.figures()
    figures["skipped"] = [*job.progress.faults, *figures["skipped"]]
    facts["test"] = {k: figures[k] for k in ("n", "top1_error", "top1_interval", "top5_error", "ece")}
    save_model(job.run / MODEL_FILE, run.model, run.model.state_dict(), facts)
    run.facts.update(facts)
    report = write_report(run, job.dataset, result, figures)
    seconds = time.perf_counter() - started
    low, high = figures["top1_interval"]
    console.print(f"report {report}; {seconds:.0f} s in all", highlight=False, markup=False, soft_wrap=True)
    return {
        "run": str(job.run),
        "data": job.dataset.name,
        "split": "test",
        **figures,
        "report": str(report),
        "seconds": seconds,
        "summary": f"test error {figures['top1_error']:.2f} % "
        f"(95 % interval {low:.2f} to {high:.2f}, n = {figures['n']:,})",
    }
