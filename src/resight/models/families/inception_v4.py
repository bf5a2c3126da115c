"""Inception-v4 and Inception-ResNet-v2. Parameter names are timm's.

Source: Szegedy, Ioffe, Vanhoucke and Alemi, "Inception-v4, Inception-ResNet and the Impact of Residual
Connections on Learning", 2016, figures 3 to 9 and 15 (v4), 10 to 13 and 16 to 20 (ResNet), Table 1, section
3.3 (scaling of the residuals). Inception-ResNet-v2 is the released model, whose stem and reductions differ
from the figures. Initial weights as in the released models: normal, truncated at two deviations of 0.1.
"""

from functools import partial

import torch
from torch import Tensor, nn

from resight.models.branches import Branch, Branches, Conv, Pool
from resight.models.classifier import Classifier
from resight.models.network import Network
from resight.models.operators.convolution import ConvNormAct

SZEGEDY2016 = (
    "Szegedy et al., Inception-v4, Inception-ResNet and the Impact of Residual Connections, 1602.07261"
)

STEM_73: tuple[Branch, ...] = ((Pool(stride=2),), (Conv("conv", 96, 3, 2, "valid"),))
STEM_71: tuple[Branch, ...] = (
    (Conv("branch0.0", 64), Conv("branch0.1", 96, 3, padding="valid")),
    (
        Conv("branch1.0", 64),
        Conv("branch1.1", 64, (1, 7)),
        Conv("branch1.2", 64, (7, 1)),
        Conv("branch1.3", 96, 3, padding="valid"),
    ),
)
STEM_35: tuple[Branch, ...] = ((Conv("conv", 192, 3, 2, "valid"),), (Pool(stride=2),))
MODULE_A: tuple[Branch, ...] = (
    (Conv("branch0", 96),),
    (Conv("branch1.0", 64), Conv("branch1.1", 96, 3)),
    (Conv("branch2.0", 64), Conv("branch2.1", 96, 3), Conv("branch2.2", 96, 3)),
    (Pool("average-inside"), Conv("branch3.1", 96)),
)
REDUCTION_A: tuple[Branch, ...] = (  # k, l, m, n of Table 1: 192, 224, 256, 384
    (Conv("branch0", 384, 3, 2, "valid"),),
    (Conv("branch1.0", 192), Conv("branch1.1", 224, 3), Conv("branch1.2", 256, 3, 2, "valid")),
    (Pool(stride=2),),
)
MODULE_B: tuple[Branch, ...] = (
    (Conv("branch0", 384),),
    (Conv("branch1.0", 192), Conv("branch1.1", 224, (1, 7)), Conv("branch1.2", 256, (7, 1))),
    (
        Conv("branch2.0", 192),
        Conv("branch2.1", 192, (7, 1)),
        Conv("branch2.2", 224, (1, 7)),
        Conv("branch2.3", 224, (7, 1)),
        Conv("branch2.4", 256, (1, 7)),
    ),
    (Pool("average-inside"), Conv("branch3.1", 128)),
)
REDUCTION_B: tuple[Branch, ...] = (
    (Conv("branch0.0", 192), Conv("branch0.1", 192, 3, 2, "valid")),
    (
        Conv("branch1.0", 256),
        Conv("branch1.1", 256, (1, 7)),
        Conv("branch1.2", 320, (7, 1)),
        Conv("branch1.3", 320, 3, 2, "valid"),
    ),
    (Pool(stride=2),),
)
MODULE_C: tuple[Branch, ...] = (
    (Conv("branch0", 256),),
    (Conv("branch1_0", 384), (Conv("branch1_1a", 256, (1, 3)), Conv("branch1_1b", 256, (3, 1)))),
    (
        Conv("branch2_0", 384),
        Conv("branch2_1", 448, (3, 1)),
        Conv("branch2_2", 512, (1, 3)),
        (Conv("branch2_3a", 256, (1, 3)), Conv("branch2_3b", 256, (3, 1))),
    ),
    (Pool("average-inside"), Conv("branch3.1", 256)),
)
# Figure 9; maps 73, 71, 35, 17, 8.
V4 = (
    ("stem2", STEM_73),
    ("stem3", STEM_71),
    ("inception_a", STEM_35),
    *(("inception_a", MODULE_A),) * 4,
    ("inception_b", REDUCTION_A),
    *(("inception_b", MODULE_B),) * 7,
    ("inception_c", REDUCTION_B),
    *(("inception_c", MODULE_C),) * 3,
)


