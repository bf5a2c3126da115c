"""Residual and plain networks, for ImageNet and for CIFAR, wide and grouped, from one table of stages.

Sources: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015: Table 1 (ImageNet),
section 4.2 (CIFAR); Zagoruyko and Komodakis 2016 (wide bottlenecks); Xie et al. 2016 (groups). Parameter
names are torchvision's.
"""

from dataclasses import dataclass, replace
from functools import partial

from torch import nn

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.blocks import BasicBlock, Bottleneck, PlainBlock, Residual, Style
from resight.models.classifier import Classifier
from resight.models.initialization import glorot_uniform, he_normal
from resight.models.network import Network
from resight.models.operators.activation import activation as make_activation
from resight.models.operators.normalization import normalization
from resight.models.operators.pooling import pooling

HE2015 = "He et al., Deep Residual Learning for Image Recognition, arXiv:1512.03385"
WIDE2016 = "Zagoruyko and Komodakis, Wide Residual Networks, arXiv:1605.07146"
XIE2016 = "Xie et al., Aggregated Residual Transformations for Deep Neural Networks, arXiv:1611.05431"


@dataclass(frozen=True)
class Stage:
    """A group of blocks that share one map size."""

    blocks: int
    width: int
    stride: int


@dataclass(frozen=True)
class ResNetSpec:
    """A residual network as its paper's table gives it.

    Attributes:
        block: BasicBlock, Bottleneck or PlainBlock.
        stages: first to last.
        stem: "imagenet" (7x7/2, 3x3/2 max pooling) or "cifar" (3x3).
        style: the settings that its blocks share.
        channels: of the stem's map.
    """

    block: type[Residual]
    stages: tuple[Stage, ...]
    stem: str
    style: Style
    channels: int


def imagenet(block: type[Residual], *blocks: int, **style: str | int) -> ResNetSpec:
    """Return a column of Table 1: blocks of conv2_x to conv5_x."""
    widths, strides = (64, 128, 256, 512), (1, 2, 2, 2)
    stages = tuple(Stage(b, w, s) for b, w, s in zip(blocks, widths, strides, strict=True))
    return ResNetSpec(block, stages, "imagenet", Style(**style), 64)  # pyright: ignore[reportArgumentType]


def cifar(block: type[Residual], depth: int) -> ResNetSpec:
    """Return the network of 6n + 2 layers (section 4.2)."""
    n = (depth - 2) // 6
    stages = (Stage(n, 16, 1), Stage(n, 32, 2), Stage(n, 64, 2))
    return ResNetSpec(block, stages, "cifar", Style(shortcut="A"), 16)


def resnext29(groups: int, group_width: int) -> ResNetSpec:
    """Return ResNeXt-29 for CIFAR (Xie et al. 2016, section 5.3): stages give 256, 512 and 1024 maps."""
    stages = (Stage(3, 64, 1), Stage(3, 128, 2), Stage(3, 256, 2))
    return ResNetSpec(Bottleneck, stages, "cifar", Style(groups=groups, group_width=group_width), 64)


# Table 1 of He et al. 2015; from resnet50 on torchvision's stride in the 3x3.
RESNET = {
    "resnet18": imagenet(BasicBlock, 2, 2, 2, 2),
    "resnet34": imagenet(BasicBlock, 3, 4, 6, 3),
    "resnet50": imagenet(Bottleneck, 3, 4, 6, 3),
    "resnet101": imagenet(Bottleneck, 3, 4, 23, 3),
    "resnet152": imagenet(Bottleneck, 3, 8, 36, 3),
    "resnet200": imagenet(Bottleneck, 3, 24, 36, 3),
    # As in the paper, the first 1x1 convolution strides.
    "resnet50_v1": imagenet(Bottleneck, 3, 4, 6, 3, stride_in="1x1"),
    "resnet101_v1": imagenet(Bottleneck, 3, 4, 23, 3, stride_in="1x1"),
    "resnet152_v1": imagenet(Bottleneck, 3, 8, 36, 3, stride_in="1x1"),
    "resnet200_v1": imagenet(Bottleneck, 3, 24, 36, 3, stride_in="1x1"),
    **{f"resnet{depth}": cifar(BasicBlock, depth) for depth in (20, 32, 44, 56, 110, 1202)},
}
PLAIN = {
    "plain18": imagenet(PlainBlock, 2, 2, 2, 2),
    "plain34": imagenet(PlainBlock, 3, 4, 6, 3),
    **{f"plain{depth}": cifar(PlainBlock, depth) for depth in (20, 32, 44, 56, 110, 1202)},
}
WIDE = {  # inner 3x3 twice as wide
    "wide_resnet50_2": imagenet(Bottleneck, 3, 4, 6, 3, group_width=128),
    "wide_resnet101_2": imagenet(Bottleneck, 3, 4, 23, 3, group_width=128),
}
RESNEXT = {  # cardinality x width of a group in conv2_x
    "resnext50_32x4d": imagenet(Bottleneck, 3, 4, 6, 3, groups=32, group_width=4),
    "resnext101_32x4d": imagenet(Bottleneck, 3, 4, 23, 3, groups=32, group_width=4),
    "resnext101_32x8d": imagenet(Bottleneck, 3, 4, 23, 3, groups=32, group_width=8),
    "resnext101_64x4d": imagenet(Bottleneck, 3, 4, 23, 3, groups=64, group_width=4),
    "resnext29_8x64d": resnext29(8, 64),
    "resnext29_16x64d": resnext29(16, 64),
    "resnext29_32x4d": resnext29(32, 4),
    "resnext29_1x64d": resnext29(1, 64),
}


