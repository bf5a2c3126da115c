"""EfficientNet: one small network, scaled in depth, width and input size. Parameter names are torchvision's.

Source: Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019, Table 1,
equations 2 and 3, section 5; coefficients of B1 to B7 as released. Batch normalization has torchvision's
constants: eps 1e-5 up to B4, 1e-3 from B5 on (the paper's release: 1e-3 throughout, and decay 0.99).
"""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.network import Network
from resight.models.operators.pooling import GlobalAveragePool

TAN2019 = "Tan and Le, EfficientNet: Rethinking Model Scaling, arXiv:1905.11946"


@dataclass(frozen=True)
class Stage:
    """A row of Table 1: a run of MBConv blocks."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    layers: int


# Stages 2 to 8; stage 1 is a 3x3/2 convolution to 32 channels, stage 9 a 1x1 to 1280.
B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)


@dataclass(frozen=True)
class Scale:
    """How much larger a network is than B0.

    Attributes:
        width: of the channels.
        depth: of the layers.
        resolution: side of the input, in pixels.
        dropout: before the last layer.
    """

    width: float
    depth: float
    resolution: int
    dropout: float


SCALES = {
    "efficientnet_b0": Scale(1.0, 1.0, 224, 0.2),
    "efficientnet_b1": Scale(1.0, 1.1, 240, 0.2),
    "efficientnet_b2": Scale(1.1, 1.2, 260, 0.3),
    "efficientnet_b3": Scale(1.2, 1.4, 300, 0.3),
    "efficientnet_b4": Scale(1.4, 1.8, 380, 0.4),
    "efficientnet_b5": Scale(1.6, 2.2, 456, 0.4),
    "efficientnet_b6": Scale(1.8, 2.6, 528, 0.5),
    "efficientnet_b7": Scale(2.0, 3.1, 600, 0.5),
}


def compound_scaling(
    phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15
) -> tuple[float, float, float]:
    """Return depth alpha^phi, width beta^phi and resolution gamma^phi, as factors (equation 3).

    Multiply-adds grow by (alpha beta^2 gamma^2)^phi, about 2^phi with the paper's constants.
    """
    return alpha**phi, beta**phi, gamma**phi


def round_channels(channels: float, divisor: int = 8) -> int:
    """Return the nearest multiple of `divisor`, but at least 0.9 times `channels`."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


