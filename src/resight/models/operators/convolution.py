"""Convolutions: dilated, grouped, depth-wise, locally connected, and as a matrix product.

For K x K kernels, stride s, padding p, dilation d, groups g: the effective kernel is d (K - 1) + 1, the
output side floor((H + 2 p - effective) / s) + 1, the weights C_out C_in K^2 / g, the multiply-adds weights x
outputs.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError


def conv_size(size: int, kernel: int, stride: int = 1, padding: int = 0, dilation: int = 1) -> int:
    """Return the side of a convolution's output, floor((H + 2 p - (d (K - 1) + 1)) / s) + 1."""
    return (size + 2 * padding - (dilation * (kernel - 1) + 1)) // stride + 1


GROUPS = 4
"""Of "grouped"."""
KINDS = ("dilated", "grouped", "separable")


def conv3x3(
    channels: int, out: int, stride: int = 1, groups: int = 1, kind: str = "", *, bias: bool = False
) -> nn.Module:
    """Return a 3x3 convolution that keeps the map's size, or halves it at stride 2.

    Args:
        channels: of the input, C.
        out: channels of the output, C_out.
        stride: of the kernel.
        groups: each output channel sees C / groups input channels.
        kind: "" as it is; "dilated": the weights are 2 positions apart, a receptive field of 5x5 for
            9 C C_out weights (Yu and Koltun 2015); "grouped": in `GROUPS` groups, 9 C C_out / 4 weights;
            "separable": a depth-wise 3x3 and a 1x1, 9 C + C C_out weights (Howard et al. 2017).
        bias: False where batch normalization follows.

    Raises:
        UsageError: if there is no such kind, or the channels do not divide into the groups.
    """
    if kind and kind not in KINDS:
        raise UsageError(f"conv={kind} is not one of {', '.join(KINDS)}")
    if kind in ("grouped", "separable") and groups > 1:
        raise UsageError(f"conv={kind}: the 3x3 convolutions of this network are in {groups} groups already")
    if kind == "separable":
        depthwise = nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False)
        return nn.Sequential(depthwise, nn.Conv2d(channels, out, 1, bias=bias))
    apart = 2 if kind == "dilated" else 1
    parts = GROUPS if kind == "grouped" else groups
    return nn.Conv2d(channels, out, 3, stride, apart, apart, groups=parts, bias=bias)


class ConvNormAct(nn.Sequential):
    """Convolution without bias, batch normalization, ReLU.

    Args:
        channels: of the input.
        out: channels of the output.
        kernel: side of the kernel, or (height, width).
        stride: of the kernel.
        padding: "same" for a map of the same size (stride 1), "valid" for none.
        eps: of the batch normalization; the Inception papers' 1e-3.
    """

    def __init__(
        self,
        channels: int,
        out: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        padding: str = "same",
        eps: float = 1e-3,
    ) -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        pad = (sides[0] // 2, sides[1] // 2) if padding == "same" else (0, 0)
        self.conv = nn.Conv2d(channels, out, sides, stride, pad, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=eps)
        self.relu = nn.ReLU()


class LocallyConnected2d(nn.Module):
    """y[o,i,j] = b[o,i,j] + sum over c,u,v of w[o,i,j,c,u,v] x[c, i s + u, j s + v]: weights are not shared.

    Taigman et al. 2014, "DeepFace", section 3 (L4 to L6). It has as many multiply-adds as the convolution,
    but a set of weights for each output position.

    Args:
        channels: of the input.
        out: channels of the output.
        size: side of the input map, which is fixed.
        kernel: side of the kernel.
        stride: of the kernel.
    """

    def __init__(self, channels: int, out: int, size: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.size, self.kernel, self.stride = size, kernel, stride
        self.side = (size - kernel) // stride + 1
        self.weight = nn.Parameter(torch.empty(self.side**2, out, channels * kernel**2))
        self.bias = nn.Parameter(torch.zeros(out, self.side, self.side))
        nn.init.normal_(self.weight, std=math.sqrt(2 / (channels * kernel**2)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, size, size) to (B, out, side, side).

        Raises:
            UsageError: if the map has another size.
        """
        if x.shape[-2:] != (self.size, self.size):
            height, width = x.shape[-2:]
            raise UsageError(
                f"this locally connected layer needs maps of {self.size} x {self.size}, not {height} x "
                f"{width}: give pictures of the network's input size"
            )
        columns = F.unfold(x, self.kernel, stride=self.stride)
        y = torch.einsum("bkl,lok->bol", columns, self.weight)
        return y.unflatten(2, (self.side, self.side)) + self.bias


def im2col(
    x: Tensor,
    kernel: tuple[int, int],
    stride: int | tuple[int, ...] = 1,
    padding: int | tuple[int, ...] = 0,
    dilation: int | tuple[int, ...] = 1,
) -> Tensor:
    """Return every receptive field of (B, C, H, W) as a column: (B, C K_h K_w, outputs).

    AlexNet's first layer, 11 x 11 at stride 4 on 3 x 227 x 227, gives 363 x 3025.
    """
    return F.unfold(x, kernel, dilation, padding, stride)


def as_product(conv: nn.Conv2d, x: Tensor) -> tuple[Tensor, tuple[int, int]]:
    """Return what a convolution gives, computed as one matrix product for each group, and the size of X.

    Y = W X + b, W (C_out, C K_h K_w), X the columns of `im2col`; equal to torch's up to rounding. AlexNet's
    first layer is (96 x 363) (363 x 3025).

    Args:
        conv: with zero padding given as numbers.
        x: its input, (B, C, H, W).
    """
    kernel, padding = (conv.kernel_size[0], conv.kernel_size[1]), tuple(map(int, conv.padding))
    height, width = (
        conv_size(side, k, s, p, d)
        for side, k, s, p, d in zip(x.shape[-2:], kernel, conv.stride, padding, conv.dilation, strict=True)
    )
    parts, size = [], (0, 0)
    for images, weight in zip(x.chunk(conv.groups, 1), conv.weight.chunk(conv.groups, 0), strict=True):
        columns = im2col(images, kernel, conv.stride, padding, conv.dilation)
        parts.append(weight.flatten(1) @ columns)
        size = (columns.shape[1], columns.shape[2])
    y = torch.cat(parts, 1).unflatten(2, (height, width))
    return (y if conv.bias is None else y + conv.bias[:, None, None]), size
