"""The maxout network for CIFAR, and FitNet-19, a thin and deep student of it.

Sources: Goodfellow, Warde-Farley, Mirza, Courville and Bengio, "Maxout Networks", 2013, section 5.2 and the
released configuration; Romero et al., "FitNets: Hints for Thin Deep Nets", 2014, section 3 (hints,
distillation), the table of architectures in its appendix and the released configuration.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.models.classifier import Classifier
from resight.models.initialization import xavier_caffe
from resight.models.network import Network
from resight.models.operators.activation import GROUPED, Maxout

GOODFELLOW2013 = "Goodfellow et al., Maxout Networks, arXiv:1302.4389"
ROMERO2014 = "Romero et al., FitNets: Hints for Thin Deep Nets, arXiv:1412.6550"


class MaxoutClassifier(Classifier):
    """A network of maxout convolutions, whose kernels are kept within a norm.

    Attributes:
        norms: largest norm of a unit's incoming weights, by the layer's name.
        pooled: makes the pooling over groups of so many channels.
    """

    norms: ClassVar[Mapping[str, float]] = {}
    pooled: Callable[[int], nn.Module] = Maxout

    def add_maxout(self, stage: str, name: str, channels: int, out: int, kernel: int, padding: int) -> None:
        """Append a convolution and the maximum over pairs of its channels."""
        self.add(stage, name, nn.Conv2d(channels, 2 * out, kernel, padding=padding))
        self.add(stage, f"maxout_{name}", self.pooled(2))

    @torch.no_grad()
    def constrain(self) -> None:
        """Scale every unit's incoming weights down to its layer's norm where they exceed it."""
        for name, most in self.norms.items():
            if name.partition(".")[0] in self._modules:
                torch.renorm(weight := self.get_parameter(f"{name}.weight"), 2, 0, most, out=weight)

    def learning(self, name: str) -> tuple[float, float]:
        """Return 0.05 for convolutions, as in the released configurations."""
        return (0.05 if isinstance(self.get_submodule(name.rpartition(".")[0]), nn.Conv2d) else 1.0), 1.0


class MaxoutNet(MaxoutClassifier):
    """Three maxout convolutions and one maxout linear layer, with 2, 2, 2 and 5 pieces.

    The first layer's initial weights are uniform in +-0.005, as in the released configuration, later ones in
    +-sqrt(3 / fan-in), which preserves the scale of maxout's outputs. Deviation: the release uses +-0.005 for
    all layers; then the logits of a fresh network differ by 5e-5, and the loss did not fall for 383 steps.
    With a larger first layer too, the released rate makes the loss NaN. The grid of the head "flatten" is the
    paper's 5 x 5. As in the paper, the last window of each pooling may extend beyond the border.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`; only "flatten" has the hidden linear layer.
        over: how the channels of a group are pooled: "max", or "l2" in place of maxout.

    Raises:
        UsageError: if there is no such pooling.
    """

    norms: ClassVar[Mapping[str, float]] = {"h0": 0.9, "h1": 1.9365, "h2": 1.9365, "h3": 1.9, "fc": 1.9365}

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, head: str = "flatten", over: str = "max"
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=5)
        self.pooled = lookup(GROUPED, over, "pooling over features")
        self.add("h0", "dropout0", nn.Dropout(0.2))
        self.add_maxout("h0", "h0", in_channels, 96, 8, 4)
        self.add("h1", "pool0", nn.MaxPool2d(4, 2, ceil_mode=True))
        self.add("h1", "dropout1", nn.Dropout(0.5))
        self.add_maxout("h1", "h1", 96, 192, 8, 3)
        self.add("h2", "pool1", nn.MaxPool2d(4, 2, ceil_mode=True))
        self.add("h2", "dropout2", nn.Dropout(0.5))
        self.add_maxout("h2", "h2", 192, 192, 5, 3)
        self.add("pool2", "pool2", nn.MaxPool2d(2, ceil_mode=True))
        self.num_features = 192
        self.add_head("dropout3", nn.Dropout(0.5))
        if head == "flatten":
            self.add_head("h3", nn.Linear(4800, 2500))
            self.add_head("maxout_h3", self.pooled(5))
            self.add_head("dropout4", nn.Dropout(0.5))
        self.add_head("fc", nn.Linear(500 if head == "flatten" else 192, num_classes))
        xavier_caffe(self)
        nn.init.uniform_(self.get_parameter("h0.weight"), -0.005, 0.005)


# FitNet 4 (19 layers): channels of the convolutions between two poolings; maps 32, 16, 8
FITNET = ((32, 32, 32, 48, 48), (80,) * 6, (128,) * 6)


class FitNet(MaxoutClassifier):
    """Seventeen thin maxout convolutions, one maxout linear layer, one linear layer.

    With `hint`, a regressor reads the guided layer (the eleventh, after its pooling) and is trained to
    predict the teacher's hint layer; it is not used otherwise. Initial weights are uniform in
    +-sqrt(3 / fan-in), which preserves the scale of maxout's outputs. Deviation: the release uses +-0.005,
    which makes the last map of a fresh network as small as 1e-20.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`; "flatten" is the paper's: 8x8 max pooling and a hidden maxout layer.
        hint: channels of the teacher's hint layer; 0 for no regressor.
    """

    norms: ClassVar[Mapping[str, float]] = {
        **{f"h{n}": 0.9 for n in range(17)},
        "h17": 1.9,
        "fc": 1.9365,
    }

    def __init__(
        self, num_classes: int = 10, in_channels: int = 3, head: str = "flatten", hint: int = 0
    ) -> None:
        if hint < 0:
            raise UsageError(f"hint={hint} must not be negative")
        super().__init__(num_classes, in_channels, head, grid=1)
        channels, number = in_channels, 0
        for position, widths in enumerate(FITNET):
            stage = f"block{position + 1}"
            if position:
                self.add(stage, f"pool{position - 1}", nn.MaxPool2d(2))
            for width in widths:
                self.add_maxout(stage, f"h{number}", channels, width, 3, 1)
                channels, number = width, number + 1
        self.num_features = channels
        if head == "flatten":
            self.add_head("h17", nn.Linear(channels, 2500))
            self.add_head("maxout_h17", Maxout(5))
        self.add_head("fc", nn.Linear(500 if head == "flatten" else channels, num_classes))
        xavier_caffe(self)
        if hint:
            self.regressor, self.guided_layer = nn.Conv2d(80, hint, 2), "pool1"

    def training_only(self) -> tuple[str, ...]:
        """Return the regressor's name."""
        return ("regressor",)

    def pool(self, features: Tensor) -> Tensor:
        """Pool the last map by maximum with the paper's head, else by the head's rule."""
        if self.head == "flatten":
            return torch.flatten(F.adaptive_max_pool2d(features, 1), 1)
        return super().pool(features)


NETWORKS = {
    "maxout": Network(partial(MaxoutNet), "maxout", 2013, GOODFELLOW2013, 32, 10),
    "fitnet19": Network(partial(FitNet), "fitnet", 2014, ROMERO2014, 32, 10),
}
