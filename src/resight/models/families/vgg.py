"""VGG: 3x3 convolutions only, eleven to nineteen layers. Parameter names are torchvision's.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image Recognition", 2014,
Table 1. Initialization: Glorot and Bengio's, which the paper found to make its own pre-training unnecessary
(section 3.1).
"""

from dataclasses import dataclass
from functools import partial

from torch import nn

from resight.models.classifier import Classifier
from resight.models.initialization import glorot_uniform
from resight.models.network import Network
from resight.models.operators.normalization import LocalResponseNorm

SIMONYAN2014 = "Simonyan and Zisserman, Very Deep Convolutional Networks, arXiv:1409.1556"


@dataclass(frozen=True)
class VGGSpec:
    """A column of Table 1.

    Attributes:
        blocks: channels of the convolutions between two poolings; negative for a 1x1 kernel.
        batch_norm: whether batch normalization follows every convolution (torchvision's variant).
        lrn: whether local response normalization follows the first convolution (column A-LRN).
    """

    blocks: tuple[tuple[int, ...], ...]
    batch_norm: bool = False
    lrn: bool = False


A = ((64,), (128,), (256,) * 2, (512,) * 2, (512,) * 2)
B = ((64,) * 2, (128,) * 2, (256,) * 2, (512,) * 2, (512,) * 2)
C = ((64,) * 2, (128,) * 2, (256, 256, -256), (512, 512, -512), (512, 512, -512))
D = ((64,) * 2, (128,) * 2, (256,) * 3, (512,) * 3, (512,) * 3)
E = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)

SPECS = {
    "vgg11": VGGSpec(A),
    "vgg13": VGGSpec(B),
    "vgg16": VGGSpec(D),
    "vgg19": VGGSpec(E),
    "vgg11_bn": VGGSpec(A, batch_norm=True),
    "vgg13_bn": VGGSpec(B, batch_norm=True),
    "vgg16_bn": VGGSpec(D, batch_norm=True),
    "vgg19_bn": VGGSpec(E, batch_norm=True),
    "vgg11_lrn": VGGSpec(A, lrn=True),
    "vgg16_c": VGGSpec(C),
}


class VGG(Classifier):
    """Five blocks of convolutions, a 2x2 max pooling after each, three fully connected layers.

    With a head other than "flatten", one linear layer reads the pooled map, so that class activation maps
    exist.

    Args:
        spec: a row of `SPECS`.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        dropout: of the linear layers.
    """

    def __init__(
        self,
        spec: VGGSpec,
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "flatten",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=7)
        channels, steps = in_channels, list[tuple[str, nn.Module]]()
        for number, block in enumerate(spec.blocks, start=1):
            for width in block:
                out, kernel = abs(width), 3 if width > 0 else 1
                steps.append((f"block{number}", nn.Conv2d(channels, out, kernel, padding=kernel // 2)))
                steps += [(f"block{number}", nn.BatchNorm2d(out))] if spec.batch_norm else []
                steps.append((f"block{number}", nn.ReLU()))
                steps += [(f"block{number}", LocalResponseNorm())] if spec.lrn and len(steps) == 2 else []
                channels = out
            # A stage begins where its map does: at the pooling before it.
            following = f"block{number + 1}" if number < len(spec.blocks) else f"pool{number}"
            steps.append((following, nn.MaxPool2d(2)))
        for position, (stage, step) in enumerate(steps):
            self.add(stage, f"features.{position}", step)
        self.num_features = channels
        if head == "flatten":
            self.add_head("classifier.0", nn.Linear(channels * 49, 4096))
            self.add_head("classifier.1", nn.ReLU())
            self.add_head("classifier.2", nn.Dropout(dropout))
            self.add_head("classifier.3", nn.Linear(4096, 4096))
            self.add_head("classifier.4", nn.ReLU())
            self.add_head("classifier.5", nn.Dropout(dropout))
            self.add_head("classifier.6", nn.Linear(4096, num_classes))
        else:
            self.add_linear_head("classifier", channels, dropout)
        glorot_uniform(self)


NETWORKS = {
    name: Network(partial(VGG, spec), "vgg", 2014, SIMONYAN2014, 224, 1000) for name, spec in SPECS.items()
}
