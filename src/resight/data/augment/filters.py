"""Filters of images (B, 3, H, W) in [0, 1]: blur, sharpen, emboss, edges; each sample with its own strength.

They are sums over shifted images, not convolutions: so each sample has its own kernel, and its rounding does
not depend on the number of samples.
"""

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from resight.data.augment.colour import blend
from resight.data.augment.draws import Draws

Kernel = tuple[tuple[float, ...], ...]
SMOOTH: Kernel = ((1 / 13, 1 / 13, 1 / 13), (1 / 13, 5 / 13, 1 / 13), (1 / 13, 1 / 13, 1 / 13))
"""What Pillow's and torchvision's sharpness blend with."""
RELIEF: Kernel = ((-1.0, -1.0, 0.0), (-1.0, 0.0, 1.0), (0.0, 1.0, 1.0))
"""Light from the lower right."""
SOBEL: Kernel = ((-0.25, 0.0, 0.25), (-0.5, 0.0, 0.5), (-0.25, 0.0, 0.25))


def filtered(images: Tensor, kernel: Kernel) -> Tensor:
    """Return images under one kernel of 3 x 3; the edge is repeated outwards."""
    height, width = images.shape[-2:]
    wide = F.pad(images, (1, 1, 1, 1), mode="replicate")
    total = torch.zeros_like(images)
    for y, row in enumerate(kernel):
        for x, weight in enumerate(row):
            if weight:
                total += weight * wide[:, :, y : y + height, x : x + width]
    return total


def sharpness(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the smoothed image: 0 is smooth, 1 the image, above 1 sharper. The outermost pixels stay."""
    smooth = images.clone()
    inner = (..., slice(1, -1), slice(1, -1))
    smooth[inner] = filtered(images, SMOOTH)[inner]
    return blend(images, smooth, factor)


def emboss(images: Tensor, strength: Tensor) -> Tensor:
    """Add a relief: the differences along the diagonal."""
    return (images + strength * filtered(images, RELIEF)).clamp_(0, 1)


def edges(images: Tensor, share: Tensor) -> Tensor:
    """Blend with the size of each channel's gradient, four times as bright, by Sobel's kernels."""
    across = filtered(images, SOBEL)
    down = filtered(images.transpose(2, 3), SOBEL).transpose(2, 3)
    return blend((4 * (across.square() + down.square()).sqrt()).clamp_(max=1), images, share)


def gaussian_blur(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Blur with a Gaussian whose deviation is up to `most` pixels, cut at three of the largest."""
    sigma = np.maximum(draws.amount("sigma", most), 1e-3)
    radius = max(1, int(np.ceil(3 * most)))
    taps = np.exp(-0.5 * (np.arange(-radius, radius + 1) / sigma[:, None]) ** 2)
    weights = draws.column(taps / taps.sum(1, keepdims=True))  # (B, 2 radius + 1, 1, 1)
    for dim in (2, 3):
        length = images.shape[dim]
        pad = (0, 0, radius, radius) if dim == 2 else (radius, radius, 0, 0)
        wide = F.pad(images, pad, mode="replicate")
        total = torch.zeros_like(images)
        for tap in range(2 * radius + 1):
            total += weights[:, tap : tap + 1] * wide.narrow(dim, tap, length)
        images = total
    return images
