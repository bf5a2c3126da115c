"""A network layer by layer: shapes, parameters, cost, memory, receptive field."""

import math
from collections.abc import Sequence
from typing import Any

from resight.core.registry import lookup
from resight.models.initialization import shapes_only
from resight.models.summary import summarize
from resight.models.zoo import NETWORKS, create_model, list_options, read_options


def summary(name: str, size: int | None = None, changes: Sequence[str] = ()) -> dict[str, Any]:
    """Return the JSON of `resight summary`: counts of one image, without heads that only training uses.

    Args:
        name: of a network.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option, or a size that the network does not take.
    """
    row = lookup(NETWORKS, name, "model", "All names: resight models")
    options = read_options(name, changes)
    if "aux" in list_options(name):
        options = {"aux": False, **options}
    side = size or row.input_size
    with shapes_only():
        model = create_model(name, row.classes, row.channels, **options)
    result = summarize(model, side, row.channels)
    return {
        "name": name,
        "input_size": side,
        "channels": row.channels,
        "classes": row.classes,
        "parameters": result.parameters,
        "multiply_adds": result.multiply_adds,
        "activation_bytes": result.activation_bytes,
        "receptive_field": result.receptive_field,
        "layers": [
            {
                "name": layer.name,
                "kind": layer.kind,
                "output": list(layer.output),
                "parameters": layer.parameters,
                "multiply_adds": layer.multiply_adds,
                "activation_bytes": layer.activation_bytes,
                "receptive_field": _number(layer.field.size),
                "stride": _number(layer.field.stride),
            }
            for layer in result.layers
        ],
    }


def _number(value: float) -> int | None:
    """Return a whole number, or None for the whole input."""
    return None if math.isinf(value) else int(value)
