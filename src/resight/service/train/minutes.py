"""`--minutes`: the speed is measured first, then minutes become epochs and a picture size.

All is settled before the first step and recorded, so a resumed run measures nothing. What is measured is a
training of its own, on a sample of the pictures; every draw of a training is a function of (seed, epoch,
sample, operation), so the one that follows is bit for bit the one with these epochs given by hand.
"""

import io
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.console import Console

from resight.core.device import wait_for
from resight.core.distributed import world
from resight.core.text import amount
from resight.data.dataset import Dataset
from resight.data.levels import settled
from resight.data.prepare import decode_split
from resight.data.splitting import with_validation
from resight.models.zoo import NETWORKS, list_options
from resight.service.run.life import Life
from resight.service.train.job import Job
from resight.service.train.pictures import kept_bytes
from resight.service.train.plan import Plan
from resight.service.train.words import Choice
from resight.training.optimizer import head_epochs, set_mode
from resight.training.recipe import Recipe
from resight.training.step import Step

MOST = 3
"""Times the recipe's epochs: more are not trained, however much time there is."""
FEW = 0.25
"""Share of the recipe's epochs below which a smaller picture is better than fewer epochs."""
LEAST_SIDE = 96
"""Pixels below which pictures are not made smaller."""
SMALLER = (6 / 7, 5 / 7, 4 / 7, 3 / 7)
"""Of the recipe's image_size, to multiples of 32: 224 becomes 192, 160, 128, 96."""
WARM, TIMED, MOST_TIMED = 1, 3, 20
"""Steps before the clock, and the least and most that are timed."""
SHARE = 0.02
"""Of the minutes, for the timed steps of one picture size."""
GROUPED = 2_000
"""Test pictures at most whose maps the report groups; a map costs about as much as two answers."""
REPORT_ANSWERS, REPORT_READINGS = 900, 764
"""What its other parts ask for: 64 maps that are drawn, 300 pictures for the units, 400 for the features."""
REPORT_SECONDS = 5.0
"""What the report takes besides, on a machine with nothing else to do."""
MOST_BUSY = 30.0
MARGIN = 0.95
"""Of the time that is left is planned: a step is not always as fast as it was."""


@dataclass(frozen=True)
class Speed:
    """What a training costs on this machine, in seconds.

    Attributes:
        head_step: a step while the head learns alone.
        step: a step, with the reading of its pictures.
        answer: the network's answer to one picture, without reading it.
        reading: reading one picture.
        save: writing the state and the best weights once.
        busy: how many times longer work takes than on a machine with nothing else to do; no time.
    """

    head_step: float
    step: float
    answer: float
    reading: float
    save: float
    busy: float = 1.0


@dataclass(frozen=True)
class Amount:
    """How much there is to do.

    Attributes:
        steps: an epoch.
        kept: training pictures that are read once before the first step; 0 if they are read in every epoch.
        validation: pictures.
        test: pictures.
    """

    steps: int
    kept: int
    validation: int
    test: int


def training_share(whole: float, folds: int = 0) -> float:
    """Return the time for one training over all pictures where `folds` trainings come before it.

    Each of K folds trains with the same epochs and size on (K - 1) / K of the pictures, so it takes
    (K - 1) / K of the time; together with the final network that is K times the time of the latter.

    Args:
        whole: time for all of them.
        folds: how many; 0 or 1 for none.
    """
    return whole / max(folds, 1)


def seconds_of(epochs: int, recipe: Recipe, speed: Speed, amount: Amount, *, again: bool = False) -> float:
    """Return how long a training takes, from its first reading to its report.

    Args:
        epochs: how many.
        recipe: gives the share in which the head learns alone.
        speed: see there.
        amount: see there.
        again: whether a finished run is continued, which has trained its head.
    """
    head = 0 if again else head_epochs(replace(recipe, epochs=epochs))
    steps = amount.steps * (head * speed.head_step + (epochs - head) * speed.step)
    judged = epochs * (amount.validation * speed.answer + speed.save)
    grouped = min(amount.test, GROUPED)
    read = amount.kept + amount.validation + amount.test + grouped + REPORT_READINGS
    answers = amount.validation + amount.test + 2 * grouped + REPORT_ANSWERS
    end = read * speed.reading + answers * speed.answer + REPORT_SECONDS * speed.busy
    return steps + judged + end


def most_epochs(seconds: float, recipe: Recipe, speed: Speed, amount: Amount, *, again: bool = False) -> int:
    """Return how many epochs fit into `seconds`: 0 if none does, at most MOST times the recipe's."""
    found = 0
    for epochs in range(1, MOST * recipe.epochs + 1):
        if seconds_of(epochs, recipe, speed, amount, again=again) > seconds:
            break
        found = epochs
    return found


def sizes_for(recipe: Recipe, *, fixed: bool) -> list[int]:
    """Return the picture sizes that a training may have, the recipe's first, then smaller ones.

    Args:
        recipe: its image_size and network.
        fixed: whether the user chose image_size.
    """
    size, model = recipe.image_size, recipe.model
    if fixed or size <= LEAST_SIDE or "input_size" in list_options(model):
        return [size]
    least = max(LEAST_SIDE, NETWORKS[model].least_size)
    smaller = {round(size * share / 32) * 32 for share in SMALLER}
    return [size, *sorted((s for s in smaller if least <= s < size), reverse=True)]


