"""One fit of a classic pipeline, in the run folder of a network and with the same life."""

import shlex
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.classic.fitting import Fitted, fit_pipeline
from resight.classic.recipe import ClassicRecipe, default_recipe
from resight.core import settings
from resight.core.device import describe
from resight.core.distributed import world
from resight.core.errors import DataError, PictureError, UsageError
from resight.core.files import write_json
from resight.core.preprocessing import Preprocessing
from resight.core.text import amount
from resight.data.dataset import Dataset, Split, fingerprint
from resight.data.marks import ClassMarks
from resight.data.prepare import Normalize, decode_split, typical_side
from resight.data.splitting import with_validation
from resight.evaluate.scores import batch_size, logits_of
from resight.metrics.accuracy import topk_wrong
from resight.models.families.classic import NETWORKS, Pipeline
from resight.models.modelfile import load_model, save_model
from resight.models.operators.descriptors import SIFT, descriptor_count
from resight.models.zoo import COMMON, create_model, list_options, read_options
from resight.service.run.life import Life
from resight.service.run.members import Members
from resight.service.run.record import costs_of, facts_of, record_of
from resight.service.run.run import MODEL_FILE, RECIPE_FILE, read_recipe_file
from resight.service.train.held_out import with_leaks_noted, with_members_noted
from resight.service.train.network import require_size
from resight.service.train.pictures import require_every_class, validation_of
from resight.tasks.classify.task import of_labels
from resight.training.checkpoints import Progress, require_same
from resight.training.cost import in_bytes
from resight.training.journal import Journal, read_csv, write_csv
from resight.training.loop import Stopped
from resight.training.machine import Machine
from resight.training.recipe import Recipe

if TYPE_CHECKING:
    from resight.service.train.words import Choice

FOUND = ("support",)
"""Options that the fit finds."""
CURVES = "metrics.csv"
CLASSIC = "classic"
"""In place of a recipe's name in recipe.json."""


def is_classic(model: str) -> bool:
    """Return whether a model is fitted, not trained by steps."""
    return model in NETWORKS


def read_recipe(dataset: Dataset, model: str, recipe: str, words: list[str]) -> ClassicRecipe:
    """Let the data set the defaults, then apply the user's words.

    Args:
        dataset: gives its training pictures.
        model: name of the pipeline.
        recipe: name of the recipe that the user asked for.
        words: key=value; settings of `ClassicRecipe` and options of the pipeline.

    Raises:
        UsageError: for a recipe or a setting of networks, and anything else that a pipeline does not know.
    """
    if recipe != "fast":
        raise UsageError(f"--recipe {recipe} is for networks; {model} takes its settings from --set")
    train = dataset.train
    chosen = default_recipe(model, len(train), typical_side(train), mirrors=dataset.mirrors)
    return with_words(chosen, words)


def with_words(chosen: ClassicRecipe, words: Sequence[str]) -> ClassicRecipe:
    """Return settings with a user's words applied, those for options of the pipeline among them.

    Raises:
        UsageError: for a setting of networks, and anything else that the pipeline does not know.
    """
    model = chosen.model
    own = [option for option in list_options(model) if option not in (*COMMON, *FOUND)]
    known = [f.name for f in fields(ClassicRecipe)]
    options = dict(word.split("=", 1) for word in chosen.options)
    rest, given = [], set[str]()
    for key, value in settings.pairs(words):
        if key == "options":
            options = dict(settings.pairs(word for word in value.split(",") if word))
        elif key in own:
            options[key] = value
        elif key in known:
            rest.append(f"{key}={value}")
        else:
            kind = "for networks" if key in _settings_of_networks() else "unknown"
            raise UsageError(
                f"{key}={value}: is {kind}; {model} has the settings {', '.join(known)} and the options "
                f"{', '.join(own)}"
            )
        given.add(key)
    if wrong := [option for option in options if option not in own]:
        raise UsageError(f"{model} does not take {', '.join(wrong)}; its options: {', '.join(own)}")
    if "kernel" not in given and {"reduce", "scaling"} & set(options):
        options.pop("kernel", None)  # they go with the linear one
    words = [*rest, f"options={','.join(f'{k}={v}' for k, v in options.items())}"]
    return settings.override(chosen, words)


