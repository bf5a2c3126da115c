"""Moves within the square, each as a stage of a `Warp`: matrices (B, 3, 3) float64 or fields (B, 2, G, G).

torchvision has these with one draw for a whole batch; here every sample has its own, and moves that follow
one another are resampled once.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from resight.data.augment.draws import Draws

GRID, SIGMA, REACH = 28, 4.0, 12
"""Simard et al. 2003 give the elastic displacement for 28 x 28 pixels: smoothed with sigma 4."""


Numbers = NDArray[np.float64] | float
"""One for each picture, (B,), or the same for all."""


def matrices(a: Numbers, b: Numbers, c: Numbers, d: Numbers, x: Numbers, y: Numbers) -> Tensor:
    """Return the moves (B, 3, 3) that show [[a, b], [c, d]] (p - m) + m + (x, y) at p; m is the middle.

    Args:
        a: what x adds to x.
        b: what y adds to x.
        c: what x adds to y.
        d: what y adds to y.
        x: shift, in shares of the side.
        y: shift, in shares of the side.
    """
    a, b, c, d, x, y = np.broadcast_arrays(*(np.atleast_1d(np.asarray(v, float)) for v in (a, b, c, d, x, y)))
    stage = np.zeros((len(a), 3, 3))
    stage[:, 0] = np.stack([a, b, 0.5 - 0.5 * (a + b) + x], 1)
    stage[:, 1] = np.stack([c, d, 0.5 - 0.5 * (c + d) + y], 1)
    stage[:, 2, 2] = 1
    return torch.from_numpy(stage)


def still(count: int) -> Tensor:
    """Return the matrices (count, 3, 3) that move nothing."""
    return torch.eye(3, dtype=torch.float64).repeat(count, 1, 1)


def turned(radians: NDArray) -> Tensor:
    """Return rotations about the middle, (B, 3, 3)."""
    cos, sin = np.cos(radians), np.sin(radians)
    return matrices(cos, -sin, sin, cos, 0, 0)


def sheared(along_x: Numbers, along_y: Numbers) -> Tensor:
    """Return shears about the middle: what a step down adds to x, a step right to y, (B, 3, 3)."""
    return matrices(1, along_x, along_y, 1, 0, 0)


def cornered(along_x: Numbers, along_y: Numbers) -> Tensor:
    """Return shears about the top left corner: what a step down adds to x, a step right to y, (B, 3, 3)."""
    stage = sheared(along_x, along_y)
    stage[:, :2, 2] = 0
    return stage


def shifted(x: Numbers, y: Numbers) -> Tensor:
    """Return shifts in shares of the side, (B, 3, 3)."""
    return matrices(1, 0, 0, 1, x, y)


def scaled(x: Numbers, y: Numbers) -> Tensor:
    """Return enlargements by factors about the middle, (B, 3, 3)."""
    return matrices(1 / x, 0, 0, 1 / y, 0, 0)


def mirrored(on: NDArray[np.bool_]) -> Tensor:
    """Return mirroring from left to right of some pictures, (B, 3, 3)."""
    return matrices(np.where(on, -1.0, 1.0), 0, 0, 1, 0, 0)


def boxed(boxes: NDArray) -> Tensor:
    """Return the moves (B, 3, 3) that show a box of each picture, (B, 4) in shares of its sides."""
    left, top, right, bottom = boxes.T
    stage = np.zeros((len(boxes), 3, 3))
    stage[:, 0, 0], stage[:, 0, 2] = right - left, left
    stage[:, 1, 1], stage[:, 1, 2] = bottom - top, top
    stage[:, 2, 2] = 1
    return torch.from_numpy(stage)


def rotation(draws: Draws, degrees: float) -> Tensor:
    """Turn by up to `degrees` to either side."""
    return turned(np.radians(draws.signed("angle", degrees)))


def stretch(draws: Draws, most: float) -> Tensor:
    """Scale width and height, each by its own factor in [1 / (1 + most), 1 + most]."""
    return scaled(draws.factor("x", most), draws.factor("y", most))


def zoom(draws: Draws, most: float) -> Tensor:
    """Scale both sides by one factor in [1 / (1 + most), 1 + most]."""
    factor = draws.factor("factor", most)
    return scaled(factor, factor)


def translate_x(draws: Draws, most: float) -> Tensor:
    """Shift along x by up to `most` of the side."""
    return shifted(draws.signed("x", most), 0)


def translate_y(draws: Draws, most: float) -> Tensor:
    """Shift along y by up to `most` of the side."""
    return shifted(0, draws.signed("y", most))


def shear_x(draws: Draws, most: float) -> Tensor:
    """Shear along x: a step down adds up to `most` steps to x."""
    return sheared(draws.signed("x", most), 0)


def shear_y(draws: Draws, most: float) -> Tensor:
    """Shear along y: a step right adds up to `most` steps to y."""
    return sheared(0, draws.signed("y", most))


def affine(draws: Draws, strength: float) -> Tensor:
    """Turn by 15 degrees, shear by 0.1, zoom by 0.1 and shift by a tenth, each at most, times `strength`."""
    turn = turned(np.radians(draws.signed("angle", 15 * strength)))
    shear = sheared(draws.signed("shear", 0.1 * strength), 0)
    factor = draws.factor("zoom", 0.1 * strength)
    shift = shifted(draws.signed("x", 0.1 * strength), draws.signed("y", 0.1 * strength))
    return turn @ shear @ scaled(factor, factor) @ shift


def crop_and_pad(draws: Draws, most: float) -> Tensor:
    """Move each edge in (crop) or out (pad, black) by up to `most` of the side; keep the size."""
    left, top, right, bottom = (draws.signed(edge, most) for edge in ("left", "top", "right", "bottom"))
    return boxed(np.stack([left, top, 1 - right, 1 - bottom], 1))


def perspective(draws: Draws, distortion: float) -> Tensor:
    """Pull each corner inwards by up to `distortion` / 2 of the side along x and y, as torchvision does."""
    count = len(draws.samples)
    corners = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]])
    pulled = [[distortion / 2 * draws.uniform(f"{i}/{axis}") for axis in "xy"] for i in range(4)]
    moved = corners + np.transpose(pulled, (2, 0, 1)) * np.where(corners == 0, 1.0, -1.0)  # (B, 4, 2)
    # Eight unknowns: (h0 x + h1 y + h2) / (h6 x + h7 y + 1) = u, and v alike, at four corners.
    system, wanted = np.zeros((count, 8, 8)), np.zeros((count, 8, 1))
    for i, (u, v) in enumerate(corners):
        x, y = moved[:, i, 0], moved[:, i, 1]
        one, zero = np.ones(count), np.zeros(count)
        system[:, 2 * i] = np.stack([x, y, one, zero, zero, zero, -u * x, -u * y], 1)
        system[:, 2 * i + 1] = np.stack([zero, zero, zero, x, y, one, -v * x, -v * y], 1)
        wanted[:, 2 * i], wanted[:, 2 * i + 1] = u, v
    found = np.linalg.solve(system, wanted)[:, :, 0]
    return torch.from_numpy(np.concatenate([found, np.ones((count, 1))], 1).reshape(-1, 3, 3))


def elastic(draws: Draws, alpha: float) -> Tensor:
    """Displace every place by a smooth random field, (B, 2, 28, 28) in shares of the side.

    Uniform draws in [-1, 1] on 28 x 28 pixels, smoothed with a Gaussian of sigma 4, times `alpha` pixels of
    28 (Simard et al. 2003, section 2: alpha 34). Larger pictures get the same field enlarged. Beyond the edge
    there are draws too, so that the edge moves as the middle does. All strengths are as given: there is no
    draw of it.
    """
    field = 2 * draws.field("field", 2, GRID + 2 * REACH, GRID + 2 * REACH) - 1
    taps = torch.exp(-0.5 * (torch.arange(-REACH, REACH + 1, dtype=torch.float64) / SIGMA) ** 2)
    # Sums over slices, not a convolution: its rounding would depend on the number of pictures.
    for dim in (2, 3):
        total = torch.zeros_like(field.narrow(dim, 0, GRID))
        for place, weight in enumerate((taps / taps.sum()).tolist()):
            total += weight * field.narrow(dim, place, GRID)
        field = total
    return field * (alpha / GRID)
