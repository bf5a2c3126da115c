"""The three equal forms of a ResNeXt block: paths that are added up, joined, or groups of one layer.

Xie et al. 2016, "Aggregated Residual Transformations for Deep Neural Networks", figure 3: (a) each of C paths
reduces, filters and expands, and their outputs are added; (b) paths reduce and filter, and one layer expands
their joined outputs; (c) one layer reduces, one with C groups filters, one expands. The zoo builds (c).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.blocks import Bottleneck
from resight.service.networks.drawn import drawn


@dataclass(frozen=True)
class BlockForms:
    """A block's residual in its three forms.

    Attributes:
        block: its name.
        paths: C, the cardinality.
        width: d, channels of a path.
        parameters: weights of its convolutions, the same in every form.
        added: the largest difference of (a) from (c), relative to the largest output.
        joined: of (b) from (c).
    """

    block: str
    paths: int
    width: int
    parameters: int
    added: float
    joined: float


@dataclass(frozen=True)
class Forms:
    """The grouped blocks of a network, for one image."""

    name: str
    input_size: int
    blocks: list[BlockForms]


def forms(name: str, size: int | None = None, changes: Sequence[str] = ()) -> Forms:
    """Compute the residual of every grouped block of a network in three forms, on one random image.

    Args:
        name: of a network.
        size: side of the square input, in pixels; by default the paper's.
        changes: options of the network, as key=value.

    Raises:
        UsageError: for an unknown network or option, one without grouped blocks, or a size that it does not
            take.
    """
    network, found = drawn(name, size, changes), list[BlockForms]()
    blocks = {
        layer: block
        for layer, block in network.model.named_modules()
        if isinstance(block, Bottleneck) and grouped_layers(block)
    }
    if not blocks:
        raise UsageError(f"{name}: has no block with groups and batch normalization; try resnext50_32x4d")

    def note(layer: str, block: Bottleneck) -> Callable[[Tensor, Tensor], None]:
        return lambda images, _: found.append(_compared(layer, block, images))

    network.watch({block: note(layer, block) for layer, block in blocks.items()})
    return Forms(name, network.side, found)


@dataclass(frozen=True)
class Layers:
    """The layers of a grouped block, see `Bottleneck`: C paths, each d channels wide."""

    reduce: nn.Conv2d
    filters: nn.Conv2d
    expand: nn.Conv2d
    norms: tuple[nn.BatchNorm2d, nn.BatchNorm2d, nn.BatchNorm2d]
    activations: tuple[nn.Module, nn.Module]

    @property
    def paths(self) -> int:
        """C."""
        return self.filters.groups

    @property
    def width(self) -> int:
        """D."""
        return self.filters.out_channels // self.filters.groups


def grouped_layers(block: Bottleneck) -> Layers | None:
    """Return the layers of a block; None if it has no groups, or is not normalized by batch."""
    first, filters, last = block.conv1, block.conv2, block.conv3
    a, b, c = block.bn1, block.bn2, block.bn3
    if not isinstance(filters, nn.Conv2d) or filters.groups == 1:
        return None
    norm = nn.BatchNorm2d
    if not (isinstance(a, norm) and isinstance(b, norm) and isinstance(c, norm)):
        return None
    return Layers(first, filters, last, (a, b, c), (block.relu1, block.relu2))


def _compared(layer: str, block: Bottleneck, images: Tensor) -> BlockForms:
    layers, grouped = grouped_layers(block), block.branch(images)
    assert layers  # `forms` chose the block by them
    most = float(grouped.abs().max()) or 1.0
    apart = [float((form(layers, images) - grouped).abs().max()) / most for form in (added, joined)]
    weights = sum(conv.weight.numel() for conv in (layers.reduce, layers.filters, layers.expand))
    return BlockForms(layer, layers.paths, layers.width, weights, *apart)


def added(layers: Layers, images: Tensor) -> Tensor:
    """Return form (a) of a block's residual: the sum of its paths; (B, C, h, w) in and (B, 4 C, h, w) out."""
    expand = layers.expand.weight.split(layers.width, 1)
    paths = [F.conv2d(maps, own) for maps, own in zip(_paths(layers, images), expand, strict=True)]
    return layers.norms[2](torch.stack(paths).sum(0))


def joined(layers: Layers, images: Tensor) -> Tensor:
    """Return form (b) of a block's residual: one expansion of the joined paths; shapes as `added`."""
    return layers.norms[2](F.conv2d(torch.cat(_paths(layers, images), 1), layers.expand.weight))


def _paths(layers: Layers, images: Tensor) -> list[Tensor]:
    """Return what each path makes of images on its own: a 1x1 and a 3x3 convolution, (B, d, h, w)."""
    found, filters = [], layers.filters
    for number in range(layers.paths):
        own = slice(number * layers.width, (number + 1) * layers.width)
        maps = F.conv2d(images, layers.reduce.weight[own], None, layers.reduce.stride)
        maps = layers.activations[0](_normalized(layers.norms[0], maps, own))
        maps = F.conv2d(maps, filters.weight[own], None, filters.stride, filters.padding, filters.dilation)
        found.append(layers.activations[1](_normalized(layers.norms[1], maps, own)))
    return found


def _normalized(norm: nn.BatchNorm2d, maps: Tensor, own: slice) -> Tensor:
    """Normalize some of a layer's channels by its running statistics."""
    assert norm.running_mean is not None and norm.running_var is not None
    mean, var = norm.running_mean[own], norm.running_var[own]
    return F.batch_norm(maps, mean, var, norm.weight[own], norm.bias[own], eps=norm.eps)
