"""Square parts of images around given places, resampled: what a later stage of a cascade sees."""

import torch
from torch import Tensor
from torch.nn import functional as F


def subimages(images: Tensor, centres: Tensor, sides: Tensor, size: int) -> Tensor:
    """Return the squares round places of images; what is outside an image is 0.

    Args:
        images: (B, C, H, W).
        centres: x and y in shares of the images' sides, (B, P, 2).
        sides: of the squares in the same shares, (B, P).
        size: of the result, in pixels.

    Returns:
        (B P, C, size, size), the P squares of an image one after another.
    """
    count = centres.shape[1]
    steps = (torch.arange(size, device=images.device, dtype=images.dtype) + 0.5) / size - 0.5
    across = torch.stack(torch.broadcast_tensors(steps[None, :], steps[:, None]), -1)  # (size, size, 2)
    places = centres[:, :, None, None] + sides[:, :, None, None, None] * across
    # The squares of an image lie one below another, so that it is not copied for each of them.
    grid = (2 * places - 1).flatten(1, 2)
    cut = F.grid_sample(images, grid.to(images.dtype), "bilinear", "zeros", align_corners=False)
    return cut.unflatten(2, (count, size)).transpose(1, 2).flatten(0, 1)
