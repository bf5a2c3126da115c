"""What residual networks are made of. Parameter names are torchvision's."""

from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F


def conv3x3(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    """Return a padded 3x3 convolution without bias (batch normalization follows)."""
    return nn.Conv2d(channels, out, 3, stride, 1, bias=False)


def conv1x1(channels: int, out: int, stride: int = 1) -> nn.Conv2d:
    """Return a 1x1 convolution without bias."""
    return nn.Conv2d(channels, out, 1, stride, bias=False)


class PadShortcut(nn.Module):
    """Shortcut option A: subsample, and pad the new channels with zeros; no parameters.

    He et al. 2015, section 3.3. The zeros go before and after the old channels in equal parts, as in
    the re-implementation whose CIFAR weights are in circulation; the paper does not say where.
    """

    def __init__(self, channels: int, out: int, stride: int) -> None:
        super().__init__()
        self.stride, before = stride, (out - channels) // 2
        self.pad = (0, 0, 0, 0, before, out - channels - before)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.pad)


def shortcut(option: str, channels: int, out: int, stride: int) -> nn.Module | None:
    """Return the shortcut of a block; None is the identity.

    Args:
        option: "A" zero padding, "B" projection where the shape changes, "C" projection
            everywhere (He et al. 2015, section 4.1).
        channels: of the block's input.
        out: channels of its output.
        stride: of the block.
    """
    changes = stride != 1 or channels != out
    if option == "A" and changes:
        return PadShortcut(channels, out, stride)
    if option == "C" or (option == "B" and changes):
        return nn.Sequential(conv1x1(channels, out, stride), nn.BatchNorm2d(out))
    return None


class Residual(nn.Module):
    """The sum that makes a network residual: relu(branch(x) + shortcut(x)).

    Args:
        channels: of the input.
        width: channels of its convolutions.
        stride: of the block.
        option: of the shortcut, see `shortcut`.
        stride_in: "1x1" or "3x3", where a bottleneck strides.
    """

    expansion: ClassVar[int] = 1
    """Channels of the output over the width."""

    def __init__(self, channels: int, width: int, stride: int, option: str, stride_in: str) -> None:
        super().__init__()
        del stride_in
        self.downsample = shortcut(option, channels, width * self.expansion, stride)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width * expansion, h / stride, w / stride)."""
        identity = x if self.downsample is None else self.downsample(x)
        return F.relu(self.branch(x) + identity)


class BasicBlock(Residual):
    """Two 3x3 convolutions (He et al. 2015, figure 5 left)."""

    def __init__(self, channels: int, width: int, stride: int, option: str, stride_in: str) -> None:
        super().__init__(channels, width, stride, option, stride_in)
        self.conv1, self.bn1 = conv3x3(channels, width, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width), nn.BatchNorm2d(width)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        x = F.relu(self.bn1(self.conv1(x)))
        return self.bn2(self.conv2(x))


class Bottleneck(Residual):
    """1x1 reduce, 3x3, 1x1 expand (He et al. 2015, figure 5 right)."""

    expansion = 4

    def __init__(self, channels: int, width: int, stride: int, option: str, stride_in: str) -> None:
        super().__init__(channels, width, stride, option, stride_in)
        first, second = (stride, 1) if stride_in == "1x1" else (1, stride)
        out = width * self.expansion
        self.conv1, self.bn1 = conv1x1(channels, width, first), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv3x3(width, width, second), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv1x1(width, out), nn.BatchNorm2d(out)

    def branch(self, x: Tensor) -> Tensor:
        """Return the residual F(x)."""
        x = F.relu(self.bn1(self.conv1(x)))
        x = F.relu(self.bn2(self.conv2(x)))
        return self.bn3(self.conv3(x))


class PlainBlock(BasicBlock):
    """Two 3x3 convolutions without a shortcut: the paper's control (He et al. 2015, section 3.3)."""

    def __init__(self, channels: int, width: int, stride: int, option: str, stride_in: str) -> None:
        super().__init__(channels, width, stride, "A", stride_in)
        del option
        self.downsample = None  # option A has no parameters: nothing is lost

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width, h / stride, w / stride)."""
        return F.relu(self.branch(x))
