"""GoogLeNet: as published in 2014, and torchvision's with batch normalization.

Source: Szegedy et al., "Going Deeper with Convolutions", 2014, Table 1, figure 2 and section 5; details that
the paper omits (biases, normalization) follow the released Caffe definition. `googlenet` keeps torchvision's
parameter names; its "5x5" branches are 3x3.
"""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.branches import Branches, Conv, Pool
from resight.models.classifier import Classifier
from resight.models.initialization import xavier_caffe
from resight.models.network import Network
from resight.models.operators.convolution import ConvNormAct
from resight.models.operators.normalization import RESPONSE_NORMS

SZEGEDY2014 = "Szegedy et al., Going Deeper with Convolutions, arXiv:1409.4842"

# Table 1: 1x1, 3x3 reduce, 3x3, 5x5 reduce, 5x5, pool projection
TABLE = {
    "3a": (64, 96, 128, 16, 32, 32),
    "3b": (128, 128, 192, 32, 96, 64),
    "4a": (192, 96, 208, 16, 48, 64),  # first auxiliary head
    "4b": (160, 112, 224, 24, 64, 64),
    "4c": (128, 128, 256, 24, 64, 64),
    "4d": (112, 144, 288, 32, 64, 64),  # second auxiliary head
    "4e": (256, 160, 320, 32, 128, 128),
    "5a": (256, 160, 320, 32, 128, 128),
    "5b": (384, 192, 384, 48, 128, 128),
}


class ConvRelu(nn.Sequential):
    """Convolution with bias and ReLU, as in the paper of 2014."""

    def __init__(self, channels: int, out: int, kernel: int, stride: int = 1, padding: str = "same") -> None:
        super().__init__()
        pad = kernel // 2 if padding == "same" else 0
        self.conv = nn.Conv2d(channels, out, kernel, stride, pad)
        self.relu = nn.ReLU()


class NaiveInception(Branches):
    """Parallel 1x1, 3x3, 5x5 and 3x3 max pooling (figure 2a): the number of channels never falls.

    Args:
        channels: of the input.
        out1: channels of the 1x1.
        out3: channels of the 3x3.
        out5: channels of the 5x5.
        make: makes a convolution.
        large: side of the kernel in the third branch.
    """

    def __init__(
        self,
        channels: int,
        out1: int,
        out3: int,
        out5: int,
        make: Callable[..., nn.Module] = ConvRelu,
        large: int = 5,
    ) -> None:
        one, two, three = Conv("branch1", out1), Conv("branch2", out3, 3), Conv("branch3", out5, large)
        super().__init__(channels, ((one,), (two,), (three,), (Pool(),)), make)


class Inception(Branches):
    """The module with 1x1 reductions before 3x3 and 5x5 and after the pooling (figure 2b).

    Args:
        channels: of the input.
        row: a row of `TABLE`.
        make: makes a convolution.
        large: side of the kernel in the third branch.
    """

    def __init__(
        self,
        channels: int,
        row: tuple[int, ...],
        make: Callable[..., nn.Module] = ConvRelu,
        large: int = 5,
    ) -> None:
        out1, reduce3, out3, reduce5, out5, projection = row
        ways = (
            (Conv("branch1", out1),),
            (Conv("branch2.0", reduce3), Conv("branch2.1", out3, 3)),
            (Conv("branch3.0", reduce5), Conv("branch3.1", out5, large)),
            (Pool(), Conv("branch4.1", projection)),
        )
        super().__init__(channels, ways, make)


