"""The table of all networks, and its single entry point."""

import inspect
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from resight.core import settings
from resight.core.errors import UsageError
from resight.core.registry import lookup, matching
from resight.models.classifier import Classifier
from resight.models.families import (
    alexnet,
    classic,
    deepface,
    densenet,
    efficientnet,
    efficientnet_lite,
    face,
    googlenet,
    highway,
    inception_v3,
    inception_v4,
    lenet,
    maxout,
    nin,
    preact,
    resnet,
    shift,
    speed,
    squeezenet,
    vgg,
)
from resight.models.options import require_option
from resight.models.weights import load_weights

FAMILIES = (
    lenet,
    alexnet,
    maxout,
    nin,
    vgg,
    googlenet,
    deepface,
    face,
    highway,
    resnet,
    inception_v3,
    inception_v4,
    preact,
    densenet,
    squeezenet,
    efficientnet,
    efficientnet_lite,
    shift,
    speed,
    classic,
)
"""The files that define the networks, in the order of `resight models`."""

COMMON = {
    "last": "",
    "sharpen": 0.0,
    "frozen_norm": False,
    "measured_norm": False,
    "frozen_depthwise": False,
}
"""Options that every network takes, in addition to its own."""
OF_TRAINING = ("sharpen", "frozen_norm", "measured_norm", "frozen_depthwise")
"""The options among them that belong to a training and are not passed on by weights."""

NETWORKS = {name: row for family in FAMILIES for name, row in family.NETWORKS.items()}


def create_model(
    name: str,
    num_classes: int = 1000,
    in_channels: int = 3,
    weights: str | Path | None = None,
    **options: Any,
) -> Classifier:
    """Create a network by name.

    Args:
        name: one of `list_models()`.
        num_classes: number of logits. Weights for another number of classes bring their own last layer.
        in_channels: channels of the image.
        weights: None (fresh), "torchvision", "torchvision-v1" (its first weights), "timm", or a file.
        options: for all, head="gap", "gmp" or "flatten", last=STAGE, after which the head reads the map
            (weights of the stages before stay), sharpen=WEIGHT of the attention losses in training,
            frozen_norm=True, which freezes the statistics of batch normalization,
            measured_norm=True, which measures them after each epoch for the weights that are kept, and
            frozen_depthwise=True, which freezes the kernels of depth-wise convolutions; some networks have
            more, such as shortcut="A".

    Returns:
        The network in training mode, with class names and preprocessing if the weights have them, and in
        `weights_note` what the weights lack.

    Raises:
        UsageError: for an unknown name or option.
        ModelFileError: if the weights are not available or do not fit.
    """
    row = lookup(NETWORKS, name, "model", "All names: resight models")
    known = list_options(name)
    if unknown := [option for option in options if option not in known]:
        raise UsageError(f"{name} does not take {', '.join(unknown)}; its options: {', '.join(known)}")
    for key, value in options.items():
        require_option(name, key, value, known[key])
    built = {key: value for key, value in options.items() if key not in COMMON}
    try:
        model = row.build(num_classes=num_classes, in_channels=in_channels, **built)
    except (ValueError, RuntimeError, TypeError, ArithmeticError, MemoryError) as error:
        # A value that no layer takes.
        words = ", ".join(f"{k}={v}" for k, v in options.items())
        raise UsageError(f"{name} cannot be built with {words or num_classes}: {error}") from error
    model.name, model.options = name, {key: known[key] for key in row.before} | options
    if weights is not None:
        load_weights(model, weights, row.family)
    if model.weights_note:
        warnings.warn(model.weights_note, stacklevel=2)
    if last := options.get("last", ""):
        model.end_at(last, row.input_size)
        if weights is not None:
            model.classes = ()
            ended = (
                f"{weights}: the trunk is loaded up to {last}; {model.classifier_name} is newly initialized"
            )
            model.weights_note = "; ".join(note for note in (model.weights_note, ended) if note)
    return model


def list_options(name: str) -> dict[str, Any]:
    """Return the names of the options that a network takes, and their defaults.

    Raises:
        UnknownNameError: if there is no such network.
    """
    build: Any = lookup(NETWORKS, name, "model", "All names: resight models").build
    bound = {*build.keywords, "num_classes", "in_channels"}
    parameters = list(inspect.signature(build.func).parameters.values())[len(build.args) :]
    return COMMON | {p.name: p.default for p in parameters if p.name not in bound}


def read_options(name: str, words: Iterable[str]) -> dict[str, Any]:
    """Turn `key=value` arguments into a network's options.

    Raises:
        UsageError: for an option that the network does not take, or a value of another type.
    """
    known, options = list_options(name), {}
    for word in words:
        key, _, value = word.partition("=")
        if key not in known:
            raise UsageError(f"{name} does not take {key}; its options: {', '.join(known)}")
        options[key] = settings.read_like(key, value, known[key])
    return options


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all networks that match a shell pattern."""
    return matching(NETWORKS, pattern)
