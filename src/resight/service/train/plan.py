"""What a training is going to do: from the words of a user, or from the record of a run that is resumed."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from resight.core import settings
from resight.core.distributed import world
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.core.registry import lookup
from resight.data.dataset import Dataset, fingerprint
from resight.data.folding import to_fold
from resight.data.levels import settled
from resight.data.splitting import with_validation
from resight.models.available import Say
from resight.models.zoo import NETWORKS
from resight.service.run.data import opened_for, split_as
from resight.service.run.folder import resume_line
from resight.service.run.run import RECIPE_FILE, read_recipe_file
from resight.service.train.stages import Stages, continued, epochs_of, stages_of
from resight.service.train.words import CLASSIC, Choice, choose, recorded, task_in
from resight.tasks.task import SolverTask, Task
from resight.tasks.tasks import CLASSIFY, chosen
from resight.training.recipe import Recipe
from resight.training.recipes import RECIPES


@dataclass(frozen=True)
class Wish:
    """What a user asks for.

    Attributes:
        data: what `open_dataset` takes; "" for that of the run.
        model: name of a network; "" for the recipe's choice.
        recipe: name of a recipe; "" for the default.
        epochs: in place of the recipe's.
        minutes: that the training may take.
        words: key=value over the recipe's settings; no epochs among them.
        folds: for cross-validation; None for none, or those of the run.
        data_root: see `open_dataset`.
        task: name of a task; "" for classification, or that of the run.
    """

    data: str
    model: str = ""
    recipe: str = ""
    epochs: int | None = None
    minutes: float | None = None
    words: tuple[str, ...] = ()
    folds: int | None = None
    data_root: str | None = None
    task: str = ""


@dataclass(frozen=True)
class Plan:
    """What is going to be trained.

    Attributes:
        data: what `open_dataset` takes.
        data_root: see `open_dataset`.
        dataset: with a test split; with folds see `to_fold`.
        choice: settings, hardware, weights, and who does the work.
        stages: see `resight.service.train.stages`; none of a classic pipeline.
        minutes: for a stage whose epochs are still to be found; None if all are known.
        fixed_size: whether the user chose image_size.
        again: whether a run is resumed.
        folds: how many; 0 for none.
    """

    data: str
    data_root: str | None
    dataset: Dataset
    choice: Choice
    stages: Stages = field(default=())
    minutes: float | None = None
    fixed_size: bool = False
    again: bool = False
    folds: int = 0

    @property
    def recipe(self) -> Any:
        """The settings."""
        return self.choice.recipe

    @property
    def begun(self) -> int:
        """Epochs of the stages before the last one."""
        return epochs_of(self.stages[:-1])


def asked(wish: Wish, seed: int | None) -> Wish:
    """Return a user's wish with one number of epochs and one seed: each may be said in two ways.

    Raises:
        UsageError: if both epochs and minutes are given, or the minutes are not above 0.
    """
    epochs, minutes, words = wish.epochs, wish.minutes, wish.words
    said = dict(settings.pairs(words))
    if "epochs" in said:
        number = settings.read_like("epochs", said["epochs"], 1)
        epochs = number if epochs is None else epochs
    if minutes is not None and epochs is not None:
        raise UsageError("--minutes chooses the number of epochs: leave out --epochs or --minutes")
    if minutes is not None and not 0 < minutes < 10**7:
        raise UsageError(f"--minutes {minutes:g}: must be above 0")
    rest = tuple(word for word in words if word.partition("=")[0].strip() != "epochs")
    rest += (f"seed={seed}",) if seed is not None else ()
    if wish.folds is not None:
        require_folds(wish.folds)
    return replace(wish, epochs=epochs, words=rest)


def fresh(wish: Wish, say: Say) -> Plan:
    """Return the plan of a new training.

    Args:
        wish: what the user asks for.
        say: receives one line about what is about to be downloaded.

    Raises:
        ResightError: if the data cannot be opened, or the words mean nothing.
    """
    if wish.recipe:
        lookup(RECIPES, wish.recipe, "recipe")
    if wish.model:
        lookup(NETWORKS, wish.model, "model", "All names: resight models")
    task, words = chosen(wish.task or CLASSIFY, wish.words)
    if wish.folds and isinstance(task, SolverTask):
        raise UsageError(f"--folds is for classification; --task {task.name} is tested on held-out pictures")
    with world().main_first():
        raw = _opened(wish.data, wish.data_root, task)
        dataset = to_fold(raw) if wish.folds else settled(task.divided(raw))
    words = [*words, *([f"epochs={wish.epochs}"] if wish.epochs is not None else [])]
    choice = choose(settled(dataset), wish.model, wish.recipe, words, say, task)
    plan = Plan(wish.data, wish.data_root, dataset, choice, folds=wish.folds or 0)
    if not isinstance(choice.recipe, Recipe):
        _require_no_minutes(wish, choice.recipe.model)
        return plan
    fixed = any(key == "image_size" for key, _ in settings.pairs(wish.words))
    return replace(plan, stages=({"epochs": choice.recipe.epochs},), minutes=wish.minutes, fixed_size=fixed)


def resumed(folder: Path, wish: Wish, say: Say) -> Plan:
    """Return the plan of a run that is resumed: what its record says, with the words of the user.

    Args:
        folder: of the run.
        wish: what the user asks for.
        say: receives one line about what is about to be downloaded.

    Raises:
        ModelFileError: if the folder holds no training, or the words are others than the record's; these are
            named.
        UsageError: if an unfinished run shall have another length.
        DataError: if its pictures are missing, or others.
    """
    record = world().from_main(lambda: read_recipe_file(folder))  # that process writes it again
    if missing := [key for key in ("recipe", "data", "data_fingerprint") if key not in record]:
        other = "" if "settings" not in record else f"; resume a GAN with: {resume_line(folder, 'train-gan')}"
        raise ModelFileError(
            f"{folder}: its {RECIPE_FILE} is not the recipe of a training run ({missing[0]}){other}"
        )
    folds = agreed_folds(record, folder, wish.folds)
    task, words = task_in(record, folder, wish.task, wish.words)
    choice, stages, minutes = recorded(record, folder, wish.model, words, say, task), (), None
    if choice.base != CLASSIC:
        if wish.recipe not in ("", choice.base):
            _refuse(folder, [f"recipe {choice.base} -> {wish.recipe}"])
        before = stages_of(record, str(folder))
        stages, minutes = continued(before, folder, wish.epochs, wish.minutes)
        if folds and (stages != before or minutes is not None):
            raise UsageError(
                f"{folder}: has folds, whose figure is for {epochs_of(before)} epochs, so it cannot be "
                "extended; train with other epochs or minutes into another --out"
            )
        choice = replace(choice, recipe=replace(choice.recipe, epochs=epochs_of(stages)))
    else:
        _require_no_minutes(wish, choice.recipe.model)
    data, root = wish.data or record["data"], wish.data_root or record.get("data_root")
    dataset = _as_before(record, folder, data, root, task, folded=bool(folds))
    return Plan(data, root, dataset, choice, stages, minutes, again=True, folds=folds)


def require_folds(count: int) -> None:
    """Refuse a number of folds before anything is read.

    Raises:
        UsageError: if it is below 2, or several processes were started.
    """
    if count < 2:
        raise UsageError(f"--folds {count}: must be 2 or more; leave it out to test on held-out pictures")
    if world().processes > 1:
        raise UsageError("--folds trains in one process; start it without torchrun")


def agreed_folds(record: Mapping[str, Any], folder: Path, count: int | None) -> int:
    """Return how many folds the run that is resumed has; 0 for none.

    Args:
        record: its recipe.json.
        folder: of the run.
        count: as asked for; None for no word about it.

    Raises:
        UsageError: if the run began with another number, or is one fold of another run.
    """
    before = record.get("folds") or {}
    if "fold" in before:
        raise UsageError(f"{folder}: is fold {before['fold']} of the run in {folder.parent}; resume that run")
    if count is not None and count != before.get("count"):
        began = f"with --folds {before['count']}" if before else "without --folds"
        raise UsageError(
            f"{folder}: began {began}; resume it the same way, or train another run with another --out"
        )
    if before:
        require_folds(before["count"])
    return before.get("count", 0)


def _refuse(folder: Path, differ: list[str]) -> None:
    """Refuse words that are not those of a run's record."""
    raise ModelFileError(
        f"{folder}: was trained with other settings: {', '.join(differ)}; leave these options out to resume "
        "it, or train from scratch with another --out"
    )


