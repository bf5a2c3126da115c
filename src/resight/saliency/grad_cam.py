"""The gradient methods that weight the maps of one layer, each by its paper's formula.

A is the map (B, K, h, w), g = dy^c / dA its gradient (B, T, K, h, w), y^c the logit. With average pooling and
a linear layer, g is the weight over the area, the same everywhere: then Grad-CAM, HiResCAM and XGrad-CAM all
equal CAM over the area, and no backward pass is needed.
"""

import torch
from torch import Tensor

from resight.saliency.look import Look

FLOAT64 = ("cpu", "cuda", "xpu", "meta")
"""Kinds of device that have float64."""


def grad_cam(look: Look) -> Tensor:
    """Return sum_k alpha_k A^k, alpha_k = mean_xy g^k, before its ReLU, (B, T, h, w).

    Source: Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
    localization", equations 1 and 2.
    """
    return combine(_mean(look.gradients()), look.activation)


def grad_cam_pp(look: Look) -> Tensor:
    """Return Grad-CAM++ before its last ReLU, (B, T, h, w).

    Source: Chattopadhay et al. 2018, "Grad-CAM++", equations 10 and 19: with Y = exp(y^c) and y^c locally
    linear in A, alpha_xy^k = g^2 / (2 g^2 + (sum_ab A_ab^k) g^3) and w_k = sum_xy alpha_xy^k ReLU(g).

    Deviations: the common factor exp(y^c) of the paper's dY/dA is omitted, since it scales a whole map and
    overflows; alpha is computed as 1 / (2 + g sum A), which is the same where g is not zero and exact for
    small g; a zero denominator is replaced by 1. The formula is meant for maps after a ReLU: with values of
    both signs the denominator can pass through zero, and the map becomes unstable.
    """
    gradient = look.gradients()
    return weighted_by_derivatives(look, *_powers(gradient, _unit(gradient)))


def _unit(gradient: Tensor) -> Tensor:
    """Return the unit of a gradient (B, T, K, h, w) in `_powers`, chosen so that its cube stays in range.

    In float64 the unit is 1. Without float64, as on Apple's GPUs, it is the greatest value of each map,
    (B, T, 1, 1, 1), in the gradient's own precision.
    """
    if gradient.device.type in FLOAT64:
        return torch.ones((), dtype=torch.float64, device=gradient.device)
    greatest = gradient.abs().amax((2, 3, 4), keepdim=True)
    return greatest.where(greatest > 0, torch.ones_like(greatest))


