"""LeNet-5: as published in 1998, and as it is implemented today.

Source: LeCun, Bottou, Bengio and Haffner, "Gradient-based learning applied to document recognition", 1998,
section II.B, Table I (which maps of S2 each map of C3 reads), figure 2.
"""

from fractions import Fraction
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.classifier import Classifier
from resight.models.criterion import PLAIN, Criterion
from resight.models.initialization import fan_in
from resight.models.network import Network
from resight.models.operators.activation import ScaledTanh
from resight.models.operators.activation import activation as make_activation
from resight.models.operators.pooling import TrainableSubsample, pooling

LECUN1998 = "LeCun et al., Gradient-Based Learning Applied to Document Recognition, Proc. IEEE 86(11)"

# layer     C1 5x5 6   S2 2x2   C3 5x5 16 (Table I)   S4 2x2   C5 5x5 120   F6 84   output RBF 10
# map       28         14       10                    5        1
TABLE_I = (
    (0, 1, 2), (1, 2, 3), (2, 3, 4), (3, 4, 5), (0, 4, 5), (0, 1, 5),
    (0, 1, 2, 3), (1, 2, 3, 4), (2, 3, 4, 5), (0, 3, 4, 5), (0, 1, 4, 5), (0, 1, 2, 5),
    (0, 1, 3, 4), (1, 2, 4, 5), (0, 2, 3, 5), (0, 1, 2, 3, 4, 5),
)  # fmt: skip

# 7 x 12 drawings of the ten digits, each row a number of seven bits; our own, in the manner of figure 3.
DIGITS = (
    (0, 28, 34, 65, 65, 65, 65, 65, 65, 34, 28, 0),
    (0, 8, 24, 40, 8, 8, 8, 8, 8, 8, 62, 0),
    (0, 28, 34, 65, 1, 2, 4, 8, 16, 32, 127, 0),
    (0, 62, 65, 1, 1, 30, 1, 1, 1, 65, 62, 0),
    (0, 2, 6, 10, 18, 34, 66, 127, 2, 2, 2, 0),
    (0, 127, 64, 64, 124, 66, 1, 1, 1, 66, 60, 0),
    (0, 14, 16, 32, 64, 94, 97, 65, 65, 34, 28, 0),
    (0, 127, 1, 2, 2, 4, 4, 8, 8, 16, 16, 0),
    (0, 62, 65, 65, 65, 62, 65, 65, 65, 65, 62, 0),
    (0, 28, 34, 65, 65, 67, 61, 1, 2, 4, 56, 0),
)


