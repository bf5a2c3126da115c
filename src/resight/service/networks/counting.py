"""Networks built and counted, for the table of `core/networks.py`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from torch import nn

from resight.core import networks
from resight.core.errors import UsageError
from resight.core.files import write_text
from resight.core.networks import Counted, LayerRow, Summary
from resight.models import cost
from resight.models.classifier import Classifier
from resight.models.initialization import shapes_only
from resight.models.solver import Pass
from resight.models.summary import summarize
from resight.models.zoo import NETWORKS, create_model, list_options, read_options
from resight.service.run.run import open_any

FREE = (nn.BatchNorm2d, nn.ReLU, nn.SiLU, nn.Dropout)
"""Keep a map's shape and cost no multiply-adds by our count."""


def count(name: str) -> tuple[int, int]:
    """Return parameters and multiply-adds of a network at its paper's input; weights take no memory."""
    row = NETWORKS[name]
    with shapes_only():
        model = build(name)
    parameters = cost.parameters(model)
    # Most of the time would go to layers that count nothing.
    for module in list(model.modules()):
        for key, child in list(module.named_children()):
            if isinstance(child, FREE):
                setattr(module, key, nn.Identity())
    return parameters, cost.multiply_adds(model, row.input_size, row.channels)


def build(name: str, changes: Sequence[str] = ()) -> Classifier:
    """Return a network as in its paper, without the heads used only in training.

    Args:
        name: of the network.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown option.
    """
    options = read_options(name, changes)
    if "aux" in list_options(name):
        options = {"aux": False, **options}
    return create_model(name, NETWORKS[name].classes, NETWORKS[name].channels, **options)


def summary_of(name: str, size: int | None = None, changes: Sequence[str] = ()) -> Summary:
    """Return the summary of a network, counted on it; see `resight.service.networks.summary`.

    Raises:
        UsageError: for an unknown option, or a size that the network does not take.
    """
    row = NETWORKS[name]
    with shapes_only():
        model = build(name, changes)
    return _summary(name, model, size or row.input_size, row.channels, row.classes)


def summary_of_run(name: str, size: int | None = None) -> Summary:
    """Return the summary of a run's network, with the head of its task; see there.

    Raises:
        ResightError: if it cannot be opened.
        UsageError: for a size that it does not take.
    """
    run = open_any(name)
    network = run.network.cpu()
    side, channels, classes = size or run.preprocessing.size, network.in_channels, len(network.classes)
    if isinstance(network, Classifier):
        return _summary(network.name, network, side, channels, classes)
    if not network.countable:
        raise UsageError(
            f"{name}: parts of it look at places that depend on the picture, and are not counted; "
            f"resight summary {network.name} counts the trunk"
        )
    passes = network.passes(side)
    first, *later = (_summary(network.name, own.network, own.side, channels, classes) for own in passes)
    layers = list(first.layers)
    for own, found in zip(passes[1:], later, strict=True):
        layers += [_repeated(layer, own) for layer in found.layers]
    return replace(
        first,
        parameters=cost.parameters(network),
        multiply_adds=sum(layer.multiply_adds for layer in layers),
        activation_bytes=sum(layer.activation_bytes for layer in layers),
        layers=layers,
        task=run.task.name,
    )


def _repeated(layer: LayerRow, own: Pass) -> LayerRow:
    """Return a layer that reads several squares of a picture: their cost and memory together."""
    return replace(
        layer,
        name=own.prefix + layer.name if layer.name else "",
        multiply_adds=own.times * layer.multiply_adds,
        activation_bytes=own.times * layer.activation_bytes,
    )


def _summary(name: str, model: nn.Module, side: int, channels: int, classes: int) -> Summary:
    result = summarize(model, side, channels)
    layers = [
        LayerRow(
            layer.name,
            layer.kind,
            list(layer.output),
            layer.parameters,
            layer.multiply_adds,
            layer.activation_bytes,
            receptive_field=_number(layer.field.size),
            stride=_number(layer.field.stride),
        )
        for layer in result.layers
    ]
    return Summary(
        name,
        side,
        channels,
        classes,
        result.parameters,
        result.multiply_adds,
        result.activation_bytes,
        result.receptive_field,
        layers,
    )


def _number(value: float) -> int | None:
    """Return a whole number, or None for the whole input."""
    return None if math.isinf(value) else int(value)


def counted_now(name: str) -> Counted:
    """Return a network's line of the table, counted now."""
    row = NETWORKS[name]
    return Counted(name, row.family, row.year, row.paper, row.least_size, summary_of(name))


def write_table(progress: Callable[[str], object] = print) -> Path:
    """Write the table of all networks into the package, for `scripts/networks`."""
    lines = []
    for name in NETWORKS:
        progress(name)
        lines.append(counted_now(name).line())
    path = Path(networks.__file__).with_name(networks.FILE)
    write_text(path, "\n".join(lines) + "\n")
    return path
