"""Grad-CAM: the map weighted by the mean gradient of the class score.

Source: Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via gradient-based
localization", equations 1 and 2: alpha_k^c = mean_xy dy^c / dA^k, L = ReLU(sum_k alpha_k^c A^k); y^c is
the logit.
"""

import torch
from torch import Tensor, nn

from resight.saliency.capture import Split


def grad_cam(model: nn.Module, split: Split, targets: Tensor) -> Tensor:
    """Return sum_k alpha_k^c A^k before its ReLU, (B, T, h, w).

    One backward pass a target, from the logits to the layer only; no parameter gets a gradient.

    Args:
        model: the network.
        split: its pass, cut at the layer.
        targets: (B, T).
    """
    del model
    maps = []
    for column in range(targets.shape[1]):
        score = split.logits.gather(1, targets[:, column : column + 1]).sum()
        (gradient,) = torch.autograd.grad(score, split.activation, retain_graph=True)
        alpha = gradient.float().mean((2, 3))
        maps.append(torch.einsum("bkhw,bk->bhw", split.activation.detach().float(), alpha))
    return torch.stack(maps, dim=1)
