"""The blocks of residual networks. Parameter names are torchvision's."""

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.operators.activation import activation
from resight.models.operators.convolution import conv3x3
from resight.models.operators.normalization import normalization


@dataclass(frozen=True)
class Style:
    """The settings that all blocks of a network share.

    Attributes:
        shortcut: "A" zero padding, "B" projection where the shape changes, "C" projection
            everywhere (He et al. 2015, section 4.1).
        stride_in: where a bottleneck strides: "3x3" (torchvision, "v1.5") or "1x1" (the paper).
        activation: by name, see `operators.activation`.
        norm: by name, see `operators.normalization`.
        groups: of the 3x3 convolution of a bottleneck: the cardinality of ResNeXt.
        group_width: channels of a group over the stage's width / 64: ResNeXt's d, wide ResNet's 128.
        conv: kind of its 3x3 convolutions, see `operators.convolution.conv3x3`.
    """

    shortcut: str = "B"
    stride_in: str = "3x3"
    activation: str = "relu"
    norm: str = "batch"
    groups: int = 1
    group_width: int = 64
    conv: str = ""


def conv1x1(channels: int, out: int, stride: int = 1, *, bias: bool = False) -> nn.Conv2d:
    """Return a 1x1 convolution, without bias where batch normalization follows."""
    return nn.Conv2d(channels, out, 1, stride, bias=bias)


class PadShortcut(nn.Module):
    """Shortcut option A: subsample, and pad the new channels with zeros; no parameters.

    He et al. 2015, section 3.3. The zeros go before and after the old channels in equal parts, as in the
    re-implementation whose CIFAR weights are widely used; the paper does not say where.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride, before = stride, (out - channels) // 2
        self.pad = (0, 0, 0, 0, before, out - channels - before)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.pad)


def make_shortcut(style: Style, channels: int, out: int, stride: int) -> nn.Module | None:
    """Return the shortcut of a block of this stride; None is the identity."""
    changes = stride != 1 or channels != out
    if style.shortcut == "A" and changes:
        return PadShortcut(channels, out, stride)
    if style.shortcut == "C" or (style.shortcut == "B" and changes):
        bias = style.norm != "batch"
        return nn.Sequential(conv1x1(channels, out, stride, bias=bias), normalization(style.norm, out))
    return None


class Residual(nn.Module):
    """The sum that makes a network residual: f(branch(x) + shortcut(x)), f the activation.

    Args:
        channels: of the input.
        width: channels of its convolutions.
        stride: of the block.
        style: of the network.
    """

    expansion: ClassVar[int] = 1
    """Channels of the output over the width."""

    def __init__(self, channels: int, width: int, stride: int, style: Style) -> None:
        super().__init__()
        out = width * self.expansion
        self.downsample = make_shortcut(style, channels, out, stride)
        self.relu = activation(style.activation, out)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width * expansion, h / stride, w / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        return self.relu(self.branch(x) + identity)


class BasicBlock(Residual):
    """Two 3x3 convolutions (He et al. 2015, figure 5 left)."""

    def __init__(self, channels: int, width: int, stride: int, style: Style) -> None:
        super().__init__(channels, width, stride, style)
        bias = style.norm != "batch"
        self.conv1 = conv3x3(channels, width, stride, kind=style.conv, bias=bias)
        self.bn1, self.relu1 = normalization(style.norm, width), activation(style.activation, width)
        self.conv2 = conv3x3(width, width, kind=style.conv, bias=bias)
        self.bn2 = normalization(style.norm, width)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(Residual):
    """1x1 reduce, 3x3, 1x1 expand (He et al. 2015, figure 5 right).

    The 3x3 may be in groups (Xie et al. 2016, figure 3c) or wide (Zagoruyko and Komodakis 2016).
    """

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, style: Style) -> None:
        super().__init__(channels, width, stride, style)
        first, second = (stride, 1) if style.stride_in == "1x1" else (1, stride)
        out, inner = width * self.expansion, width * style.group_width // 64 * style.groups
        bias = style.norm != "batch"
        self.conv1 = conv1x1(channels, inner, first, bias=bias)
        self.bn1, self.relu1 = normalization(style.norm, inner), activation(style.activation, inner)
        self.conv2 = conv3x3(inner, inner, second, style.groups, style.conv, bias=bias)
        self.bn2, self.relu2 = normalization(style.norm, inner), activation(style.activation, inner)
        self.conv3, self.bn3 = conv1x1(inner, out, bias=bias), normalization(style.norm, out)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        x = self.relu1(self.bn1(self.conv1(x)))
        x = self.relu2(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class PlainBlock(BasicBlock):
    """Two 3x3 convolutions without a shortcut: the paper's control (He et al. 2015, section 3.3)."""

    def __init__(self, channels: int, width: int, stride: int, style: Style) -> None:
        super().__init__(channels, width, stride, style)
        self.downsample = None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width, h / stride, w / stride)."""
        return self.relu(self.branch(x))
