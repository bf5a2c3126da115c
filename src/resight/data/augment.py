"""Augmentation: each draw a function of (seed, epoch, sample, operation).

Names, as a recipe's `augment` lists them:

    flip           mirror left to right, p = 1/2
    pad-crop       pad by an eighth of the side with zeros (4 pixels at 32), crop at random
                   (He et al. 2015, section 4.2)
    wide-crop      the same with a quarter of the side (8 pixels at 32: Goodfellow et al. 2013, section 5.2)
    shift          the same with a sixteenth of the side: for short trainings (airbench94 shifts by 2)
    resized-crop   area uniform in [0.25, 1], log-aspect uniform in [log 3/4, log 4/3], resized to the
                   input (Szegedy et al. 2014, section 6; they go down to an area of 0.08)
    scale-jitter   shorter side uniform in [256, 480] per 224 of input, square crop at random
                   (He et al. 2015, section 3.4, after Simonyan and Zisserman 2014)
    pca-colour     add multiples of the RGB covariance's principal components
                   (Krizhevsky et al. 2012, section 4.1)
"""

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core import seeds

PADS = {"pad-crop": 8, "wide-crop": 4, "shift": 16}
"""Padding as a part of the side: a side of 32 is padded by 4, 8 or 2."""
BATCHED = ("flip", *PADS)
"""Operations that run on whole batches of equal squares, on the device."""
CROPS = (*PADS, "resized-crop", "scale-jitter")
"""Operations that choose which part of the picture is seen: a recipe has one of them at most."""
OPERATIONS = ("flip", *CROPS, "pca-colour")

# Eigenvectors (columns) and eigenvalues of the RGB covariance of ImageNet, RGB in [0, 1], as printed
# in the published re-implementation of He et al. (2016). The eigenvalue itself multiplies, as in
# Krizhevsky's formula (no square root).
PCA_VECTORS = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
PCA_VALUES = np.array([0.2175, 0.0188, 0.0045])


def padding(operations: tuple[str, ...], side: int) -> int:
    """Return how many pixels the operations pad a square with; 0 if none pads."""
    parts = [PADS[op] for op in operations if op in PADS]
    return max(1, side // parts[0]) if parts else 0


def is_mirrored(seed: int, epoch: int, samples: NDArray) -> NDArray[np.bool_]:
    """Return which samples are mirrored in an epoch, (B,)."""
    return seeds.uniform(seed, epoch, samples, "flip") < 0.5


def offsets(seed: int, epoch: int, samples: NDArray, span: int) -> tuple[NDArray, NDArray]:
    """Return the top and left offsets of random crops, uniform in 0..span, each (B,)."""
    top = seeds.uniform(seed, epoch, samples, "crop/top") * (span + 1)
    left = seeds.uniform(seed, epoch, samples, "crop/left") * (span + 1)
    return top.astype(np.int64), left.astype(np.int64)


def resized_crop_box(seed: int, epoch: int, sample: int, width: int, height: int) -> tuple[float, ...]:
    """Return the box (left, top, right, bottom), in pixels, of a resized crop of one sample.

    Ten tries, then the largest central box of an allowed aspect, as in torchvision.
    """
    for attempt in range(10):
        name = f"resized-crop/{attempt}/"
        area = width * height * (0.25 + 0.75 * seeds.uniform(seed, epoch, sample, name + "area")[0])
        aspect = np.exp((2 * seeds.uniform(seed, epoch, sample, name + "aspect")[0] - 1) * np.log(4 / 3))
        w, h = np.sqrt(area * aspect), np.sqrt(area / aspect)
        if w <= width and h <= height:
            left = seeds.uniform(seed, epoch, sample, name + "left")[0] * (width - w)
            top = seeds.uniform(seed, epoch, sample, name + "top")[0] * (height - h)
            return (left, top, left + w, top + h)
    w, h = min(width, height * 4 / 3), min(height, width * 4 / 3)
    return ((width - w) / 2, (height - h) / 2, (width + w) / 2, (height + h) / 2)


def scale_jitter_box(
    seed: int, epoch: int, sample: int, width: int, height: int, size: int
) -> tuple[float, ...]:
    """Return the box whose content, resized to `size`, is a random crop at a random scale.

    The shorter side would be resized to s = round(uniform[256, 480] * size / 224) and a square of
    `size` cut out; cutting first, then resizing, gives the same pixels in one step.
    """
    short = min(width, height)
    side = np.round((256 + 224 * seeds.uniform(seed, epoch, sample, "scale-jitter/side")[0]) * size / 224)
    cut = size * short / side
    left = seeds.uniform(seed, epoch, sample, "scale-jitter/left")[0] * (width - cut)
    top = seeds.uniform(seed, epoch, sample, "scale-jitter/top")[0] * (height - cut)
    return (left, top, left + cut, top + cut)


def cut_box(image: Image.Image, box: tuple[float, ...], size: int) -> NDArray[np.uint8]:
    """Cut a box out and resize it to a square, antialiased, (size, size, 3)."""
    square = image.resize((size, size), Image.Resampling.BILINEAR, box=box, reducing_gap=3.0)  # type: ignore[arg-type]
    return np.asarray(square)


def pca_colour(images: Tensor, seed: int, epoch: int, samples: NDArray, std: tuple[float, ...]) -> Tensor:
    """Add PCA colour to normalized images (B, 3, H, W), in place.

    The shift is [p1 p2 p3][a1 l1, a2 l2, a3 l3] in RGB of [0, 1], a ~ N(0, 0.1) once per sample.
    """
    draws = [seeds.normal(seed, epoch, samples, f"pca-colour/{i}") for i in range(3)]
    shift = (0.1 * np.stack(draws, axis=1) * PCA_VALUES) @ PCA_VECTORS.T / np.asarray(std)
    return images.add_(torch.as_tensor(shift, dtype=images.dtype, device=images.device)[:, :, None, None])
