"""The network of a training: built by its recipe, with the weights that it starts from."""

import warnings
from pathlib import Path
from typing import Any

import torch

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.localize.rule import coarse
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.loading import Card, load_card
from resight.models.modelfile import is_model_file, load_model
from resight.models.old_tasks import keep_head
from resight.models.origin import NOT_STATED, Origin, file_digest
from resight.models.weights import OFFICIAL
from resight.models.zoo import COMMON, NETWORKS, OF_TRAINING, create_model, list_options, read_options
from resight.service.train.weight_files import OWN_WEIGHTS, weight_file
from resight.training.recipe import Recipe


def make_model(
    recipe: Recipe, classes: int, known: Origin | None = None
) -> tuple[Classifier, Preprocessing | None]:
    """Return the network, with the given weights and then a fresh head, and the weights' preprocessing.

    Its `weights_note` says what the weights did not bring, its `origin` where they are from.

    Args:
        recipe: names the network, its options and the weights.
        classes: logits.
        known: where the weights are from, if a checkpoint is about to bring them: no file is read then.

    Raises:
        ModelFileError: if the weights cannot be used.
        UsageError: if they are of another network, or the options are off.
    """
    options = read_options(recipe.model, recipe.options)
    if known:
        model = create_model(recipe.model, classes, **options)
        model.origin = known
        return model, known.preprocessing
    facts: dict[str, Any] | None = None
    path = weight_file(recipe.weights)
    if recipe.weights and recipe.weights not in OFFICIAL and is_model_file(path):
        model, facts = _from_run(recipe, path, options, classes)
    else:
        weights = (recipe.weights if recipe.weights in OFFICIAL else path) if recipe.weights else None
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the training says in a line what they tell
            model = create_model(recipe.model, classes, weights=weights, **options)
    card = model.preprocessing
    if recipe.teacher == OWN_WEIGHTS:
        _keep_head(model, facts)
    if recipe.weights:
        torch.manual_seed(recipe.seed)
        model.reset_classifier(classes)
    return model, card


def _from_run(
    recipe: Recipe, path: Path, options: dict[str, Any], classes: int
) -> tuple[Classifier, dict[str, Any]]:
    """Return the network of a run's model file with the recipe's options, and the file's header.

    The options of the head, and `last`, may differ: the trunk is the same.
    """
    model, facts = load_model(path)
    if model.name != recipe.model:
        raise UsageError(f"weights={recipe.weights} are for {model.name}, not for {recipe.model}")
    defaults = list_options(recipe.model)
    ended = bool(model.options.get("last"))  # only a whole trunk can end earlier
    keeps = recipe.teacher == OWN_WEIGHTS  # the old head reads what its own pooling gives
    free = {"head", *COMMON} - ({"last"} if ended else set()) - ({"head"} if ended or keeps else set())
    differ = [k for k, v in options.items() if v != model.options.get(k, defaults[k])]
    if fixed := [k for k in differ if k not in free]:
        raise UsageError(f"weights={recipe.weights} have another {fixed[0]}; leave {fixed[0]}= out")
    built = {k: v for k, v in model.options.items() if k not in OF_TRAINING}
    if "head" in differ:
        whole = {k: v for k, v in {**built, **options}.items() if k != "last"}
        other = create_model(model.name, classes, model.in_channels, **whole)
        load_card(other, Card(model.state_dict(), (), model.preprocessing, str(path)), any_head=True)
        model = other
    if "last" in differ:
        model.end_at(options["last"], NETWORKS[model.name].input_size)
    model.options = {**built, **options}
    licence = str((facts.get("weights") or {}).get("licence") or NOT_STATED)
    file = str(path.resolve())
    model.origin = Origin(recipe.weights, licence, file_digest(path), file, model.preprocessing)
    return model, facts


def _keep_head(model: Classifier, facts: dict[str, Any] | None) -> None:
    """Keep a network's head as that of an old task, named after the data that it learned.

    Args:
        model: as its run left it.
        facts: the header of that run's model file; None if the weights are no run's.

    Raises:
        UsageError: if the weights are no run's.
    """
    card = model.preprocessing
    if facts is None or card is None:
        raise UsageError(f"teacher={OWN_WEIGHTS}: needs weights=RUN, whose answers it preserves")
    name = Path(str(facts.get("data") or "old")).stem
    taken = [task.name for task in model.old_tasks]
    if name in taken:
        name += f"-{sum(t.startswith(name) for t in taken) + 1}"
    kept = ("data", "data_root", "data_fingerprint", "recipe", "temperature", "test", "left_out")
    geometry = {"size": card.size, "resize": card.resize, "interpolation": card.interpolation}
    geometry["levels"] = card.levels.to_dict()
    keep_head(model, name, {**{key: facts[key] for key in kept if key in facts}, "geometry": geometry})


def map_note(model: Classifier, size: int) -> str:
    """Return a line where the last map will be too small to say where something is; else nothing.

    Args:
        model: the network.
        size: side of a picture.
    """
    device = next(model.parameters()).device
    with torch.no_grad(), evaluating(model):
        maps = model.forward_features(torch.zeros(1, model.in_channels, size, size, device=device))
    cells = (maps.shape[2], maps.shape[3])
    if not coarse(cells):
        return ""
    cure = "a larger image_size" if model.head == "flatten" else "a larger image_size or an earlier last="
    return (
        f"note: at {size} pixels the last map has {cells[0]} x {cells[1]} positions, too few for maps and "
        f"boxes to locate anything; {cure} gives more"
    )


def require_size(model: Classifier, size: int) -> None:
    """Refuse pictures that leave no map, before anything is read.

    Raises:
        UsageError: naming a size that the network takes.
    """
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros(1, model.in_channels, size, size))
    except (RuntimeError, UsageError) as error:
        least = NETWORKS[model.name].least_size
        cure = f"set image_size= to {least} or more"
        if "input_size" in list_options(model.name):
            cure = f"set input_size= and image_size= to the same side (the paper's is {least})"
        raise UsageError(f"{model.name} does not take pictures of {size} x {size}; {cure}") from error
