"""Any module as a network that the commands take: what they ask of one is written on it."""

from collections.abc import Sequence
from typing import cast

import torch
from torch import nn

from resight.core.errors import ModelFileError
from resight.core.preprocessing import Preprocessing
from resight.models.activations import SIGMOID, SOFTMAX
from resight.models.classifier import Classifier
from resight.models.probabilities import RULES


def adopt(
    module: nn.Module, name: str, classes: Sequence[str], card: Preprocessing, rule: str = "softmax"
) -> Classifier:
    """Write on a module what the commands ask of a network, and return it.

    The module itself is used, so that its layers keep their names. It has no trunk and head of its own: code
    that needs these asks whether it is a `Classifier`.

    Args:
        module: gives logits (B, classes) for normalized images (B, 3, S, S).
        name: what to call it.
        classes: names, in the order of the logits.
        card: how a picture must be prepared.
        rule: how logits become probabilities, see `resight.models.probabilities`.

    Raises:
        ModelFileError: if classes repeat, or there is no such rule.
    """
    if not classes or len(set(classes)) < len(classes):
        twice = next((c for c in classes if list(classes).count(c) > 1), "")
        fault = f"the class {twice!r} is listed twice" if twice else "no classes are listed"
        raise ModelFileError(f"{name}: {fault}")
    if rule not in RULES:
        raise ModelFileError(f"{name}: probabilities {rule!r}: must be one of {', '.join(RULES)}")
    facts = {
        "name": name,
        "classes": tuple(classes),
        "num_classes": len(classes),
        "in_channels": 3,
        "logit_activation": rule if rule == SIGMOID and len(classes) > 1 else SOFTMAX,
        "preprocessing": card,
        "probabilities": rule,
        "old_tasks": [],
        "options": {},
        "weights_note": "",
        "origin": None,
    }
    if next(module.parameters(), None) is None:  # a network is where its parameters are
        module.register_parameter("placed", nn.Parameter(torch.zeros(()), requires_grad=False))
    for key, value in facts.items():
        object.__setattr__(module, key, value)
    return cast("Classifier", module.eval())