class Auxiliary(nn.Module):
    """A small classifier on an intermediate map, for training only (section 5).

    Maps smaller than 14 x 14 are averaged to its 4 x 4 positions.
    """

    def __init__(self, channels: int, num_classes: int, make: Callable[..., nn.Module]) -> None:
        super().__init__()
        self.conv = make(channels, 128, 1)
        self.fc1 = nn.Linear(2048, 1024)
        self.relu, self.dropout = nn.ReLU(), nn.Dropout(0.7)
        self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to logits (B, classes)."""
        x = F.avg_pool2d(x, 5, 3) if x.shape[-1] == x.shape[-2] == 14 else F.adaptive_avg_pool2d(x, 4)
        x = torch.flatten(self.conv(x), 1)
        return self.fc2(self.dropout(self.relu(self.fc1(x))))


class GoogLeNet(Classifier):
    """Stem, nine inception modules, global average pooling, dropout, one linear layer.

    The two auxiliary heads are trained with weight 0.3 and are not used at test.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        batch_norm: torchvision's network instead of the paper's.
        aux: whether to add the auxiliary heads.
        module: "reduced" (figure 2b) or "naive" (figure 2a): the pooled map keeps all its channels, so every
            module has more than the one before.
        lrn: constants of the local response normalization, without batch normalization: "caffe", those of the
            released model, or "krizhevsky" (k = 2, undivided alpha), those of files that do not name them.
    """

    auxiliary_weight = 0.3

    def __init__(
        self,
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "gap",
        *,
        batch_norm: bool,
        aux: bool = True,
        module: str = "reduced",
        lrn: str = "caffe",
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=7)
        make: Callable[..., nn.Module] = ConvNormAct if batch_norm else ConvRelu
        if module not in ("reduced", "naive"):
            raise UsageError(f"module={module} is not one of reduced, naive")
        response_norm = lookup(RESPONSE_NORMS, lrn, "response normalization")
        self.add("conv1", "conv1", make(in_channels, 64, 7, 2))
        self.add("conv2", "maxpool1", nn.MaxPool2d(3, 2, ceil_mode=True))
        if not batch_norm:
            self.add("conv2", "norm1", response_norm())
        self.add("conv2", "conv2", make(64, 64, 1))
        self.add("conv2", "conv3", make(64, 192, 3))
        if not batch_norm:
            self.add("conv2", "norm2", response_norm())
        channels, widths = 192, {}
        for name, row in TABLE.items():
            stage = f"inception{name[0]}"
            if name == "3a":
                self.add(stage, "maxpool2", nn.MaxPool2d(3, 2, ceil_mode=True))
            if name == "4a":
                self.add(stage, "maxpool3", nn.MaxPool2d(3, 2, ceil_mode=True))
            if name == "5a":
                self.add(stage, "maxpool4", nn.MaxPool2d(2 if batch_norm else 3, 2, ceil_mode=True))
            large = 3 if batch_norm else 5
            if module == "naive":
                out1, _, out3, _, out5, _ = row
                parallel: Branches = NaiveInception(channels, out1, out3, out5, make, large)
            else:
                parallel = Inception(channels, row, make, large)
            channels = widths[name] = self.add(stage, f"inception{name}", parallel).out
        self.num_features = channels
        self.add_linear_head("fc", channels, dropout=0.2 if batch_norm else 0.4)
        if aux:
            self.add_auxiliary("inception4a", "aux1", Auxiliary(widths["4a"], num_classes, make))
            self.add_auxiliary("inception4d", "aux2", Auxiliary(widths["4d"], num_classes, make))
        if batch_norm:
            for layer in self.modules():
                if isinstance(layer, nn.Conv2d | nn.Linear):
                    nn.init.trunc_normal_(layer.weight, std=0.01, a=-2, b=2)
        else:
            xavier_caffe(self, bias=0.2)
            for name in ("fc", "aux1.fc2", "aux2.fc2") if aux else ("fc",):
                nn.init.zeros_(self.get_parameter(f"{name}.bias"))

    def training_only(self) -> tuple[str, ...]:
        """Return the names of the auxiliary heads."""
        return ("aux1", "aux2")


NETWORKS = {
    "googlenet": Network(
        partial(GoogLeNet, batch_norm=True, lrn="caffe"), "googlenet", 2014, SZEGEDY2014, 224, 1000
    ),
    "googlenet_2014": Network(
        partial(GoogLeNet, batch_norm=False),
        "googlenet",
        2014,
        SZEGEDY2014,
        224,
        1000,
        before={"lrn": "krizhevsky"},
    ),
}