class InceptionV4(Classifier):
    """Stem, 4 A, 7 B and 3 C modules with reductions between, global average pooling, dropout, linear.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, head: str = "gap") -> None:
        super().__init__(num_classes, in_channels, head, grid=8)
        self.add("stem1", "features.0", ConvNormAct(in_channels, 32, 3, 2, "valid"))
        self.add("stem1", "features.1", ConvNormAct(32, 32, 3, padding="valid"))
        self.add("stem1", "features.2", ConvNormAct(32, 64, 3))
        channels = 64
        for position, (stage, branches) in enumerate(V4, start=3):
            channels = self.add(stage, f"features.{position}", Branches(channels, branches)).out
        self.num_features = channels
        self.add_linear_head("last_linear", channels, dropout=0.2)
        truncated_normal(self)


MIXED_5B: tuple[Branch, ...] = (
    (Conv("branch0", 96),),
    (Conv("branch1.0", 48), Conv("branch1.1", 64, 5)),
    (Conv("branch2.0", 64), Conv("branch2.1", 96, 3), Conv("branch2.2", 96, 3)),
    (Pool("average-inside"), Conv("branch3.1", 64)),
)
BLOCK_35: tuple[Branch, ...] = (
    (Conv("branch0", 32),),
    (Conv("branch1.0", 32), Conv("branch1.1", 32, 3)),
    (Conv("branch2.0", 32), Conv("branch2.1", 48, 3), Conv("branch2.2", 64, 3)),
)
MIXED_6A: tuple[Branch, ...] = (
    (Conv("branch0", 384, 3, 2, "valid"),),
    (Conv("branch1.0", 256), Conv("branch1.1", 256, 3), Conv("branch1.2", 384, 3, 2, "valid")),
    (Pool(stride=2),),
)
BLOCK_17: tuple[Branch, ...] = (
    (Conv("branch0", 192),),
    (Conv("branch1.0", 128), Conv("branch1.1", 160, (1, 7)), Conv("branch1.2", 192, (7, 1))),
)
MIXED_7A: tuple[Branch, ...] = (
    (Conv("branch0.0", 256), Conv("branch0.1", 384, 3, 2, "valid")),
    (Conv("branch1.0", 256), Conv("branch1.1", 288, 3, 2, "valid")),
    (Conv("branch2.0", 256), Conv("branch2.1", 288, 3), Conv("branch2.2", 320, 3, 2, "valid")),
    (Pool(stride=2),),
)
BLOCK_8: tuple[Branch, ...] = (
    (Conv("branch0", 192),),
    (Conv("branch1.0", 192), Conv("branch1.1", 224, (1, 3)), Conv("branch1.2", 256, (3, 1))),
)


class ResidualInception(Branches):
    """f(x + scale * conv1x1(branches(x))): a residual block around an inception module (section 3.2).

    Args:
        channels: of the input and the output.
        branches: of the module.
        scale: of the residual; 0.1 to 0.3 keep the training of wide networks stable (section 3.3).
        relu: whether a ReLU follows the sum.
    """

    def __init__(
        self, channels: int, branches: tuple[Branch, ...], scale: float, *, relu: bool = True
    ) -> None:
        super().__init__(channels, branches)
        self.scale = scale
        self.conv2d = nn.Conv2d(self.out, channels, 1)
        self.relu = nn.ReLU() if relu else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to the same shape."""
        return self.relu(x + self.scale * self.conv2d(super().forward(x)))


class InceptionResNetV2(Classifier):
    """A stem, 10 + 20 + 10 residual modules with reductions between, global average pooling, dropout, linear.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
    """

    def __init__(self, num_classes: int = 1000, in_channels: int = 3, head: str = "gap") -> None:
        super().__init__(num_classes, in_channels, head, grid=8)

        def repeat(count: int, channels: int, branches: tuple[Branch, ...], scale: float) -> nn.Sequential:
            return nn.Sequential(*(ResidualInception(channels, branches, scale) for _ in range(count)))

        self.add("stem1", "conv2d_1a", ConvNormAct(in_channels, 32, 3, 2, "valid"))
        self.add("stem1", "conv2d_2a", ConvNormAct(32, 32, 3, padding="valid"))
        self.add("stem1", "conv2d_2b", ConvNormAct(32, 64, 3))
        self.add("stem2", "maxpool_3a", nn.MaxPool2d(3, 2))
        self.add("stem2", "conv2d_3b", ConvNormAct(64, 80, 1))
        self.add("stem2", "conv2d_4a", ConvNormAct(80, 192, 3, padding="valid"))
        self.add("block35", "maxpool_5a", nn.MaxPool2d(3, 2))
        self.add("block35", "mixed_5b", Branches(192, MIXED_5B))
        self.add("block35", "repeat", repeat(10, 320, BLOCK_35, 0.17))
        self.add("block17", "mixed_6a", Branches(320, MIXED_6A))
        self.add("block17", "repeat_1", repeat(20, 1088, BLOCK_17, 0.10))
        self.add("block8", "mixed_7a", Branches(1088, MIXED_7A))
        self.add("block8", "repeat_2", repeat(9, 2080, BLOCK_8, 0.20))
        self.add("block8", "block8", ResidualInception(2080, BLOCK_8, 1.0, relu=False))
        self.add("block8", "conv2d_7b", ConvNormAct(2080, 1536, 1))
        self.num_features = 1536
        self.add_linear_head("classif", 1536, dropout=0.2)
        truncated_normal(self)


@torch.no_grad()
def truncated_normal(model: nn.Module) -> None:
    """Give convolutions and linear layers N(0, 0.1^2) weights, none beyond two deviations."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.trunc_normal_(module.weight, std=0.1, a=-0.2, b=0.2)


NETWORKS = {
    "inception_v4": Network(partial(InceptionV4), "inception", 2016, SZEGEDY2016, 299, 1000, least_size=75),
    "inception_resnet_v2": Network(
        partial(InceptionResNetV2), "inception", 2016, SZEGEDY2016, 299, 1000, least_size=75
    ),
}
