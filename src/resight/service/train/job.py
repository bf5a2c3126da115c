"""One training: prepared, run epoch by epoch, its best weights kept."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from resight.core import settings
from resight.core.device import pick_device, pick_precision, tf32
from resight.core.distributed import waiting, world
from resight.core.errors import ModelFileError, PictureError
from resight.core.text import amount
from resight.data.batches import Batches
from resight.data.dataset import Dataset, fingerprint
from resight.data.prepare import Normalize
from resight.data.splitting import with_validation
from resight.models.classifier import Classifier
from resight.models.modelfile import save_model
from resight.models.solver import Solver
from resight.service.run.life import Life
from resight.service.run.members import Members
from resight.service.run.record import costs_of, facts_of
from resight.service.run.run import MODEL_FILE
from resight.service.train.batches import make_batches
from resight.service.train.held_out import require_classes_left, with_leaks_noted, with_members_noted
from resight.service.train.learner import aids_of, model_of, trunk_of
from resight.service.train.network import map_note
from resight.service.train.pictures import first_images, kept_bytes, read_training, validation_of
from resight.service.train.recorded import hardware_of, recorded
from resight.service.train.starting_weights import Start
from resight.tasks.classify.task import of_labels
from resight.tasks.task import SolverTask, Task
from resight.tasks.tasks import header_of, identity_of
from resight.training.best_epoch import tolerance
from resight.training.checkpoints import Progress, load_state, save_state
from resight.training.cost import Pace, kept_for_backward, training_bytes
from resight.training.ema import AveragedWeights
from resight.training.guessing import guessing_of
from resight.training.journal import Journal
from resight.training.loop import Actions, fit
from resight.training.machine import Machine
from resight.training.measured_norm import measured_statistics
from resight.training.optimizer import make_optimizer, set_mode
from resight.training.parallel import shared
from resight.training.recipe import Recipe
from resight.training.schedules import require_errors, warmup_steps
from resight.training.sharding import put_together, whole
from resight.training.suspicion import quiet_share
from resight.training.synced_norm import synchronize

if TYPE_CHECKING:
    from resight.service.train.words import Choice

PASSING = 32
"""Pictures that statistics are measured on after an epoch that nothing judges and others follow."""


@dataclass
class Job:
    """One training, prepared; `prepare` makes it.

    Attributes:
        dataset: with a validation split, without unreadable training pictures.
        recipe: its settings.
        machine: how it is spread over the hardware.
        life: of the job, with the run folder.
        model: the network, on its device.
        task: what it learns.
        objective: gives the loss of a batch.
        batches: the training pictures of this process.
        validation: this process's squares (N, S, S, 3) and their marks, or None.
        plain: training images (N, C, S, S) that statistics of batch normalization are measured on, or None.
        normalize: the preprocessing, applied.
        optimizer: see `make_optimizer`.
        averages: of the weights, or None.
        progress: where it stands.
        precision: of the products.
        identity: what a resumed run must share.
        leaks: test pictures that are learned too.
        members: which pictures are in which split.
        data_root: where built-in data sets lie, if it was said.
        costs: see `costs_of`.
        start: what it starts from.
    """

    dataset: Dataset
    recipe: Recipe
    machine: Machine
    life: Life
    model: Classifier | Solver
    task: Task
    objective: nn.Module
    batches: Batches
    validation: tuple[Tensor, Any] | None
    plain: Tensor | None
    normalize: Normalize
    optimizer: torch.optim.Optimizer
    averages: AveragedWeights | None
    progress: Progress
    precision: torch.dtype
    identity: dict[str, Any]
    leaks: int
    members: Members | None
    data_root: str | None
    costs: dict[str, int]
    start: Start

    @classmethod
    def prepare(
        cls,
        dataset: Dataset,
        choice: "Choice",
        life: Life,
        data_root: str | None,
        *,
        resume: bool,
        strict: bool,
        begun: int = 0,
    ) -> "Job":
        """Read the pictures, make the network, resume where a run stopped, and say what is to be done.

        Raises:
            ResightError: in one line.
        """
        recipe: Recipe = choice.recipe
        machine, device = choice.machine, pick_device()
        precision = pick_precision(recipe.precision, device)
        torch.manual_seed(recipe.seed)
        task = choice.task if isinstance(choice.task, SolverTask) else of_labels(dataset)
        dataset, noted = _noted(dataset, recipe, task)
        trunk, card = trunk_of(recipe, choice.start, len(dataset.classes), life.folder, resume=resume)
        dataset, pictures, card, faults = read_training(dataset, recipe, card, task.frame, strict=strict)
        model = model_of(task, trunk, dataset, card, device)
        if isinstance(task, SolverTask) and not resume and (line := task.start(model)):
            life.say(line)
        normalize = Normalize(card, device)
        batches = make_batches(
            dataset, recipe, machine, pictures, normalize, task.kind, strict=strict, learned=noted.learned
        )  # fmt: skip
        if model.looks_first and not recipe.weights:
            model.initialize_from(first_images(dataset, card, normalize))
        plain = first_images(dataset, card, normalize) if model.measured_norm else None
        validation = validation_of(dataset, card, faults, task.kind, strict=strict)
        require_errors(recipe, judged=validation is not None)
        life.leave_out(faults)
        if machine.sync_norm and world().processes > 1:
            synchronize(model)
        objective = task.objective(model, aids_of(task, dataset, choice, card, batches, device))
        costs = costs_of(model, recipe.image_size)
        note = "" if isinstance(model, Solver) else map_note(model, recipe.image_size)
        together = shared(objective, recipe, machine, device)  # before the optimizer: it may replace weights
        job = cls(
            dataset, recipe, machine, life, model, task, together, batches, validation, plain, normalize,
            make_optimizer(model, recipe), AveragedWeights(model, recipe.ema) if recipe.ema else None,
            Progress(sums=dict.fromkeys(task.counts, 0.0)), precision,
            {"recipe": settings.to_dict(recipe), "data": noted.learned, **identity_of(task)},
            noted.leaks, noted.members, data_root, costs, choice.start,
        )  # fmt: skip
        if resume or begun:
            job.load(begun, resume=resume)
        job.begin(faults, note)
        return job

    def begin(self, faults: Sequence[PictureError], note: str) -> None:
        """Take note of pictures that are left out, and say what is about to be done."""
        self.progress.leave_out(faults)
        if self.machine.parts > 1:
            self.progress.parts = self.machine.parts
        self.announce()
        if note:
            self.life.say(note)

    def load(self, begun: int, *, resume: bool) -> None:
        """Load the state of a run that stopped, and say where it stands.

        Raises:
            ModelFileError: if there is none, and the run is to be continued from epoch `begun`.
        """
        before = None
        if resume:
            before = load_state(
                self.run, self.model, self.optimizer, self.averages, self.identity, self.task.counts, begun
            )
        if begun and before is None:
            raise ModelFileError(
                f"{self.run}: its state, last/state.safetensors, is missing, so it cannot be resumed; train "
                f"from its weights with: --recipe fine-tune --set weights={self.run}"
            )
        if before:
            self.life.resuming(before.epoch, before.step)
        elif resume:
            self.life.say(f"resuming {self.run} at its first step")
        self.progress = before or self.progress

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.life.folder

    @property
    def arithmetic(self) -> str:
        """What is multiplied: "bfloat16", "float32" (IEEE), or "tf32" where CUDA may."""
        if self.recipe.precision == "tf32" and self.normalize.device.type == "cuda":
            return "tf32"
        return str(self.precision).removeprefix("torch.")

    def announce(self) -> None:
        """Say in two lines what is about to be done, and in more what a person should know of it."""
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.dataset.splits.items())
        r = self.recipe
        lines = [
            f"{self.dataset.name}: {sizes} pictures of {amount(len(self.dataset.classes), 'class')}"
            + "".join(f"; {note}" for note in self.dataset.notes),
            f"{r.model}, {self.costs['parameters']:,} parameters, input {r.image_size}, "
            f"{amount(r.epochs, 'epoch')} of {self.batches.order.steps} x {r.batch_size}, "
            f"{self.arithmetic} on {hardware_of(self.normalize.device)}; "
            f"run folder {self.run}",
        ]
        steps = r.epochs * self.batches.order.steps
        if warm := warmup_steps(r, steps):
            lines.append(
                f"warm-up: the first {warm:,} of {steps:,} steps at a learning rate of {r.warmup[1]:g}"
            )
        lines += self.start.lines(self.model.origin)
        lines.append(self.memory())
        if self.model.weights_note:
            lines.append(f"weights: {self.model.weights_note}")
        self.life.announce(lines)

    def memory(self) -> str:
        """Return in words what memory the training is expected to take."""
        r, share = self.recipe, -(-self.batches.order.share // self.progress.parts)
        copies = 3 + bool(r.ema) + (r.optimizer in ("adam", "adamw"))
        set_mode(self.model, r, r.epochs - 1)  # what is held fixed keeps nothing
        with put_together(self.objective):
            step = share * kept_for_backward(self.model, r.image_size, self.precision)
        pictures = kept_bytes(self.dataset.train, r)
        pictures += 0 if self.validation is None else self.validation[0].numel()
        return training_bytes(self.model, copies, step, pictures)

    def fit(self, stop: threading.Event) -> None:
        """Train to the last epoch."""
        named = {"train_error", "val_error"} <= {*self.task.columns}
        guessing = guessing_of(self.dataset, self.recipe.balance) if named else None
        quiet = quiet_share(self.recipe, self.recipe.epochs * self.batches.order.steps)
        place = self.run if world().is_main else None
        with Journal(place, self.life.console, guessing, quiet, self.task) as journal:
            p, steps = self.progress, self.batches.order.steps
            left = (self.recipe.epochs - p.epoch) * steps - p.step
            pace = Pace(journal.say, left, self.batches.order.size)

            def begin_epoch(epoch: int, done: int) -> Any:
                advance, before = journal.start_bar(epoch, self.recipe.epochs, steps, done), done

                def after_step(step: int, rate: float, loss: float) -> None:
                    nonlocal before
                    advance(step, rate, loss)
                    pace(step - before)
                    before = step

                return after_step

            def end_epoch(state: dict[str, Tensor], rate: float) -> None:
                journal.stop_bar()
                self.end_epoch(state, rate)
                remaining = (self.recipe.epochs - self.progress.epoch - 1) * steps
                journal.epoch(self.progress.history, self.recipe.epochs, remaining)

            actions = Actions(begin_epoch, end_epoch, self.save, stop.is_set, journal.say, errors=self.errors)
            allowed = self.recipe.precision == "tf32"
            with tf32(allowed=allowed), waiting(2 * self.machine.timeout):
                fit(
                    self.model, self.objective, self.batches, self.recipe, self.optimizer, self.averages,
                    self.progress, self.precision, actions,
                )  # fmt: skip

    def errors(self) -> list[float]:
        """Return the validation errors of the cycle under way, one an epoch."""
        return self.task.best.errors(self.progress.history[self.progress.begun :])

    def save(self) -> None:
        """Write the full state; one process does, for all have the same."""
        save_state(self.run, self.model, self.optimizer, self.averages, self.progress, self.identity)

    def end_epoch(self, state: dict[str, Tensor], rate: float) -> None:
        """Judge the epoch's weights and keep them if they are the best.

        The best have the lowest validation error; of equal ones the later are kept, which had more steps at
        low rates. There is no early stopping: later epochs are trained whatever the error does.

        Raises:
            TrainingError: if all pictures of a class stopped being readable.
        """
        p = self.progress
        require_classes_left(self.dataset.train, p.faults)
        asked = self.validation is not None or p.epoch + 1 == self.recipe.epochs
        state = self.settled(state, None if asked else PASSING)
        row = {
            "epoch": p.epoch + 1,
            "step": (p.epoch + 1) * self.batches.order.steps,
            "lr": rate,
            "train_loss": p.loss_sum / max(p.step, 1),
            **self.task.row(p.sums, p.seen),
            "seconds": p.seconds,
            "images_per_second": p.seen / max(p.seconds, 1e-9),
        }
        pictures = 0
        if self.validation:
            outputs, marks = self.judge(state)
            pictures = len(marks)
            row |= self.task.judged(outputs, marks)
        p.history.append(row)
        best = self.task.best
        within = 0.0 if p.best is None or not best.error else tolerance(p.best, pictures)
        if best.improves(row, p.best, within):
            p.best_epoch, p.best = p.epoch + 1, best.better(row, p.best)
            state = whole(state)
            if world().is_main:
                save_model(self.run / MODEL_FILE, self.model, state, self.facts())

    def settled(self, state: dict[str, Tensor], most: int | None = None) -> dict[str, Tensor]:
        """Return weights with statistics of batch normalization that were measured for them, if wanted.

        Args:
            state: the weights.
            most: measures on about so many of the pictures, evenly spaced; None for all.
        """
        if self.plain is None:
            return state
        images = self.plain[:: max(1, len(self.plain) // (most or len(self.plain)))]
        with self.holding(state), put_together(self.objective):
            return {**state, **measured_statistics(self.model, images, self.precision)}

    @contextmanager
    def holding(self, state: dict[str, Tensor]) -> Iterator[None]:
        """Let the network have other weights inside the block."""
        own = {k: v.detach().clone() for k, v in self.model.state_dict().items()}
        self.model.load_state_dict(state)
        try:
            yield
        finally:
            self.model.load_state_dict(own)

    def judge(self, state: dict[str, Tensor]) -> tuple[Any, Any]:
        """Return what some weights answer on validation, see `Task.outputs`, and the marks."""
        with self.holding(state), put_together(self.objective):
            self.model.eval()
            return self.answered(self.model, self.precision)

    def answered(self, model: nn.Module, precision: torch.dtype) -> tuple[Any, Any]:
        """Return what a network in eval mode says of validation, see `Task.outputs`, and the marks."""
        assert self.validation is not None
        squares, marks = self.validation
        said = self.task.outputs(model, squares, self.normalize, precision) if len(squares) else ()
        parts = [part for part in world().all_of((said, marks)) if len(part[1])]
        outputs: list[Any] = [p for p, _ in parts]
        marks = self.task.kind.joined([p for _, p in parts])
        if isinstance(outputs[0], Tensor):
            return torch.cat(outputs), marks
        return [output for part in outputs for output in part], marks

    def validation_logits(self, model: nn.Module, precision: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the logits (N, classes) of a classifier in eval mode on validation, and the labels (N,)."""
        logits, marks = self.answered(model, precision)
        return logits, marks.labels

    def facts(self) -> dict[str, Any]:
        """Return what the model file says besides the network."""
        origin = self.model.origin
        weights = {"weights": origin.header()} if origin else {}
        about = header_of(self.task)
        return {**facts_of(self), **about, **weights, "best_epoch": self.progress.best_epoch}

    def record(self, data: str, data_root: str | None, recipe: str) -> dict[str, Any]:
        """Return recipe.json, see `recorded`."""
        return recorded(self, data, data_root, recipe)


@dataclass(frozen=True)
class _Noted:
    """What is known of the pictures before they are read.

    Attributes:
        learned: fingerprint of the training split.
        leaks: test pictures that are learned too.
        members: which pictures are in which split.
    """

    learned: str
    leaks: int
    members: Members | None


def _noted(dataset: Dataset, recipe: Recipe, task: Task) -> tuple[Dataset, _Noted]:
    """Hold validation pictures out, and return the data with what is known of them."""
    dataset, leaks = with_leaks_noted(dataset)
    dataset = with_validation(dataset, recipe.val_share)
    learned = fingerprint(dataset.train, task.kind.said)
    dataset, members = with_members_noted(dataset, learned, recipe.weights, recipe.teacher)
    return dataset, _Noted(learned, leaks, members)
