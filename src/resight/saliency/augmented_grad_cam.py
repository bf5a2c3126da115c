"""Augmented Grad-CAM: one map at the picture's own resolution from maps of many augmented copies.

Source: Morbidelli et al. 2020, "Augmented Grad-CAM: heat-maps super resolution through augmentation". With
A_l the rotations and shifts and D the reduction to the layer's size, the map h solves

    min_h  1/2 sum_l || D A_l h - g_l ||^2 + lambda TV(h) + mu/2 || h ||^2,

g_l the low-resolution map of the l-th copy over its maximum, TV the anisotropic total variation.

The defaults are half the weights of the released code, whose sum is not halved. Deviations from that code: D
averages over the area that a cell covers instead of picking single pixels; and the problem, which is convex,
is solved by a preconditioned primal-dual method (Pock and Chambolle 2011) until its duality gap is small, not
by 200 steps of Adam, which end before the map has reached its height.
"""

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.saliency.look import Look


def augmented_grad_cam(
    look: Look,
    base: Callable[[Look], Tensor],
    copies: int = 100,
    angle: float = 0.5,
    shift: float = 30 / 224,
    tv: float = 0.001,
    energy: float = 0.0001,
    batch: int = 16,
    steps: int = 1000,
    gap: float = 5e-3,
) -> Tensor:
    """Return h, (B, T, H, W).

    Args:
        look: the pass; the targets stay those of the picture itself.
        base: the method that gives the maps g_l.
        copies: L; the first is the picture itself.
        angle: greatest rotation in radians.
        shift: greatest shift, a share of the picture's sides.
        tv: lambda / L.
        energy: mu / L.
        batch: copies a pass.
        steps: of the solver, at most.
        gap: of primal and dual objective, relative to the primal one, at which it stops.
    """
    grids = transforms(copies, angle, shift, look.seed)
    low = []
    for image in range(len(look.images)):
        parts = []
        for part in grids.split(batch):
            made = warp(look.images[image].expand(len(part), -1, -1, -1), part.to(look.images))
            parts.append(base(look.at(made, image)).clamp(min=0))
        maps = torch.cat(parts)  # (L, T, h, w)
        low.append(maps / maps.amax((2, 3), keepdim=True).clamp(min=1e-12))
    wanted = torch.stack(low)  # (B, L, T, h, w)
    count, _, questions = wanted.shape[:3]
    height, width = look.images.shape[2:]
    operator = Reduction(grids.to(wanted), (height, width), (wanted.shape[3], wanted.shape[4]))
    data = wanted.permute(1, 3, 4, 0, 2).reshape(-1, count * questions)
    solution = solve(operator, data, tv * copies, energy * copies, steps, gap)
    look.facts.update(solver_steps=solution.steps, solver_gap=solution.gap)
    return solution.maps.reshape(height, width, count, questions).permute(2, 3, 0, 1)


