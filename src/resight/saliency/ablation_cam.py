"""Ablation-CAM: a channel's weight is the drop of the score without it. No gradient.

Source: Desai and Ramaswamy 2020, "Ablation-CAM: visual explanations for deep convolutional network via
gradient-free localization", equation 5: w_k = (y^c - y_k^c) / y^c, y_k^c the score with A^k set to zero.

Deviation: the drop is divided by |y^c|; dividing by a negative logit would invert the map.
"""

import torch
from torch import Tensor

from resight.core.console import counted
from resight.saliency.grad_cam import combine
from resight.saliency.look import Look, wide


def ablation_cam(look: Look, batch: int = 64) -> Tensor:
    """Return sum_k w_k A^k before its ReLU, (B, T, h, w).

    Before average pooling and a linear layer, y^c - y_k^c is the weight times the mean of A^k, with no
    further pass. Otherwise each channel takes one pass through the layers after it; the trunk is not run
    again, and channels that are zero everywhere are skipped.

    Args:
        look: the pass.
        batch: channels a pass.
    """
    maps, scores = look.activation, wide(look.scores.detach())
    if look.head is not None and look.head.linear_in_the_map:
        drop = look.gradients()[..., 0, 0] * maps.sum((2, 3))[:, None]
    else:
        drop = scores.new_zeros(*scores.shape, maps.shape[1])
        for image, own in enumerate(counted(maps, "Ablation-CAM, pictures")):
            live = own.flatten(1).any(1).nonzero()[:, 0]
            with look.from_layer(image) as rerun:
                for part in live.split(batch):
                    without = own.expand(len(part), *own.shape).clone()
                    without[torch.arange(len(part)), part] = 0
                    drop[image, :, part] = (scores[image] - rerun(without)).T
    weights = drop / scores.abs().clamp(min=1e-12)[..., None]
    return combine(weights[..., None, None], maps)
