"""Tasks that a network learned before its present one: heads that it keeps and can still answer by."""

from dataclasses import dataclass
from typing import Any, cast

from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier, fresh_like


@dataclass(frozen=True)
class OldTask:
    """A task that a network learned before its present one, and can still do.

    Attributes:
        name: its name, as in RUN@NAME.
        classes: in the order of its head's logits.
        facts: of the run that learned it: data, split, test figures.
    """

    name: str
    classes: tuple[str, ...]
    facts: dict[str, Any]


def keep_head(model: Classifier, name: str, facts: dict[str, Any]) -> None:
    """Keep a network's last layer as the head of an old task when `reset_classifier` makes the next one.

    Args:
        model: the network.
        name: of the task.
        facts: see `OldTask`.

    Raises:
        UsageError: if the network has a custom head, not a last layer that reads one vector.
    """
    _add(model, OldTask(name, model.classes, facts), model.get_classifier())


def add_old_task(model: Classifier, task: OldTask) -> None:
    """Add an old task with a fresh head, whose weights are read later."""
    _add(model, task, fresh_like(model.get_classifier(), len(task.classes)))


def _add(model: Classifier, task: OldTask, head: nn.Module) -> None:
    if type(model).forward_head is not Classifier.forward_head:
        raise UsageError(f"{model.name}: has a custom head, so no old head can be kept with it")
    if not model.old_tasks:
        model.add_module("old_heads", nn.ModuleList())
    model.old_tasks.append(task)
    cast("nn.ModuleList", model.old_heads).append(head)


def old_logits(model: Classifier, features: Tensor) -> list[Tensor]:
    """Return every old task's logits (B, classes) from the last map (B, K, h, w)."""
    if not model.old_tasks:
        return []
    vector = model.forward_head(features, pre_logits=True)
    return [head(vector) for head in cast("nn.ModuleList", model.old_heads)]


def use_old_head(model: Classifier, name: str) -> OldTask:
    """Switch a network to an old task, and return what is known about it.

    Raises:
        UsageError: if there is no task of that name.
    """
    names = [task.name for task in model.old_tasks]
    if name not in names:
        known = f"its old tasks: {', '.join(names)}" if names else "it has learned no other task"
        raise UsageError(f"@{name}: this network has no such task; {known}")
    number = names.index(name)
    parent, _, leaf = model.classifier_name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, cast("nn.ModuleList", model.old_heads)[number])
    task = model.old_tasks[number]
    model.classes, model.num_classes = task.classes, len(task.classes)
    return task
