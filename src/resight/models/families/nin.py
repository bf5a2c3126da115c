"""Network in Network, and Deeply-Supervised Nets on the same trunk.

Sources: Lin, Chen and Yan, "Network In Network", 2013, sections 3 and 4 and the released definition;
Lee, Xie, Gallagher, Zhang and Tu, "Deeply-Supervised Nets", 2014, section 2 and the released definition.
"""

from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.criterion import PLAIN, Criterion
from resight.models.initialization import gaussian, xavier_caffe
from resight.models.network import Network

LIN2013 = "Lin et al., Network In Network, arXiv:1312.4400"
LEE2014 = "Lee et al., Deeply-Supervised Nets, arXiv:1409.5185"


@dataclass(frozen=True)
class MLPConv:
    """A convolution and two 1x1 convolutions, ReLU after each; then a pooling.

    Attributes:
        widths: channels of the three; the last one of the last block is the number of classes.
        kernel: of the first.
        stride: of the first.
        padding: of the first.
        pool: "max" or "average" (3x3/2, its last window may extend beyond the border); empty for none.
        dropout: after the pooling.
    """

    widths: tuple[int, ...]
    kernel: int
    stride: int = 1
    padding: int = 0
    pool: str = ""
    dropout: float = 0.0


def cifar(second_pool: str) -> tuple[MLPConv, ...]:
    """Return the blocks for CIFAR; maps 32, 16, 8."""
    return (
        MLPConv((192, 160, 96), 5, padding=2, pool="max", dropout=0.5),
        MLPConv((192, 192, 192), 5, padding=2, pool=second_pool, dropout=0.5),
        MLPConv((192, 192), 3, padding=1),
    )


IMAGENET = (  # maps 54 -> 27, 13, 6, 6
    MLPConv((96, 96, 96), 11, stride=4, pool="max"),
    MLPConv((256, 256, 256), 5, padding=2, pool="max"),
    MLPConv((384, 384, 384), 3, padding=1, pool="max", dropout=0.5),
    MLPConv((1024, 1024), 3, padding=1),
)


class NiN(Classifier):
    """Blocks of small networks slid over the picture; the last 1x1 convolution gives one map per class.

    This last convolution belongs to the head: the trunk's map has as many channels as the one before.
    The logits are the means of the class maps (head "gap"), their maxima ("gmp"), or a linear layer on
    all their positions ("flatten"): the comparison of section 4.6, there with dropout 0.5 or 0.

    Initial weights are N(0, 0.05^2), biases 0; biases learn twice as fast as weights, the last convolution
    ten times slower (the released definition).

    Args:
        blocks: a table above.
        grid: side of the last map at the paper's input size.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        head_dropout: before the linear layer of the head "flatten".
    """

    rectified: ClassVar[bool] = True
    """Whether a ReLU follows the last convolution too."""

    def __init__(
        self,
        blocks: tuple[MLPConv, ...],
        grid: int,
        num_classes: int = 10,
        in_channels: int = 3,
        head: str = "gap",
        head_dropout: float = 0.0,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid)
        channels, cccp = in_channels, 0
        for number, block in enumerate(blocks, start=1):
            stage = f"block{number}"
            for position, width in enumerate(block.widths):
                if position == 0:
                    name = f"conv{number}"
                    layer = nn.Conv2d(channels, width, block.kernel, block.stride, block.padding)
                else:
                    cccp += 1
                    name, layer = f"cccp{cccp}", nn.Conv2d(channels, width, 1)
                self.add(stage, name, layer)
                self.add(stage, f"relu_{name}", nn.ReLU())
                channels = width
            following = f"block{number + 1}"
            if block.pool == "max":
                self.add(following, f"pool{number}", nn.MaxPool2d(3, 2, ceil_mode=True))
            elif block.pool:
                self.add(following, f"pool{number}", nn.AvgPool2d(3, 2, ceil_mode=True))
            if block.dropout:
                self.add(following, f"dropout{number}", nn.Dropout(block.dropout))
        self.num_features = channels
        self.last = f"cccp{cccp + 1}"
        self.add_head(self.last, nn.Conv2d(channels, num_classes, 1))
        if head_dropout and head != "flatten":
            raise UsageError(f"head_dropout={head_dropout} belongs to head=flatten")
        if head == "flatten":
            self.head_dropout = nn.Dropout(head_dropout)
            self.fc = nn.Linear(num_classes * grid**2, num_classes)
        gaussian(self, 0.05)

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Turn the last map (B, K, h, w) into logits (B, classes), or into its pooled vector (B, K)."""
        if pre_logits:
            return torch.flatten(F.adaptive_avg_pool2d(features, 1), 1)
        maps = self.get_classifier()(features)
        x = self.pool(F.relu(maps) if self.rectified else maps)
        return self.fc(self.head_dropout(x)) if self.head == "flatten" else x

    def last_layers(self) -> list[str]:
        """Return the names of the layers that a new number of classes changes."""
        return [*super().last_layers(), *(["fc"] if self.head == "flatten" else [])]

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last convolution, and the linear layer if there is one."""
        super().reset_classifier(num_classes)
        if self.head == "flatten":
            self.fc = nn.Linear(num_classes * self.grid**2, num_classes).to(self.fc.weight)

    def learning(self, name: str) -> tuple[float, float]:
        """Return 2 for biases; the last convolution learns at a tenth of the rate."""
        rate = 0.1 if name.startswith(f"{self.last}.") else 1.0
        return (2 * rate if name.endswith("bias") else rate), 1.0


