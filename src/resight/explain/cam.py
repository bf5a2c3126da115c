"""CAM: the last map weighted by the head's own weights for a class.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", section 2:
M_c(x, y) = sum_k w_k^c f_k(x, y). With the mean in place of the paper's sum over space, the spatial mean
of M_c plus the bias is the logit.
"""

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.explain.capture import Split


def head_weights(model: nn.Module, split: Split) -> Tensor | None:
    """Return w (classes, K) if the logits are global average pooling and a linear layer, else None.

    The head is not recognized by its class but by what it computes: with the candidate layer's
    weights, mean_xy(map) w + b must give the logits that the network gave, up to one constant factor.
    """
    activation = split.activation.detach().float()
    pooled, logits = activation.mean((2, 3)), split.logits.detach().float()
    for module in reversed(list(model.modules())):
        if not isinstance(module, nn.Linear) or tuple(module.weight.shape) != (logits.shape[1], pooled.shape[1]):
            continue
        weight = module.weight.detach().float()
        bias = module.bias.detach().float() if module.bias is not None else logits.new_zeros(())
        product, wanted = pooled @ weight.T, logits - bias
        factor = (product * wanted).sum() / (product * product).sum().clamp(min=1e-30)
        if torch.allclose(product * factor, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
            return weight * factor
    return None


def cam(model: nn.Module, split: Split, targets: Tensor) -> Tensor:
    """Return M_c, signed, (B, T, h, w).

    Args:
        model: the network.
        split: its pass, cut at the last map.
        targets: (B, T).

    Raises:
        UsageError: if the head is not global average pooling and a linear layer.
    """
    weight = head_weights(model, split)
    if weight is None:
        raise UsageError(
            f"cam needs global average pooling and one linear layer after layer {split.layer!r}, which "
            "this network has not; use grad_cam"
        )
    return torch.einsum("bkhw,btk->bthw", split.activation.detach().float(), weight[targets])