class PartialConv2d(nn.Module):
    """A 5x5 convolution in which each output reads only the inputs listed in a table.

    It has weights only for the table's connections: (connections, 5, 5).

    Args:
        channels: of the input.
        table: for each output, the inputs that it reads.

    Attributes:
        connected: share of the dense convolution's connections that exist, in (0, 1].
    """

    index: Tensor

    def __init__(self, channels: int, table: tuple[tuple[int, ...], ...]) -> None:
        super().__init__()
        self.channels, self.out = channels, len(table)
        self.kernel, self.stride = 5, 1
        places = [row * channels + column for row, columns in enumerate(table) for column in columns]
        self.connected = Fraction(len(places), self.out * channels)
        self.dense_inputs = 25 * channels * self.connected  # what an output reads, on average
        self.register_buffer("index", torch.tensor(places), persistent=False)
        self.weight = nn.Parameter(torch.empty(len(places), 5, 5))
        self.bias = nn.Parameter(torch.zeros(self.out))
        with torch.no_grad():
            for weight, place in zip(self.weight, places, strict=True):
                bound = 2.4 / (25 * len(table[place // channels]))
                weight.uniform_(-bound, bound)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, channels, h, w) to (B, out, h - 4, w - 4)."""
        dense = self.weight.new_zeros(self.out * self.channels, 5, 5).index_copy(0, self.index, self.weight)
        return F.conv2d(x, dense.view(self.out, self.channels, 5, 5), self.bias)


class EuclideanRBF(nn.Module):
    """Logit_i = -|x - w_i|^2, w_i a fixed code of +1 and -1: the output layer of 1998 (equation 7).

    With 84 inputs and ten classes, the codes are drawings of the digits; otherwise they are fixed random
    codes, the alternative that the paper names.

    Args:
        in_features: length of a code.
        num_classes: number of codes.
    """

    codes: Tensor

    def __init__(self, in_features: int, num_classes: int) -> None:
        super().__init__()
        self.in_features = in_features
        if (in_features, num_classes) == (84, 10):
            rows = [[(row >> (6 - bit)) & 1 for row in digit for bit in range(7)] for digit in DIGITS]
            codes = 2.0 * torch.tensor(rows) - 1
        else:
            generator = torch.Generator(device="cpu").manual_seed(1998)
            flips = torch.rand(num_classes, in_features, generator=generator, device="cpu")
            codes = (1 - 2 * (flips < 0.5).float()).to(torch.get_default_device())
        self.register_buffer("codes", codes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, in_features) to (B, num_classes)."""
        return -((x[:, None] - self.codes) ** 2).sum(2)


class LeNet5(Classifier):
    """C1 to F6 and the output, as in figure 2 of the paper; the map that the head reads is S4's.

    Input: 32x32, the background at -0.1 and the foreground at 1.175 in the paper. Initial weights are uniform
    in +-2.4 / fan-in. The training criterion is the paper's equation 9 with j = 0.1. Deviation: the drawings
    of the digits are our own. C5 is a linear layer on the 5x5 map, at 32x32 the same as the paper's
    convolution.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`; "flatten" is the paper's.
    """

    rubbish = 0.1  # j of equation 9

    def __init__(self, num_classes: int = 10, in_channels: int = 1, head: str = "flatten") -> None:
        super().__init__(num_classes, in_channels, head, grid=5)
        self.add("c1", "c1", nn.Conv2d(in_channels, 6, 5))
        self.add("c1", "squash1", ScaledTanh())
        self.add("s2", "s2", TrainableSubsample(6))
        self.add("c3", "c3", PartialConv2d(6, TABLE_I))
        self.add("c3", "squash3", ScaledTanh())
        self.add("s4", "s4", TrainableSubsample(16))
        self.num_features = 16
        width = 16
        if head == "flatten":
            self.add_head("c5", nn.Linear(400, 120))
            self.add_head("squash5", ScaledTanh())
            width = 120
        self.add_head("f6", nn.Linear(width, 84))
        self.add_head("squash6", ScaledTanh())
        self.add_head("output", EuclideanRBF(84, num_classes))
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.uniform_(module.weight, -(b := 2.4 / fan_in(module)), b)

    def loss(
        self, outputs: tuple[Tensor, ...], targets: Tensor, done: float, criterion: Criterion = PLAIN
    ) -> Tensor:
        """Return the mean of y_D + log(exp(-j) + sum_i exp(-y_i)), y = -logits (equation 9); no smoothing."""
        rubbish = outputs[0].new_full((len(targets), 1), -self.rubbish)
        if targets.dim() == 2:
            targets = F.pad(targets, (0, 1))
        weights = criterion.weights
        plain = Criterion(weights=None if weights is None else F.pad(weights, (0, 1), value=1.0))
        return super().loss((torch.cat([outputs[0], rubbish], 1),), targets, done, plain)


class ModernLeNet5(Classifier):
    """LeNet-5 as taught today: every map of C3 reads all of S2; plain pooling, linear output.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        activation: by name, see `operators.activation`.
        pool: by name, see `operators.pooling`.
    """

    def __init__(
        self,
        num_classes: int = 10,
        in_channels: int = 1,
        head: str = "flatten",
        activation: str = "tanh",
        pool: str = "average",
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=5)
        act = partial(make_activation, activation)
        self.add("c1", "c1", nn.Conv2d(in_channels, 6, 5))
        self.add("c1", "act1", act(6))
        self.add("s2", "s2", pooling(pool, 2, 2))
        self.add("c3", "c3", nn.Conv2d(6, 16, 5))
        self.add("c3", "act3", act(16))
        self.add("s4", "s4", pooling(pool, 2, 2))
        self.num_features = 16
        if head == "flatten":
            self.add_head("c5", nn.Linear(400, 120))
            self.add_head("act5", act(120))
            self.add_head("f6", nn.Linear(120, 84))
            self.add_head("act6", act(84))
            self.add_head("output", nn.Linear(84, num_classes))
        else:
            self.add_linear_head("output", 16)


NETWORKS = {
    "lenet5": Network(partial(LeNet5), "lenet", 1998, LECUN1998, 32, 10, channels=1, least_size=16),
    "lenet5_modern": Network(
        partial(ModernLeNet5), "lenet", 1998, LECUN1998, 32, 10, channels=1, least_size=16
    ),
}
