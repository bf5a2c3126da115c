"""`resight train --folds K`: the figure of small sets, from K networks that each leave out one fold.

The network that is delivered learns all pictures by the same recipe, with the same share held out for
validation as in the folds: so the figure of the folds speaks of the same procedure, and the epoch and the
temperature have pictures to be chosen on. A fixed number of epochs in place of that would end the schedule
of the learning rate elsewhere than in the folds.
"""

import shlex
import threading
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from resight.core import settings
from resight.core.figures import to_json
from resight.core.files import write_json
from resight.data.dataset import Dataset, fingerprint
from resight.data.folding import Folds, fold, in_folds
from resight.data.levels import settled
from resight.data.splitting import with_validation
from resight.metrics.calibration import fit_temperature
from resight.models.modelfile import load_header, save_model
from resight.service.run.answers import KEY as ANSWERS
from resight.service.run.answers import packed_answers
from resight.service.run.life import Life
from resight.service.run.run import MODEL_FILE, RECIPE_FILE, Run, open_run, read_recipe_file
from resight.service.test.folds import FOLD, FoldFigures, Judged, judge, pool
from resight.service.train.finish import KNOWN, LEAST_FITTED, Tested, calibrated, delivered, tested
from resight.service.train.plan import Plan
from resight.service.train.stages import KEY
from resight.service.train.words import Choice
from resight.tasks.classify.result import TestResult
from resight.training.loop import Stopped


@dataclass(frozen=True)
class OneFold:
    """What a run of one fold says of itself: how many folds there are, and which it is, from 1."""

    count: int
    fold: int


@dataclass(frozen=True)
class Task:
    """A training with folds, as it was asked for.

    Attributes:
        plan: the data, the recipe, the same for every fold, who trains by it, and how many folds.
        life: of the job, with the run folder; fold k is in its subfolder fold-k.
        resume: whether the folder holds a run to resume.
        strict: stop at a broken picture.
        started: when the command began, by `time.perf_counter`.
    """

    plan: Plan
    life: Life
    resume: bool
    strict: bool
    started: float

    @property
    def choice(self) -> Choice:
        """The recipe, and who trains by it."""
        return self.plan.choice

    @property
    def count(self) -> int:
        """How many folds."""
        return self.plan.folds

    @property
    def command(self) -> str:
        """The exact command of the run."""
        plan = self.plan
        words = ["resight", "train", plan.data, "--folds", str(self.count), "--recipe", self.choice.base]
        words += ["--data-root", plan.data_root] if plan.data_root else []
        return shlex.join([*words, *settings.as_words(self.choice.recipe)])

    def prepare(self, dataset: Dataset, folder: Path, *, resume: bool, folds: FoldFigures | OneFold) -> Any:
        """Return a prepared training, whose recipe.json says `folds`."""
        job = self.choice.kind.prepare(
            dataset, self.choice, replace(self.life, folder=folder), self.plan.data_root,
            resume=resume, strict=self.strict,
        )  # fmt: skip
        write_json(folder / RECIPE_FILE, job.record(self.plan.data, self.plan.data_root, self.choice.base))
        self.record(folder, folds)
        return job

    def record(self, folder: Path, folds: FoldFigures | OneFold) -> None:
        """Write into a recipe.json what only a training with folds knows."""
        record = {**read_recipe_file(folder), "command": self.command, "folds": to_json(folds)}
        record |= {KEY: list(self.plan.stages)} if self.plan.stages else {}
        write_json(folder / RECIPE_FILE, record)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return self.life.folder

    def say(self, text: str) -> None:
        """Print a line."""
        self.life.say(text)


def train_folds(task: Task, whole: Dataset, stop: threading.Event) -> dict[str, Any]:
    """Train a network for each fold and one on all pictures; return what `resight train` does.

    Args:
        task: what was asked for.
        whole: see `to_fold`; its training split is divided.
        stop: set to stop after the step under way.

    Raises:
        Stopped: after saving.
        ResightError: in one line.
    """
    folds = in_folds(whole, task.count)
    _announce(task, whole, folds)
    pooled = pool(task.count, [_one(task, whole, folds, number, stop) for number in folds.filled()])
    words = pooled.folds.words
    task.say(f"{words}; now the network on all {len(whole.train):,} pictures")
    _stop_if(stop)
    whole = settled(replace(whole, notes=(*whole.notes, *folds.notes)))
    job = task.prepare(whole, task.folder, resume=task.resume, folds=pooled.folds)
    job.fit(stop)
    task.record(task.folder, pooled.folds)
    run = calibrated(job)
    run.facts["folds"] = to_json(pooled.folds)
    run.facts.update(_certainty(task, job, run, pooled.result))
    if "test" in job.dataset.splits:
        test = tested(job, run, strict=task.strict)
        figures = {**test.figures, "folds": to_json(pooled.folds)}
        test = replace(test, dataset=_noted(test.dataset, words), figures=figures)
    else:
        splits = {**job.dataset.splits, "test": pooled.split}
        dataset = _noted(replace(job.dataset, splits=splits), pooled.note)
        test = Tested(dataset, pooled.result, pooled.figures, pooled.seen, pooled.notes)
    return delivered(job, run, test, task.started)


