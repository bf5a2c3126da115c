"""Eigen-CAM and Eigen-Grad-CAM: the first principal component of a layer's map.

M (h w, K) has a row for each position. M = U S V', and the map is M v, v the first column of V. The sign of v
is arbitrary in a singular value decomposition, so each method states which one it takes.
"""

import torch
from torch import Tensor

from resight.saliency.look import Look


def eigen_cam(look: Look) -> Tensor:
    """Return A v before its ReLU, (B, T, h, w); it does not depend on the target.

    Source: Muhammad and Yeasin 2020, "Eigen-CAM: class activation map using principal components", section
    III: M = A, the activations, not centred.

    Deviations: of the two signs, which the paper leaves open, the map has the one with a sum of 0 or more.
    After a ReLU that is the one without negative values (Perron and Frobenius). pytorch-grad-cam centres the
    columns of A first, and its sign is arbitrary.
    """
    maps = _first_component(look.activation)
    maps = _turned(maps, maps.sum((-2, -1)))
    return maps[:, None].expand(-1, look.scores.shape[1], -1, -1)


def eigen_grad_cam(look: Look) -> Tensor:
    """Return (g A) v before its ReLU, (B, T, h, w), g the gradient of the score at A.

    Source: the package pytorch-grad-cam, where the method was published without a paper: Eigen-CAM with
    M = g A, position by position, in place of A, so that the map depends on the class.

    Deviations from that package: M is not centred, as in Eigen-CAM's paper; and of the two signs the map has
    the one that agrees with HiResCAM, the sum of g A over the channels. Where the first component is evidence
    against the class, nothing is above zero.
    """
    found = []
    for gradient in look.gradients().unbind(1):  # the products of all targets would take h w times the memory
        product = gradient * look.activation
        maps = _first_component(product)
        found.append(_turned(maps, (maps * product.sum(1)).sum((-2, -1))))
    return torch.stack(found, 1)


def _first_component(maps: Tensor) -> Tensor:
    """Return M v of maps (..., K, h, w), (..., h, w), without what is rounding."""
    rows = maps.flatten(-2).transpose(-2, -1)
    _, _, directions = torch.linalg.svd(rows, full_matrices=False)
    found = (rows @ directions[..., 0, :, None])[..., 0]
    rounding = torch.finfo(found.dtype).eps * max(rows.shape[-2:]) * found.abs().amax(-1, keepdim=True)
    return found.where(found.abs() > rounding, torch.zeros_like(found)).unflatten(-1, maps.shape[-2:])


def _turned(maps: Tensor, agreement: Tensor) -> Tensor:
    """Return maps (..., h, w), negated where a number (...) that says how they should point is below 0."""
    return maps * torch.where(agreement < 0, -1, 1)[..., None, None]
