"""Is a saliency map faithful: what the network answers when the pixels that it names are hidden or shown.

Every figure is the probability of one class on changed pictures, by the network's own rule (softmax,
sigmoid). All steps of all pictures go through the network in large batches; what is hidden at a step is one
comparison with the pixels' ranks. A figure means something only in comparison with two maps that know nothing
of the network: a random one and a spot in the middle.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core import seeds
from resight.core.errors import NotFiniteError, UsageError
from resight.evaluate.scores import batch_size
from resight.geometry import heatmaps
from resight.metrics.means import bootstrap_interval, share_interval
from resight.models.cost import evaluating
from resight.models.probabilities import rule_of, to_probabilities
from resight.saliency.capture import bare, logits_of

SHARE = 1 / 28
"""Of the pixels, removed or shown at each step of the curves; RISE takes 1 / 224 at 224 pixels a side."""
ROAD_SHARES = (0.2, 0.4, 0.6, 0.8)
ROAD_NOISE = 0.01
"""Standard deviation of the noise on imputed pixels, in units of normalized pixels."""


class Examination:
    """Pictures, the class that is asked for on each, and the network that answers.

    Args:
        model: gives logits (B, classes); it is left as it was.
        images: (B, C, H, W), preprocessed.
        targets: class numbers (B,).
        share: of the pixels a step of the curves changes, in (0, 1].
        seed: of the order of equal pixels and of ROAD's noise. Both are the same for every picture and
            every map, so that maps are compared on equal terms.
        batch: pictures a pass; by default as many as suit their size.
        probabilities: how logits become probabilities; by default what the network says, see `rule_of`.

    Raises:
        UsageError: if the share is out of range.
    """

    def __init__(
        self,
        model: nn.Module,
        images: Tensor,
        targets: Tensor,
        *,
        share: float = SHARE,
        seed: int = 0,
        batch: int = 0,
        probabilities: str | None = None,
    ) -> None:
        if not 0 < share <= 1:
            raise UsageError(f"share {share} of the pixels a step must be above 0 and at most 1")
        self.model, self.images, self.targets = bare(model), images, targets
        self.share, self.seed = share, seed
        self.size = (images.shape[2], images.shape[3])
        self.pixels = images.shape[2] * images.shape[3]
        self.batch = batch or batch_size(self.pixels)
        self.asked = probabilities

    @torch.inference_mode()
    def probabilities(self, make: Callable[[Tensor, Tensor], Tensor], steps: int) -> Tensor:
        """Return the targets' probabilities on made pictures, (steps, B) float64 on the CPU.

        Args:
            make: gives the pictures (M, C, H, W) of step numbers (M,) and picture numbers (M,).
            steps: pictures made of each.

        Raises:
            UsageError: if the network is not a classifier.
            NotFiniteError: if an answer is NaN: no figure would follow from it.
        """
        count, found = len(self.images), []
        with evaluating(self.model):
            for part in torch.arange(steps * count, device=self.images.device).split(self.batch):
                image = part % count
                logits = logits_of(self.model(make(part // count, image).to(self.images.dtype)))
                if logits is None:
                    raise UsageError(
                        "the network does not return logits (B, classes): no probability to follow"
                    )
                rule = rule_of(self.model, logits.shape[1], self.asked)
                likely = to_probabilities(logits.cpu().double(), rule)
                found.append(likely.gather(1, self.targets[image].cpu()[:, None])[:, 0])
                if found[-1].isnan().any():
                    raise NotFiniteError("the network answers changed pictures with NaN; run it in float32")
        return torch.cat(found).view(steps, count)

    @cached_property
    def before(self) -> Tensor:
        """The targets' probabilities on the pictures themselves, (B,)."""
        return self.probabilities(lambda _, image: self.images[image], 1)[0]

    def ranks(self, maps: Tensor) -> Tensor:
        """Return each pixel's place when the most salient comes first, (B, H W); equal ones in random order.

        Rectified maps are zero over large areas; in reading order these would go from the top downwards.
        """
        shuffle = torch.from_numpy(seeds.permutation(self.seed, 0, self.pixels)).to(maps.device)
        order = shuffle[maps.flatten(1)[:, shuffle].argsort(dim=1, descending=True, stable=True)]
        places = torch.arange(self.pixels, device=maps.device).expand_as(order)
        return torch.empty_like(order).scatter_(1, order, places)


def on_its_own(seen: Examination, maps: Tensor) -> Tensor:
    """Return the probability on image times map, (B,): where the map is 0 the mean colour is left."""
    return seen.probabilities(lambda _, image: seen.images[image] * maps[image][:, None], 1)[0]


def average_drop(seen: Examination, maps: Tensor) -> Tensor:
    """Return 100 max(0, Y - O) / Y in percent, (B,): Y on the image, O on image times map.

    Source: Chattopadhay et al. 2018, "Grad-CAM++", section 4.1. A map that is large everywhere loses nothing:
    compare it with deletion and ROAD, which only use the order of the pixels.
    """
    drop = (seen.before - on_its_own(seen, maps)).clamp(min=0)
    return 100 * drop / seen.before.clamp(min=1e-300)