def _certainty(task: Task, job: Any, run: Run, result: TestResult) -> dict[str, Any]:
    """Return what the answers of all folds say of certainty: the answers, and a temperature.

    The temperature is fitted on them only where there is no validation to fit it on. Nothing is said where a
    picture has several answers.
    """
    if result.confidence() is None:
        return {}
    temperature, likely = run.facts["temperature"], result.probabilities
    if not job.validation and run.model.probabilities == "softmax" and len(likely) >= LEAST_FITTED:
        logits = likely.clamp(min=torch.finfo(likely.dtype).tiny).log()
        temperature = fit_temperature(logits, result.labels)
        likely = (logits / temperature).softmax(1)
    answers = packed_answers(f"{task.count}-fold", likely.max(1).values, result.wrong())
    return {"temperature": temperature, ANSWERS: answers}


def _noted(dataset: Dataset, note: str) -> Dataset:
    return replace(dataset, notes=(*dataset.notes, note))


def _stop_if(stop: threading.Event) -> None:
    if stop.is_set():
        raise Stopped


def _one(task: Task, whole: Dataset, folds: Folds, number: int, stop: threading.Event) -> Judged:
    """Train the network of one fold, unless that is done, and test it on the fold."""
    _stop_if(stop)
    place = task.folder / FOLD.format(number)
    dataset = settled(replace(fold(whole, folds, number), notes=()))
    if _is_finished(task, place, dataset):
        run = open_run(str(place))
        task.say(f"fold {number} of {task.count}: trained")
        return judge(run, dataset.with_levels(run.preprocessing.levels), strict=task.strict)
    task.say(f"fold {number} of {task.count}")
    own = OneFold(task.count, number)
    job = task.prepare(dataset, place, resume=(place / RECIPE_FILE).exists(), folds=own)
    _begin(task, whole, folds, place)
    job.fit(stop)
    task.record(place, own)  # the fit of a classic pipeline writes a recipe.json of its own
    run = calibrated(job)
    run.facts["folds"] = to_json(own)
    judged = judge(run, job.dataset, strict=task.strict)
    figures = judged.result.figures()
    run.facts["test"] = {key: figures[key] for key in KNOWN if key in figures}
    save_model(place / MODEL_FILE, run.model, run.model.state_dict(), run.facts)
    low, high = figures["top1_interval"]
    task.say(
        f"fold {number}: error {figures['top1_error']:.2f} % ({low:.2f} to {high:.2f}) of {figures['n']:,}"
    )
    return judged


def _is_finished(task: Task, place: Path, dataset: Dataset) -> bool:
    """Return whether a fold's network was trained on these pictures by this recipe, and tested."""
    if not (place / MODEL_FILE).is_file():
        return False
    facts = load_header(place / MODEL_FILE)
    learned = with_validation(dataset, task.choice.recipe.val_share).train
    asked = {"recipe": settings.to_dict(task.choice.recipe), "data_fingerprint": fingerprint(learned)}
    return "test" in facts and all(facts.get(key) == value for key, value in asked.items())


def _begin(task: Task, whole: Dataset, folds: Folds, place: Path) -> None:
    """Write the run's recipe.json, from that of its first fold: from then on the run can be resumed."""
    if (task.folder / RECIPE_FILE).exists():
        return
    dataset = with_validation(whole, task.choice.recipe.val_share)
    record = {
        **read_recipe_file(place),
        "data_fingerprint": fingerprint(dataset.train),
        "splits": {name: len(split) for name, split in dataset.splits.items()},
        "folds": {"count": task.count, "filled": folds.filled()},
    }
    write_json(task.folder / RECIPE_FILE, record)


def _announce(task: Task, whole: Dataset, folds: Folds) -> None:
    """Say what is folded and what that costs, before it is spent."""
    count, trainings = len(whole.train), len(folds.filled()) + 1
    others = [f"its {len(s):,} {name} pictures remain" for name, s in whole.splits.items() if name != "train"]
    what = f"all {count:,} pictures are folded"
    if others:
        what = f"its {count:,} training pictures are folded, {' and '.join(others)} outside"
    empty = task.count - len(folds.filled())
    holds = f"; {empty} folds hold no picture" if empty else ""
    task.say(f"{task.count} folds by a hash of content: {what}{holds}; {trainings} trainings in all")
    for note in folds.notes:
        task.say(f"note: {note}")
