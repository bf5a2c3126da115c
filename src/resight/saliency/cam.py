"""CAM: the last map weighted by the head's own weights for a class.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", section 2:
M_c(x, y) = sum_k w_k^c f_k(x, y). With the mean instead of the paper's sum over space, the spatial mean of
M_c plus the bias is the logit. With max pooling, as in the paper's comparison (section 3.2), the weights are
used in the same way.
"""

import torch
from torch import Tensor

from resight.core.errors import UsageError
from resight.saliency.look import Look


def cam(look: Look) -> Tensor:
    """Return M_c, signed, (B, T, h, w).

    Raises:
        UsageError: if the head is not global average pooling and a linear layer.
    """
    return _weighted(look, "gap", "average", "cam")


def gmp_cam(look: Look) -> Tensor:
    """Return M_c of a network with global max pooling, signed, (B, T, h, w).

    Raises:
        UsageError: if the head is not global max pooling and a linear layer.
    """
    return _weighted(look, "gmp", "max", "gmp_cam")


def _weighted(look: Look, pooling: str, words: str, name: str) -> Tensor:
    head = look.head
    if head is None or head.pooling != pooling:
        raise UsageError(
            f"{name} needs class targets, and a map larger than 1 x 1 at layer {look.layer!r}, followed only "
            f"by global {words} pooling and one linear layer: use grad_cam, or larger pictures if later maps "
            "are 1 x 1"
        )
    return torch.einsum("bkhw,btk->bthw", head.features, look.question.weights(head.weight))
