"""The table of networks."""

from typing import Any

from torch import nn

from resight.core import published
from resight.core.errors import UnknownNameError
from resight.core.registry import nearest
from resight.models import cost
from resight.models.classifier import Classifier
from resight.models.initialization import shapes_only
from resight.models.network import Network
from resight.models.zoo import NETWORKS, create_model, list_models, list_options

FREE = (nn.BatchNorm2d, nn.ReLU, nn.SiLU, nn.Dropout)
"""Keep a map's shape and cost no multiply-adds by our count."""


def list_networks(pattern: str = "*") -> list[dict[str, Any]]:
    """Return a row for each network that matches a shell pattern: the JSON of `resight models`.

    Raises:
        UnknownNameError: if none matches.
    """
    names = list_models(pattern)
    if not names:
        raise UnknownNameError(
            f"no network matches {pattern!r}; nearest: {', '.join(nearest(pattern, list_models()))}"
        )
    return [_row(name, NETWORKS[name]) for name in names]


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


def build(name: str) -> Classifier:
    """Return a network as its paper has it, without the heads that only training uses."""
    options: dict[str, Any] = {"aux": False} if "aux" in list_options(name) else {}
    return create_model(name, NETWORKS[name].classes, NETWORKS[name].channels, **options)


def _row(name: str, network: Network) -> dict[str, Any]:
    parameters, multiply_adds = count(name)
    return {
        "name": name,
        "family": network.family,
        "year": network.year,
        "parameters": parameters,
        "multiply_adds": multiply_adds,
        "input_size": network.input_size,
        "paper": network.paper,
        "published": [figure.record() for figure in published.of(name)],
    }
