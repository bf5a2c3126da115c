"""A residual network that trains in minutes: the network of the `fast` recipe for small pictures.

Source: the cifar10-airbench94 network (Jordan 2024, "94% on CIFAR-10 in 3.29 seconds on a single GPU"):
a 2x2 stem and three stages that pool after their first convolution. Deviations: narrower; the second
convolution of each stage is a residual (identity shortcut, as in He et al. 2015); global average pooling
instead of maximum pooling, so that class activation maps are exact.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.classifier import Classifier
from resight.models.initialization import he_normal
from resight.models.network import Network

JORDAN2024 = "after Jordan, 94% on CIFAR-10 in 3.29 Seconds on a Single GPU, arXiv:2404.00498"


@dataclass(frozen=True)
class SpeedSpec:
    """Widths of the stem and of the three stages."""

    stem: int
    widths: tuple[int, ...]


SPECS = {
    # 1 stem + 2 convolutions in each of 3 stages + 1 linear layer
    "speednet8": SpeedSpec(24, (64, 128, 256)),
    "speednet8_narrow": SpeedSpec(24, (32, 64, 128)),
}


class SpeedStage(nn.Module):
    """Convolution, 2x2 max pooling, then one residual convolution."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv1, self.bn1 = (
            nn.Conv2d(channels, width, 3, 1, 1, bias=False),
            nn.BatchNorm2d(width),
        )
        self.conv2, self.bn2 = nn.Conv2d(width, width, 3, 1, 1, bias=False), nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, width, h / 2, w / 2)."""
        x = F.gelu(self.bn1(F.max_pool2d(self.conv1(x), 2)))
        return x + F.gelu(self.bn2(self.conv2(x)))


class SpeedNet(Classifier):
    """Stem, three pooled residual stages, global average pooling, one linear layer.

    Works at every input size from 16 pixels.
    """

    logit_scale = 1 / 4  # keeps early logits small under a large learning rate (airbench94: 1 / 9)

    conv1: nn.Conv2d

    def __init__(
        self, spec: SpeedSpec, num_classes: int = 1000, in_channels: int = 3, head: str = "gap"
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=3)
        self.add("stem", "conv1", nn.Conv2d(in_channels, spec.stem, 2))
        self.add("stem", "gelu", nn.GELU())
        channels = spec.stem
        for number, width in enumerate(spec.widths, start=1):
            self.add(f"layer{number}", f"layer{number}", SpeedStage(channels, width))
            channels = width
        self.num_features = channels
        self.add_linear_head("fc", channels)
        he_normal(self)

    @torch.no_grad()
    def initialize_from(self, images: Tensor) -> None:
        """Initialize the stem as a whitening of training images (airbench94, section 3.2).

        The filters are the eigenvectors of the covariance of 2x2 patches over the square roots of their
        eigenvalues, and their negatives. Deviation: they are trained, while airbench94 freezes them.

        Args:
            images: (B, C, H, W), normalized.
        """
        patches = images.float().unfold(2, 2, 1).unfold(3, 2, 1).permute(0, 2, 3, 1, 4, 5)
        # On the CPU: not every accelerator has float64 or eigenvectors.
        patches = patches.reshape(-1, self.in_channels * 4).cpu().double()
        values, vectors = torch.linalg.eigh(patches.T @ patches / len(patches))
        filters = (vectors / (values.clamp(min=0) + 5e-4).sqrt()).T.flip(0)  # strongest first
        filters = filters.reshape(-1, self.in_channels, 2, 2)
        both = torch.cat([filters, -filters])[: self.conv1.out_channels]
        self.conv1.weight[: len(both)] = both.to(self.conv1.weight)


NETWORKS = {
    name: Network(partial(SpeedNet, spec), "speednet", 2024, JORDAN2024, 32, 10, least_size=16)
    for name, spec in SPECS.items()
}
