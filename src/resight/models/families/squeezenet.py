"""SqueezeNet: AlexNet's accuracy with 50 times fewer parameters. Parameter names are torchvision's.

Source: Iandola, Han, Moskewicz, Ashraf, Dally and Keutzer, "SqueezeNet: AlexNet-level accuracy with 50x fewer
parameters and <0.5MB model size", 2016, Table 1 and section 3; version 1.1 as released by its authors, which
pools earlier and needs 2.4 times fewer computations. At 224 pixels the last map is 13 x 13.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.network import Network

IANDOLA2016 = "Iandola et al., SqueezeNet: AlexNet-level accuracy with 50x fewer parameters, arXiv:1602.07360"

POOL = "pool"
FIRE = (16, 64), (16, 64), (32, 128), (32, 128), (48, 192), (48, 192), (64, 256), (64, 256)
# Table 1: squeezed and expanded channels of fire2 to fire9, and where maps are pooled.
LAYOUTS = {
    "squeezenet1_0": ((96, 7), (POOL, *FIRE[:3], POOL, *FIRE[3:7], POOL, FIRE[7])),
    "squeezenet1_1": ((64, 3), (POOL, *FIRE[:2], POOL, *FIRE[2:4], POOL, *FIRE[4:])),
}


class Fire(nn.Module):
    """A 1x1 convolution that squeezes, then parallel 1x1 and 3x3 convolutions, concatenated.

    Args:
        channels: of the input.
        squeezed: channels between the two.
        expanded: channels of each of the two branches.
    """

    def __init__(self, channels: int, squeezed: int, expanded: int) -> None:
        super().__init__()
        self.squeeze = nn.Conv2d(channels, squeezed, 1)
        self.squeeze_activation = nn.ReLU()
        self.expand1x1 = nn.Conv2d(squeezed, expanded, 1)
        self.expand1x1_activation = nn.ReLU()
        self.expand3x3 = nn.Conv2d(squeezed, expanded, 3, padding=1)
        self.expand3x3_activation = nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to (B, 2 expanded, h, w)."""
        x = self.squeeze_activation(self.squeeze(x))
        one = self.expand1x1_activation(self.expand1x1(x))
        return torch.cat([one, self.expand3x3_activation(self.expand3x3(x))], 1)


class SqueezeNet(Classifier):
    """Fire modules, then a 1x1 convolution and ReLU that give one map per class; its mean is the logit.

    This last convolution belongs to the head, as in `NiN`: the trunk's map has 512 channels.

    Args:
        layout: a row of `LAYOUTS`.
        num_classes: logits.
        in_channels: channels of the image.
        head: "gap" (the paper's) or "gmp"; "flatten" is refused.
        dropout: before the last convolution.

    Raises:
        UsageError: for the head "flatten".
    """

    def __init__(
        self,
        layout: tuple[tuple[int, int], tuple],
        num_classes: int = 1000,
        in_channels: int = 3,
        head: str = "gap",
        dropout: float = 0.5,
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=13)
        if head == "flatten":
            raise UsageError(
                "head=flatten: not possible, SqueezeNet's last convolution gives one map per class"
            )
        (width, kernel), rows = layout
        self.add("stage1", "features.0", nn.Conv2d(in_channels, width, kernel, 2))
        self.add("stage1", "features.1", nn.ReLU())
        channels, stage = width, 1
        for number, row in enumerate(rows, start=2):
            if row == POOL:
                stage += 1
                self.add(f"stage{stage}", f"features.{number}", nn.MaxPool2d(3, 2, ceil_mode=True))
            else:
                self.add(f"stage{stage}", f"features.{number}", Fire(channels, *row))
                channels = 2 * row[1]
        self.num_features = channels
        self.drop = nn.Dropout(dropout)
        self.add_head("classifier.1", nn.Conv2d(channels, num_classes, 1))
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d):
                if name == self.classifier_name:
                    nn.init.normal_(module.weight, 0, 0.01)
                else:
                    nn.init.kaiming_uniform_(module.weight)
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Turn the last map (B, K, h, w) into logits (B, classes), or into its pooled vector (B, K)."""
        if pre_logits:
            return torch.flatten(F.adaptive_avg_pool2d(features, 1), 1)
        return self.pool(F.relu(self.get_classifier()(self.drop(features))))


NETWORKS = {
    name: Network(partial(SqueezeNet, layout), "squeezenet", 2016, IANDOLA2016, 224, 1000)
    for name, layout in LAYOUTS.items()
}
