"""Colours of images (B, 3, H, W) in [0, 1]: pure functions, each sample with its own strength.

Strengths are columns (B, 1, 1, 1), or (B, 3, 1, 1) where each channel has one. Results are clamped to [0, 1]
but for `pca_colour`. torchvision's functions take one strength for a whole batch; those without a strength
are taken from there.
"""

import numpy as np
import torch
from torch import Tensor

from resight.data.augment.draws import Draws

# Eigenvectors (columns) and eigenvalues of the RGB covariance of ImageNet, RGB in [0, 1], as printed
# in the published re-implementation of He et al. (2016). The eigenvalue itself multiplies, as in
# Krizhevsky's formula (no square root).
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])
LUMA = (0.299, 0.587, 0.114)


def grey(images: Tensor) -> Tensor:
    """Return the brightness of each pixel, (B, 1, H, W)."""
    red, green, blue = images.unbind(1)
    return (LUMA[0] * red + LUMA[1] * green + LUMA[2] * blue)[:, None]


def blend(first: Tensor, second: Tensor, share: Tensor) -> Tensor:
    """Return `share` of the first and the rest of the second, clamped; above 1 it goes beyond the first."""
    return (share * first + (1 - share) * second).clamp_(0, 1)


def brightness(images: Tensor, factor: Tensor) -> Tensor:
    """Multiply all values."""
    return (images * factor).clamp_(0, 1)


def contrast(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the mean brightness of the picture: 0 is plain grey, 1 the picture."""
    mean = grey(images).contiguous().mean(3, keepdim=True).mean(2, keepdim=True)
    return blend(images, mean, factor)


def saturation(images: Tensor, factor: Tensor) -> Tensor:
    """Blend with the grey picture: 0 is grey, 1 the picture."""
    return blend(images, grey(images), factor)


def hue(images: Tensor, turn: Tensor) -> Tensor:
    """Turn the hue; `turn` is a part of the whole circle."""
    top, low = images.amax(1, keepdim=True), images.amin(1, keepdim=True)
    chroma = top - low
    red, green, blue = images.split(1, 1)
    safe = torch.where(chroma > 0, chroma, torch.ones_like(chroma))
    sixths = torch.where(
        top == red,
        (green - blue) / safe,
        torch.where(top == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    base = torch.tensor([5.0, 3.0, 1.0], device=images.device).view(1, 3, 1, 1)
    place = (base + sixths + 6 * turn).remainder(6)
    return (top - chroma * torch.minimum(place, 4 - place).clamp(0, 1)).clamp_(0, 1)


def gamma(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Raise all values to a power in [1 / (1 + most), 1 + most], log-uniform."""
    return images.clamp(0, 1).pow(draws.column(draws.factor("exponent", most)))


def colour_jitter(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Change brightness, contrast and saturation, each by a factor in [1 - most, 1 + most], in random order.

    Each sample has its own order: three times over, each function runs with the factor 1 where it is not its
    turn.
    """
    functions = (brightness, contrast, saturation)
    factors = np.stack([1 + draws.signed(f.__name__, most) for f in functions])
    turns = np.argsort([draws.uniform(f"order/{i}") for i in range(3)], axis=0)  # (3, B)
    for turn in turns:
        for number, function in enumerate(functions):
            now = turn == number
            if now.any():
                images = function(images, draws.column(np.where(now, factors[number], 1.0)))
    return images


def colour_cast(images: Tensor, draws: Draws, most: float) -> Tensor:
    """Add to each channel, with probability 1/2, its own shift in [-most, most] (Wu et al. 2015)."""
    shifts = [
        np.where(draws.uniform(f"{name}/on") < 0.5, draws.signed(name, most), 0.0)
        for name in ("red", "green", "blue")
    ]
    return (images + draws.column(np.stack(shifts, 1))).clamp_(0, 1)


def pca_colour(images: Tensor, draws: Draws, deviation: float) -> Tensor:
    """Add [p1 p2 p3][a1 l1, a2 l2, a3 l3], a ~ N(0, deviation) once a sample, not clamped.

    p and l are the principal components of RGB and their variances (Krizhevsky et al. 2012, section 4.1, with
    deviation 0.1); here always those of ImageNet.
    """
    normal = np.stack([draws.normal(str(i)) for i in range(3)], 1)
    if draws.full:
        normal = np.where(normal < 0, -2.0, 2.0)
    return images + draws.column((deviation * normal * PCA_VALUES) @ PCA_VECTORS.T)


def invert(images: Tensor) -> Tensor:
    """Turn every value into its opposite."""
    return 1 - images


def solarize(images: Tensor, strength: Tensor) -> Tensor:
    """Invert the values from 1 - strength on."""
    return torch.where(images >= 1 - strength, 1 - images, images)


def posterize(images: Tensor, bits: Tensor) -> Tensor:
    """Take the lowest bits away from each value of 8; their number is rounded."""
    step = torch.exp2(bits.round())
    return ((images * 255).round() / step).floor() * step / 255


def autocontrast(images: Tensor) -> Tensor:
    """Stretch each channel to [0, 1]; torchvision's."""
    from torchvision.transforms.v2.functional import autocontrast_image

    return autocontrast_image(images)


def equalize(images: Tensor) -> Tensor:
    """Make each channel's histogram flat, in 256 steps; torchvision's."""
    from torchvision.transforms.v2.functional import equalize_image

    return equalize_image(images.clamp(0, 1))