def increase(seen: Examination, maps: Tensor) -> Tensor:
    """Return 100 where image times map gives a higher probability than the image, else 0, (B,).

    Source: Chattopadhay et al. 2018, section 4.1, "increase in confidence".
    """
    return 100.0 * (on_its_own(seen, maps) > seen.before).double()


def curve(seen: Examination, maps: Tensor, start: Tensor, end: Tensor) -> tuple[Tensor, Tensor]:
    """Turn pictures from `start` into `end`, the most salient pixels first.

    Args:
        seen: what is examined.
        maps: (B, H, W).
        start: (B, C, H, W).
        end: (B, C, H, W).

    Returns:
        The share of the pixels that are turned, (S,), from 0 to 1, and the probabilities (S, B).
    """
    steps = int(np.ceil(1 / seen.share - 1e-9))
    shares = torch.tensor([min(seen.share * step, 1.0) for step in range(steps + 1)], dtype=torch.float64)
    counts = (shares * seen.pixels).round().long().to(maps.device)
    ranks = seen.ranks(maps)

    def make(step: Tensor, image: Tensor) -> Tensor:
        turned = (ranks[image] < counts[step][:, None]).view(-1, 1, *seen.size)
        return torch.where(turned, end[image], start[image])

    return counts.cpu().double() / seen.pixels, seen.probabilities(make, steps + 1)


def deletion(seen: Examination, maps: Tensor) -> Tensor:
    """Return the area under the probability while the most salient pixels are removed first, (B,) in [0, 1].

    Source: Petsiuk et al. 2018, "RISE", section 4.2. A removed pixel is zero after normalization, the mean
    colour. The area is by trapezoids. Deviation: pixels that a map holds equal go in random order.
    """
    return _area(*curve(seen, maps, seen.images, torch.zeros_like(seen.images)))


def insertion(seen: Examination, maps: Tensor) -> Tensor:
    """Return the area under the probability while the most salient pixels are shown first, (B,) in [0, 1].

    Source: Petsiuk et al. 2018, section 4.2; it starts from the picture blurred by a Gaussian, 11 x 11, sigma
    5. Deviations: the picture's border is repeated outwards for the blur; equal pixels as in `deletion`.
    """
    return _area(*curve(seen, maps, blur(seen.images, 11, 5.0), seen.images))


def _area(shares: Tensor, probabilities: Tensor) -> Tensor:
    return torch.trapezoid(probabilities, shares, dim=0)


def road(seen: Examination, maps: Tensor) -> Tensor:
    """Return the mean over shares removed of p(least salient removed) - p(most salient removed), in [-1, 1].

    Source: Rong et al. 2022, "A consistent and efficient evaluation strategy for attribution methods",
    section 4: noisy linear imputation, so that what is removed does not show in the picture, as a hole of one
    colour does. Shares 20, 40, 60 and 80 % (the paper draws curves; the mean of LeRF - MoRF is how its users
    sum them up). The noise is the same pattern for every picture.
    """
    counts = torch.tensor([min(round(s * seen.pixels), seen.pixels - 1) for s in ROAD_SHARES]).to(maps.device)
    images = seen.images.to(torch.promote_types(seen.images.dtype, torch.float32))
    ranks, channels = seen.ranks(maps), images.shape[1]
    drawn = seeds.normal(seen.seed, 0, np.arange(channels * seen.pixels), "road noise")
    noise = ROAD_NOISE * torch.from_numpy(drawn).view(1, channels, *seen.size).to(images)

    def make(step: Tensor, image: Tensor) -> Tensor:
        rank, count = ranks[image], counts[step % len(counts)][:, None]
        most_first = (step < len(counts))[:, None]
        removed = torch.where(most_first, rank < count, rank >= seen.pixels - count).view(-1, *seen.size)
        return impute(images[image], removed) + noise * removed[:, None]

    most, least = seen.probabilities(make, 2 * len(counts)).split(len(counts))
    return (least - most).mean(0)


def impute(images: Tensor, removed: Tensor, tolerance: float = 1e-4, limit: int = 2000) -> Tensor:
    """Return pictures in which every removed pixel is the weighted mean of its eight neighbours.

    Weights 1/6 for the four at the sides, 1/12 for the four at the corners; at the border of the picture
    those that exist count, and their sum divides. Removed neighbours are unknowns too: a linear system for
    each picture and colour, symmetric and positive, solved for all at once by conjugate gradients.

    Source: Rong et al. 2022, section 4.2 and appendix; they solve it picture by picture, directly.

    Args:
        images: (B, C, H, W).
        removed: (B, H, W) bool; one pixel at least must be left in each.
        tolerance: a system is done when the norm of its residual is below this share of its right side's.
            At the default and 224 x 224 pixels the greatest error met was 0.007 of a standard deviation
            of the pixels, below ROAD's noise.
        limit: most iterations; 300 were the most met at 224 x 224.
    """
    hole = removed[:, None].to(images.dtype)
    known = images * (1 - hole)
    degree = _neighbours(torch.ones_like(hole[:1]))
    right = hole * _neighbours(known)

    def product(values: Tensor) -> Tensor:
        return hole * (degree * values - _neighbours(values))

    def squared(values: Tensor) -> Tensor:
        return (values * values).sum((2, 3), keepdim=True)

    solution = hole * (known.sum((2, 3), keepdim=True) / (1 - hole).sum((2, 3), keepdim=True))
    residual = right - product(solution)
    direction, size = residual, squared(residual)
    goal, none = tolerance**2 * squared(right), images.new_zeros(())
    for _ in range(limit):
        going = size > goal
        if not going.any():
            break
        image = product(direction)
        step = torch.where(going, size / (direction * image).sum((2, 3), keepdim=True), none)
        solution = solution + step * direction
        residual = residual - step * image
        following = torch.where(going, squared(residual), size)
        direction = residual + torch.where(going, following / size, none) * direction
        size = following
    return known + solution


