"""Highway networks for CIFAR: gates control how much of each value passes unchanged.

Source: Srivastava, Greff and Schmidhuber, "Training Very Deep Networks", 2015, sections 2 and 4.2 (Table 2),
and the released Caffe definition of the 19-layer network. The widths of the 32-layer network are not
published; ours give its published 1.25 M parameters within 4 %.
"""

from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.classifier import Classifier
from resight.models.initialization import xavier_caffe
from resight.models.network import Network

SRIVASTAVA2015 = "Srivastava et al., Training Very Deep Networks, arXiv:1507.06228"


class HighwayLayer(nn.Module):
    """y = H(x) T(x) + x (1 - T(x)), H a convolution with ReLU, T one with a sigmoid (equation 3).

    Args:
        channels: of input and output.
        kernel: side, odd.
        gate_bias: initial bias of T; below zero, so that a fresh layer mostly carries its input.
    """

    def __init__(self, channels: int, kernel: int = 3, gate_bias: float = -2.0) -> None:
        super().__init__()
        self.gate_bias = gate_bias
        self.transform = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.gate = nn.Conv2d(channels, channels, kernel, padding=kernel // 2)
        self.close_gates()

    def close_gates(self) -> None:
        """Set T's bias to its initial value."""
        nn.init.constant_(self.gate.get_parameter("bias"), self.gate_bias)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to the same shape."""
        share = torch.sigmoid(self.gate(x))
        return F.relu(self.transform(x)) * share + x * (1 - share)


@dataclass(frozen=True)
class Block:
    """A plain convolution, then highway layers, on one map size.

    Attributes:
        width: channels.
        kernels: sides of the highway layers' kernels.
    """

    width: int
    kernels: tuple[int, ...]


# maps 32, 16, 8; then 1x1 to 100 channels and the linear layer
HIGHWAY19 = (Block(32, (3,) * 4), Block(80, (3,) * 5), Block(128, (3,) * 5))
HIGHWAY32 = tuple(Block(width, (3, 1, 3, 1, 3, 1, 3, 1, 3)) for width in (32, 64, 80))


class Highway(Classifier):
    """Three blocks with max pooling between, a 1x1 convolution, global average pooling, one linear layer.

    Initial weights are Caffe's "xavier"; the first layer N(0, 1), as Caffe reads the released definition (its
    deviation is given under a name that Caffe ignores; with 0.05 the loss did not fall for 100 steps); the
    last layer N(0, 0.05^2); gate biases -2. Biases learn twice as fast and have no weight decay; the last
    layer has ten times the weight decay.

    Args:
        blocks: a table above.
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        gate_bias: of fresh gates.
        dropout: of the image, between blocks and before the last layer.
    """

    def __init__(
        self,
        blocks: tuple[Block, ...],
        num_classes: int = 10,
        in_channels: int = 3,
        head: str = "gap",
        gate_bias: float = -2.0,
        dropout: float = 0.2,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=8)
        self.add("block1", "dropout0", nn.Dropout(dropout))
        channels = in_channels
        for number, block in enumerate(blocks, start=1):
            stage = f"block{number}"
            if number > 1:
                self.add(stage, f"pool{number - 1}", nn.MaxPool2d(2))
                self.add(stage, f"dropout{number - 1}", nn.Dropout(dropout))
            self.add(stage, f"conv{number}", nn.Conv2d(channels, block.width, 3, padding=1))
            self.add(stage, f"relu{number}", nn.ReLU())
            layers = (HighwayLayer(block.width, kernel, gate_bias) for kernel in block.kernels)
            self.add(stage, f"highway{number}", nn.Sequential(*layers))
            channels = block.width
        stage = f"block{len(blocks)}"
        self.add(stage, "conv_last", nn.Conv2d(channels, 100, 1))
        self.add(stage, "relu_last", nn.ReLU())
        self.num_features = 100
        self.add_linear_head("fc", 100, dropout)
        xavier_caffe(self)
        nn.init.normal_(self.get_parameter("conv1.weight"), std=1.0)
        nn.init.normal_(self.get_parameter("fc.weight"), std=0.05)
        for module in self.modules():
            if isinstance(module, HighwayLayer):
                module.close_gates()

    def learning(self, name: str) -> tuple[float, float]:
        """Return 2 and 0 for biases, 1 and 10 for the last layer's weights."""
        if name.endswith("bias"):
            return 2.0, 0.0
        return 1.0, 10.0 if name == "fc.weight" else 1.0


NETWORKS = {
    "highway19": Network(partial(Highway, HIGHWAY19), "highway", 2015, SRIVASTAVA2015, 32, 10),
    "highway32": Network(partial(Highway, HIGHWAY32), "highway", 2015, SRIVASTAVA2015, 32, 10),
}