class ResNet(Classifier):
    """Stem, stages, global average pooling, one linear layer.

    Works at every input size that leaves a map.

    Args:
        spec: a row of the tables.
        num_classes: logits.
        in_channels: channels of the image.
        shortcut: "A", "B" or "C"; by default the spec's.
        head: see `Classifier`.
        activation: by name, see `operators.activation`.
        norm: by name, see `operators.normalization`.
        pool: by name, see `operators.pooling`: replaces the ImageNet stem's max pooling, or the CIFAR stages'
            stride (by a 2x2 pooling before the stage); by default as published.
        init: initial weights: "he" or, for comparison, "xavier" (see `glorot_uniform`).
        conv: kind of the blocks' 3x3 convolutions: "dilated", "grouped" or "separable", see
            `operators.convolution.conv3x3`; by default as published.

    Raises:
        UsageError: if an option does not exist, or a shortcut is given for a plain network.
    """

    def __init__(
        self,
        spec: ResNetSpec,
        num_classes: int = 1000,
        in_channels: int = 3,
        shortcut: str = "",
        head: str = "gap",
        activation: str = "relu",
        norm: str = "batch",
        pool: str = "",
        init: str = "he",
        conv: str = "",
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=7 if spec.stem == "imagenet" else 8)
        if shortcut and shortcut not in ("A", "B", "C"):
            raise UsageError(f"shortcut {shortcut!r} is not one of A, B, C")
        if shortcut and spec.block is PlainBlock:
            raise UsageError("a plain network has no shortcuts; omit the option")
        style = replace(
            spec.style,
            shortcut=shortcut or spec.style.shortcut,
            activation=activation,
            norm=norm,
            conv=conv,
        )
        channels, bias = spec.channels, norm != "batch"
        if spec.stem == "imagenet":
            self.add("stem", "conv1", nn.Conv2d(in_channels, channels, 7, 2, 3, bias=bias))
        else:
            self.add("stem", "conv1", nn.Conv2d(in_channels, channels, 3, 1, 1, bias=bias))
        self.add("stem", "bn1", normalization(norm, channels))
        self.add("stem", "relu", make_activation(activation, channels))
        if spec.stem == "imagenet":
            self.add("stem", "maxpool", pooling(pool or "max", 3, 2, 1))
        for number, stage in enumerate(spec.stages, start=1):
            pooled = bool(pool) and spec.stem == "cifar" and stage.stride == 2
            if pooled:
                self.add(f"layer{number}", f"pool{number}", pooling(pool, 2, 2))
            blocks = []
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 and not pooled else 1
                blocks.append(spec.block(channels, stage.width, stride, style))
                channels = stage.width * spec.block.expansion
            self.add(f"layer{number}", f"layer{number}", nn.Sequential(*blocks))
        self.num_features = channels
        self.add_linear_head("fc", channels)
        lookup({"he": he_normal, "xavier": glorot_uniform}, init, "initialization")(self)


def _rows(family: str, year: int, paper: str, specs: dict[str, ResNetSpec]) -> dict[str, Network]:
    return {
        name: Network(
            partial(ResNet, spec),
            family,
            year,
            paper,
            input_size=224 if spec.stem == "imagenet" else 32,
            classes=1000 if spec.stem == "imagenet" else 10,
        )
        for name, spec in specs.items()
    }


NETWORKS = {
    **_rows("resnet", 2015, HE2015, RESNET),
    **_rows("plain", 2015, HE2015, PLAIN),
    **_rows("wide resnet", 2016, WIDE2016, WIDE),
    **_rows("resnext", 2016, XIE2016, RESNEXT),
}