def transforms(copies: int, angle: float, shift: float, seed: int) -> Tensor:
    """Return affine maps (L, 2, 3) from an augmented picture's coordinates to the picture's, in [-1, 1]."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.rand(copies, 3, generator=generator) * 2 - 1
    drawn[0] = 0
    theta, shifts = drawn[:, 0] * angle, drawn[:, 1:] * 2 * shift
    cos, sin = theta.cos(), theta.sin()
    return torch.stack(
        [torch.stack([cos, -sin, shifts[:, 0]], 1), torch.stack([sin, cos, shifts[:, 1]], 1)], 1
    )


def warp(images: Tensor, affine: Tensor) -> Tensor:
    """Rotate and shift images (M, C, H, W), bilinear; pixels from outside the image are zero."""
    grid = F.affine_grid(_square(affine, *images.shape[2:]), list(images.shape), align_corners=False)
    return F.grid_sample(images, grid, align_corners=False, padding_mode="zeros")


def _square(affine: Tensor, height: int, width: int) -> Tensor:
    """Make a rotation act on pixels, not on coordinates that are stretched to a square."""
    ratio = height / width
    scale = torch.tensor([[1, ratio, 1], [1 / ratio, 1, 1]], device=affine.device, dtype=affine.dtype)
    return affine * scale


class Reduction:
    """D A_l for all l as one sparse matrix (L h w, H W), and its transpose.

    Every cell of a low-resolution map is the mean over its area of the warped map, taken at points two
    pixels apart, between which it is interpolated.

    Args:
        affine: (L, 2, 3), in the precision and on the device of the maps.
        size: (H, W).
        cells: (h, w).
    """

    def __init__(self, affine: Tensor, size: tuple[int, int], cells: tuple[int, int]) -> None:
        self.size = size
        down, across = (max(-(-size[i] // (2 * cells[i])), 1) for i in (0, 1))
        points = (cells[0] * down, cells[1] * across)
        grid = F.affine_grid(_square(affine, *size), [len(affine), 1, *points], align_corners=False)
        x = ((grid[..., 0] + 1) * size[1] - 1) / 2
        y = ((grid[..., 1] + 1) * size[0] - 1) / 2
        copy, row, column = torch.meshgrid(
            *(torch.arange(n, device=affine.device) for n in grid.shape[:3]), indexing="ij"
        )
        output = (copy * cells[0] + row // down) * cells[1] + column // across
        indices, values = [], []
        for dy in (0, 1):
            for dx in (0, 1):
                px, py = x.floor() + dx, y.floor() + dy
                weight = (1 - (x - px).abs()) * (1 - (y - py).abs()) / (down * across)
                inside = (px >= 0) & (px < size[1]) & (py >= 0) & (py < size[0]) & (weight > 0)
                pixel = py * size[1] + px
                indices.append(torch.stack([output[inside], pixel[inside].long()]))
                values.append(weight[inside])
        shape = (len(affine) * cells[0] * cells[1], size[0] * size[1])
        matrix = torch.sparse_coo_tensor(
            torch.cat(indices, 1), torch.cat(values), shape, check_invariants=False
        ).coalesce()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch says that its row format may change
            self.forward_matrix = matrix.to_sparse_csr()
            self.backward_matrix = matrix.t().coalesce().to_sparse_csr()

    def forward(self, maps: Tensor) -> Tensor:
        """Return D A_l h, (L h w, n), of maps (H W, n)."""
        return self.forward_matrix @ maps

    def backward(self, low: Tensor) -> Tensor:
        """Return the transpose applied to (L h w, n), (H W, n)."""
        return self.backward_matrix @ low


@dataclass(frozen=True)
class Solution:
    """The solver's result.

    Attributes:
        maps: h, (H W, n).
        objective: of each problem, (n,).
        steps: taken.
        gap: the greatest relative duality gap left.
    """

    maps: Tensor
    objective: Tensor
    steps: int
    gap: float


def solve(
    operator: Reduction, data: Tensor, tv: float, energy: float, steps: int = 1000, gap: float = 1e-3
) -> Solution:
    """Minimize 1/2 || R h - g ||^2 + tv (|d_x h|_1 + |d_y h|_1) + energy/2 || h ||^2 for n problems at once.

    A preconditioned primal-dual method: every row and column has its own step size.

    Args:
        operator: R.
        data: g, (L h w, n).
        tv: lambda.
        energy: mu, greater than 0.
        steps: at most.
        gap: relative duality gap at which it stops.
    """
    height, width = operator.size
    ones = data.new_ones(height * width, 1)
    columns = operator.backward(data.new_ones(len(data), 1)) + 4  # each pixel is in up to four differences
    tau, sigma = 1 / columns, 1 / operator.forward(ones).clamp(min=1e-6)
    maps = operator.backward(data) / operator.backward(operator.forward(ones)).clamp(min=1e-6)
    ahead, low = maps, operator.forward(maps) - data
    across = data.new_zeros(2, height, width, data.shape[1])
    step, left = 0, math.inf
    for step in range(1, steps + 1):
        low = (low + sigma * (operator.forward(ahead) - data)) / (1 + sigma)
        across = (across + _differences(ahead, height, width) / 2).clamp(-tv, tv)
        pulled = operator.backward(low) + _differences_back(across)
        new = (maps - tau * pulled) / (1 + tau * energy)
        ahead, maps = 2 * new - maps, new
        if step % 25 == 0 or step == steps:
            primal = objective(operator, maps, data, tv, energy)
            pulled = operator.backward(low) + _differences_back(across)
            dual = -(low.square().sum(0) / 2 + (low * data).sum(0) + pulled.square().sum(0) / (2 * energy))
            left = float(((primal - dual) / primal.clamp(min=1e-12)).max())
            if left < gap:
                break
    return Solution(maps, objective(operator, maps, data, tv, energy), step, left)


def objective(operator: Reduction, maps: Tensor, data: Tensor, tv: float, energy: float) -> Tensor:
    """Return the value that is minimized, (n,)."""
    height, width = operator.size
    misfit = (operator.forward(maps) - data).square().sum(0) / 2
    variation = _differences(maps, height, width).abs().sum((0, 1, 2))
    return misfit + tv * variation + energy / 2 * maps.square().sum(0)


def _differences(maps: Tensor, height: int, width: int) -> Tensor:
    """Return forward differences across and down of maps (H W, n), (2, H, W, n), zero at the last edge."""
    square = maps.reshape(height, width, -1)
    result = square.new_zeros(2, *square.shape)
    result[0, :, :-1] = square[:, 1:] - square[:, :-1]
    result[1, :-1] = square[1:] - square[:-1]
    return result


def _differences_back(values: Tensor) -> Tensor:
    """Return the transpose of `_differences` applied to (2, H, W, n), (H W, n)."""
    across, down = values
    result = torch.zeros_like(across)
    result[:, :-1] -= across[:, :-1]
    result[:, 1:] += across[:, :-1]
    result[:-1] -= down[:-1]
    result[1:] += down[:-1]
    return result.flatten(0, 1)