def _require_no_minutes(wish: Wish, model: str) -> None:
    if wish.minutes is not None:
        raise UsageError(f"--minutes is for networks; {model} is fitted once")
    if wish.epochs is not None:
        raise UsageError(f"epochs={wish.epochs}: is for networks; {model} is fitted once")


def _opened(data: str, data_root: str | None, task: Task) -> Dataset:
    raw = opened_for(task, data, data_root)
    if "train" not in raw.splits:
        raise DataError(f"{data}: has no training pictures")
    return raw


def _as_before(
    record: dict[str, Any], folder: Path, data: str, data_root: str | None, task: Task, *, folded: bool
) -> Dataset:
    """Return the data set of a run, with the test split that it began with, or to be folded.

    Raises:
        DataError: if it cannot be opened.
        ModelFileError: if its training pictures are others.
    """
    place = record["data"]
    moved = f"if the data set moved, give its new location: resight train DATA --resume {folder}"
    try:
        with world().main_first():
            raw = _opened(data, data_root, task)
    except DataError as error:
        if data != place:
            raise
        raise DataError(f"{error}; {moved}") from error
    share = record["recipe"].get("val_share", 0)
    if folded:
        whole = to_fold(raw)
        learned = fingerprint(with_validation(whole, share).train)
        found = whole if learned == record["data_fingerprint"] else None
    else:
        found = split_as(raw, record["data_fingerprint"], share, task=task)
    if found is None:
        which = data if data == place else f"{place}, not of {data}"
        raise ModelFileError(
            f"{folder}: was trained on other data: pictures or labels of {which} differ from those it "
            f"was trained on; restore them and resume; {moved}"
        )
    return found if folded else settled(task.divided(replace(raw, by_rank=found.by_rank)))
