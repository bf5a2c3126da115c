"""Heads changed after training, so that a network does another task than it was trained for."""

from collections.abc import Sequence

from torch import nn

from resight.models.classifier import Classifier
from resight.models.old_tasks import use_old_head


def put_back(model: Classifier, before: Classifier) -> None:
    """Give a network the head, classes and preprocessing of the one that it was trained from.

    A network trained without forgetting has its own old head, which was trained with it.
    """
    if model.old_tasks:
        use_old_head(model, model.old_tasks[-1].name)
    else:
        _put(model, before.get_classifier(), before.classes)
    model.preprocessing = before.preprocessing


def keep_classes(model: Classifier, kept: Sequence[str], names: Sequence[str]) -> None:
    """Let a network choose only among some of its classes, which are then called `names`."""
    layer = model.get_classifier()
    if not isinstance(layer, nn.Linear):
        raise TypeError(f"the last layer of {model.name} is not linear")
    rows = [model.classes.index(name) for name in kept]
    head = nn.Linear(layer.in_features, len(rows), device=layer.weight.device)
    head.load_state_dict({"weight": layer.weight[rows], "bias": layer.bias[rows]})
    _put(model, head, tuple(names))


def _put(model: Classifier, head: nn.Module, classes: tuple[str, ...]) -> None:
    parent, _, leaf = model.classifier_name.rpartition(".")
    setattr(model.get_submodule(parent), leaf, head)
    model.classes, model.num_classes = classes, len(classes)
