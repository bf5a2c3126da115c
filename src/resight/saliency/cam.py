"""CAM: the last map weighted by the head's own weights for a class.

Source: Zhou et al. 2016, "Learning deep features for discriminative localization", section 2:
M_c(x, y) = sum_k w_k^c f_k(x, y). With the mean in place of the paper's sum over space, the spatial mean
of M_c plus the bias is the logit.
"""

import torch
from torch import Tensor, nn

from resight.core.errors import UsageError
from resight.saliency.capture import Split


def pooled_head(model: nn.Module, split: Split) -> tuple[Tensor, Tensor] | None:
    """Return the map (B, K, h, w) and w (classes, K) if the head is average pooling and a linear layer.

    The head is not recognized by its class but by what it computes: with the candidate layer's
    weights, mean_xy(map) w + b must give the logits that the network gave, up to one constant factor.
    The map is the layer's, or its positive part where the network rectifies it on the way (DenseNet). A
    layer with one map a class that is only averaged (Network in Network) has the identity for weights.
    """
    activation, logits = split.activation.detach().float(), split.logits.detach().float()
    shape = (logits.shape[1], activation.shape[1])
    if shape[0] == shape[1]:  # the map has one channel a class, and the head only averages it
        for features in (activation, activation.relu()):
            if torch.allclose(
                features.mean((2, 3)), logits, rtol=1e-3, atol=1e-3 * float(logits.abs().max())
            ):
                return features, torch.eye(shape[0], device=features.device)
    for module in reversed(list(model.modules())):
        if not isinstance(module, nn.Linear) or tuple(module.weight.shape) != shape:
            continue
        weight = module.weight.detach().float()
        bias = module.bias.detach().float() if module.bias is not None else logits.new_zeros(())
        wanted = logits - bias
        for features in (activation, activation.relu()):
            product = features.mean((2, 3)) @ weight.T
            factor = (product * wanted).sum() / (product * product).sum().clamp(min=1e-30)
            if torch.allclose(product * factor, wanted, rtol=1e-3, atol=1e-3 * float(wanted.abs().max())):
                return features, weight * factor
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
    head = pooled_head(model, split)
    if head is None:
        raise UsageError(
            f"cam needs global average pooling and one linear layer after layer {split.layer!r}, the last "
            "with more than one position: use grad_cam; or larger pictures, if maps after it are 1 x 1"
        )
    features, weight = head
    return torch.einsum("bkhw,btk->bthw", features, weight[targets])
