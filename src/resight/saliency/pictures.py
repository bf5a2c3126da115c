"""The methods that work on the picture itself: gradients at its pixels, and scores when parts are hidden."""

from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from resight.core.console import counted
from resight.core.errors import UsageError
from resight.geometry import heatmaps
from resight.saliency.grad_cam import grad_cam
from resight.saliency.look import Look, wide


def gradient(look: Look) -> Tensor:
    """Return the greatest absolute gradient over the colours, (B, T, H, W).

    Source: Simonyan et al. 2014, "Deep inside convolutional networks", section 3.1.
    """
    return look.input_gradients().abs().amax(2)


def guided_grad_cam(look: Look) -> Tensor:
    """Return Grad-CAM, resized, times guided backpropagation, (B, T, H, W).

    Source: Selvaraju et al. 2017, section 3.2; guided backpropagation: Springenberg et al. 2015, "Striving
    for simplicity". Of the three colours of the guided gradient the greatest absolute value is taken. A known
    weakness: guided backpropagation changes little when the weights are randomized (Adebayo et al. 2018).

    Raises:
        UsageError: if no ReLU runs in the network.
    """
    with GuidedReLU() as guided:
        gradients = look.input_gradients().abs().amax(2)
    if not guided.met:
        raise UsageError(
            "guided_grad_cam changes the gradient of ReLU, and this network has none: use grad_cam"
        )
    height, width = look.images.shape[2:]
    return gradients * heatmaps.resize(heatmaps.rectify(grad_cam(look)), height, width)


class _Guided(torch.autograd.Function):
    """ReLU whose gradient passes only where both it and the input are positive."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        ctx.save_for_backward(value)
        return value.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (value,) = ctx.saved_tensors
        return gradients[0].clamp(min=0) * (value > 0)


class GuidedReLU(TorchFunctionMode):
    """Give every ReLU, module or function, the guided gradient inside the context; the network is kept."""

    rule: ClassVar[type[torch.autograd.Function]] = _Guided
    RELUS: tuple[Callable[..., Any], ...] = (
        F.relu, torch.relu, torch.relu_, Tensor.relu, Tensor.relu_, F.relu_,
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self.met = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        del types
        if func in self.RELUS:
            self.met += 1
            return self.rule.apply(args[0] if args else (kwargs or {})["input"])
        return func(*args, **(kwargs or {}))


def occlusion(
    look: Look, window: int = 0, stride: int = 0, batch: int = 32, precision: str = "fp32"
) -> Tensor:
    """Return how much of its score a class loses when a square is covered, (B, T, H, W), signed.

    Source: Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section 4.2. The
    cover is zero after normalization, the mean colour. A pixel's value is the mean drop of the squares that
    cover it.

    Args:
        look: the pass.
        window: side of the square in pixels; by default a fifth of the picture's shorter side.
        stride: its step; by default half its side.
        batch: pictures a pass.
        precision: "fp32" or "bf16" for the passes.
    """
    height, width = look.images.shape[2:]
    window = min(window or max(round(min(height, width) / 5), 1), height, width)
    stride = stride or max(window // 2, 1)
    covers = torch.stack(
        [
            _square(y, x, window, height, width)
            for y in _steps(height, window, stride)
            for x in _steps(width, window, stride)
        ]
    ).to(look.images)
    before = wide(look.scores.detach())
    maps = before.new_zeros(*before.shape, height, width)
    owners, parts = _sweep(look, covers, batch)

    def shown() -> Iterator[tuple[Tensor, Tensor]]:
        for image, part in zip(owners, parts, strict=True):
            made = look.images[image] * (1 - covers[part])[:, None]
            yield made, torch.full((len(part),), image, device=made.device)

    answers = counted(look.answer(shown(), precision=precision), "occlusion, passes", len(parts))
    for image, part, scores in zip(owners, parts, answers, strict=True):
        maps[image] += torch.einsum("mt,mhw->thw", before[image] - scores, covers[part].to(maps.dtype))
    return maps / covers.to(maps.dtype).sum(0)


def _steps(length: int, window: int, stride: int) -> list[int]:
    starts = list(range(0, length - window + 1, stride))
    return starts if starts[-1] == length - window else [*starts, length - window]


def _square(y: int, x: int, window: int, height: int, width: int) -> Tensor:
    mask = torch.zeros(height, width)
    mask[y : y + window, x : x + window] = 1
    return mask


def _sweep(look: Look, masks: Tensor, batch: int) -> tuple[list[int], list[Tensor]]:
    """Return, for each pass, its image and the numbers of its masks."""
    parts = torch.arange(len(masks)).split(batch)
    count = len(look.images)
    return [i for i in range(count) for _ in parts], [part for _ in range(count) for part in parts]


def rise(
    look: Look,
    samples: int = 4000,
    cells: int = 7,
    keep: float = 0.5,
    batch: int = 32,
    precision: str = "fp32",
) -> Tensor:
    """Return the mean of random masks weighted by the probability of what they leave, (B, T, H, W).

    Source: Petsiuk et al. 2018, "RISE: randomized input sampling for explanation of black-box models",
    section 3: S = sum_i f(x M_i) M_i / (E[M] N); the masks are coarse random grids, enlarged and randomly
    shifted. The masks are the same for every image. All classes are scored in one sweep.

    Args:
        look: the pass.
        samples: N, the number of masks; the paper uses 4,000 to 8,000.
        cells: cells per side of the coarse grid.
        keep: probability that a cell is shown.
        batch: pictures a pass.
        precision: "fp32" or "bf16" for the passes.
    """
    height, width = look.images.shape[2:]
    total = wide(look.scores.detach()).new_zeros(*look.scores.shape, height, width)
    generator = torch.Generator().manual_seed(look.seed)
    for start in counted(range(0, samples, batch), "RISE, masks", samples, batch):
        masks = _random_masks(min(batch, samples - start), cells, keep, height, width, generator)
        masks = masks.to(look.images)
        for image in range(len(look.images)):
            made = look.images[image] * masks[:, None]
            owner = torch.full((len(masks),), image, device=made.device)
            scores = next(iter(look.answer([(made, owner)], probability=True, precision=precision)))
            total[image] += torch.einsum("mt,mhw->thw", scores, masks.to(scores.dtype))
    return total / (keep * samples)


def _random_masks(
    count: int, cells: int, keep: float, height: int, width: int, generator: torch.Generator
) -> Tensor:
    """Return masks (count, H, W) in [0, 1], as section 3.2 of RISE makes them."""
    grid = (torch.rand(count, 1, cells, cells, generator=generator) < keep).float()
    step = (-(-height // cells), -(-width // cells))
    size = ((cells + 1) * step[0], (cells + 1) * step[1])
    large = F.interpolate(grid, size, mode="bilinear", align_corners=False)[:, 0]
    rows = torch.randint(0, step[0], (count,), generator=generator).tolist()
    columns = torch.randint(0, step[1], (count,), generator=generator).tolist()
    return torch.stack(
        [m[y : y + height, x : x + width] for m, y, x in zip(large, rows, columns, strict=True)]
    )
