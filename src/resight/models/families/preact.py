"""Pre-activation residual networks, and the wide ones built from them.

Sources: He, Zhang, Ren and Sun, "Identity Mappings in Deep Residual Networks", 2016, figure 1b and appendix;
Zagoruyko and Komodakis, "Wide Residual Networks", 2016, Table 1 and section 2.
"""

from dataclasses import dataclass
from functools import partial

from torch import Tensor, nn

from resight.models.blocks import conv1x1
from resight.models.classifier import Classifier
from resight.models.families.resnet import WIDE2016
from resight.models.initialization import he_normal
from resight.models.network import Network
from resight.models.operators.activation import activation as make_activation
from resight.models.operators.convolution import conv3x3
from resight.models.operators.normalization import normalization

HE2016 = "He et al., Identity Mappings in Deep Residual Networks, arXiv:1603.05027"


@dataclass(frozen=True)
class PreActSpec:
    """A pre-activation network.

    Attributes:
        blocks: residual units of each stage.
        widths: channels of their 3x3 convolutions.
        bottleneck: three convolutions per unit, with four times as many output channels, instead of two.
        stem: "imagenet" (7x7/2, 3x3/2 max pooling) or "cifar" (3x3).
        channels: of the stem's map.
    """

    blocks: tuple[int, ...]
    widths: tuple[int, ...]
    bottleneck: bool
    stem: str
    channels: int


def cifar(depth: int) -> PreActSpec:
    """Return the bottleneck network of 9n + 2 layers."""
    n = (depth - 2) // 9
    return PreActSpec((n, n, n), (16, 32, 64), bottleneck=True, stem="cifar", channels=16)


def wide(depth: int, k: int) -> PreActSpec:
    """Return WRN-depth-k, depth = 6n + 4: basic units k times as wide."""
    n = (depth - 4) // 6
    return PreActSpec((n, n, n), (16 * k, 32 * k, 64 * k), bottleneck=False, stem="cifar", channels=16)


PREACT = {
    "preact_resnet110": PreActSpec((18, 18, 18), (16, 32, 64), bottleneck=False, stem="cifar", channels=16),
    "preact_resnet164": cifar(164),
    "preact_resnet1001": cifar(1001),
    "preact_resnet200": PreActSpec(
        (3, 24, 36, 3), (64, 128, 256, 512), bottleneck=True, stem="imagenet", channels=64
    ),
}
WIDE = {
    f"wrn{depth}_{k}": wide(depth, k)
    for depth, k in (
        (16, 4),
        (16, 8),
        (22, 8),
        (28, 2),
        (28, 10),
        (28, 12),
        (40, 1),
        (40, 2),
        (40, 4),
        (40, 10),
    )
}


class PreActUnit(nn.Module):
    """x + F(x), with normalization and activation before each convolution and nothing after the sum.

    Where the shape changes, the shortcut is a 1x1 convolution of the activated input.

    Args:
        channels: of the input.
        width: channels of the 3x3 convolutions.
        stride: of the first convolution.
        bottleneck: 1x1, 3x3, 1x1 instead of two 3x3.
        dropout: between the two 3x3 of a basic unit.
        activation: by name.
        norm: by name.
    """

    def __init__(
        self,
        channels: int,
        width: int,
        stride: int,
        *,
        bottleneck: bool,
        dropout: float,
        activation: str,
        norm: str,
    ) -> None:
        super().__init__()
        out, bias = (4 * width if bottleneck else width), norm != "batch"
        self.bn1, self.relu1 = normalization(norm, channels), make_activation(activation, channels)
        self.bn2, self.relu2 = normalization(norm, width), make_activation(activation, width)
        if bottleneck:
            self.conv1 = conv1x1(channels, width, stride, bias=bias)
            self.conv2 = conv3x3(width, width, bias=bias)
            self.bn3, self.relu3 = normalization(norm, width), make_activation(activation, width)
            self.conv3 = conv1x1(width, out, bias=bias)
        else:
            self.conv1 = conv3x3(channels, width, stride, bias=bias)
            self.conv2 = conv3x3(width, width, bias=bias)
        self.bottleneck, self.dropout = bottleneck, nn.Dropout(dropout)
        changes = stride != 1 or channels != out
        self.downsample = conv1x1(channels, out, stride, bias=bias) if changes else None

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, out, h / stride, w / stride)."""
        active = self.relu1(self.bn1(x))
        identity = x if self.downsample is None else self.downsample(active)
        y = self.conv2(self.dropout(self.relu2(self.bn2(self.conv1(active)))))
        if self.bottleneck:
            y = self.conv3(self.relu3(self.bn3(y)))
        return y + identity


class PreActResNet(Classifier):
    """Stem, stages of pre-activation units, one last normalization and activation, the head.

    Args:
        spec: a row of the tables.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        activation: by name, see `operators.activation`.
        norm: by name, see `operators.normalization`.
        dropout: inside each unit (wide ResNets: 0.3 on CIFAR).
    """

    def __init__(
        self,
        spec: PreActSpec,
        num_classes: int = 10,
        in_channels: int = 3,
        head: str = "gap",
        activation: str = "relu",
        norm: str = "batch",
        dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=7 if spec.stem == "imagenet" else 8)
        channels = spec.channels
        if spec.stem == "imagenet":
            self.add("stem", "conv1", nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False))
            self.add("stem", "bn1", normalization(norm, channels))
            self.add("stem", "relu1", make_activation(activation, channels))
            self.add("stem", "maxpool", nn.MaxPool2d(3, 2, 1))
        else:
            self.add("stem", "conv1", conv3x3(in_channels, channels))
        for number, (blocks, width) in enumerate(zip(spec.blocks, spec.widths, strict=True), start=1):
            units = []
            for position in range(blocks):
                stride = 2 if position == 0 and number > 1 else 1
                unit = PreActUnit(
                    channels, width, stride, bottleneck=spec.bottleneck, dropout=dropout,
                    activation=activation, norm=norm,
                )  # fmt: skip
                units.append(unit)
                channels = 4 * width if spec.bottleneck else width
            self.add(f"layer{number}", f"layer{number}", nn.Sequential(*units))
        self.add(f"layer{len(spec.blocks)}", "bn", normalization(norm, channels))
        self.add(f"layer{len(spec.blocks)}", "relu", make_activation(activation, channels))
        self.num_features = channels
        self.add_linear_head("fc", channels)
        he_normal(self)


NETWORKS = {
    name: Network(
        partial(PreActResNet, spec),
        "wide resnet" if name in WIDE else "preact resnet",
        2016,
        WIDE2016 if name in WIDE else HE2016,
        input_size=224 if spec.stem == "imagenet" else 32,
        classes=1000 if spec.stem == "imagenet" else 10,
    )
    for name, spec in {**PREACT, **WIDE}.items()
}
