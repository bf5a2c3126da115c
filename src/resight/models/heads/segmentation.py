"""A class for every place of a map: fully convolutional heads and DeepLabv3 over any trunk.

`fcn32`, `fcn16` and `fcn8` (Long, Shelhamer and Darrell 2015, section 4): scores of the last map, and of maps
twice and four times as fine, enlarged and added; between the maps along straight lines, where the paper lets
the kernels learn. `deeplab` (Chen et al. 2017, arXiv:1706.05587, section 3.3): atrous spatial pyramid
pooling.
Layers and their names are torchvision's, so that from equal weights `fcn32` on a trunk of output stride 8
answers as its `fcn_resnet50`, and `deeplab` as its `deeplabv3_resnet50`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.atrous import dilate
from resight.models.classifier import Classifier
from resight.models.heads.detector import maps_of
from resight.models.solver import Head, Solver

FINER = {"fcn32": 0, "fcn16": 1, "fcn8": 2, "deeplab": 0}
"""How many finer maps a head reads besides the last one."""
OUTPUT_STRIDES = (0, 8, 16)
RATES, AT_STRIDE = (6, 12, 18), 16
"""Of the pyramid's kernels at an output stride of 16; at 8 they are twice as far apart (section 4.1)."""
DROPOUT, PYRAMID_DROPOUT = 0.1, 0.5
"""As in torchvision."""


@dataclass(frozen=True)
class Plan:
    """What a head is built of.

    Attributes:
        kind: a name in `FINER`.
        output_stride: of the trunk's last map; 0 for the trunk's own.
        width: channels of DeepLab's layers.
        aux: whether a second head learns from a finer map.
    """

    kind: str = "deeplab"
    output_stride: int = 0
    width: int = 64
    aux: bool = False


