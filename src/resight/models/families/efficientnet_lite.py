"""EfficientNet-lite: EfficientNet without squeeze-excitation and SiLU. Parameter names are timm's.

Source: Google's release "EfficientNet-lite" (2020) of Tan and Le, "EfficientNet: Rethinking Model Scaling for
Convolutional Neural Networks", 2019: no squeeze-excitation, ReLU6 for SiLU, and a stem, a first stage, a last
stage and a head that are not scaled. Convolutions pad like TensorFlow: the output has side
ceil(side / stride), and the odd pixel comes after the picture. timm calls these networks
`tf_efficientnet_lite0` to `tf_efficientnet_lite4`, and tests the last two at 300 and 380 pixels; their
release says 280 and 300.
"""

import math
from functools import partial

import torch.nn.functional as F
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.families.efficientnet import B0, Scale, Stage, StochasticDepth, blocks_of, round_channels
from resight.models.network import Network

LITE2020 = "Google, EfficientNet-lite (release of 2020) of Tan and Le, arXiv:1905.11946"
STEM, HEAD = 32, 1280
EPS, MOMENTUM = 1e-3, 0.01

SCALES = {
    "efficientnet_lite0": Scale(1.0, 1.0, 224, 0.2),
    "efficientnet_lite1": Scale(1.0, 1.1, 240, 0.2),
    "efficientnet_lite2": Scale(1.1, 1.2, 260, 0.3),
    "efficientnet_lite3": Scale(1.2, 1.4, 280, 0.3),
    "efficientnet_lite4": Scale(1.4, 1.8, 300, 0.3),
}


class SamePadded(nn.Conv2d):
    """A convolution whose output has side ceil(input / stride), padded as TensorFlow's "SAME".

    If the padding is odd, the extra row and column are below and to the right.

    Attributes:
        undone: the stride that it had before it was dilated (`resight.models.atrous`): its kernel still lies
            where it lay at even sides; 0 if it was not.
    """

    undone = 0

    def forward(self, input: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C', ceil(h / stride), ceil(w / stride))."""
        pads = [
            self._padding(side, stride, kernel, rate)
            for side, stride, kernel, rate in zip(
                input.shape[-2:], self.stride, self.kernel_size, self.dilation, strict=True
            )
        ]
        padded = F.pad(input, (*pads[1], *pads[0]))
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)

    def _padding(self, side: int, stride: int, kernel: int, rate: int) -> tuple[int, int]:
        """Return how many rows come before and after."""
        reach = rate * (kernel - 1)
        if self.undone:
            before = rate * (max(kernel - self.undone, 0) // 2)
            return before, reach - before
        missing = max((math.ceil(side / stride) - 1) * stride + reach + 1 - side, 0)
        return missing // 2, missing - missing // 2


def convolution(channels: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Conv2d:
    """Return a convolution without bias; only one of stride 2 needs TensorFlow's padding."""
    if stride == 1:
        return nn.Conv2d(channels, out, kernel, 1, (kernel - 1) // 2, groups=groups, bias=False)
    return SamePadded(channels, out, kernel, stride, groups=groups, bias=False)


def normalization(channels: int) -> nn.BatchNorm2d:
    """Return batch normalization with the constants of the release."""
    return nn.BatchNorm2d(channels, EPS, MOMENTUM)


class Separable(nn.Module):
    """Depth-wise and 1x1 convolution: the block of the first stage.

    Args:
        channels: of the input.
        stage: its row.
        out: channels of the output.
        stride: of the depth-wise convolution.
        drop: probability that the branch is dropped in training (stochastic depth).
    """

    def __init__(self, channels: int, stage: Stage, out: int, stride: int, drop: float) -> None:
        super().__init__()
        self.conv_dw = convolution(channels, channels, stage.kernel, stride, groups=channels)
        self.bn1, self.act1 = normalization(channels), nn.ReLU6()
        self.conv_pw = convolution(channels, out, 1)
        self.bn2 = normalization(out)
        self.residual = stride == 1 and channels == out
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        y = self.bn2(self.conv_pw(self.act1(self.bn1(self.conv_dw(x)))))
        return x + self.stochastic_depth(y) if self.residual else y


class Inverted(nn.Module):
    """1x1 expansion, depth-wise, 1x1 projection; a shortcut where the shapes agree. See `Separable`."""

    def __init__(self, channels: int, stage: Stage, out: int, stride: int, drop: float) -> None:
        super().__init__()
        width = round_channels(channels * stage.expansion)
        self.conv_pw = convolution(channels, width, 1)
        self.bn1, self.act1 = normalization(width), nn.ReLU6()
        self.conv_dw = convolution(width, width, stage.kernel, stride, groups=width)
        self.bn2, self.act2 = normalization(width), nn.ReLU6()
        self.conv_pwl = convolution(width, out, 1)
        self.bn3 = normalization(out)
        self.residual = stride == 1 and channels == out
        self.stochastic_depth = StochasticDepth(drop)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        y = self.act1(self.bn1(self.conv_pw(x)))
        y = self.act2(self.bn2(self.conv_dw(y)))
        y = self.bn3(self.conv_pwl(y))
        return x + self.stochastic_depth(y) if self.residual else y


class EfficientNetLite(Classifier):
    """A 3x3/2 stem, seven stages of blocks, a 1x1 convolution to 1,280 channels, pooling, one linear layer.

    Args:
        scale: a row of `SCALES`.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        stochastic_depth: drop probability of the last block; it rises linearly up to there.
    """

    def __init__(
        self,
        scale: Scale,
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "gap",
        stochastic_depth: float = 0.2,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=math.ceil(scale.resolution / 32))
        if not 0 <= stochastic_depth < 1:
            raise UsageError(f"stochastic_depth={stochastic_depth} must be in [0, 1)")
        self.add("stage1", "conv_stem", convolution(in_channels, STEM, 3, 2))
        self.add("stage1", "bn1", normalization(STEM))
        self.add("stage1", "act1", nn.ReLU6())
        ends = (B0[0], B0[-1])
        depths = [s.layers if s in ends else math.ceil(s.layers * scale.depth) for s in B0]
        runs = blocks_of(STEM, depths, scale.width, stochastic_depth, _block_of)
        for number, blocks in enumerate(runs):
            self.add(f"stage{number + 2}", f"blocks.{number}", blocks)
        channels = round_channels(B0[-1].channels * scale.width)
        self.add("stage9", "conv_head", convolution(channels, HEAD, 1))
        self.add("stage9", "bn2", normalization(HEAD))
        self.add("stage9", "act2", nn.ReLU6())
        self.num_features = HEAD
        self.add_linear_head("classifier", HEAD, scale.dropout)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.normal_(module.weight, 0, math.sqrt(2 / _fan_out(module)))
            elif isinstance(module, nn.Linear):
                bound = 1 / math.sqrt(module.out_features)
                nn.init.uniform_(module.weight, -bound, bound)
                nn.init.zeros_(module.bias)


def _block_of(stage: Stage) -> type[Separable] | type[Inverted]:
    """Return the type of a row's blocks."""
    return Separable if stage.expansion == 1 else Inverted


def _fan_out(layer: nn.Conv2d) -> int:
    """Return kernel positions times output channels per group, as in the release's initialization."""
    return layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups


NETWORKS = {
    name: Network(
        partial(EfficientNetLite, scale), "efficientnet_lite", 2020, LITE2020, scale.resolution, 1000
    )
    for name, scale in SCALES.items()
}
