"""Inception-v3. Parameter names are torchvision's.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision", 2015, Table 1, figures 5
to 7 and 10, section 4 (auxiliary classifier). Initial weights are normal, truncated at two standard
deviations (0.1; in the auxiliary head 0.01 and 0.001), as in the released model.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.branches import Branch, Branches, Conv, Pool
from resight.models.classifier import Classifier
from resight.models.network import Network
from resight.models.operators.convolution import ConvNormAct

SZEGEDY2015 = "Szegedy et al., Rethinking the Inception Architecture for Computer Vision, arXiv:1512.00567"


def module_a(projection: int) -> tuple[Branch, ...]:
    """Return figure 5: a 5x5, and two 3x3 that replace another."""
    return (
        (Conv("branch1x1", 64),),
        (Conv("branch5x5_1", 48), Conv("branch5x5_2", 64, 5)),
        (Conv("branch3x3dbl_1", 64), Conv("branch3x3dbl_2", 96, 3), Conv("branch3x3dbl_3", 96, 3)),
        (Pool("average"), Conv("branch_pool", projection)),
    )


REDUCTION_B: tuple[Branch, ...] = (
    (Conv("branch3x3", 384, 3, 2, "valid"),),
    (
        Conv("branch3x3dbl_1", 64),
        Conv("branch3x3dbl_2", 96, 3),
        Conv("branch3x3dbl_3", 96, 3, 2, "valid"),
    ),
    (Pool(stride=2),),
)


def module_c(width: int) -> tuple[Branch, ...]:
    """Return figure 6: 7x7 as 1x7 and 7x1."""
    return (
        (Conv("branch1x1", 192),),
        (
            Conv("branch7x7_1", width),
            Conv("branch7x7_2", width, (1, 7)),
            Conv("branch7x7_3", 192, (7, 1)),
        ),
        (
            Conv("branch7x7dbl_1", width),
            Conv("branch7x7dbl_2", width, (7, 1)),
            Conv("branch7x7dbl_3", width, (1, 7)),
            Conv("branch7x7dbl_4", width, (7, 1)),
            Conv("branch7x7dbl_5", 192, (1, 7)),
        ),
        (Pool("average"), Conv("branch_pool", 192)),
    )


REDUCTION_D: tuple[Branch, ...] = (
    (Conv("branch3x3_1", 192), Conv("branch3x3_2", 320, 3, 2, "valid")),
    (
        Conv("branch7x7x3_1", 192),
        Conv("branch7x7x3_2", 192, (1, 7)),
        Conv("branch7x7x3_3", 192, (7, 1)),
        Conv("branch7x7x3_4", 192, 3, 2, "valid"),
    ),
    (Pool(stride=2),),
)
MODULE_E: tuple[Branch, ...] = (  # figure 7: the banks are spread out
    (Conv("branch1x1", 320),),
    (
        Conv("branch3x3_1", 384),
        (Conv("branch3x3_2a", 384, (1, 3)), Conv("branch3x3_2b", 384, (3, 1))),
    ),
    (
        Conv("branch3x3dbl_1", 448),
        Conv("branch3x3dbl_2", 384, 3),
        (Conv("branch3x3dbl_3a", 384, (1, 3)), Conv("branch3x3dbl_3b", 384, (3, 1))),
    ),
    (Pool("average"), Conv("branch_pool", 192)),
)
# Table 1, from the 35x35 map on.
TABLE = {
    "Mixed_5b": ("inception5", module_a(32)),
    "Mixed_5c": ("inception5", module_a(64)),
    "Mixed_5d": ("inception5", module_a(64)),
    "Mixed_6a": ("inception6", REDUCTION_B),
    "Mixed_6b": ("inception6", module_c(128)),
    "Mixed_6c": ("inception6", module_c(160)),
    "Mixed_6d": ("inception6", module_c(160)),
    "Mixed_6e": ("inception6", module_c(192)),
    "Mixed_7a": ("inception7", REDUCTION_D),
    "Mixed_7b": ("inception7", MODULE_E),
    "Mixed_7c": ("inception7", MODULE_E),
}


class Auxiliary(nn.Module):
    """The classifier on the last 17x17 map, for training only (figure 8).

    Other maps are averaged to its 5 x 5 positions.
    """

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__()
        self.conv0 = ConvNormAct(channels, 128, 1)
        self.conv1 = ConvNormAct(128, 768, 5, padding="valid")
        self.fc = nn.Linear(768, num_classes)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, h, w) to logits (B, classes)."""
        x = F.avg_pool2d(x, 5, 3) if x.shape[-1] == x.shape[-2] == 17 else F.adaptive_avg_pool2d(x, 5)
        return self.fc(torch.flatten(self.conv1(self.conv0(x)), 1))


class InceptionV3(Classifier):
    """Stem, eleven modules, global average pooling, dropout, one linear layer.

    The auxiliary head is trained with weight 0.4 (the released training; the paper says 0.3 of GoogLeNet's)
    and is not used at test.

    Args:
        num_classes: logits.
        in_channels: channels of the image.
        head: see `Classifier`.
        aux: whether to add the auxiliary head.
    """

    auxiliary_weight = 0.4

    def __init__(
        self, num_classes: int = 1000, in_channels: int = 3, head: str = "gap", *, aux: bool = True
    ) -> None:
        super().__init__(num_classes, in_channels, head, grid=8)
        self.add("stem1", "Conv2d_1a_3x3", ConvNormAct(in_channels, 32, 3, 2, "valid"))
        self.add("stem1", "Conv2d_2a_3x3", ConvNormAct(32, 32, 3, padding="valid"))
        self.add("stem1", "Conv2d_2b_3x3", ConvNormAct(32, 64, 3))
        self.add("stem2", "maxpool1", nn.MaxPool2d(3, 2))
        self.add("stem2", "Conv2d_3b_1x1", ConvNormAct(64, 80, 1))
        self.add("stem2", "Conv2d_4a_3x3", ConvNormAct(80, 192, 3, padding="valid"))
        self.add("inception5", "maxpool2", nn.MaxPool2d(3, 2))
        channels = 192
        for name, (stage, branches) in TABLE.items():
            channels = self.add(stage, name, Branches(channels, branches)).out
        self.num_features = channels
        self.add_linear_head("fc", channels, dropout=0.5)
        if aux:
            self.add_auxiliary("Mixed_6e", "AuxLogits", Auxiliary(768, num_classes))
        for name, module in self.named_modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                std = {"AuxLogits.conv1.conv": 0.01, "AuxLogits.fc": 0.001}.get(name, 0.1)
                nn.init.trunc_normal_(module.weight, std=std, a=-2 * std, b=2 * std)

    def training_only(self) -> tuple[str, ...]:
        """Return the name of the auxiliary head."""
        return ("AuxLogits",)


NETWORKS = {
    "inception_v3": Network(partial(InceptionV3), "inception", 2015, SZEGEDY2015, 299, 1000, least_size=75),
}
