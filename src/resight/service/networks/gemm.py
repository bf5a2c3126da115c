"""Convolutions as matrix products: the sizes of the matrices, and that they give the same maps."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.operators.convolution import as_product
from resight.service.networks.drawn import drawn


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
    network, found = drawn(name, size, changes), dict[str, Product]()

    def note(layer: str, conv: nn.Conv2d) -> Callable[[Tensor, Tensor], None]:
        def first(images: Tensor, maps: Tensor) -> None:
            if layer not in found:
                found[layer] = _product(layer, conv, images, maps)

        return first

    notes: dict[nn.Module, Callable[[Tensor, Tensor], None]] = {
        conv: note(layer, conv)
        for layer, conv in network.model.named_modules()
        if type(conv) is nn.Conv2d  # a subclass computes something else
    }
    if not notes:
        raise UsageError(f"{name}: has no convolution")
    network.watch(notes)
    return Products(name, network.side, network.channels, list(found.values()))


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
