"""What learns in a training: the trunk as it starts, the network of the task, and the aids of its loss."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from resight.core.distributed import world
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.batches import Batches
from resight.data.dataset import Dataset
from resight.models.classifier import Classifier
from resight.service.train.network import make_model, require_size
from resight.service.train.starting_weights import Start, at_hand, naming_the_file, require_recorded
from resight.service.train.teachers import make_old_self, make_teacher
from resight.tasks.task import Aids, SolverTask, Task
from resight.tasks.tasks import built
from resight.training.machine import Machine
from resight.training.recipe import Recipe

if TYPE_CHECKING:
    from resight.service.train.words import Choice


def trunk_of(
    recipe: Recipe, start: Start, classes: int, run: Path, *, resume: bool
) -> tuple[Classifier, Preprocessing | None]:
    """Return the network as it starts, and the preprocessing that its weights are used to."""
    known = at_hand(start, run) if resume else None
    with world().main_first(), naming_the_file(start):
        trunk, card = make_model(recipe, classes, known)
    require_recorded(trunk.origin, start, run)
    require_size(trunk, recipe.image_size)
    return trunk, card


def model_of(
    task: Task, trunk: Classifier, dataset: Dataset, card: Preprocessing, device: torch.device
) -> Any:
    """Return the network of a task, a classifier or a solver, on its device."""
    learns = task.learned(dataset)
    model = built(task, trunk, learns) if isinstance(task, SolverTask) else task.network(trunk, learns)
    model.preprocessing = card
    return model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]


def aids_of(
    task: Task,
    dataset: Dataset,
    choice: "Choice",
    card: Preprocessing,
    batches: Batches,
    device: torch.device,
) -> Aids:
    """Return what the loss of a task may use.

    Raises:
        UsageError: if classes shall be balanced, but whole pictures have no class labels.
    """
    recipe: Recipe = choice.recipe
    if recipe.balance != "none" and not task.balances:
        raise UsageError(
            f"balance={recipe.balance}: needs class labels of whole pictures; leave it out with --task "
            f"{task.name}"
        )
    return Aids(
        smoothing=recipe.label_smoothing,
        weights=task.weights(dataset.train).to(device) if recipe.balance == "loss" else None,
        teacher=make_teacher(recipe, dataset.classes, card, device),
        old=make_old_self(recipe, card, device),
        image_size=recipe.image_size,
        compiled=_should_compile(recipe, choice.machine, batches, device),
    )


def _should_compile(recipe: Recipe, machine: Machine, batches: Batches, device: torch.device) -> bool:
    """Whether compiling pays: it costs about a minute, and gains nothing on two CPU threads."""
    if machine.compile != "auto":
        return machine.compile == "on"
    return device.type == "cuda" and not machine.shard and recipe.epochs * batches.order.steps > 10_000
