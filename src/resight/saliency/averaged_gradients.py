"""Integrated gradients and SmoothGrad: the mean gradient at the pixels over many pictures made from one.

The pictures of a pass keep all of the network for the way back, as those of `gradient` do, so a pass takes
as many pictures as one of Score-CAM, and `batch` bounds its memory. All targets share the forward passes.

A few pixels have gradients far above all others. As Smilkov et al. do, values above the 99th percentile are
cut off to it where a map is shown (`Explanation.maps`), not in `raw`.
"""

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch import Tensor

from resight.core import seeds
from resight.core.console import counted, tell
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import Normalize
from resight.saliency.look import Look, wide
from resight.saliency.score_cam import pictures_at_once

BASELINES = ("mean", "black")
INCOMPLETE = 0.05
"""Share of the scores' difference from which a gap in the completeness of integrated gradients is told."""


def integrated_gradients(look: Look, steps: int = 50, baseline: str = "mean", batch: int = 0) -> Tensor:
    """Return integrated gradients, summed over the colours, (B, T, H, W), signed.

    Source: Sundararajan, Taly and Yan 2017, "Axiomatic attribution for deep networks", section 3:
    IG_i = (x_i - x'_i) int_0^1 dy^c/dx_i (x' + a (x - x')) da, x' the baseline, on which nothing is seen.
    Completeness (section 3, proposition 1): the sum over the pixels is y^c(x) - y^c(x'). How much of this
    difference is missing after `steps`, at most over images and targets, is in the facts as
    `completeness_gap`, a share; 5 % or less is the paper's advice (section 5).

    Deviations: the integral is taken at the nodes of Gauss and Legendre instead of equal steps, which is more
    exact for as many passes. The colours are summed with their signs, so that the map is complete too.

    Args:
        look: the pass.
        steps: nodes of the integral, each a picture to go forth and back; the paper takes 20 to 300.
        baseline: "mean": zero after normalization, the mean colour, as for Score-CAM and occlusion; "black",
            the paper's choice for object recognition, for networks that state their preprocessing. Pixels
            that equal the baseline have the attribution 0.
        batch: pictures a pass; 0 as for Score-CAM.

    Raises:
        UsageError: for an unknown baseline, or "black" where it is not known which value that is.
    """
    nodes, shares = np.polynomial.legendre.leggauss(steps)
    maps = wide(look.scores.detach()).new_zeros(*look.scores.shape, *look.images.shape[2:])
    places, weights = (maps.new_tensor((values / 2).tolist()) for values in (nodes + 1, shares))
    blank = _baseline(look, baseline)
    batch = batch or pictures_at_once(look.images)
    for image in counted(range(len(maps)), "integrated gradients, pictures"):
        difference = wide(look.images[image] - blank)

        def along(part: Tensor, difference: Tensor = difference) -> Tensor:
            return blank + places[part, None, None, None] * difference

        for target, part, slopes in _slopes(look, image, steps, batch, along):
            maps[image, target] += torch.einsum("m,mchw,chw->hw", weights[part], slopes, difference)
    _tell_completeness(look, maps, blank, steps)
    return maps


def _baseline(look: Look, name: str) -> Tensor:
    """Return x', (C, H, W), in the images' precision."""
    if name not in BASELINES:
        raise UsageError(f"baseline={name!r}: must be one of {', '.join(BASELINES)}")
    zero = torch.zeros_like(look.images[0])
    if name == "mean":
        return zero
    card = getattr(look.model, "preprocessing", None)
    if not isinstance(card, Preprocessing) or len(zero) != 3:
        raise UsageError("baseline=black: the network does not state which value is black; use baseline=mean")
    black = torch.zeros(1, *zero.shape[1:], 3, dtype=torch.uint8, device=zero.device)
    return Normalize(card, zero.device)(black)[0].to(zero.dtype)


def _tell_completeness(look: Look, maps: Tensor, blank: Tensor, steps: int) -> None:
    """Note the share of the scores' difference that maps (B, T, H, W) miss, and tell it if it is large."""
    owner = torch.arange(len(maps), device=maps.device)
    without = next(iter(look.answer([(blank.expand_as(look.images), owner)])))
    wanted = wide(look.scores.detach()) - without
    gap = float(((maps.sum((2, 3)) - wanted).abs() / wanted.abs().clamp(min=1e-12)).max())
    look.facts["completeness_gap"] = gap
    if gap > INCOMPLETE:
        tell(
            f"integrated_gradients: up to {100 * gap:.0f} % of the score's difference to the baseline are "
            f"missing; {4 * steps} steps (--set steps={4 * steps}) come closer"
        )


def smooth_grad(look: Look, samples: int = 50, sigma: float = 0.15, batch: int = 0) -> Tensor:
    """Return SmoothGrad's greatest absolute value over the colours, (B, T, H, W), 0 or more.

    Source: Smilkov et al. 2017, "SmoothGrad: removing noise by adding noise", section 3: the mean of
    dy^c/dx (x + e) over normal noise e. With sigma = 0 it is the method `gradient`.

    Deviation: of the colours the greatest absolute value is taken, as for `gradient`; the paper leaves it
    open.

    The noise of a sample is a function of (seed, sample) alone: the same for every image of a batch, for
    every `batch` and in every call.

    Args:
        look: the pass.
        samples: noisy copies, each a picture to go forth and back; above 50 the paper sees little gain.
        sigma: standard deviation of the noise, a share of the range of the image's values; the paper finds
            0.1 to 0.2 best.
        batch: pictures a pass; 0 as for Score-CAM.
    """
    low, high = look.images.amin((1, 2, 3)), look.images.amax((1, 2, 3))
    batch, maps = batch or pictures_at_once(look.images), []
    for image in counted(range(len(look.images)), "SmoothGrad, pictures"):
        spread = sigma * (high - low)[image]

        def noisy(part: Tensor, image: int = image, spread: Tensor = spread) -> Tensor:
            noise = torch.stack([_noise(look, sample) for sample in part.tolist()])
            return look.images[image] + spread * noise.to(look.images)

        total = wide(look.images.new_zeros(look.scores.shape[1], *look.images.shape[1:]))
        for target, _, slopes in _slopes(look, image, samples, batch, noisy):
            total[target] += slopes.sum(0)
        maps.append((total / samples).abs().amax(1))
    return torch.stack(maps)


def _noise(look: Look, sample: int) -> Tensor:
    """Return the standard normal noise of a sample, (C, H, W)."""
    key = int(seeds.bits(look.seed, 0, sample, "smooth_grad")[0] >> np.uint64(1))
    return torch.randn(look.images.shape[1:], generator=torch.Generator().manual_seed(key))


def _slopes(
    look: Look, image: int, count: int, batch: int, make: Callable[[Tensor], Tensor]
) -> Iterator[tuple[int, Tensor, Tensor]]:
    """Yield a target's number, those of pictures (M,), and its gradients at these, (M, C, H, W).

    Args:
        look: the pass.
        image: that the pictures are made from.
        count: of pictures.
        batch: pictures a pass.
        make: gives pictures (M, C, H, W) of their numbers.
    """
    for part in torch.arange(count).split(batch):
        owner = torch.full((len(part),), image, device=look.images.device)
        found = look.slopes(make(part).to(look.images.dtype), owner)
        yield from ((target, part, slopes) for target, slopes in enumerate(found))
