"""Two images in one, after normalization: mixup and CutMix; targets are mixed as the images are.

Samples are mixed in pairs, those at positions 2k and 2k + 1 of this process's part of a step. The order of
samples is random, so the pairs are; and they are the same however many processes share a step, as long as
each has an even number of it.
"""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from resight.data.augment.covering import rectangles
from resight.data.augment.draws import Draws


def distributions(labels: Tensor, classes: int) -> Tensor:
    """Return targets (B, classes) float32: 1 for the class of each label; several labels a sample stay."""
    if labels.dim() == 2:
        return labels.to(torch.float32, copy=True)  # mixing writes to it
    return F.one_hot(labels, classes).float()


def pairs_of(positions: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of the first and of the second sample of each pair.

    Args:
        positions: of the samples in the step, rising, (B,); some may be missing, and their partners stay
            alone.
    """
    first = np.flatnonzero((positions[:-1] % 2 == 0) & (positions[1:] == positions[:-1] + 1))
    return first, first + 1


def beta(draws: Draws, a: float) -> NDArray[np.float64]:
    """Return a draw of Beta(a, a) for each pair, (P,): the inverse of its distribution function."""
    from scipy.special import betaincinv  # takes half a second, and only these need it

    return betaincinv(a, a, draws.uniform("lambda"))


def mixup(images: Tensor, targets: Tensor, other: tuple[Tensor, Tensor], draws: Draws, a: float) -> tuple:
    """Return images (P, 3, S, S), lambda of the first and 1 - lambda of the others, and targets likewise.

    Zhang et al. 2017, section 2: lambda ~ Beta(a, a), here once a pair.
    """
    share = draws.column(beta(draws, a))
    return share * images + (1 - share) * other[0], _mixed(targets, other[1], share)


def cutmix(images: Tensor, targets: Tensor, other: tuple[Tensor, Tensor], draws: Draws, a: float) -> tuple:
    """Return images with a box of the others, and targets mixed by the box's share of the area.

    Yun et al. 2019, section 3.1: lambda ~ Beta(a, a), the box has sqrt(1 - lambda) of each side, its centre
    is uniform, it is clipped to the image, and lambda becomes what is left outside it. Pixels as in
    torchvision.
    """
    height, width = images.shape[-2:]
    half = 0.5 * np.sqrt(1 - beta(draws, a))
    x, y = (np.floor(draws.uniform(axis) * side) for axis, side in (("x", width), ("y", height)))
    w, h = np.floor(half * width), np.floor(half * height)
    edges = np.stack(
        [np.maximum(x - w, 0), np.maximum(y - h, 0), np.minimum(x + w, width), np.minimum(y + h, height)], 1
    )
    area = (edges[:, 2] - edges[:, 0]) * (edges[:, 3] - edges[:, 1])
    share = draws.column(1 - area / (width * height))
    inside = rectangles(images, draws, edges)
    return torch.where(inside, other[0], images), _mixed(targets, other[1], share)


def _mixed(targets: Tensor, other: Tensor, share: Tensor) -> Tensor:
    return share[:, :, 0, 0] * targets + (1 - share[:, :, 0, 0]) * other
