"""Heat maps: rectify, cap, resize, normalize: separate steps, as pictures and metrics need different ones."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F


def rectify(maps: Tensor) -> Tensor:
    """Return the maps with negative values set to zero."""
    return maps.clamp(min=0)


def cap(maps: Tensor, share: float) -> Tensor:
    """Return each map (..., h, w) with the highest values cut off, so that few pixels do not hide the rest.

    Args:
        maps: any; where the limit is not above 0, a map stays as it is.
        share: of the pixels that stay as they are, in (0, 1]; the limit is the value of the last of them.
    """
    flat = maps.flatten(-2)
    limit = flat.kthvalue(math.ceil(share * flat.shape[-1]), -1).values[..., None, None]
    return maps.where((maps <= limit) | (limit <= 0), limit)


def resize(maps: Tensor, height: int, width: int) -> Tensor:
    """Resize maps (..., h, w) to (..., height, width), bilinear, pixel centres aligned."""
    lead = maps.shape[:-2]
    flat = maps.reshape(1, -1, *maps.shape[-2:])
    flat = F.interpolate(flat, (height, width), mode="bilinear", align_corners=False)
    return flat.reshape(*lead, height, width)


def normalize(maps: Tensor) -> Tensor:
    """Scale each map (..., h, w) to [0, 1] by its minimum and maximum; a flat map becomes zero."""
    low = maps.amin((-2, -1), keepdim=True)
    span = maps.amax((-2, -1), keepdim=True) - low
    return ((maps - low) / span.clamp(min=1e-12)).where(span > 1e-12, maps.new_zeros(()))


def centre_spot(height: int, width: int) -> Tensor:
    """Return a Gaussian in the middle, (height, width) float32 in (0, 1]; sigma is a quarter of each side."""
    y, x = ((torch.arange(n, dtype=torch.float64) + 0.5) / n - 0.5 for n in (height, width))
    return torch.exp(-(y[:, None] ** 2 + x**2) / (2 * 0.25**2)).float()