def convolution(
    channels: int, out: int, kernel: int, stride: int, eps: float, momentum: float, groups: int = 1,
    *, active: bool = True,
) -> nn.Sequential:  # fmt: skip
    """Return convolution, batch normalization and, if `active`, SiLU."""
    layers: list[nn.Module] = [
        nn.Conv2d(channels, out, kernel, stride, (kernel - 1) // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps, momentum),
    ]
    return nn.Sequential(*layers, *([nn.SiLU()] if active else []))


class SqueezeExcitation(nn.Module):
    """y_c = x_c * sigmoid(W_2 silu(W_1 mean(x)))_c: channels are weighted by the content of the whole map.

    Args:
        channels: of the map.
        squeezed: channels between the two 1x1 convolutions.
    """

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.pool = GlobalAveragePool()
        self.fc1, self.silu = nn.Conv2d(channels, squeezed, 1), nn.SiLU()
        self.fc2, self.sigmoid = nn.Conv2d(squeezed, channels, 1), nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        mean = self.pool(x)[:, :, None, None]
        return x * self.sigmoid(self.fc2(self.silu(self.fc1(mean))))


class StochasticDepth(nn.Module):
    """Drops a residual branch in training, independently for each picture.

    Kept branches are divided by the keep probability, while the paper multiplies at test time instead.
    Source: Huang et al. 2016, "Deep Networks with Stochastic Depth", section 3.

    Args:
        drop: probability that a branch is dropped, in [0, 1).
    """

    def __init__(self, drop: float) -> None:
        super().__init__()
        self.drop = drop

    def forward(self, x: Tensor) -> Tensor:
        """Map a branch (B, C, h, w) to itself, with some of its pictures zero while training."""
        if not self.training or not self.drop:
            return x
        stays = 1 - self.drop
        kept = torch.empty((len(x), 1, 1, 1), dtype=x.dtype, device=x.device).bernoulli_(stays)
        return x * kept.div_(stays)

    def extra_repr(self) -> str:
        """Return the probability, for printing."""
        return f"drop={self.drop}"


class MBConv(nn.Module):
    """1x1 expansion, depth-wise, squeeze and excitation, 1x1 projection; shortcut if shapes agree.

    Args:
        channels: of the input.
        stage: its row.
        out: channels of the output.
        stride: of the depth-wise convolution.
        drop: probability that the branch is dropped in training (stochastic depth).
        eps: of the batch normalizations.
        momentum: of the batch normalizations.
    """

    def __init__(
        self, channels: int, stage: Stage, out: int, stride: int, drop: float, eps: float, momentum: float
    ) -> None:
        super().__init__()
        width = round_channels(channels * stage.expansion)
        layers: list[nn.Module] = []
        if stage.expansion != 1:
            layers.append(convolution(channels, width, 1, 1, eps, momentum))
        layers += [
            convolution(width, width, stage.kernel, stride, eps, momentum, groups=width),
            SqueezeExcitation(width, max(1, channels // 4)),
            convolution(width, out, 1, 1, eps, momentum, active=False),
        ]
        self.block = nn.Sequential(*layers)
        self.residual = stride == 1 and channels == out
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        y = self.block(x)
        return x + self.stochastic_depth(y) if self.residual else y


def blocks_of(
    channels: int,
    depths: Sequence[int],
    width: float,
    stochastic_depth: float,
    block: Callable[[Stage], Callable[..., nn.Module]],
) -> Iterator[nn.Sequential]:
    """Yield the blocks of each row of `B0`.

    Args:
        channels: of the first row's input.
        depths: blocks of each row.
        width: a factor on the rows' channels.
        stochastic_depth: drop probability of the last block; it rises linearly up to there.
        block: makes a row's blocks from (channels, row, channels of the output, stride, drop).
    """
    before = 0
    for stage, layers in zip(B0, depths, strict=True):
        out, blocks = round_channels(stage.channels * width), []
        for position in range(layers):
            drop = stochastic_depth * (before + position) / sum(depths)
            blocks.append(block(stage)(channels, stage, out, stage.stride if position == 0 else 1, drop))
            channels = out
        yield nn.Sequential(*blocks)
        before += layers


class EfficientNet(Classifier):
    """Stages of MBConv blocks, global average pooling, dropout, one linear layer.

    Args:
        scale: a row of `SCALES`.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        stochastic_depth: drop probability of the last block; it rises linearly up to there.
        width: a factor on the row's channels.
        depth: a factor on the row's layers.
    """

    def __init__(
        self,
        scale: Scale,
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "gap",
        stochastic_depth: float = 0.2,
        width: float = 1.0,
        depth: float = 1.0,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=math.ceil(scale.resolution / 32))
        if not 0 <= stochastic_depth < 1:
            raise UsageError(f"stochastic_depth={stochastic_depth} must be in [0, 1)")
        if width <= 0 or depth <= 0:
            raise UsageError(f"width={width} and depth={depth} must be above 0")
        scale = replace(scale, width=scale.width * width, depth=scale.depth * depth)
        eps, momentum = (1e-3, 0.01) if scale.resolution >= 456 else (1e-5, 0.1)
        channels = round_channels(32 * scale.width)
        self.add("stage1", "features.0", convolution(in_channels, channels, 3, 2, eps, momentum))
        depths = [math.ceil(stage.layers * scale.depth) for stage in B0]
        block = partial(MBConv, eps=eps, momentum=momentum)
        runs = blocks_of(channels, depths, scale.width, stochastic_depth, lambda _: block)
        for number, blocks in enumerate(runs, start=1):
            self.add(f"stage{number + 1}", f"features.{number}", blocks)
        channels = round_channels(B0[-1].channels * scale.width)
        last = convolution(channels, 4 * channels, 1, 1, eps, momentum)
        self.add("stage9", f"features.{len(B0) + 1}", last)
        self.num_features = 4 * channels
        read = self.num_features * (self.grid**2 if head == "flatten" else 1)
        self.add_head("classifier.0", nn.Dropout(scale.dropout))
        self.add_head("classifier.1", nn.Linear(read, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)


NETWORKS = {
    name: Network(partial(EfficientNet, scale), "efficientnet", 2019, TAN2019, scale.resolution, 1000)
    for name, scale in SCALES.items()
}
