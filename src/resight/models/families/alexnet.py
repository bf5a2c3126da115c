"""AlexNet: the network of 2012, the single tower that libraries ship, and ZFNet, which improves its start.

Sources: Krizhevsky, Sutskever and Hinton, "ImageNet Classification with Deep Convolutional Neural Networks",
2012, sections 3 and 5; Krizhevsky, "One weird trick for parallelizing convolutional neural networks", 2014
(torchvision's `alexnet`, whose parameter names it keeps); Zeiler and Fergus, "Visualizing and Understanding
Convolutional Networks", 2013, figure 3 and section 3.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from resight.models.classifier import Classifier
from resight.models.initialization import gaussian
from resight.models.network import Network
from resight.models.operators.normalization import LocalResponseNorm

KRIZHEVSKY2012 = (
    "Krizhevsky et al., ImageNet Classification with Deep Convolutional Neural Networks, NIPS 2012"
)
KRIZHEVSKY2014 = (
    "Krizhevsky, One Weird Trick for Parallelizing Convolutional Neural Networks, arXiv:1404.5997"
)
ZEILER2013 = "Zeiler and Fergus, Visualizing and Understanding Convolutional Networks, arXiv:1311.2901"


@dataclass(frozen=True)
class Layer:
    """A convolution with ReLU, and what follows it.

    Attributes:
        out: channels.
        kernel: side.
        stride: of the kernel.
        padding: on every side.
        groups: 2 where each tower reads only its own half.
        norm: whether local response normalization follows.
        pool: whether 3x3/2 max pooling follows.
        pool_padding: of that pooling.
        norm_last: whether the normalization comes after the pooling.
    """

    out: int
    kernel: int
    stride: int
    padding: int
    groups: int = 1
    norm: bool = False
    pool: bool = False
    pool_padding: int = 0
    norm_last: bool = False


# map 55, 27, 13, 13, 13 -> 6
TOWERS = (  # two towers side by side
    Layer(96, 11, 4, 0, norm=True, pool=True),
    Layer(256, 5, 1, 2, groups=2, norm=True, pool=True),
    Layer(384, 3, 1, 1),
    Layer(384, 3, 1, 1, groups=2),
    Layer(256, 3, 1, 1, groups=2, pool=True),
)
MERGED = (  # every map reads all maps before it
    Layer(96, 11, 4, 0, norm=True, pool=True),
    Layer(256, 5, 1, 2, norm=True, pool=True),
    Layer(384, 3, 1, 1),
    Layer(384, 3, 1, 1),
    Layer(256, 3, 1, 1, pool=True),
)
ZFNET = (  # smaller steps in the first layers; map 110 -> 55, 26 -> 13, 13, 13, 13 -> 6
    Layer(96, 7, 2, 1, norm=True, pool=True, pool_padding=1, norm_last=True),
    Layer(256, 5, 2, 0, norm=True, pool=True, pool_padding=1, norm_last=True),
    Layer(384, 3, 1, 1),
    Layer(384, 3, 1, 1),
    Layer(256, 3, 1, 1, pool=True),
)
SINGLE = (  # torchvision's
    Layer(64, 11, 4, 2, pool=True),
    Layer(192, 5, 1, 2, pool=True),
    Layer(384, 3, 1, 1),
    Layer(256, 3, 1, 1),
    Layer(256, 3, 1, 1, pool=True),
)


class AlexNet(Classifier):
    """Five convolutions and three fully connected layers, with dropout before the first two of them.

    Initial weights are N(0, 0.01^2); biases are 0, but 1 in the second, fourth and fifth convolution and the
    hidden linear layers (section 5); ZFNet's biases are all 0. With a head other than "flatten", one linear
    layer reads the pooled map, as in Zhou et al. 2016, so that class activation maps exist.

    Args:
        layers: a table above.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        dropout: of the linear layers.
        ones: whether some biases start at 1.
    """

    def __init__(
        self,
        layers: tuple[Layer, ...],
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "flatten",
        dropout: float = 0.5,
        *,
        ones: bool,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=6)
        channels = in_channels
        for number, layer in enumerate(layers, start=1):
            stage = f"conv{number}"
            convolution = nn.Conv2d(
                channels, layer.out, layer.kernel, layer.stride, layer.padding, groups=layer.groups
            )
            self.add(stage, stage, convolution)
            self.add(stage, f"relu{number}", nn.ReLU())
            if layer.norm and not layer.norm_last:
                self.add(stage, f"norm{number}", LocalResponseNorm())
            if layer.pool:
                self.add(f"pool{number}", f"pool{number}", nn.MaxPool2d(3, 2, layer.pool_padding))
            if layer.norm and layer.norm_last:
                self.add(f"pool{number}", f"norm{number}", LocalResponseNorm())
            channels = layer.out
        self.num_features = channels
        if head == "flatten":
            self.add_head("fc6", nn.Linear(channels * 36, 4096))
            self.add_head("relu6", nn.ReLU())
            self.add_head("dropout6", nn.Dropout(dropout))
            self.add_head("fc7", nn.Linear(4096, 4096))
            self.add_head("relu7", nn.ReLU())
            self.add_head("dropout7", nn.Dropout(dropout))
            self.add_head("fc8", nn.Linear(4096, num_classes))
        else:
            self.add_linear_head("fc8", channels, dropout)
        gaussian(self, 0.01)
        for name in ("conv2", "conv4", "conv5", "fc6", "fc7") if ones else ():
            if name in self._modules:
                nn.init.ones_(self.get_parameter(f"{name}.bias"))


class ZFNet(AlexNet):
    """AlexNet in one tower with a 7x7/2 first and a 5x5/2 second layer, normalized after pooling."""

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale every filter of the first layer whose RMS exceeds 0.1 down to 0.1 (section 3)."""
        weight = self.get_parameter("conv1.weight")
        rms = weight.square().mean((1, 2, 3), keepdim=True).sqrt()
        weight.div_((rms / 0.1).clamp(min=1))


