"""What is in a region, in per-class form: the second stage of the localization entry of ILSVRC 2015.

He et al. 2015, "Deep Residual Learning for Image Recognition", appendix C: two sibling fully connected layers
say of every class whether a region shows an object of it (an independent logistic each) and the step to its
box. There each region is a picture of its own, cut out and enlarged; here it is pooled from the map.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.heads.anchors import encoded
from resight.models.heads.proposals import BETA
from resight.models.heads.regions import WEIGHTS

SIDE, CHANNELS = 7, 128
"""Places along a region's side, and channels that the map is reduced to before regions are pooled."""


class ClassRegions(nn.Module):
    """Says of every region and class how likely it is, and the step to its box.

    Args:
        channels: K, of the map.
        classes: how many there are.
    """

    def __init__(self, channels: int, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.reduce = nn.Conv2d(channels, CHANNELS, 1, bias=False)
        self.even = nn.GroupNorm(1, CHANNELS)  # of one region alone: a step may be computed in parts
        self.cls, self.reg = (nn.Linear(CHANNELS * SIDE**2, n * classes) for n in (1, 4))
        nn.init.normal_(self.cls.weight, std=0.01)
        nn.init.normal_(self.reg.weight, std=0.001)
        nn.init.zeros_(self.reg.bias)
        with torch.no_grad():  # a quarter of the sampled regions are of an object, each of one class
            self.cls.bias.fill_(-torch.tensor(4.0 * classes - 1).log())

    def forward(self, features: Tensor, regions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return logits (R, classes) and steps (R, classes, 4) of the regions of all pictures.

        Args:
            features: (B, K, h, w).
            regions: of each picture, (n, 4) in shares of its sides.
        """
        from torchvision.ops import roi_align

        height, width = features.shape[2:]
        rows = torch.cat(list(regions)) * torch.tensor([width, height] * 2, device=features.device)
        owner = torch.cat([own.new_full((len(own), 1), row) for row, own in enumerate(regions)])
        reduced = self.reduce(features).float()
        squares = roi_align(reduced, torch.cat([owner, rows], 1), SIDE, 1.0, 2, aligned=True)
        vectors = F.relu(self.even(squares)).flatten(1)
        return self.cls(vectors).float(), self.reg(vectors).float().view(-1, self.classes, 4)


def class_loss(logits: Tensor, steps: Tensor, regions: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """Return the loss of a picture's regions: logistic, summed over the classes, and that of the steps.

    Args:
        logits: (R, classes).
        steps: (R, classes, 4).
        regions: (R, 4).
        labels: class numbers from 1, 0 for background, (R,).
        wanted: boxes of the objects, (R, 4); not read for background.
    """
    of = torch.nonzero(labels).flatten()
    targets = torch.zeros_like(logits)
    targets[of, labels[of] - 1] = 1
    named = F.binary_cross_entropy_with_logits(logits, targets, reduction="sum")
    target = encoded(wanted[of], regions[of], WEIGHTS)
    moved = F.smooth_l1_loss(steps[of, labels[of] - 1], target, beta=BETA, reduction="sum")
    return (named + moved) / max(len(labels), 1)
