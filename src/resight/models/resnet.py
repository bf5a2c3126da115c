"""Residual and plain networks, for ImageNet and for CIFAR, from one table of stages.

Source: He, Zhang, Ren and Sun, "Deep Residual Learning for Image Recognition", 2015: Table 1 (ImageNet),
section 4.2 (CIFAR). Parameter names are torchvision's.
"""

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.blocks import BasicBlock, Bottleneck, PlainBlock, Residual
from resight.models.classifier import Classifier
from resight.models.initialization import he_normal


@dataclass(frozen=True)
class Stage:
    """A run of blocks that share one map size."""

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
        option: shortcuts, "A", "B" or "C".
        stride_in: where a bottleneck strides: "3x3" (torchvision, "v1.5") or "1x1" (the paper).
    """

    block: type[Residual]
    stages: tuple[Stage, ...]
    stem: str
    option: str
    stride_in: str = "3x3"


def imagenet(block: type[Residual], *blocks: int, stride_in: str = "3x3") -> ResNetSpec:
    """Return a column of Table 1: blocks of conv2_x to conv5_x."""
    widths, strides = (64, 128, 256, 512), (1, 2, 2, 2)
    stages = tuple(Stage(b, w, s) for b, w, s in zip(blocks, widths, strides, strict=True))
    return ResNetSpec(block, stages, "imagenet", "B", stride_in)


def cifar(block: type[Residual], depth: int) -> ResNetSpec:
    """Return the network of 6n + 2 layers (section 4.2)."""
    n = (depth - 2) // 6
    return ResNetSpec(block, (Stage(n, 16, 1), Stage(n, 32, 2), Stage(n, 64, 2)), "cifar", "A")


SPECS: dict[str, ResNetSpec] = {
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
    "plain18": imagenet(PlainBlock, 2, 2, 2, 2),
    "plain34": imagenet(PlainBlock, 3, 4, 6, 3),
    **{f"resnet{depth}": cifar(BasicBlock, depth) for depth in (20, 32, 44, 56, 110, 1202)},
    **{f"plain{depth}": cifar(PlainBlock, depth) for depth in (20, 32, 44, 56, 110, 1202)},
}


class ResNet(Classifier):
    """Stem, stages, global average pooling, one linear layer.

    Works at every input size that leaves a map (32 pixels or more for the ImageNet stem).

    Args:
        spec: a row of `SPECS`.
        num_classes: logits.
        in_channels: channels of the image.
        shortcut: "A", "B" or "C"; by default the spec's.

    Raises:
        UsageError: if the shortcut option does not exist, or the network is a plain one.
    """

    def __init__(
        self, spec: ResNetSpec, num_classes: int = 1000, in_channels: int = 3, shortcut: str = ""
    ) -> None:
        super().__init__()
        if shortcut and shortcut not in ("A", "B", "C"):
            raise UsageError(f"shortcut {shortcut!r} is none of A, B, C")
        if shortcut and spec.block is PlainBlock:
            raise UsageError("a plain network has no shortcuts; leave the option out")
        option = shortcut or spec.option
        self.num_classes, self.in_channels = num_classes, in_channels
        channels = spec.stages[0].width
        if spec.stem == "imagenet":
            self.conv1 = nn.Conv2d(in_channels, channels, 7, 2, 3, bias=False)
            self.maxpool: nn.Module = nn.MaxPool2d(3, 2, 1)
        else:
            self.conv1 = nn.Conv2d(in_channels, channels, 3, 1, 1, bias=False)
            self.maxpool = nn.Identity()
        self.bn1 = nn.BatchNorm2d(channels)
        for number, stage in enumerate(spec.stages, start=1):
            blocks = []
            for position in range(stage.blocks):
                stride = stage.stride if position == 0 else 1
                blocks.append(spec.block(channels, stage.width, stride, option, spec.stride_in))
                channels = stage.width * spec.block.expansion
            self.add_module(f"layer{number}", nn.Sequential(*blocks))
        self.num_features = channels
        self.fc = nn.Linear(channels, num_classes)
        he_normal(self)

    def forward_features(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into the last map: (B, K, H/32, W/32), or H/4 for CIFAR stems."""
        x = self.maxpool(F.relu(self.bn1(self.conv1(images))))
        for stage in self.stages.values():
            x = stage(x)
        return x