@dataclass(frozen=True)
class Length:
    """What is trained in the given time.

    Attributes:
        epochs: at least 1.
        image_size: in pixels.
        speed: at that size.
        needed: seconds that it is expected to take.
        fits: whether that is within the time.
    """

    epochs: int
    image_size: int
    speed: Speed
    needed: float
    fits: bool


def choose_for(
    left: Callable[[], float],
    recipe: Recipe,
    sizes: list[int],
    amount: Amount,
    measure: Callable[[Recipe], Speed],
    *,
    again: bool = False,
) -> Length:
    """Return the number of epochs and the picture size for a time.

    The recipe's size is measured first. If so few epochs fit that a smaller picture is better (`FEW`), the
    largest size for which enough of them should fit, as the cost goes with the number of pixels, is measured
    and taken; the smallest if there is none.

    Args:
        left: gives the seconds that are left.
        recipe: its epochs and image_size are what is wanted.
        sizes: see `sizes_for`.
        amount: how much there is to do.
        measure: gives the speed of a recipe.
        again: whether a finished run is continued.
    """

    def found(size: int) -> Length:
        sized = replace(recipe, image_size=size)
        speed = measure(sized)
        seconds = left() * MARGIN
        fitting = most_epochs(seconds, sized, speed, amount, again=again)
        epochs = max(fitting, 1)
        needed = seconds_of(epochs, sized, speed, amount, again=again)
        return Length(epochs, size, speed, needed, fitting > 0)

    enough = max(1, math.ceil(FEW * recipe.epochs))
    choice = found(sizes[0])
    if (choice.fits and choice.epochs >= enough) or len(sizes) == 1:
        return choice
    seconds = left() * MARGIN
    for size in sizes[1:]:
        share = (size / sizes[0]) ** 2
        s = choice.speed
        guess = replace(s, head_step=s.head_step * share, step=s.step * share, answer=s.answer * share)
        if most_epochs(seconds, recipe, guess, amount, again=again) >= enough:
            return found(size)
    return found(sizes[-1])


def in_time(plan: Plan, life: Life, started: float) -> Plan:
    """Return a plan whose minutes have become epochs and a picture size; says which.

    Several processes measure together, the slowest counts, and so all find the same. The trainings of folds
    share the minutes of the one on all pictures, see `training_share`, and take over its epochs and size.

    Args:
        plan: with minutes.
        life: of the job; what is measured is written into its folder for a moment.
        started: when the command began, by `time.perf_counter`.
    """
    assert plan.minutes is not None
    again, limit = plan.again, 60 * plan.minutes
    recipe: Recipe = plan.recipe
    if again:  # as long as its longest stage, in the recipe's place
        recipe = replace(recipe, epochs=max(stage["epochs"] for stage in plan.stages))
    dataset = with_validation(settled(plan.dataset) if plan.folds else plan.dataset, recipe.val_share)
    amount = _amount(dataset, recipe)

    life.say(f"measuring the speed to choose the epochs for {plan.minutes:g} minutes")

    def left() -> float:
        seconds = world().greatest([limit - (time.perf_counter() - started)])[0]
        return training_share(seconds, plan.folds)

    def measure(sized: Recipe) -> Speed:
        return measured(dataset, replace(plan.choice, recipe=sized), life.folder, SHARE * limit)

    sizes = sizes_for(recipe, fixed=plan.fixed_size or again)
    choice = choose_for(left, recipe, sizes, amount, measure, again=again)
    life.say(_said(choice, recipe, plan.minutes))
    stage = {
        "epochs": choice.epochs,
        "minutes": plan.minutes,
        "image_size": choice.image_size,
        "expected_seconds": round(choice.needed, 1),
        "speed": {key: float(f"{value:.4g}") for key, value in asdict(choice.speed).items()},
    }
    stages = (*plan.stages, stage) if again else (stage,)
    epochs = sum(s["epochs"] for s in stages)
    found = replace(plan.recipe, epochs=epochs, image_size=choice.image_size)
    return replace(plan, choice=replace(plan.choice, recipe=found), stages=stages, minutes=None)


