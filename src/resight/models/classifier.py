"""The contract of every network: a trunk that keeps a map, a head that reads it."""

from collections import OrderedDict
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.preprocessing import Preprocessing


class Classifier(nn.Module):
    """A trunk and a head: `forward(x) == forward_head(forward_features(x))`.

    B images, K channels, h x w map.

    Attributes:
        num_features: K, channels of the last map.
        num_classes: logits.
        in_channels: channels of the image.
        fc: the last linear layer.
        logit_scale: what the pooled map is multiplied by.
        classes: names of the classes, in the order of the logits; empty until weights bring them.
        preprocessing: what must happen to a picture first; None until weights bring it.
        name: the name under which it was created.
        options: the options with which it was created.
    """

    num_features: int
    num_classes: int
    in_channels: int
    fc: nn.Linear
    logit_scale: float = 1.0

    def __init__(self) -> None:
        super().__init__()
        self.classes: tuple[str, ...] = ()
        self.preprocessing: Preprocessing | None = None
        self.name, self.options = "", dict[str, Any]()

    @property
    def stages(self) -> "OrderedDict[str, nn.Module]":
        """The named stages (layer1, layer2, ...), first to last; the last one gives the last map."""
        return OrderedDict((n, m) for n, m in self.named_children() if n.startswith("layer"))

    def initialize_from(self, images: Tensor) -> None:
        """Let a fresh network look at some normalized training images (B, C, H, W); most do not."""

    def forward_features(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into the last map (B, K, h, w)."""
        raise NotImplementedError

    def forward_head(self, features: Tensor, *, pre_logits: bool = False) -> Tensor:
        """Average the last map over space and give logits.

        Args:
            features: (B, K, h, w).
            pre_logits: stop before the linear layer.

        Returns:
            (B, classes), or (B, K).
        """
        # adaptive_avg_pool2d, not mean: bit-equal to torchvision.
        pooled = torch.flatten(F.adaptive_avg_pool2d(features, 1), 1) * self.logit_scale
        return pooled if pre_logits else self.fc(pooled)

    def get_classifier(self) -> nn.Linear:
        """Return the last linear layer."""
        return self.fc

    def reset_classifier(self, num_classes: int) -> None:
        """Replace the last linear layer by a fresh one of `num_classes` logits."""
        self.num_classes, self.classes = num_classes, ()
        self.fc = nn.Linear(self.num_features, num_classes).to(self.fc.weight)

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into logits (B, classes)."""
        return self.forward_head(self.forward_features(images))
