"""The mask of each detection (He et al. 2017, "Mask R-CNN", section 3)."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SIDE = 28
"""Of a mask, in places of its box."""
LAYERS = 4


class MaskHead(nn.Module):
    """Four convolutions, an enlargement and a mask for each class; parameters are called as in torchvision.

    Args:
        channels: of the pooled squares.
        width: of the layers.
        classes: without background.
    """

    def __init__(self, channels: int, width: int, classes: int) -> None:
        super().__init__()
        self.mask_head = nn.Sequential(
            *(
                nn.Sequential(nn.Conv2d(width if n else channels, width, 3, padding=1), nn.ReLU())
                for n in range(LAYERS)
            )
        )
        self.mask_predictor = nn.ModuleDict(
            {
                "conv5_mask": nn.ConvTranspose2d(width, width, 2, 2),
                "mask_fcn_logits": nn.Conv2d(width, classes + 1, 1),
            }
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d):
                nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, squares: Tensor) -> Tensor:
        """Turn squares (R, K, 14, 14) into mask logits (R, classes + 1, 28, 28), background first."""
        enlarged = F.relu(self.mask_predictor["conv5_mask"](self.mask_head(squares)))
        return self.mask_predictor["mask_fcn_logits"](enlarged)


def mask_loss(logits: Tensor, regions: Tensor, labels: Tensor, masks: Tensor, which: Tensor) -> Tensor:
    """Return the loss of a picture's masks, a mean over its regions of objects and their places.

    Args:
        logits: of regions of objects, (R, classes + 1, 28, 28).
        regions: (R, 4).
        labels: from 1, (R,).
        masks: of the picture's objects, on the canvas, (G, H, W).
        which: number of each region's object, (R,).
    """
    from torchvision.ops import roi_align

    if not len(labels):
        return logits.sum() * 0
    numbered = torch.cat([which[:, None].to(regions), regions], 1)
    targets = roi_align(masks[:, None].to(regions), numbered, SIDE, 1.0)[:, 0]
    own = logits.float()[torch.arange(len(labels), device=labels.device), labels]
    return F.binary_cross_entropy_with_logits(own, targets)


def pasted(masks: Tensor, boxes: Sequence[Sequence[float]], size: tuple[int, int]) -> Tensor:
    """Return the masks of boxes as masks of the picture, (D, height, width) in [0, 1].

    A border of one place is added, and the box grows with it, so that a mask may end inside its box.

    Args:
        masks: probabilities, (D, 28, 28).
        boxes: of the masks, in pixels of the picture, (D, 4).
        size: (height, width) of the picture.
    """
    height, width = size
    given = torch.zeros(len(masks), height, width)
    share = (SIDE + 2) / SIDE
    padded = F.pad(masks.float().cpu(), (1, 1, 1, 1))
    for number, box in enumerate(boxes):
        x0, y0, x1, y1 = (float(edge) for edge in box)
        x, y, across, down = (x0 + x1) / 2, (y0 + y1) / 2, share * (x1 - x0) / 2, share * (y1 - y0) / 2
        left, top, right, bottom = (int(edge) for edge in (x - across, y - down, x + across, y + down))
        columns, rows = max(right - left + 1, 1), max(bottom - top + 1, 1)
        drawn = F.interpolate(padded[number][None, None], (rows, columns), mode="bilinear")[0, 0]
        a, b = max(left, 0), min(right + 1, width)
        c, d = max(top, 0), min(bottom + 1, height)
        if a < b and c < d:
            given[number, c:d, a:b] = drawn[c - top : d - top, a - left : b - left]
    return given