def _neighbours(values: Tensor) -> Tensor:
    """Return the sum of the eight neighbours, weighted 1/6 (sides) and 1/12 (corners); none outside.

    The kernel is (1 2 1)' (1 2 1) / 12 without its middle; two passes of sums are faster than a convolution
    of one channel.
    """
    rows = 2 * values
    rows[..., 1:, :] += values[..., :-1, :]
    rows[..., :-1, :] += values[..., 1:, :]
    both = 2 * rows
    both[..., 1:] += rows[..., :-1]
    both[..., :-1] += rows[..., 1:]
    return (both - 4 * values) / 12


def gaussian(side: int, sigma: float) -> Tensor:
    """Return a Gaussian window of odd length that sums to 1, (side,)."""
    distance = torch.arange(side, dtype=torch.float64) - side // 2
    window = torch.exp(-(distance**2) / (2 * sigma**2))
    return window / window.sum()


def blur(images: Tensor, side: int, sigma: float) -> Tensor:
    """Blur images (B, C, H, W) by a Gaussian of side x side pixels; the border is repeated outwards."""
    window, half = gaussian(side, sigma).to(images), side // 2
    flat = F.pad(images.flatten(0, 1)[:, None], (half, half, half, half), mode="replicate")
    flat = F.conv2d(F.conv2d(flat, window.view(1, 1, -1, 1)), window.view(1, 1, 1, -1))
    return flat.view_as(images)


def random_maps(
    numbers: Sequence[int], cells: tuple[int, int], size: tuple[int, int], seed: int = 0
) -> Tensor:
    """Return maps of smooth noise, (B, H, W) in [0, 1], as coarse as a layer's: what knowing nothing gives.

    Args:
        numbers: of the pictures, (B,); a picture's noise depends on its number and the seed only.
        cells: (h, w) of the layer's map; the noise is uniform there, then resized.
        size: (H, W).
        seed: of the noise.
    """
    count = cells[0] * cells[1]
    places = np.asarray(numbers)[:, None] * count + np.arange(count)
    noise = torch.from_numpy(seeds.uniform(seed, 0, places, "random map")).float().view(-1, *cells)
    return heatmaps.normalize(heatmaps.resize(noise, *size))


def centre_maps(count: int, size: tuple[int, int]) -> Tensor:
    """Return `count` times a Gaussian in the middle, (B, H, W) in [0, 1]; sigma a quarter of each side."""
    return heatmaps.normalize(heatmaps.centre_spot(*size)).repeat(count, 1, 1)


@dataclass(frozen=True)
class Measure:
    """One figure of faithfulness.

    Attributes:
        compute: (examination, maps (B, H, W)) to one value a picture, (B,) float64.
        better: "low" or "high".
        baseline: what stands where the picture is hidden.
        protocol: how it is measured, in a line.
        least: the smallest mean difference from another map that a verdict needs, in the measure's unit; our
            choice: a hundredth of a probability, two percent of it, one picture in twenty.
        interval: (values, seed) to the 95 % interval of their mean.
    """

    compute: Callable[[Examination, Tensor], Tensor]
    better: str
    baseline: str
    protocol: str
    least: float
    interval: Callable[[Tensor, int], tuple[float, float] | None] = bootstrap_interval


MEAN_COLOUR = "zero after normalization (mean colour)"
MEASURES = {
    "average_drop": Measure(
        average_drop, "low", MEAN_COLOUR, "percent of the probability lost on image x map (Grad-CAM++)", 2.0
    ),
    "increase": Measure(
        increase,
        "high",
        MEAN_COLOUR,
        "percent of pictures whose probability rises on image x map (Grad-CAM++)",
        5.0,
        share_interval,
    ),
    "deletion": Measure(
        deletion,
        "low",
        MEAN_COLOUR,
        "area under the probability, most salient pixels removed first (RISE)",
        0.01,
    ),
    "insertion": Measure(
        insertion,
        "high",
        "Gaussian blur 11 x 11, sigma 5",
        "area under the probability, most salient pixels shown first (RISE)",
        0.01,
    ),
    "road": Measure(
        road,
        "high",
        f"noisy linear imputation, noise {ROAD_NOISE}",
        "probability, least less most salient removed, mean over 20, 40, 60, 80 % (ROAD)",
        0.01,
    ),
}
