"""The residual network of dlib that turns a face into 128 numbers: 29 convolutions.

Source: King, "High Quality Face Recognition with Deep Metric Learning", 2017, and the network's definition in
dlib's example of face recognition; its blocks are those of He et al. 2015. It was learned by a metric loss,
so that faces of one person are nearer to each other than 0.6; it has no classes of its own. The released
weights have every scale layer folded into its convolution, so there is no normalization.

The last layer of the release is linear, over the mean of the map. Here it is a 1x1 convolution before the
mean, which computes the same: so the map of 128 channels says which place brings which part of the embedding.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.classifier import Classifier
from resight.models.initialization import he_normal
from resight.models.network import Network

KING2017 = "King, High Quality Face Recognition with Deep Metric Learning, dlib, 2017"
EMBEDDING = 128
"""Numbers of a face."""


@dataclass(frozen=True)
class Stage:
    """Blocks on maps of one size.

    Attributes:
        name: of its layers in the release.
        width: channels.
        halves: whether its first block halves the map.
        blocks: after that one.
    """

    name: str
    width: int
    halves: bool
    blocks: int


STAGES = (
    Stage("conv32", 32, halves=False, blocks=3),
    Stage("conv64", 64, halves=True, blocks=3),
    Stage("conv128", 128, halves=True, blocks=2),
    Stage("conv256", 256, halves=True, blocks=2),
)
"""After the 7x7 convolution and the pooling; then `LAST` halves the map once more."""
LAST = "conv256_down_out"


class Block(nn.Module):
    """Two 3x3 convolutions and the identity.

    Args:
        width: channels.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, width, h, w) to the same shape."""
        return F.relu(self.conv2(F.relu(self.conv1(x))) + x)


class HalvingBlock(nn.Module):
    """Halves the map: the first convolution strides without padding, the shortcut is an average pooling.

    Where the pooled map is one larger than the convolved one, zeros are added to the latter at the right and
    the bottom; new channels of the shortcut are zeros, after the old ones.

    Args:
        channels: of the input.
        width: of the output, `channels` or more.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.new = width - channels
        self.conv1 = nn.Conv2d(channels, width, 3, stride=2)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, width, h / 2, w / 2), rounded down."""
        branch = self.conv2(F.relu(self.conv1(x)))
        shortcut = F.pad(F.avg_pool2d(x, 2), (0, 0, 0, 0, 0, self.new))
        across, down = shortcut.shape[3] - branch.shape[3], shortcut.shape[2] - branch.shape[2]
        return F.relu(F.pad(branch, (0, across, 0, down)) + shortcut)


class FaceResNet(Classifier):
    """Convolution, pooling, residual stages, 128 numbers; on them one linear layer, if classes are learned.

    Args:
        num_classes: logits; the released weights have none, so this layer is always fresh.
        in_channels: channels of the image.
        head: see `Classifier`.
    """

    same_below: ClassVar[float] = 0.6

    def __init__(self, num_classes: int = 7485, in_channels: int = 3, head: str = "gap") -> None:
        super().__init__(num_classes, in_channels, head, grid=2)
        channels = STAGES[0].width
        self.add("conv32", "conv32_down", nn.Conv2d(in_channels, channels, 7, stride=2))
        self.add("conv32", "relu", nn.ReLU())
        self.add("conv32", "maxpool", nn.MaxPool2d(3, 2))
        for stage in STAGES:
            if stage.halves:
                self.add(stage.name, f"{stage.name}_down", HalvingBlock(channels, stage.width))
            channels = stage.width
            for number in range(1, stage.blocks + 1):
                self.add(stage.name, f"{stage.name}_{number}", Block(channels))
        self.add("embedding", LAST, HalvingBlock(channels, channels))
        self.add("embedding", "fc", nn.Conv2d(channels, EMBEDDING, 1, bias=False))
        self.num_features = EMBEDDING
        self.add_linear_head("classifier", EMBEDDING)
        he_normal(self)


NETWORKS = {
    "face_resnet29": Network(
        partial(FaceResNet), "face", 2017, KING2017, 150, 7485, least_size=103
    ),  # 7,485 people were in the pictures that it learned from
}
"""The network by its name: 29 convolutions, the linear layer not counted."""
