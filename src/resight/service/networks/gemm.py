"""Convolutions as matrix products: the sizes of the matrices, and that they give the same maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.cost import evaluating
from resight.models.hooks import hooked
from resight.models.operators.convolution import as_product
from resight.models.zoo import NETWORKS
from resight.service.networks.counting import build


@dataclass(frozen=True)
class Product:
    """A convolution as W X; with groups, the sizes are those of one group.

    Attributes:
        layer: its name.
        groups: number of products.
        weights: of W, (C_out, C K^2).
        columns: of X, (C K^2, positions).
        product: of W X, (C_out, positions).
        multiply_adds: of all groups.
        difference: the largest from torch's convolution, relative to its largest output.
    """

    layer: str
    groups: int
    weights: tuple[int, int]
    columns: tuple[int, int]
    product: tuple[int, int]
    multiply_adds: int
    difference: float


@dataclass(frozen=True)
class Products:
    """The convolutions of a network as matrix products, for one image."""

    name: str
    input_size: int
    channels: int
    layers: list[Product]


def gemm(name: str, size: int | None = None, changes: Sequence[str] = ()) -> Products:
    """Return every convolution of a network as a matrix product, computed on one random image.

    Args:
        name: of a network.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option, or one without convolutions.
    """
    row = lookup(NETWORKS, name, "model", "All names: resight models")
    torch.manual_seed(0)
    model = build(name, changes)
    side, found = size or row.input_size, {}

    def note(layer: str, conv: nn.Conv2d, images: tuple[Tensor, ...], maps: Tensor) -> None:
        found.setdefault(layer, _product(layer, conv, images[0], maps))

    def hook(layer: str, conv: nn.Conv2d) -> Callable[..., None]:
        return lambda _, images, maps: note(layer, conv, images, maps)

    noted = [
        lambda n=layer, m=conv: m.register_forward_hook(hook(n, m))
        for layer, conv in model.named_modules()
        if type(conv) is nn.Conv2d  # a subclass computes something else
    ]
    if not noted:
        raise UsageError(f"{name}: has no convolution")
    with evaluating(model), torch.inference_mode(), hooked(noted):
        try:
            model(torch.rand(1, row.channels, side, side))
        except RuntimeError as error:
            raise UsageError(f"{name} does not take pictures of {side} x {side}") from error
    return Products(name, side, row.channels, list(found.values()))


def _product(layer: str, conv: nn.Conv2d, images: Tensor, maps: Tensor) -> Product:
    """Return a convolution's product, computed."""
    made, (inner, positions) = as_product(conv, images)
    out, most = conv.out_channels // conv.groups, float(maps.abs().max())
    return Product(
        layer,
        conv.groups,
        (out, inner),
        (inner, positions),
        (out, positions),
        conv.groups * out * inner * positions,
        float((made - maps).abs().max()) / most if most else 0.0,
    )