class Scores(nn.Sequential):
    """A 3x3 convolution to a quarter of the channels, and one score for each class: torchvision's FCNHead."""

    def __init__(self, channels: int, classes: int) -> None:
        inner = max(1, channels // 4)
        super().__init__(
            nn.Conv2d(channels, inner, 3, padding=1, bias=False), nn.BatchNorm2d(inner), nn.ReLU(),
            nn.Dropout(DROPOUT), nn.Conv2d(inner, classes, 1),
        )  # fmt: skip


class Pooled(nn.Sequential):
    """The mean of the whole map at each of its places, after a 1x1 convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(nn.AdaptiveAvgPool2d(1), *_unit(channels, width, 1, 1))

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, K, h, w) to (B, width, h, w)."""
        return super().forward(input).expand(-1, -1, *input.shape[-2:])


class AtrousPyramid(nn.Module):
    """Kernels of several reaches over one map, and its mean, side by side (section 3.3).

    Args:
        channels: of the map.
        width: of what it gives.
        rates: distances of the kernels' places.
    """

    def __init__(self, channels: int, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        spread = [nn.Sequential(*_unit(channels, width, 3, rate)) for rate in rates]
        self.convs = nn.ModuleList(
            [nn.Sequential(*_unit(channels, width, 1, 1)), *spread, Pooled(channels, width)]
        )
        self.project = nn.Sequential(
            *_unit(len(self.convs) * width, width, 1, 1), nn.Dropout(PYRAMID_DROPOUT)
        )

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, K, h, w) to (B, width, h, w)."""
        return self.project(torch.cat([conv(features) for conv in self.convs], 1))


def _unit(channels: int, width: int, kernel: int, rate: int) -> tuple[nn.Module, ...]:
    """Return a convolution that keeps the map's size, batch normalization and ReLU."""
    padding = rate * (kernel // 2)
    conv = nn.Conv2d(channels, width, kernel, padding=padding, dilation=rate, bias=False)
    return conv, nn.BatchNorm2d(width), nn.ReLU()


class Segmentation(Head):
    """Says a score of each class for each place of the finest map that it reads.

    Args:
        channels: of the last map and of the finer ones behind it, by stage, in the order in which they run.
        classes: how many.
        plan: what is built.
        aux: stage and channels of the map that the second head reads; None for no second head.
        stride: of the last map.
    """

    measures: ClassVar[bool] = True

    def __init__(
        self, channels: dict[str, int], classes: int, plan: Plan, aux: tuple[str, int] | None, stride: int
    ) -> None:
        super().__init__()
        self.plan = plan
        self.scored = tuple(reversed(channels))
        """Stages whose maps are scored, the last one first."""
        last = channels[self.scored[0]]
        if plan.kind == "deeplab":
            rates = [max(1, rate * AT_STRIDE // max(stride, 8)) for rate in RATES]
            self.classifier = nn.Sequential(
                AtrousPyramid(last, plan.width, rates), *_unit(plan.width, plan.width, 3, 1),
                nn.Conv2d(plan.width, classes, 1),
            )  # fmt: skip
        else:
            self.classifier = Scores(last, classes)
        self.finer = nn.ModuleList(nn.Conv2d(channels[name], classes, 1) for name in self.scored[1:])
        self.aux = aux[0] if aux else ""
        self.aux_classifier = Scores(aux[1], classes) if aux else None
        for layer in self.finer:  # as in the paper, section 4.2: at first they add nothing
            nn.init.zeros_(layer.weight)  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Give the scores (B, classes, h, w) over the finest map that is scored."""
        scores = self.classifier(maps[self.scored[0]])
        for name, layer in zip(self.scored[1:], self.finer, strict=True):
            own = layer(maps[name])
            scores = own + enlarged(scores, (own.shape[-2], own.shape[-1]))
        return scores

    def beside(self, maps: dict[str, Tensor]) -> Tensor | None:
        """Give the scores (B, classes, h, w) of the second head, which only training asks; None without."""
        return None if self.aux_classifier is None else self.aux_classifier(maps[self.aux])


def enlarged(scores: Tensor, size: tuple[int, int]) -> Tensor:
    """Return scores (B, C, h, w) at another size (H, W), between their places along straight lines."""
    return F.interpolate(scores, size=size, mode="bilinear", align_corners=False)


def segmenter_on(trunk: Classifier, classes: int, plan: Plan) -> Solver:
    """Return a trunk under a head that says the class of every place; its weights are kept.

    Args:
        trunk: of the zoo; it is changed.
        classes: how many.
        plan: what is built.

    Raises:
        UsageError: if the plan does not go with the trunk.
    """
    maps = maps_of(trunk)
    names = list(maps)
    last = {stride: name for name, (_, stride) in maps.items()}  # of several of a stride the last
    strides = sorted(last, reverse=True)
    stride = maps[names[-1]][1]
    needed = FINER[plan.kind]
    if len(strides) <= needed:
        raise UsageError(
            f"segment.head={plan.kind}: {trunk.name} has maps of {len(strides)} sizes; take fcn32 or deeplab"
        )
    if plan.output_stride:
        if needed:
            raise UsageError(
                f"segment.output_stride={plan.output_stride}: {plan.kind} adds the trunk's own finer maps; "
                "take segment.head=fcn32 or deeplab"
            )
        dilate(trunk, plan.output_stride, f"segment.output_stride={plan.output_stride}")
        stride = plan.output_stride
    finer = [last[own] for own in strides[1 : needed + 1]]
    scored = [name for name in names if name in (names[-1], *finer)]
    aux = None
    if plan.aux:
        if len(strides) < 2:
            raise UsageError(f"segment.aux=true: {trunk.name} has maps of one size; leave it out")
        aux = (last[strides[1]], maps[last[strides[1]]][0])
    head = Segmentation({name: maps[name][0] for name in scored}, classes, plan, aux, stride)
    head.reads = tuple(name for name in names if name in (*scored, aux[0] if aux else ""))
    return Solver(trunk, head)
