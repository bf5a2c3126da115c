"""From the words of a user to the settings of a training."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import nn

from resight.classic.recipe import ClassicRecipe
from resight.core import settings
from resight.core.errors import ModelFileError, UsageError
from resight.data.dataset import Dataset
from resight.data.prepare import typical_side
from resight.models.initialization import shapes_only
from resight.models.modelfile import is_model_file, load_model
from resight.models.weights import OFFICIAL, of_zoo
from resight.models.zoo import NETWORKS, create_model, list_options, read_options
from resight.service.train.classic import CLASSIC, ClassicJob, is_classic, read_recipe, with_words
from resight.service.train.job import Job
from resight.service.train.weight_files import weight_file
from resight.training.machine import Machine
from resight.training.recipe import Facts, Recipe


def choose(
    build: Any, dataset: Dataset, model: str, recipe: str, words: list[str]
) -> tuple[Any, Machine, Any]:
    """Return the settings, how they are spread over the hardware, and who does the work."""
    named = [value for key, value in settings.pairs(words) if key == "model"]
    if is_classic(name := (named or [model])[-1]):
        return read_recipe(dataset, name, recipe, words), Machine(), ClassicJob
    chosen, machine = _build_recipe(build, dataset, model, words)
    if is_classic(chosen.model):
        raise UsageError(f"weights={chosen.weights}: are of {chosen.model}, which is fitted from scratch")
    return chosen, machine, Job


def recorded(
    record: Mapping[str, Any], folder: Path, model: str, words: Sequence[str]
) -> tuple[Any, Machine, Any]:
    """Return the settings of a run that is resumed, how they are spread over the hardware, and who works.

    Args:
        record: its recipe.json.
        folder: of the run.
        model: the network that the user names; "" for the run's.
        words: the user's; no epochs among them. Those of the machine may differ from the record.

    Raises:
        ModelFileError: if the record is damaged, or a word differs from it; each one is named.
    """
    classic = record.get("base") == CLASSIC
    try:
        before: Any = settings.from_dict(ClassicRecipe if classic else Recipe, record["recipe"])
        machine = settings.from_dict(Machine, record.get("machine", {}))
    except UsageError as error:
        raise ModelFileError(
            f"{folder}: its recipe.json is damaged, or of a newer Resight ({error})"
        ) from error
    words = [*words, *([f"model={model}"] if model else [])]
    if classic:
        after = with_words(before, words)
    else:
        words = _stripped(words)
        given = dict(settings.pairs(words))
        if given.get("weights", "").startswith("zoo:"):
            network, weights = of_zoo(given["weights"])
            words += [f"weights={weights}", f"model={given.get('model', network)}"]
        words = _with_operations(before, words)
        words = _with_options(before, given.get("model") or before.model, words)
        after, machine = settings.override_both(before, machine, words)
    if differ := settings.differences(before, after):
        raise ModelFileError(
            f"{folder}: was trained with other settings: {', '.join(differ)}; leave these words out to "
            "resume it, or train from scratch with another --out"
        )
    return after, machine, ClassicJob if classic else Job


def _stripped(words: Sequence[str]) -> list[str]:
    if wrong := [word for word in words if "=" not in word]:
        raise UsageError(f"--set {wrong[0]!r} is not key=value")
    return ["=".join(part.strip() for part in word.split("=", 1)) for word in words]


def _build_recipe(build: Any, dataset: Dataset, model: str, words: list[str]) -> tuple[Recipe, Machine]:
    """Let the recipe look at the facts, then apply the user's words."""
    words = _stripped(words)
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
