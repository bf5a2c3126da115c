"""DenseNet: every layer reads the maps of all layers before it. Parameter names are torchvision's.

Source: Huang, Liu, van der Maaten and Weinberger, "Densely Connected Convolutional Networks", 2016, Table 1
and sections 3 and 4.
"""

from collections import OrderedDict
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn

from resight.models.classifier import Classifier
from resight.models.initialization import he_normal
from resight.models.network import Network

HUANG2016 = "Huang et al., Densely Connected Convolutional Networks, arXiv:1608.06993"


@dataclass(frozen=True)
class DenseNetSpec:
    """A densely connected network.

    Attributes:
        blocks: layers of each dense block.
        growth: k, channels that each layer adds.
        stem: "imagenet" (7x7/2, 3x3/2 max pooling) or "cifar" (3x3).
        channels: of the stem's map.
        bottleneck: whether a 1x1 convolution to 4k channels comes before each 3x3 (B).
        compression: theta, the ratio of the channels after and before a transition (C).
    """

    blocks: tuple[int, ...]
    growth: int
    stem: str
    channels: int
    bottleneck: bool = True
    compression: float = 0.5


def cifar(depth: int, growth: int) -> DenseNetSpec:
    """Return DenseNet (L = depth, k = growth): three blocks, no bottlenecks, no compression."""
    layers = (depth - 4) // 3
    return DenseNetSpec((layers,) * 3, growth, "cifar", 16, bottleneck=False, compression=1.0)


def cifar_bc(depth: int, growth: int) -> DenseNetSpec:
    """Return DenseNet-BC (L = depth, k = growth): three blocks of bottlenecks, theta = 0.5."""
    layers = (depth - 4) // 6
    return DenseNetSpec((layers,) * 3, growth, "cifar", 2 * growth)


SPECS = {
    "densenet121": DenseNetSpec((6, 12, 24, 16), 32, "imagenet", 64),
    "densenet169": DenseNetSpec((6, 12, 32, 32), 32, "imagenet", 64),
    "densenet201": DenseNetSpec((6, 12, 48, 32), 32, "imagenet", 64),
    "densenet161": DenseNetSpec((6, 12, 36, 24), 48, "imagenet", 96),
    "densenet264": DenseNetSpec((6, 12, 64, 48), 32, "imagenet", 64),
    "densenet40_12": cifar(40, 12),
    "densenet100_12": cifar(100, 12),
    "densenet100_24": cifar(100, 24),
    "densenet_bc100_12": cifar_bc(100, 12),
    "densenet_bc250_24": cifar_bc(250, 24),
    "densenet_bc190_40": cifar_bc(190, 40),
}


class DenseLayer(nn.Module):
    """H of equation 2: BN, ReLU, 3x3; or with a bottleneck BN, ReLU, 1x1, BN, ReLU, 3x3; then its input.

    Args:
        channels: of the input.
        growth: channels that are added.
        bottleneck: whether a 1x1 convolution comes first.
        dropout: after each convolution.
    """

    def __init__(self, channels: int, growth: int, *, bottleneck: bool, dropout: float) -> None:
        super().__init__()
        self.bottleneck, width = bottleneck, 4 * growth
        self.norm1, self.relu1 = nn.BatchNorm2d(channels), nn.ReLU()
        if bottleneck:
            self.conv1 = nn.Conv2d(channels, width, 1, bias=False)
            self.dropout1 = nn.Dropout(dropout)
            self.norm2, self.relu2 = nn.BatchNorm2d(width), nn.ReLU()
            self.conv2 = nn.Conv2d(width, growth, 3, padding=1, bias=False)
        else:
            self.conv1 = nn.Conv2d(channels, growth, 3, padding=1, bias=False)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, C + growth, h, w)."""
        y = self.conv1(self.relu1(self.norm1(x)))
        if self.bottleneck:
            y = self.conv2(self.relu2(self.norm2(self.dropout1(y))))
        return torch.cat([x, self.dropout(y)], 1)


class DenseNet(Classifier):
    """Stem, dense blocks with transitions between, one last BN and ReLU, global average pooling, linear.

    Args:
        spec: a row of `SPECS`.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        dropout: after each convolution of a block (the paper: 0.2 where pictures are not augmented).
    """

    def __init__(
        self,
        spec: DenseNetSpec,
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "gap",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=7 if spec.stem == "imagenet" else 8)
        channels = spec.channels
        if spec.stem == "imagenet":
            self.add("stem", "features.conv0", nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False))
            self.add("stem", "features.norm0", nn.BatchNorm2d(channels))
            self.add("stem", "features.relu0", nn.ReLU())
            self.add("stem", "features.pool0", nn.MaxPool2d(3, 2, 1))
        else:
            self.add("stem", "features.conv0", nn.Conv2d(in_channels, channels, 3, padding=1, bias=False))
        for number, layers in enumerate(spec.blocks, start=1):
            block = OrderedDict[str, nn.Module]()
            for position in range(1, layers + 1):
                block[f"denselayer{position}"] = DenseLayer(
                    channels, spec.growth, bottleneck=spec.bottleneck, dropout=dropout
                )
                channels += spec.growth
            self.add(f"denseblock{number}", f"features.denseblock{number}", nn.Sequential(block))
            if number < len(spec.blocks):
                out = int(channels * spec.compression)
                transition = OrderedDict[str, nn.Module](
                    norm=nn.BatchNorm2d(channels),
                    relu=nn.ReLU(),
                    conv=nn.Conv2d(channels, out, 1, bias=False),
                    pool=nn.AvgPool2d(2),
                )
                self.add(f"denseblock{number + 1}", f"features.transition{number}", nn.Sequential(transition))
                channels = out
        last = f"denseblock{len(spec.blocks)}"
        self.add(last, "features.norm5", nn.BatchNorm2d(channels))
        self.add(last, "features.relu5", nn.ReLU())
        self.num_features = channels
        self.add_linear_head("classifier", channels)
        he_normal(self)


NETWORKS = {
    name: Network(
        partial(DenseNet, spec),
        "densenet",
        2016,
        HUANG2016,
        input_size=224 if spec.stem == "imagenet" else 32,
        classes=1000 if spec.stem == "imagenet" else 10,
    )
    for name, spec in SPECS.items()
}