def _settings_of_networks() -> set[str]:
    return {f.name for kind in (Recipe, Machine) for f in fields(kind)} | set(COMMON)


@dataclass
class Pictures:
    """The training images of a pipeline, over and over in the same order; mirrored ones after all plain ones.

    Attributes:
        split: without unreadable pictures.
        card: their preprocessing.
        squares: all of them, (N, S, S, 3) uint8; None to decode them every time.
        mirror: whether mirrored ones follow.
    """

    split: Split
    card: Preprocessing
    squares: Tensor | None
    mirror: bool

    @classmethod
    def read(
        cls, split: Split, card: Preprocessing, recipe: ClassicRecipe, *, strict: bool
    ) -> tuple["Pictures", list[PictureError]]:
        """Decode a split once: to keep it if it fits in memory, and to know what cannot be read."""
        fits = len(split) * card.size**2 * 3 <= recipe.memory_gib * 2**30
        kept, parts, faults = [], [], []
        for rows in np.array_split(np.arange(len(split)), -(-len(split) // 1024)):
            part, squares, more = decode_split(split.take(rows), card, strict=strict)
            kept.append(part.positions)
            faults += more
            parts += [np.stack(squares)] if fits and squares else []
        good = split.take(np.flatnonzero(np.isin(split.positions, np.concatenate(kept)))) if faults else split
        whole = torch.from_numpy(np.concatenate(parts)) if parts else None
        return cls(good, card, whole, recipe.mirror), faults

    def __call__(self) -> Iterator[Tensor]:
        """Yield batches (B, 3, S, S) in [0, 1]."""
        normalize, size = Normalize(self.card, torch.device("cpu")), batch_size(self.card.size**2)
        for mirrored in (False, True)[: 1 + self.mirror]:
            for start in range(0, len(self.split), size):
                images = normalize(self._pixels(start, start + size))
                yield images.flip(3) if mirrored else images

    def _pixels(self, start: int, stop: int) -> Tensor:
        if self.squares is not None:
            return self.squares[start:stop]
        rows = np.arange(start, min(stop, len(self.split)))
        return torch.from_numpy(np.stack(decode_split(self.split.take(rows), self.card, strict=True)[1]))


@dataclass
class ClassicJob:
    """One fit, prepared; `prepare` makes it. It has what a `Job` has, as far as others look at it.

    Attributes:
        dataset: with a validation split, without unreadable training pictures.
        recipe: its settings.
        run: its folder.
        console: where it speaks.
        model: the pipeline.
        pictures: the training images.
        validation: squares (N, S, S, 3) and their marks, or None.
        progress: what was left out, and the one row of its history.
        identity: what a resumed run must share.
        leaks: test pictures that are learned too.
        members: which pictures are in which split.
        data_root: folder of the built-in data sets, if given.
        recorded: recipe.json as it was last asked for.
        found: what the fit found: C, lengths, seconds.
        finished: whether the run folder holds a finished fit already.
    """

    dataset: Dataset
    recipe: ClassicRecipe
    life: Life
    model: Pipeline
    pictures: Pictures
    validation: tuple[Tensor, ClassMarks] | None
    progress: Progress
    identity: dict[str, Any]
    leaks: int
    members: Members | None
    data_root: str | None
    recorded: dict[str, Any] = field(default_factory=dict)
    found: dict[str, Any] = field(default_factory=dict)
    finished: bool = False

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
    ) -> "ClassicJob":
        """Read the pictures, make the pipeline, and say what is to be done.

        A fit that was stopped begins again; a finished one is only tested and reported again.

        Raises:
            ResightError: in one line.
        """
        del begun
        recipe: ClassicRecipe = choice.recipe
        if world().processes > 1:
            raise UsageError(f"{recipe.model} is fitted in one process: start it without torchrun")
        if len(dataset.classes) < 2:
            raise DataError(f"{dataset.name}: {recipe.model} needs two classes or more")
        of_labels(dataset).require_one(dataset.name, f"{recipe.model} needs one class per picture")
        dataset, leaks = with_leaks_noted(dataset)
        dataset = with_validation(dataset, recipe.val_share)
        identity = {"recipe": settings.to_dict(recipe), "data": fingerprint(dataset.train)}
        dataset, members = with_members_noted(dataset, identity["data"])
        before = _finished(life.folder, identity) if resume else None
        model = _pipeline(recipe, len(dataset.classes))
        size = recipe.image_size
        card = Preprocessing(
            size=size, resize=size, mean=(0.0,) * 3, std=(1.0,) * 3, levels=dataset.train.levels
        )
        pictures, faults = Pictures.read(dataset.train, card, recipe, strict=strict)
        require_every_class(dataset, pictures.split)
        dataset = replace(dataset, splits={**dataset.splits, "train": pictures.split})
        model.classes, model.preprocessing = dataset.classes, card
        validation = validation_of(dataset, card, faults, strict=strict)
        job = cls(
            dataset, recipe, life, model, pictures, validation, Progress(), identity, leaks,
            members, data_root, found=before or {}, finished=before is not None,
        )  # fmt: skip
        life.leave_out(faults)
        job.progress.leave_out(faults)
        job.announce()
        if resume and before is None:
            life.say("a fit has no state to resume from: it starts again")
        return job

    @property
    def run(self) -> Path:
        """The folder of the run."""
        return self.life.folder

    def announce(self) -> None:
        """Say in two lines what is about to be done."""
        sizes = ", ".join(f"{len(split):,} {name}" for name, split in self.dataset.splits.items())
        notes = "".join(f"; {note}" for note in self.dataset.notes)
        r, classes = self.recipe, amount(len(self.dataset.classes), "class")
        self.life.say(f"{self.dataset.name}: {sizes} pictures of {classes}{notes}")
        count = descriptor_count(self.model, r.image_size)
        self.life.say(
            f"{r.model} {' '.join(r.options)}, input {r.image_size}, {'and mirrored, ' if r.mirror else ''}"
            f"{count:,} descriptors per picture, on {describe(torch.device('cpu'))}; run folder {self.run}"
        )
        numbers = SIFT if self.model.part("sift") is not None else 0
        described = count * numbers * len(self.pictures.split) * (2 if r.mirror else 1)
        kept = min(described, r.memory_gib * 2**30) + self.pictures_bytes()
        self.life.say(
            f"memory: about {in_bytes(kept)} for pictures and descriptors; each step prints its time"
        )

    def pictures_bytes(self) -> int:
        """Return the bytes of the training pictures in memory."""
        return 0 if self.pictures.squares is None else self.pictures.squares.numel()

    def fit(self, stop: threading.Event) -> None:
        """Fit the pipeline, and write it with the one row of its history.

        Raises:
            Stopped: if it was asked to stop; nothing is kept.
        """
        if self.finished:
            self.progress.history = read_csv(self.run / CURVES)
            return

        def check() -> None:
            if stop.is_set():
                raise Stopped

        started = time.perf_counter()
        copies = 2 if self.recipe.mirror else 1
        labels = torch.from_numpy(self.dataset.train.labels)
        fitted = fit_pipeline(
            self.model, self.pictures, labels.repeat(copies), torch.arange(len(labels)).repeat(copies),
            self.recipe, self.life.say, check,
        )  # fmt: skip
        seconds = time.perf_counter() - started
        check()
        self._note(fitted, labels.repeat(copies), seconds)
        self.found = {
            "C": fitted.c,
            "cross_validation_errors": {f"{c:g}": error for c, error in fitted.errors.items()},
            "descriptors_a_picture": descriptor_count(self.model, self.recipe.image_size),
            "vector_length": fitted.vectors[1],
            "support_vectors": fitted.support,
            "seconds": fitted.seconds,
        }
        write_json(
            self.run / RECIPE_FILE,
            {**self.recorded, **costs_of(self.model, self.recipe.image_size), "fit": self.found},
        )
        save_model(self.run / MODEL_FILE, self.model, self.model.state_dict(), self.facts())

    def _note(self, fitted: Fitted, labels: Tensor, seconds: float) -> None:
        """Write metrics.csv and TensorBoard's events."""
        row = {
            "epoch": 1,
            "step": 1,
            "train_error": 100 * float(topk_wrong(fitted.scores, labels, 1).double().mean()),
            "train_loss": float(F.cross_entropy(fitted.scores, labels)),
            "seconds": seconds,
            "images_per_second": len(labels) / seconds,
        }
        if self.validation:
            scores, truth = self.validation_logits(self.model, torch.float32)
            row["val_error"] = 100 * float(topk_wrong(scores, truth, 1).double().mean())
            row["val_loss"] = float(F.cross_entropy(scores, truth))
        self.progress.history = [row]
        self.progress.best_epoch = 1
        write_csv(self.run / CURVES, self.progress.history)
        with Journal(self.run, self.life.console) as journal:
            for name in ("train_error", "val_error"):
                if name in row:
                    journal.events.add_scalar(name, row[name], 1)
        val = f", val error {row['val_error']:.2f} %" if "val_error" in row else ""
        self.life.say(f"train error {row['train_error']:.2f} %{val}, fitted in {seconds:.1f} s")

    def validation_logits(self, model: nn.Module, precision: torch.dtype) -> tuple[Tensor, Tensor]:
        """Return the scores (N, classes) of a pipeline on validation, and the labels (N,)."""
        assert self.validation is not None
        squares, marks = self.validation
        device = next(model.parameters()).device
        assert self.model.preprocessing is not None  # prepare sets it
        return logits_of(model, squares, Normalize(self.model.preprocessing, device), precision), marks.labels

    def facts(self) -> dict[str, Any]:
        """Return what the model file says besides the network."""
        return {**facts_of(self), "best_epoch": 1, "fit": self.found}

    def record(self, data: str, data_root: str | None, recipe: str) -> dict[str, Any]:
        """Return recipe.json: everything needed to fit again."""
        if self.finished:
            return read_recipe_file(self.run)
        self.recorded = {
            "command": self.command(data, data_root, recipe),
            "base": CLASSIC,
            **record_of(self, data, data_root),
            **costs_of(self.model, self.recipe.image_size),
            "hardware": describe(torch.device("cpu")),
            "processes": 1,
            "machine": settings.to_dict(Machine()),
            "precision": "float32",
        }
        return self.recorded

    def command(self, data: str, data_root: str | None, recipe: str) -> str:
        """Return the exact command of this run."""
        del recipe
        words = ["resight", "train", data]
        words += ["--data-root", data_root] if data_root else []
        return shlex.join([*words, *settings.as_words(self.recipe)])


def _pipeline(recipe: ClassicRecipe, classes: int) -> Pipeline:
    """Return the pipeline that a recipe names, not fitted yet."""
    torch.manual_seed(recipe.seed)
    model = create_model(recipe.model, classes, **read_options(recipe.model, recipe.options)).eval()
    assert isinstance(model, Pipeline)  # every row of NETWORKS is one
    require_size(model, recipe.image_size)
    return model


def _finished(run: Path, identity: dict[str, Any]) -> dict[str, Any] | None:
    """Return what the finished fit in a run folder found; None if there is none.

    Raises:
        ModelFileError: if it holds one of another recipe or other data.
    """
    if not (run / MODEL_FILE).is_file() or not (run / CURVES).is_file():
        return None
    _, facts = load_model(run / MODEL_FILE)
    require_same(run, {"recipe": facts.get("recipe"), "data": facts.get("data_fingerprint")}, identity)
    return facts.get("fit") or {}
