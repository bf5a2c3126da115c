"""RUN: a run folder, a model.safetensors, or zoo:NAME; opened as one kind of thing."""

import shlex
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from resight.core import documents
from resight.core.device import pick_device, pick_precision
from resight.core.documents import Whole
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.core.levels import Levels
from resight.core.preprocessing import Preprocessing
from resight.core.registry import lookup
from resight.data.layouts.builtin import BUILTIN
from resight.data.open import parted_name
from resight.evaluate.scores import Member
from resight.models.classifier import Classifier
from resight.models.cost import evaluating
from resight.models.folding import Inference
from resight.models.header import CARD
from resight.models.modelfile import load_network
from resight.models.old_tasks import use_old_head
from resight.models.solver import Solver
from resight.models.weights import of_zoo
from resight.models.zoo import NETWORKS, create_model, list_options
from resight.service.run.audited import opened_elsewhere
from resight.tasks.classify.task import ONE_CLASS, of_network
from resight.tasks.task import Learned, SolverTask, Task
from resight.tasks.tasks import built, header_of, task_of
from resight.tasks.verify.task import AS_RELEASED, Verify

MOST_BYTES = 64 * 2**20
"""Of a recipe.json."""
RECORD = {
    "command": str,
    "base?": str,
    "task?": {"name": str, "settings": {str: object}},
    "recipe": {str: object},
    "data": str,
    "data_root?": (str, None),
    "data_fingerprint": str,
    "classes?": [str],
    "splits": {str: Whole(0)},
    "notes": [str],
    "leaks": Whole(0),
    "versions": {str: str},
    "multiply_adds?": Whole(0),
    "parameters?": Whole(0),
    "hardware": str,
    "threads?": Whole(1),
    "processes?": Whole(1),
    "machine?": {str: object},
    "precision": str,
    "fit?": {str: object},
    "stages?": [{str: object}],
    "folds?": {"count": Whole(2), "fold?": Whole(1), "filled?": [Whole(1)]},
    "weights?": {
        "asked": str,
        "looked": [str],
        "source": str,
        "licence?": str,
        "sha256?": str,
        "file?": str,
        "preprocessing?": (CARD, None),
    },
}
"""Of a recipe.json, as far as it is read again."""
MODEL_FILE, RECIPE_FILE, REPORT_FILE = "model.safetensors", "recipe.json", "report.html"


@dataclass(frozen=True)
class Run:
    """A trained network, ready to use.

    Attributes:
        name: what the user called it.
        folder: the run folder; None for a single file or the zoo.
        network: in eval mode, on the device.
        facts: the header of its file: recipe, data, test figures.
        device: where it is.
        task: what it was trained for.
    """

    name: str
    folder: Path | None
    network: Classifier | Solver
    facts: dict[str, Any]
    device: torch.device
    task: Task = ONE_CLASS

    @property
    def model(self) -> Classifier:
        """The network of a classification.

        Raises:
            UsageError: if it is of another task.
        """
        if isinstance(self.network, Solver):
            raise UsageError(
                f"{self.name}: was trained with --task {self.task.name}; this needs a classifier"
            )
        return self.network

    @property
    def preprocessing(self) -> Preprocessing:
        """What must happen to a picture first."""
        assert self.network.preprocessing is not None  # open_run refuses a model without
        return self.network.preprocessing

    @property
    def temperature(self) -> float:
        """The temperature fitted on validation; 1 if none was."""
        return float(self.facts.get("temperature") or 1.0)

    def class_name(self, index: int) -> str:
        """Return the name of a class, or its number in words if the network knows no names."""
        return self.network.classes[index] if self.network.classes else str(index)

    def member(self, classes: tuple[str, ...], *, fast: bool = False) -> Member:
        """Return the run as a member of an ensemble over `classes`.

        Args:
            classes: the ensemble's classes; the same names as the run's, in any order.
            fast: fold batch normalization and use the hardware's fastest precision.

        Raises:
            DataError: if the run has other classes.
        """
        own = self.model.classes
        if set(own) != set(classes):
            differ = sorted(set(own) ^ set(classes))
            raise DataError(f"{self.name}: has other classes than the first run ({', '.join(differ[:4])})")
        order = torch.tensor([own.index(c) for c in classes])
        precision = pick_precision("auto", self.device) if fast else torch.float32
        fast = fast and isinstance(self.model, Classifier)
        network = Inference(self.model, precision) if fast else self.model
        card, rule = self.preprocessing, self.model.probabilities
        return Member(network, card, self.temperature, torch.float32, order, rule)


def open_run(name: str) -> Run:
    """Open a RUN that classifies; see `open_any`.

    Raises:
        UsageError: if it was trained for another task.
        ModelFileError: if there is no model, or it cannot be used.
    """
    run = open_any(name)
    if isinstance(run.task, SolverTask):
        raise UsageError(
            f"{name}: was trained with --task {run.task.name}, which this command does not take; it takes "
            "classifiers"
        )
    return run


def _built(trunk: Classifier, document: dict[str, Any]) -> Solver:
    """Return the network of a checked header that names a task."""
    task = task_of(document)
    if not isinstance(task, SolverTask):
        raise UsageError(f"--task {task.name} has no head of its own")
    return built(task, trunk, Learned(tuple(document["classes"]), document.get("about", {})))