class SingleTower(Classifier):
    """torchvision's AlexNet: no groups, no normalization; torch's initialization, as there.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        dropout: of the linear layers.
    """

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, head: str = "flatten", dropout: float = 0.5
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=6)
        channels, position = in_channels, 0
        for number, layer in enumerate(SINGLE, start=1):
            steps = [
                nn.Conv2d(channels, layer.out, layer.kernel, layer.stride, layer.padding),
                nn.ReLU(),
            ]
            for step in steps:
                self.add(f"conv{number}", f"features.{position}", step)
                position += 1
            if layer.pool:
                self.add(f"pool{number}", f"features.{position}", nn.MaxPool2d(3, 2))
                position += 1
            channels = layer.out
        self.num_features = channels
        if head == "flatten":
            self.add_head("classifier.0", nn.Dropout(dropout))
            self.add_head("classifier.1", nn.Linear(channels * 36, 4096))
            self.add_head("classifier.2", nn.ReLU())
            self.add_head("classifier.3", nn.Dropout(dropout))
            self.add_head("classifier.4", nn.Linear(4096, 4096))
            self.add_head("classifier.5", nn.ReLU())
            self.add_head("classifier.6", nn.Linear(4096, num_classes))
        else:
            self.add_linear_head("classifier", channels, dropout)


NETWORKS = {
    "alexnet": Network(partial(SingleTower), "alexnet", 2014, KRIZHEVSKY2014, 224, 1000, least_size=63),
    "alexnet_2012": Network(
        partial(AlexNet, TOWERS, ones=True), "alexnet", 2012, KRIZHEVSKY2012, 227, 1000, least_size=67
    ),
    "alexnet_2012_merged": Network(
        partial(AlexNet, MERGED, ones=True), "alexnet", 2012, KRIZHEVSKY2012, 227, 1000, least_size=67
    ),
    "zfnet": Network(partial(ZFNet, ZFNET, ones=False), "zfnet", 2013, ZEILER2013, 224, 1000, least_size=64),
}
