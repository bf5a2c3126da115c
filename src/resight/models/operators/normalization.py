"""Normalizations by name.

Batch normalization is torch's: y = gamma (x - mean) / sqrt(var + eps) + beta, per channel (Ioffe and Szegedy
2015).
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.registry import lookup


class LocalResponseNorm(nn.Module):
    """b_i = a_i / (k + alpha sum_j a_j^2)^beta over n neighbouring channels j.

    The constants are those of Krizhevsky et al. 2012, section 3.3. The paper multiplies the sum by alpha;
    torch and Caffe multiply it by alpha / n.

    Args:
        size: n.
        alpha: see the formula.
        beta: see the formula.
        k: see the formula.
    """

    def __init__(self, size: int = 5, alpha: float = 1e-4, beta: float = 0.75, k: float = 2.0) -> None:
        super().__init__()
        self.size, self.alpha, self.beta, self.k = size, alpha, beta, k

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        # In float32: torch has no bf16 kernel for it on the CPU, and squares want the range.
        y = F.local_response_norm(x.float(), self.size, self.alpha * self.size, self.beta, self.k)
        return y.to(x.dtype)


def caffe_response_norm() -> LocalResponseNorm:
    """Return Caffe's local response normalization as in the released GoogLeNet: alpha / n, and k = 1.

    Source: BVLC Caffe, models/bvlc_googlenet (local_size 5, alpha 1e-4, beta 0.75, k left at 1).
    """
    return LocalResponseNorm(5, 1e-4 / 5, 0.75, 1.0)


RESPONSE_NORMS: dict[str, Callable[[], LocalResponseNorm]] = {
    "krizhevsky": LocalResponseNorm,
    "caffe": caffe_response_norm,
}


class LocalContrastNorm(nn.Module):
    """y = v / max(mean(s), s), with v = x - (w * x) and s^2 = w * v^2.

    Jarrett et al. 2009, "What is the best multi-stage architecture for object recognition?", section 2: w is
    a Gaussian window over space and all channels that sums to one; mean(s) is taken over the image. At the
    border the window is cut and rescaled to sum to one.

    Args:
        channels: of the map.
        size: side of the window, in positions.
        sigma: of the Gaussian, in positions (the paper does not give it).
    """

    window: Tensor

    def __init__(self, channels: int, size: int = 9, sigma: float = 1.591) -> None:
        super().__init__()
        self.channels, self.size = channels, size
        self.kernel, self.stride = 2 * size - 1, 1  # what a position sees: the window, twice
        line = torch.exp(-((torch.arange(size) - (size - 1) / 2) ** 2) / (2 * sigma**2))
        window = torch.outer(line, line)
        self.register_buffer("window", (window / window.sum())[None, None], persistent=False)

    def _blur(self, x: Tensor) -> Tensor:
        """Average (B, C, h, w) over the window and the channels: (B, 1, h, w)."""
        mean = x.mean(1, keepdim=True)
        whole = F.conv2d(torch.ones_like(mean), self.window.to(x.dtype), padding=self.size // 2)
        return F.conv2d(mean, self.window.to(x.dtype), padding=self.size // 2) / whole

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        v = x - self._blur(x)
        s = torch.sqrt(self._blur(v * v) + 1e-12)
        return v / torch.maximum(s.mean((2, 3), keepdim=True), s).clamp(min=1e-4)


NORMALIZATIONS: dict[str, Callable[[int], nn.Module]] = {
    "batch": nn.BatchNorm2d,
    "lrn": lambda _: LocalResponseNorm(),
    "lcn": LocalContrastNorm,
    "none": lambda _: nn.Identity(),
}


def normalization(name: str, channels: int) -> nn.Module:
    """Return a normalization for maps of `channels` channels.

    Raises:
        UsageError: if there is no normalization of that name.
    """
    return lookup(NORMALIZATIONS, name, "normalization")(channels)