def open_any(name: str, *, features: bool = False) -> Run:
    """Open a RUN, whatever it was trained for.

    Args:
        name: a run folder, a model.safetensors, zoo:NAME, zoo:NAME/v1 or zoo:NAME=FILE, see `of_zoo`;
            RUN@TASK for a task that a run learned before its last one and did not forget; or a network from
            elsewhere, see `opened_elsewhere`.
        features: only the features are used, so that weights without a last layer are enough.

    Raises:
        ModelFileError: if there is no model, or it cannot be used.
    """
    if not name.strip():
        raise ModelFileError("the run's name is empty; give a run folder, a model.safetensors or zoo:NAME")
    device = pick_device()
    if (elsewhere := opened_elsewhere(name)) is not None:
        other, facts = elsewhere
        return Run(name, None, other, facts, next(other.parameters()).device, of_network(other))
    of_a_zoo = name.startswith("zoo:")
    model, facts, folder = _from_zoo(name, features=features) if of_a_zoo else _from_file(name)
    if model.preprocessing is None:
        raise ModelFileError(f"{name}: its weights do not state how pictures must be prepared")
    if model.in_channels != 3:
        raise ModelFileError(
            f"{name}: takes pictures with {model.in_channels} channels, but the commands give 3"
        )
    kind = task_of(facts) if isinstance(model, Solver) else of_network(model)
    if not of_a_zoo:
        _require_map(model, model.preprocessing.size, name)
    model = model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Run(name, folder, model, facts, device, kind)


def _from_zoo(name: str, *, features: bool) -> tuple[Classifier | Solver, dict[str, Any], None]:
    """Return the network of zoo:NAME, its facts, and no folder; see `open_any`."""
    network, weights = of_zoo(name)
    lookup(NETWORKS, network, "model", "All names: resight models")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the note is refused, or does not matter
        model = create_model(network, weights=weights).eval()
    facts: dict[str, Any] = {"data": None}
    if model.same_below:
        return built(Verify(), model, AS_RELEASED).eval(), {**facts, **header_of(Verify())}, None
    if model.weights_note and not features:
        raise ModelFileError(f"{name}: cannot be used as it is: {model.weights_note}")
    return model, facts, None


def _from_file(name: str) -> tuple[Classifier | Solver, dict[str, Any], Path | None]:
    """Return the network of a run folder or model file, its header, and the folder; see `open_any`."""
    before, _, task = name.rpartition("@")
    task = "" if Path(name).exists() or not before else task
    path = Path(before if task else name)
    folder = path if path.is_dir() else None
    if not path.exists():
        raise ModelFileError(f"{name}: no such run; give a run folder, a model.safetensors or zoo:NAME")
    if folder and not (folder / MODEL_FILE).is_file():
        line = shlex.join(["resight", "train", "--resume", str(folder)])
        more = f"; resume it with: {line}" if (folder / RECIPE_FILE).exists() else ""
        raise ModelFileError(f"{name}: holds no {MODEL_FILE}, so it is not a finished run{more}")
    model, facts = load_network(folder / MODEL_FILE if folder else path, _built)
    return model, _as_before(name, model, facts, task) if task else facts, folder


def _as_before(name: str, model: Classifier | Solver, facts: dict[str, Any], task: str) -> dict[str, Any]:
    """Give a network the head of a task that it learned before, and return what is known of that task."""
    if isinstance(model, Solver):
        raise ModelFileError(f"{name}: --task {facts['task']['name']} has no older tasks")
    facts = {**facts, **use_old_head(model, task).facts}
    if "geometry" not in facts:
        raise ModelFileError(f"{name}: its file does not state how the pictures were prepared")
    assert model.preprocessing is not None  # load_network gives it
    geometry = {**facts["geometry"], "levels": Levels.from_dict(facts["geometry"].get("levels"))}
    model.preprocessing = replace(model.preprocessing, **geometry)
    return facts


def _require_map(model: Classifier | Solver, size: int, name: str) -> None:
    """Refuse a file whose pictures leave its network no map.

    Only sizes below the network's least, and networks of one size, are tried: one small picture. Shapes alone
    (on the meta device) would load torch's compiler, which takes seconds.
    """
    if size >= NETWORKS[model.name].least_size and "input_size" not in list_options(model.name):
        return
    try:
        with torch.no_grad(), evaluating(model):
            model(torch.zeros(1, model.in_channels, size, size))
    except (RuntimeError, ValueError, ArithmeticError) as error:
        raise ModelFileError(
            f"{name}: its header is damaged: {model.name} does not take pictures of {size} x {size}"
        ) from error


def absolute(data: str) -> str:
    """Return a data set's name so that it holds from any folder: a place becomes its whole path."""
    prefix, place = parted_name(data)
    if place in BUILTIN or not Path(place).exists():
        return data
    return f"{prefix}{Path(place).resolve()}"


def read_recipe_file(folder: Path, *, whole: bool = False) -> dict[str, Any]:
    """Return a run's recipe.json.

    Args:
        folder: of the run.
        whole: whether it must say all that a network's training writes; a GAN's says less.

    Raises:
        ModelFileError: if it is not there or is damaged.
    """
    path = folder / RECIPE_FILE
    try:
        if path.stat().st_size > MOST_BYTES:
            raise ModelFileError(f"{path}: is too large to be a recipe; train again to write it")
        text = path.read_bytes()
    except FileNotFoundError as error:
        raise ModelFileError(f"{folder}: holds no {RECIPE_FILE}: it is not a run to resume") from error
    except OSError as error:
        raise ModelFileError(f"{path}: cannot be read ({error.strerror or error})") from error
    shape = RECORD if whole else {f"{key.removesuffix('?')}?": value for key, value in RECORD.items()}
    # Figures that are not numbers were written as Python writes them.
    return documents.read(text, shape, str(path), ModelFileError, nan=True)