class DSN(NiN):
    """The trunk of NiN, with a companion classifier on each of its three convolutions, before their ReLU.

    Objective (equation 3): the squared hinge loss of the output plus, for each companion m, alpha_m max(0,
    L_m - gamma), where alpha_m = 0.001 (1 - t / N) falls with the share t / N of the training that is done:
    0.001 is the released rate of the companions; the paper gives the form of the fall. Its gamma is not
    published; here it is 0. At test the companions are not used. No ReLU follows the last convolution, since
    the hinge loss needs scores below zero. At input sizes other than 32 a companion's map is averaged to its
    own grid.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        aux: whether to add the companions.
    """

    rectified: ClassVar[bool] = False
    alpha: ClassVar[float] = 0.001
    gamma: ClassVar[float] = 0.0

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, head: str = "gap", *, aux: bool = True
    ) -> None:
        super().__init__(cifar("max"), 8, num_classes, in_channels, head)
        for number, side in enumerate((32, 16, 8) if aux else (), start=1):
            linear = nn.Linear(192 * side**2, num_classes)
            companion = nn.Sequential(nn.AdaptiveAvgPool2d(side), nn.Flatten(), linear)
            xavier_caffe(companion)
            self.add_auxiliary(f"conv{number}", f"companion{number}", companion)

    def training_only(self) -> tuple[str, ...]:
        """Return the companions' names."""
        return ("companion1", "companion2", "companion3")

    def loss(
        self, outputs: tuple[Tensor, ...], targets: Tensor, done: float, criterion: Criterion = PLAIN
    ) -> Tensor:
        """Return the objective; it uses only the weights of the criterion."""
        head, *companions = (squared_hinge(output, targets, criterion.weights) for output in outputs)
        beside = sum(F.relu(loss - self.gamma) for loss in companions)
        return head + self.alpha * (1 - done) * beside

    def learning(self, name: str) -> tuple[float, float]:
        """Return 2 for biases; DSN's last convolution learns as fast as the others."""
        return (2.0 if name.endswith("bias") else 1.0), 1.0


def squared_hinge(scores: Tensor, targets: Tensor, weights: Tensor | None = None) -> Tensor:
    """Return the mean over the batch of sum_k max(0, 1 - t_k s_k)^2, t = 1 for the label, else -1.

    With soft targets, which the paper does not have, every class counts by its share of the picture.
    """
    shares = F.one_hot(targets, scores.shape[1]) if targets.dim() == 1 else targets
    right, wrong = F.relu(1 - scores).square(), F.relu(1 + scores).square()
    losses = (shares * right + (1 - shares) * wrong).sum(1)
    if weights is not None:
        losses = losses * (shares @ weights if targets.dim() == 2 else weights[targets])
    return losses.mean()


NETWORKS = {
    "nin_cifar": Network(partial(NiN, cifar("average"), 8), "nin", 2013, LIN2013, 32, 10),
    "nin_imagenet": Network(partial(NiN, IMAGENET, 6), "nin", 2013, LIN2013, 224, 1000, least_size=64),
    "dsn": Network(partial(DSN), "dsn", 2014, LEE2014, 32, 10),
}
