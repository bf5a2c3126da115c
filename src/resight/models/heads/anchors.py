"""Anchors: the boxes that a region proposal network starts from, and how a box is written against another.

Boxes are x0, y0, x1, y1 in pixels of the canvas. Ren et al. 2015, "Faster R-CNN", section 3.1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

RATIOS = (0.5, 1.0, 2.0)
"""Height over width."""
LARGEST_STEP = math.log(1000 / 16)
"""Of a box's logarithm of width and height, so that its exponential stays finite."""


def cell_anchors(sizes: Sequence[float]) -> Tensor:
    """Return the anchors around a place, (3 sizes, 4): of each ratio all sizes, rounded to pixels."""
    ratios, edges = torch.tensor(RATIOS).sqrt(), torch.tensor(sizes, dtype=torch.float32)
    widths, heights = (1 / ratios)[:, None] * edges, ratios[:, None] * edges
    halves = torch.stack([-widths, -heights, widths, heights], 2).view(-1, 4) / 2
    return halves.round()


def grid_anchors(cell: Tensor, shape: tuple[int, int], canvas: tuple[int, int]) -> Tensor:
    """Return the anchors of every place of a map, row by row, (h w anchors, 4).

    Args:
        cell: around a place, (anchors, 4).
        shape: (h, w) of the map.
        canvas: (H, W) of the images.
    """
    rows, columns = (
        torch.arange(n, device=cell.device) * (side // n) for n, side in zip(shape, canvas, strict=True)
    )
    y, x = torch.meshgrid(rows, columns, indexing="ij")
    shifts = torch.stack([x, y, x, y], 2).view(-1, 1, 4)
    return (shifts + cell).view(-1, 4)


def encoded(boxes: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Return how boxes (N, 4) differ from references (N, 4): shift of the middle, logarithm of the sides."""
    (x, y, w, h), (rx, ry, rw, rh) = _middles(boxes), _middles(references)
    steps = [(x - rx) / rw, (y - ry) / rh, (w / rw).log(), (h / rh).log()]
    return torch.stack([step * weight for step, weight in zip(steps, weights, strict=True)], 1)


def decoded(steps: Tensor, references: Tensor, weights: Sequence[float]) -> Tensor:
    """Return the boxes (N, K, 4) that steps (N, 4 K) lead to from references (N, 4)."""
    x, y, w, h = (value[:, None] for value in _middles(references))
    dx, dy, dw, dh = (steps[:, i::4] / weight for i, weight in enumerate(weights))
    across, down = dw.clamp(max=LARGEST_STEP).exp() * w, dh.clamp(max=LARGEST_STEP).exp() * h
    x, y = dx * w + x, dy * h + y
    return torch.stack([x - 0.5 * across, y - 0.5 * down, x + 0.5 * across, y + 0.5 * down], 2)


def _middles(boxes: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return x and y of the middles, widths and heights, each (N,)."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    return boxes[:, 0] + 0.5 * width, boxes[:, 1] + 0.5 * height, width, height


def clipped(boxes: Tensor, extent: tuple[int, int]) -> Tensor:
    """Return the parts of boxes (..., 4) inside a picture of (height, width)."""
    height, width = extent
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack([x[..., 0], y[..., 0], x[..., 1], y[..., 1]], -1)


def large_enough(boxes: Tensor, least: float) -> Tensor:
    """Return which boxes (N, 4) have both sides of at least so many pixels, (N,)."""
    return ((boxes[:, 2:] - boxes[:, :2]) >= least).all(1)
