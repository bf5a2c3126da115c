"""From the words of a user to the settings of a training."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from resight.classic.recipe import ClassicRecipe
from resight.core import settings
from resight.core.errors import ModelFileError, UsageError
from resight.core.registry import lookup
from resight.data.dataset import Dataset
from resight.data.layouts.builtin import BUILTIN
from resight.data.prepare import typical_side
from resight.models.available import Say
from resight.models.initialization import shapes_only
from resight.models.modelfile import is_model_file, load_model
from resight.models.weights import OFFICIAL
from resight.models.zoo import NETWORKS, create_model, list_options, read_options
from resight.service.train.classic import CLASSIC, ClassicJob, is_classic, read_recipe, with_words
from resight.service.train.job import Job
from resight.service.train.starting_weights import AUTO, Start, networks_for_photos, settle
from resight.service.train.weight_files import weight_file
from resight.tasks.classify.task import ONE_CLASS
from resight.tasks.task import SolverTask, Task
from resight.tasks.tasks import chosen, task_of
from resight.training.machine import Machine, of_record
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES

PHOTO = 96
"""Pixels of the typical shorter side from which pictures are taken for photos."""


@dataclass(frozen=True)
class Choice:
    """What a training is to do.

    Attributes:
        base: name of its recipe.
        recipe: its settings.
        machine: how it is spread over the hardware.
        kind: who does the work.
        start: what it starts from.
        task: what is learned; of classification also what the data set says, see `of_labels`.
    """

    base: str
    recipe: Any
    machine: Machine
    kind: Any
    start: Start
    task: Task = ONE_CLASS


def choose(
    dataset: Dataset,
    model: str,
    recipe: str,
    words: list[str],
    say: Say = print,
    task: Task | None = None,
) -> Choice:
    """Return what a new training is to do.

    Args:
        dataset: its training pictures are looked at.
        model: name of the network; "" for the recipe's choice, or that of the words.
        recipe: name of the recipe; "" for the one for such pictures.
        words: key=value over it.
        say: receives one line about what is about to be downloaded.
        task: with its settings; None for classification. Its own words come before the user's.
    """
    task = task or ONE_CLASS
    named = [value for key, value in settings.pairs(words) if key == "model"]
    if is_classic(name := (named or [model])[-1]):
        if isinstance(task, SolverTask):
            raise UsageError(
                f"--model {name}: is fitted for classes alone; --task {task.name} needs a network"
            )
        fitted = read_recipe(dataset, name, recipe or "fast", words)
        return Choice(recipe or "fast", fitted, Machine(), ClassicJob, Start())
    side = typical_side(dataset.train)
    base = recipe or task.recipe or default_recipe(dataset.name, side)
    build = lookup(RECIPES, base, "recipe")
    words = [*task.defaults(dataset), *words]
    settled, machine, start = _build_recipe(build, dataset, side, model, words, say)
    if is_classic(settled.model):
        raise UsageError(f"weights={settled.weights}: are for {settled.model}, which is fitted from scratch")
    return Choice(base, settled, machine, Job, start, task)


def task_in(
    record: Mapping[str, Any], folder: Path, name: str, words: Sequence[str]
) -> tuple[Task, list[str]]:
    """Return the task of a run that is resumed, and the words that are not about it.

    Args:
        record: its recipe.json.
        folder: of the run.
        name: of the task as the user says it; "" for that of the run.
        words: the user's.

    Raises:
        ModelFileError: if the record is damaged, or the user's task or its settings differ from it.
    """
    try:
        before = task_of(record)
    except UsageError as error:
        raise ModelFileError(
            f"{folder}: its recipe.json is of a newer Resight, or damaged ({error})"
        ) from error
    own = [word for word in words if word.strip().startswith(f"{before.name}.")]
    _, rest = chosen(before.name, words)
    after = settings.override(before, [word.strip().removeprefix(f"{before.name}.") for word in own])
    differ = settings.differences(before, after)
    if name and name != before.name:
        differ = [f"task {before.name} -> {name}", *differ]
    if differ:
        raise ModelFileError(
            f"{folder}: was trained with other settings: {', '.join(differ)}; leave these options out to "
            "resume it, or train from scratch with another --out"
        )
    return before, rest


def recorded(
    record: Mapping[str, Any],
    folder: Path,
    model: str,
    words: Sequence[str],
    say: Say,
    task: Task | None = None,
) -> Choice:
    """Return what a run that is resumed is to do: what its record says.

    Args:
        record: its recipe.json.
        folder: of the run.
        model: the network that the user names; "" for the run's.
        words: the user's; no epochs among them. Those of the machine may differ from the record.
        say: receives one line about what is about to be downloaded.
        task: see `task_in`; None for classification.

    Raises:
        ModelFileError: if the record is damaged, or a word differs from it; each one is named.
    """
    base = str(record.get("base", "fast"))
    classic = base == CLASSIC
    try:
        before: Any = settings.from_dict(ClassicRecipe if classic else Recipe, record["recipe"])
        machine = settings.from_dict(Machine, of_record(record.get("machine", {})))
    except UsageError as error:
        raise ModelFileError(
            f"{folder}: its recipe.json is damaged, or of a newer Resight ({error})"
        ) from error
    words = [*words, *([f"model={model}"] if model else [])]
    start = Start()
    if classic:
        after = with_words(before, words)
    else:
        words = _stripped(words)
        given = dict(settings.pairs(words))
        began = str((record.get("weights") or {}).get("asked", before.weights))
        start = settle(given.get("weights", began), "", (), record, say)
        words += [f"weights={start.word}"]
        words += [f"model={start.network}"] if start.network and "model" not in given else []
        words = _with_operations(before, words)
        words = _with_options(before, given.get("model") or before.model, words)
        after, machine = settings.override_both(before, machine, words)
    if differ := settings.differences(before, after):
        raise ModelFileError(
            f"{folder}: was trained with other settings: {', '.join(differ)}; leave these options out to "
            "resume it, or train from scratch with another --out"
        )
    return Choice(base, after, machine, ClassicJob if classic else Job, start, task or ONE_CLASS)


def _stripped(words: Sequence[str]) -> list[str]:
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"--set {wrong[0]!r} is not key=value")
    return ["=".join(part.strip() for part in word.split("=", 1)) for word in words]


def default_recipe(data: str, side: int) -> str:
    """Return the recipe of pictures where nobody names one.

    Args:
        data: the data set's name; built-in ones are no photos.
        side: typical shorter side, in pixels.
    """
    return "photos" if side >= PHOTO and data not in BUILTIN else "fast"


def _build_recipe(
    build: Callable[[Facts], Recipe],
    dataset: Dataset,
    side: int,
    model: str,
    words: list[str],
    say: Say,
) -> tuple[Recipe, Machine, Start]:
    """Let the recipe look at the facts, then apply the user's words."""
    words = _stripped(words)
    given = {key: value for key, _, value in (word.partition("=") for word in words)}
    model = model or given.get("model", "")
    facts = Facts(model=model, pictures=len(dataset.train), side=side, mirrors=dataset.mirrors)
    start = _start_of(build, facts, given, say)
    words = [*words, f"weights={start.word}"]
    model, size = start.network or model, 0
    if start.word in OFFICIAL:
        size = NETWORKS[model].input_size if model in NETWORKS else 224
    elif start.word:
        path = weight_file(start.word)
        if not model or is_model_file(path):
            other, header = load_model(path)
            model = model or header["architecture"]
            size = other.preprocessing.size if other.preprocessing else 0
    known = model in NETWORKS
    facts = replace(
        facts,
        model=model,
        pretrained=bool(start.word),
        weights_size=size,
        least_size=NETWORKS[model].least_size if known else 0,
        normalized=_is_normalized(model, given) if known else True,
    )
    recipe = build(facts)
    if recipe.normalize == "weights" and not start.word:
        raise UsageError(
            "fine-tune starts from given weights: add --set weights=RUN, auto, torchvision or PATH"
        )
    words = _with_operations(recipe, words)
    words = _with_options(recipe, given.get("model") or recipe.model, words)
    return *settings.override_both(recipe, Machine(), words), start


FROM_WEIGHTS = ("photos", "detect", "segment")
"""Recipes that start from weights unless told otherwise."""


def _start_of(build: Callable[[Facts], Recipe], facts: Facts, given: dict[str, str], say: Say) -> Start:
    """Return what the training starts from. Photos start from weights unless told otherwise."""
    photos = build in [RECIPES[name] for name in FROM_WEIGHTS]
    asked = given.get("weights", AUTO if photos else "")
    networks = networks_for_photos() if photos else ()
    if asked == AUTO and not (facts.model or photos):
        networks = (build(facts).model,)
    return settle(asked, facts.model, networks, {}, say)


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
            # Commas part the operations of a list, so inside one they are semicolons.
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
