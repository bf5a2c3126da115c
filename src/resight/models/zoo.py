"""The table of all networks, and the one door to them."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from resight.core.errors import UsageError
from resight.core.registry import lookup, matching
from resight.models import resnet, speed
from resight.models.classifier import Classifier
from resight.models.weights import load_weights

BUILDERS: dict[str, Callable[..., Classifier]] = {
    **{name: partial(resnet.ResNet, spec) for name, spec in resnet.SPECS.items()},
    **{name: partial(speed.SpeedNet, spec) for name, spec in speed.SPECS.items()},
}


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
        num_classes: logits. Weights of another number of classes bring their own last layer.
        in_channels: channels of the image.
        weights: None (fresh), "torchvision", "timm", or a file.
        options: of the family, such as shortcut="A".

    Returns:
        The network in training mode, with its class names and preprocessing if weights brought them.

    Raises:
        UsageError: for an unknown name or option.
        ModelFileError: if the weights cannot be had or do not fit.
    """
    builder = lookup(BUILDERS, name, "model", "All names: resight models")
    try:
        model = builder(num_classes=num_classes, in_channels=in_channels, **options)
    except TypeError as error:
        raise UsageError(f"{name} does not take these options: {', '.join(options)}") from error
    model.name, model.options = name, options
    if weights is not None:
        load_weights(model, weights)
    return model


def list_models(pattern: str = "*") -> list[str]:
    """Return the names of all networks that match a shell pattern."""
    return matching(BUILDERS, pattern)