def _amount(dataset: Dataset, recipe: Recipe) -> Amount:
    pictures = len(dataset.train)
    validation = len(dataset.splits["val"]) if "val" in dataset.splits else 0
    kept = pictures if kept_bytes(dataset.train, recipe) else 0
    test = len(dataset.splits["test"]) if "test" in dataset.splits else pictures  # folds judge every picture
    return Amount(max(1, pictures // recipe.batch_size), kept, validation, test)


def _said(choice: Length, recipe: Recipe, minutes: float) -> str:
    size = f" of {choice.image_size} pixels" if choice.image_size != recipe.image_size else ""
    done = f"{amount(choice.epochs, 'epoch')}{size}"
    if not choice.fits:
        return (
            f"{minutes:g} minutes are too few: one epoch{size} takes about {choice.needed / 60:.1f} minutes "
            "with test and report; training one epoch"
        )
    most = f"; no more than {MOST} times the recipe's" if choice.epochs == MOST * recipe.epochs else ""
    needed = f"{choice.needed / 60:.1f} minutes expected"
    return f"{minutes:g} minutes: {done} (the recipe's: {recipe.epochs}{most}), {needed}"


def measured(dataset: Dataset, choice: Choice, folder: Path, seconds: float) -> Speed:
    """Measure the steps of the real network at the real batch on real pictures, forward and backward.

    Args:
        dataset: with all its splits.
        choice: the settings, and what goes with them.
        folder: of the run.
        seconds: for the timed steps.

    Returns:
        The speed of the slowest process.
    """
    recipe: Recipe = choice.recipe
    kept = bool(kept_bytes(dataset.train, recipe))
    sample = _sample(dataset, recipe, kept=kept)
    # What does not fit as a whole is not kept as a sample either.
    choice = choice if kept else replace(choice, recipe=replace(recipe, memory_gib=0.0))
    scratch = folder / "measuring"
    silent = Console(file=io.StringIO(), quiet=True)
    try:
        job = Job.prepare(sample, choice, Life(scratch, silent), None, resume=False, strict=False)
        clock, own = time.perf_counter(), time.process_time()
        full = _step_seconds(job, recipe.epochs - 1, seconds)
        busy = _busy(job, time.perf_counter() - clock, time.process_time() - own)
        head = _step_seconds(job, 0, seconds / 2) if head_epochs(recipe) else full
        speed = Speed(head, full, _answer_seconds(job), _reading_seconds(job), _save_seconds(job), busy)
    finally:
        world().wait()
        if world().is_main:
            shutil.rmtree(scratch, ignore_errors=True)
    return Speed(*world().greatest(astuple(speed)))


def _sample(dataset: Dataset, recipe: Recipe, *, kept: bool) -> Dataset:
    """Return some pictures of each class for a few steps; those that are read again more, for the readers."""
    train, wanted = dataset.train, recipe.batch_size * (4 if kept else 12)
    rows = np.unique(np.linspace(0, len(train) - 1, min(wanted, len(train))).astype(int))
    rows = np.union1d(rows, train.kind.examples(train.labels))
    few = {
        name: split.take(np.unique(np.linspace(0, len(split) - 1, min(64, len(split))).astype(int)))
        for name, split in dataset.splits.items()
        if name != "train"
    }
    return replace(dataset, splits={**few, "train": train.take(rows)}, notes=())


def _step_seconds(job: Job, epoch: int, seconds: float) -> float:
    """Return the median time of a step in the mode of an epoch."""
    device, recipe = job.normalize.device, job.recipe
    set_mode(job.model, recipe, epoch)
    run_step = Step(job.model, job.objective, job.optimizer, job.batches.order.share, job.precision)
    for group in job.optimizer.param_groups:
        group["lr"] = 0.0
    times: list[float] = []
    rounds, total = 0, WARM + TIMED
    while len(times) < total:
        clock = time.perf_counter()
        for batch in job.batches.epoch(rounds):
            run_step(batch, len(times), 0.5, recipe.seed, job.progress, lambda _: None)
            job.optimizer.step()
            wait_for(device)
            now = time.perf_counter()
            times.append(now - clock)
            clock = now
            if len(times) == WARM + 1:  # all processes take as many
                one = world().greatest([times[-1]])[0]
                total = WARM + max(TIMED, min(MOST_TIMED, int(seconds / max(one, 1e-9))))
            if len(times) >= total:
                break
        rounds += 1
    return float(np.median(times[WARM:]))


def _busy(job: Job, wall: float, own: float) -> float:
    """Return how many times longer work takes than alone: the time that passed over the time it worked."""
    if job.normalize.device.type != "cpu":
        return 1.0
    return min(MOST_BUSY, max(1.0, wall * torch.get_num_threads() / max(own, 1e-3)))


def _answer_seconds(job: Job) -> float:
    if job.validation is None or not sum(world().all_of(len(job.validation[0]))):
        few, size = job.dataset.train.take(range(min(8, len(job.dataset.train)))), job.recipe.image_size
        blank = torch.zeros(len(few), size, size, 3, dtype=torch.uint8)
        job.validation = blank, job.task.kind.of_split(few)
    job.model.eval()
    clock = time.perf_counter()
    job.answered(job.model, job.precision)
    wait_for(job.normalize.device)
    return (time.perf_counter() - clock) / sum(world().all_of(len(job.validation[0])))


def _reading_seconds(job: Job) -> float:
    few = job.dataset.train.take(range(min(32, len(job.dataset.train))))
    clock = time.perf_counter()
    decode_split(few, job.normalize.preprocessing)
    return (time.perf_counter() - clock) / len(few)


def _save_seconds(job: Job) -> float:
    clock = time.perf_counter()
    job.save()
    return 1.3 * (time.perf_counter() - clock)  # and the best weights now and then
