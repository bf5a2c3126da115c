"""Does a saliency map change when the network forgets what it learned?

Source: Adebayo et al. 2018, "Sanity checks for saliency maps", section 4.1: weights are made random layer by
layer from the top, and the maps compared with those of the trained network.
"""

import copy
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from resight.metrics.ssim import ssim
from resight.models.cost import evaluating
from resight.models.hooks import hooked
from resight.models.locks import holding
from resight.saliency.capture import bare

TOO_ALIKE = 0.5
"""Mean |rank correlation| with the maps of wholly random weights above which its number is pointed out.

Our choice: at 0.5 a quarter of the variance of the ranks is shared. It is not 0, because maps of one picture
by a trained and by a random network always have something in common: the border, smoothness. A ResNet-20
on 50 pictures of CIFAR-10 gave 0.15 (Grad-CAM), 0.16 (occlusion), 0.17 (guided Grad-CAM), 0.27 (gradient)
and 0.55 (Layer-CAM); an edge filter, which asks no network, gives 1. Compare it with what the method gives
for two different pictures ("chance"): Layer-CAM had 0.66 there, so its maps are alike whatever is asked.
"""

_drawing = threading.Lock()  # the seed is the whole process's for a moment

MapsOf = Callable[[nn.Module, Tensor, Tensor], Tensor]
"""Gives maps (B, H, W) in [0, 1] of a network, images (B, C, H, W) and class numbers (B,)."""


@dataclass(frozen=True)
class Likeness:
    """How alike a method's maps are before and after; a value a picture, (B,) float64 on the CPU.

    Not a number where random weights overflowed.

    Attributes:
        spearman: |rank correlation| of the pixels, in [0, 1].
        ssim: structural similarity, in [-1, 1].
    """

    spearman: Tensor
    ssim: Tensor


def cascade(
    model: nn.Module, images: Tensor, targets: Tensor, methods: Mapping[str, MapsOf], seed: int = 0
) -> dict[str, dict[str, Likeness]]:
    """Compare the maps of a network with those of copies with ever more random weights.

    One cascade is drawn: the values tell about pictures, not about other draws of weights.

    Args:
        model: left as it is; its copies are changed.
        images: (B, C, H, W).
        targets: class numbers (B,), the same for every copy.
        methods: by name.
        seed: of the weights.

    Returns:
        For each method, by what was made random (see `randomized`); "chance" is the likeness of the trained
        network's maps of two different pictures, if there are two.
    """
    before = {name: maps_of(model, images, targets) for name, maps_of in methods.items()}
    found: dict[str, dict[str, Likeness]] = {name: {} for name in methods}
    for depth, changed in randomized(model, images, seed):
        for name, maps_of in methods.items():
            found[name][depth] = likeness(before[name], maps_of(changed, images, targets))
    if len(images) > 1:
        for name, maps in before.items():
            found[name]["chance"] = likeness(maps, maps.roll(1, 0))
    return found


def randomized(model: nn.Module, images: Tensor, seed: int = 0) -> Iterator[tuple[str, nn.Module]]:
    """Yield a copy of a network with its top layers re-initialized, from the head alone to all.

    The layers are those with parameters of their own, in the order in which they start to run. The steps are
    "head" (the last layer, which gives the logits), a quarter, a half and three quarters of the layers, and
    "all", with those that do not run. It is one copy that changes; use it before taking the next.

    Deviation from the paper: a quarter at a time instead of every layer.

    Args:
        model: any network.
        images: (B, C, H, W); one is run to see the order of the layers.
        seed: of the weights; the same seed gives the same weights.
    """
    with holding(bare(model)):  # a thread that explains it would leave hooks in the copy
        changed = copy.deepcopy(bare(model))
    owners = [m for m in changed.modules() if any(True for _ in m.parameters(recurse=False))]
    started: list[nn.Module] = []
    watch = [
        lambda m=m: m.register_forward_pre_hook(lambda module, _: started.append(module)) for m in owners
    ]
    with torch.no_grad(), evaluating(changed), hooked(watch):
        changed(images[:1])
    ran = list(dict.fromkeys(reversed(started)))  # last first
    idle = [m for m in owners if m not in set(ran)]
    steps = {"head": 1} | {f"top {round(100 * s)} %": math.ceil(s * len(ran)) for s in (0.25, 0.5, 0.75)}
    generator = torch.Generator().manual_seed(seed)
    done = 0
    for name, count in {**{n: c for n, c in steps.items() if c < len(ran)}, "all": len(ran)}.items():
        if count <= done:
            continue
        for module in ran[done:count] + (idle if name == "all" else []):
            reinitialize(module, generator)
        done = count
        yield name, changed


def reinitialize(module: nn.Module, generator: torch.Generator) -> None:
    """Give a module's own parameters fresh values, those of its children stay; global random state untouched.

    Convolutions and linear layers get N(0, 2 / fan_in) and biases 0 (He et al. 2015, "Delving deep into
    rectifiers"), so that signals keep their size through ReLUs; other layers of torch their own start
    (batch normalization the identity, its averages too); other parameters are drawn normal with the mean and
    deviation that they had.
    """
    weighted = nn.Linear | nn.Conv1d | nn.Conv2d | nn.Conv3d
    reset = getattr(module, "reset_parameters", None)
    with _drawing, torch.no_grad(), torch.random.fork_rng(range(torch.cuda.device_count())):
        torch.manual_seed(int(torch.randint(2**62, (1,), generator=generator)))
        if callable(reset) and not isinstance(module, weighted):
            reset()
            return
        for parameter in module.parameters(recurse=False):
            if not isinstance(module, weighted):
                mean, deviation = float(parameter.mean()), float(parameter.std(correction=0))
            else:
                mean, deviation = 0.0, math.sqrt(2 / parameter[0].numel()) if parameter.ndim > 1 else 0.0
            parameter.normal_(mean, deviation)


def likeness(first: Tensor, second: Tensor) -> Likeness:
    """Compare maps (B, H, W) with others of the same shape."""
    first, second = (m.detach().cpu().double() for m in (first, second))
    finite = (first.isfinite() & second.isfinite()).all(2).all(1)
    values = (spearman(first, second).abs(), ssim(first[:, None], second[:, None]))
    unknown = torch.full_like(values[0], math.nan)
    return Likeness(*(torch.where(finite, value, unknown) for value in values))


def spearman(first: Tensor, second: Tensor) -> Tensor:
    """Return the rank correlation of the pixels of maps (B, H, W) with others, (B,) in [-1, 1].

    Equal pixels share their mean rank. A flat map orders nothing: its correlation is 0 with any other map,
    and 1 with a flat one.
    """
    ranks = [_mean_ranks(m.flatten(1)) for m in (first, second)]
    a, b = (r - r.mean(1, keepdim=True) for r in ranks)
    product = a.norm(dim=1) * b.norm(dim=1)
    both_flat = (a == 0).all(1) & (b == 0).all(1)
    return torch.where(product > 0, (a * b).sum(1) / product.clamp(min=1e-300), both_flat.double())


def _mean_ranks(values: Tensor) -> Tensor:
    """Return ranks (B, N) float64 from 0; equal values get the mean of theirs."""
    ordered = values.sort(1).values.contiguous()
    values = values.contiguous()
    below = torch.searchsorted(ordered, values)
    upto = torch.searchsorted(ordered, values, right=True)
    return (below + upto - 1).double() / 2
