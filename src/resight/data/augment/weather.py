"""Effects between the camera and the object: noise, snow, clouds; random fields on the device."""

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.data.augment.draws import Draws

FLAKES = ((8, 0.9), (15, 0.95), (26, 0.8))
"""Layers of snow from near to far: cells along a side, each with a flake at most, and how opaque they are."""
OCTAVES = (3, 6, 12, 24, 48)
"""Cells along a side of the parts that clouds are made of, each half as strong as the one before."""
COVER, SOFTNESS = 0.42, 0.25
"""The value (around 1/2) at which clouds begin, and the range over which they become dense."""


def gaussian_noise(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Add independent normal noise to every value, of a deviation up to `most`."""
    noise = draws.normal_field("field", *images.shape[1:])
    return noise.mul_(draws.column(draws.amount("sigma", most))).add_(images).clamp_(0, 1)


def snow(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Let flakes fall: up to `most` of the cells of each layer hold one, and the air grows a little pale."""
    amount = draws.column(draws.amount("amount", most))
    slant = draws.column(draws.signed("slant", 0.4))
    veil = 0.15 * amount
    clear = 1 - veil
    for layer, (cells, opacity) in enumerate(FLAKES):
        flakes = _flakes(images, draws, amount, slant, layer, cells)
        clear = clear * (1 - opacity * flakes)
    return (images * clear + (1 - clear)).clamp_(0, 1)


def _flakes(images: Tensor, draws: Draws, amount: Tensor, slant: Tensor, layer: int, cells: int) -> Tensor:
    """Return how much of each pixel a layer of flakes covers, (B, 1, H, W) in [0, 1].

    The grid of cells is sheared along the fall; a flake is an ellipse inside its cell, longer along the fall.
    """
    height, width = images.shape[-2:]
    y = ((torch.arange(height, device=images.device) + 0.5) * (cells / height)).view(1, 1, -1, 1)
    x = ((torch.arange(width, device=images.device) + 0.5) * (cells / width)).view(1, 1, 1, -1)
    x = (x + slant * y).remainder(cells)
    y = y.expand_as(x)
    row, column = y.floor(), x.floor().clamp(max=cells - 1)
    lattice = draws.field(f"{layer}/flakes", 4, cells * cells)
    index = (row * cells + column).long().flatten(2).expand(-1, 4, -1)
    there, across, down, size = lattice.gather(2, index).view(-1, 4, height, width).split(1, 1)
    radius = 0.06 + 0.12 * size
    dx = x - column - (0.25 + 0.5 * across)
    dy = (y - row - (0.3 + 0.4 * down)) / 1.25
    inside = ((radius - (dx.square() + dy.square()).sqrt()) / (0.4 * radius)).clamp_(0, 1)
    return inside * (there < amount)


def clouds(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Draw white clouds of an opacity up to `most`: noise of several scales, cut below a level."""
    opacity = draws.column(draws.amount("opacity", most))
    total = torch.zeros_like(images[:, :1])
    for octave, cells in enumerate(OCTAVES):
        lattice = draws.field(f"{octave}", 1, cells + 3, cells + 3)
        # More cells than are shown, so that nothing is flattened at the edge.
        smooth = F.interpolate(lattice, _enlarged(images, cells), mode="bicubic", align_corners=False)
        for dim in (2, 3):
            gap = smooth.shape[dim] - images.shape[dim]
            smooth = smooth.narrow(dim, gap // 2, images.shape[dim])
        total += 0.5 ** (octave + 1) * smooth
    density = ((total / (1 - 0.5 ** len(OCTAVES)) - COVER) / SOFTNESS).clamp_(0, 1)
    cover = opacity * density.square() * (3 - 2 * density)
    return images * (1 - cover) + cover


def _enlarged(images: Tensor, cells: int) -> tuple[int, int]:
    """Return the size of `cells` + 3 cells whose middle `cells` are as large as the images."""
    height, width = images.shape[-2:]
    return -(-height * (cells + 3) // cells), -(-width * (cells + 3) // cells)
