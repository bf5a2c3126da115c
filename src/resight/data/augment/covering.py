"""What hides parts of images (B, 3, S, S): cells of salt and pepper, squares, rectangles."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resight.data.augment.draws import Draws

CELLS = 16
"""Cells of coarse noise along a side."""
TRIES = 10


def rectangles(images: Tensor, draws: Draws, edges: NDArray) -> Tensor:
    """Return where rectangles are, (B, 1, H, W) bool.

    Args:
        images: (B, C, H, W).
        draws: gives the device.
        edges: left, top, right, bottom in pixels, (B, 4): pixels whose centre is inside belong to it.
    """
    height, width = images.shape[-2:]
    left, top, right, bottom = (draws.column(edge) for edge in edges.T)
    x = torch.arange(width, device=images.device).view(1, 1, 1, -1) + 0.5
    y = torch.arange(height, device=images.device).view(1, 1, -1, 1) + 0.5
    return (x > left) & (x < right) & (y > top) & (y < bottom)


def cutout(images: Tensor, draws: Draws, pixels: float) -> Tensor:
    """Set a square of normalized images to zero, the mean colour; it may reach over the edge.

    DeVries and Taylor 2017: 16 pixels for CIFAR-10, 8 for CIFAR-100; its centre is uniform over the pixels.
    """
    height, width = images.shape[-2:]
    left = np.floor(draws.uniform("x") * width) - pixels // 2
    top = np.floor(draws.uniform("y") * height) - pixels // 2
    hidden = rectangles(images, draws, np.stack([left, top, left + pixels, top + pixels], 1))
    return images.masked_fill(hidden, 0.0)


def erasing(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Fill a rectangle inside the image with random values.

    Zhong et al. 2017, section 3: area uniform in [0.02, most] of the image, aspect in [0.3, 1 / 0.3]
    (log-uniform here), up to ten tries to fit it in; if all fail, the image stays.
    """
    height, width = images.shape[-2:]
    count = len(draws.samples)
    edges, open_ = np.zeros((count, 4)), np.ones(count, bool)
    for attempt in range(TRIES):
        share = 0.02 + (most - 0.02) * draws.uniform(f"{attempt}/area")
        aspect = np.exp((2 * draws.uniform(f"{attempt}/aspect") - 1) * np.log(1 / 0.3))
        h, w = np.round(np.sqrt(share * aspect) * height), np.round(np.sqrt(share / aspect) * width)
        left = np.floor(draws.uniform(f"{attempt}/left") * (width - w + 1))
        top = np.floor(draws.uniform(f"{attempt}/top") * (height - h + 1))
        fits = open_ & (h <= height) & (w <= width)
        edges[fits] = np.stack([left, top, left + w, top + h], 1)[fits]
        open_ &= ~fits
    return torch.where(rectangles(images, draws, edges), draws.field("values", 3, height, width), images)


def occlusion(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Cover a rectangle of one random colour, each side of it in [most / 2, most] of the image's."""
    height, width = images.shape[-2:]
    w, h = (width * (most / 2 + draws.amount(side, most / 2)) for side in ("width", "height"))
    left, top = draws.uniform("left") * (width - w), draws.uniform("top") * (height - h)
    hidden = rectangles(images, draws, np.stack([left, top, left + w, top + h], 1))
    return torch.where(hidden, draws.field("colour", 3, 1, 1), images)


def _cells(images: Tensor, draws: Draws, most: float) -> tuple[Tensor, Tensor]:
    """Return which pixels are in a chosen cell, and a brightness in [0, 1) for each cell, (B, 1, H, W)."""
    chosen = draws.field("cells", 1, CELLS, CELLS) < draws.column(draws.amount("share", most))
    both = torch.cat([chosen.float(), draws.field("values", 1, CELLS, CELLS)], 1)
    spread = F.interpolate(both, images.shape[-2:], mode="nearest")
    return spread[:, :1] > 0.5, spread[:, 1:]


def coarse_salt(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Make up to `most` of 16 x 16 cells a random light grey."""
    chosen, values = _cells(images, draws, most)
    return torch.where(chosen, 1 - values / 2, images)


def coarse_pepper(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Make up to `most` of 16 x 16 cells a random dark grey."""
    chosen, values = _cells(images, draws, most)
    return torch.where(chosen, values / 2, images)


def coarse_dropout(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Make up to `most` of 16 x 16 cells black."""
    chosen, _ = _cells(images, draws, most)
    return images.masked_fill(chosen, 0.0)
