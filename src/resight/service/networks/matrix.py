"""Global average pooling as a matrix: drawn next to a fully connected layer, and equal by multiplication."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from resight.core.errors import UsageError
from resight.core.files import replacing, require_place
from resight.core.registry import lookup
from resight.models.cost import evaluating
from resight.models.operators.pooling import average_as_matrix
from resight.models.zoo import NETWORKS
from resight.render.matrix import draw_matrices
from resight.service.networks.counting import build

SHOWN = 6
"""Channels of the figure: of more, the blocks would be thinner than a pixel."""


@dataclass(frozen=True)
class Pooling:
    """A pooling as a matrix.

    Attributes:
        name: of the network.
        matrix: its rows and columns.
        constant: of its blocks.
        difference: the largest between product and pooling.
        figure: the PNG.
    """

    name: str
    matrix: tuple[int, int]
    constant: float
    difference: float
    figure: str


def draw_pooling(name: str, out: str, size: int | None = None, changes: Sequence[str] = ()) -> Pooling:
    """Draw the pooling of a network as a matrix, and check that the product with it is the pooling.

    Args:
        name: of a network that pools its last map by the mean.
        out: PNG file.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option, a network with another pooling, or a name without .png.
    """
    row = lookup(NETWORKS, name, "model", "All names: resight models")
    place = Path(out)
    if place.suffix.lower() != ".png":
        raise UsageError(f"--matrix {out}: must end in .png")
    model = build(name, changes)
    if model.head != "gap":
        raise UsageError(f"{name}: does not average its last map (head={model.head}); try --set head=gap")
    require_place(place)
    torch.manual_seed(0)
    side = size or row.input_size
    with evaluating(model), torch.inference_mode():
        maps = model.forward_features(torch.rand(1, row.channels, side, side))
        pooled = torch.flatten(nn.functional.adaptive_avg_pool2d(maps, 1), 1)[0]
    channels, positions = maps.shape[1], maps.shape[2] * maps.shape[3]
    matrix = average_as_matrix(channels, positions)
    product = matrix @ maps.flatten()
    few = matrix[:SHOWN, : SHOWN * positions]
    dense = nn.Linear(few.shape[1], len(few)).weight.detach()
    title = (
        f"{name}: {min(SHOWN, channels)} of {channels} channels, maps of {maps.shape[2]} x {maps.shape[3]}"
    )
    with replacing(place) as temporary:
        temporary.write_bytes(draw_matrices(few.numpy(), dense.numpy(), title))
    return Pooling(
        name,
        (channels, channels * positions),
        constant=1 / positions,
        difference=float((product - pooled).abs().max()),
        figure=str(place),
    )