def _powers(gradient: Tensor, unit: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """First, second and third derivative of exp(y) at a locally linear y, without their factor exp(y).

    The second and the third are divided by the square of `unit`, since only their ratio matters.
    """
    gradient = gradient.to(unit.dtype)
    part = gradient / unit
    return gradient, part**2, part**3 * unit


def weighted_by_derivatives(look: Look, first: Tensor, second: Tensor, third: Tensor) -> Tensor:
    """Return sum_k w_k A^k with w_k = sum_xy alpha ReLU(D1), alpha = D2 / (2 D2 + D3 sum_ab A_ab).

    Numerator and denominator are divided by D2 first.
    """
    total = look.activation.sum((2, 3)).to(first.dtype)[:, None, :, None, None]
    ratio = (third / second).where(second != 0, torch.zeros_like(second))
    denominator = 2 + total * ratio
    alpha = (1 / denominator.where(denominator != 0, torch.ones_like(denominator))).where(
        second != 0, torch.zeros_like(second)
    )
    weights = _mean(alpha * first.relu()) * look.cells
    return combine(weights.to(look.activation.dtype), look.activation)


def smooth_grad_cam_pp(look: Look, samples: int = 16, sigma: float = 0.15) -> Tensor:
    """Return Smooth Grad-CAM++ before its last ReLU, (B, T, h, w).

    Source: Omeiza et al. 2019, "Smooth Grad-CAM++": the three derivatives of Grad-CAM++ are averaged over
    noisy copies of the image, and weight the map of the clean one. With average pooling and a linear layer
    the derivatives do not depend on the image, so no noisy pass is made; the result is the same.

    The noise is the same for every image of a batch and every call with one seed.

    Args:
        look: the pass.
        samples: noisy copies.
        sigma: standard deviation of the noise, a share of the range of the image's values (an assumption:
            the paper gives no one value).
    """
    if look.head is not None and look.head.linear_in_the_map:
        return grad_cam_pp(look)
    generator = torch.Generator().manual_seed(look.seed)
    low, high = look.images.amin((1, 2, 3), keepdim=True), look.images.amax((1, 2, 3), keepdim=True)
    sums: list[Tensor] = []
    unit: Tensor | None = None
    for _ in range(samples):
        noise = torch.randn(look.images.shape[1:], generator=generator).to(look.images)
        gradient = look.at(look.images + sigma * (high - low) * noise).gradients()
        unit = _unit(gradient) if unit is None else unit
        powers = _powers(gradient, unit)
        sums = [a + b for a, b in zip(sums, powers, strict=True)] if sums else list(powers)
    first, second, third = (part / samples for part in sums)
    return weighted_by_derivatives(look, first, second, third)


def sharpen_focus(look: Look) -> Tensor:
    """Return the attention map of Sharpen Focus before its ReLU, sum_k mean_xy(ReLU(g^k)) A^k, (B, T, h, w).

    Source: Wang et al. 2019, "Sharpen focus: learning with attention separability and consistency", section 3
    (the channel-weighted form; our reading of it is not certain).
    """
    return combine(_mean(look.gradients().relu()), look.activation)


def layer_cam(look: Look) -> Tensor:
    """Return sum_k ReLU(g^k) A^k, weighted position by position, before its ReLU, (B, T, h, w).

    Source: Jiang et al. 2021, "LayerCAM: exploring hierarchical class activation maps for localization",
    equations 6 and 7. Good at early layers too.
    """
    return combine(look.gradients().relu(), look.activation)


def hires_cam(look: Look) -> Tensor:
    """Return sum_k g^k A^k, position by position, before its ReLU, (B, T, h, w).

    Source: Draelos and Carin 2020, "Use HiResCAM instead of Grad-CAM for faithful explanations of
    convolutional neural networks", section 3.
    """
    return combine(look.gradients(), look.activation)


def xgrad_cam(look: Look) -> Tensor:
    """Return sum_k w_k A^k, w_k = sum_xy g^k A^k / sum_xy A^k, before its ReLU, (B, T, h, w).

    Source: Fu et al. 2020, "Axiom-based Grad-CAM", equation 8. A channel whose sum is zero has weight 0. The
    formula is meant for maps after a ReLU: in channels with values of both signs the sum can be near zero or
    negative, and so can the map.
    """
    gradient = look.gradients()
    if gradient.shape[-1] == 1 and look.cells > 1:  # the same everywhere, so w = g
        return combine(gradient, look.activation)
    total = look.activation.sum((2, 3))[:, None]
    product = torch.einsum("btkhw,bkhw->btk", gradient, look.activation)
    weights = (product / total).where(total != 0, torch.zeros_like(product))
    return combine(weights[..., None, None], look.activation)


def _mean(gradient: Tensor) -> Tensor:
    """Return the mean over the positions, (B, T, K, 1, 1); a gradient of that shape is returned as it is."""
    return gradient if gradient.shape[-2:] == (1, 1) else gradient.mean((3, 4), keepdim=True)


def combine(weights: Tensor, activation: Tensor) -> Tensor:
    """Return sum_k w^k A^k, (B, T, h, w).

    Args:
        weights: (B, T, K, h, w), or (B, T, K, 1, 1) where they do not depend on the position.
        activation: (B, K, h, w).
    """
    if weights.shape[-2:] == (1, 1):
        return torch.einsum("btk,bkhw->bthw", weights[..., 0, 0], activation)
    return torch.einsum("btkhw,bkhw->bthw", weights, activation)
