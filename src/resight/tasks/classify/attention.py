"""Losses that sharpen attention: the true class's map apart from the rival's, and alike in two layers.

Source: Wang et al. 2019, "Sharpen Focus: Learning with Attention Separability and Consistency" (ICASC),
sections 3.2 and 3.3. No code was released; what the paper leaves open is said at `attention_losses`.
"""

import torch
from torch import Tensor

from resight.geometry import heatmaps

OMEGA, SHARE, THETA = 100.0, 0.55, 0.8
"""Of the mask: its slope, and its threshold as a share of the highest value; and the wanted share inside."""
LEAST = 1e-6
"""Sums below count as none: an image without attention gives no loss."""


def attention_losses(inner: Tensor, last: Tensor, logits: Tensor, labels: Tensor) -> Tensor:
    """Return L_AS of the inner and of the last map plus L_AC, the mean over a batch, with gradients.

    Attention is that of the method `sharpen_focus`. Deviations: both maps of a layer are divided by the true
    class's highest value there, so that the mask's slope means the same for every network; the mask of L_AS
    at the inner layer is made of that layer's own map.

    Args:
        inner: a map that the logits were computed from, (B, K, h, w).
        last: the last map, (B, K', h', w').
        logits: (B, classes), with at least two classes.
        labels: (B,).
    """
    rival = logits.detach().scatter(1, labels[:, None], -torch.inf).argmax(1)
    true_inner, true_last = _attention(logits, labels, [inner, last])
    rival_inner, rival_last = _attention(logits, rival, [inner, last])
    apart = _separability(true_last, rival_last) + _separability(true_inner, rival_inner)
    mask = heatmaps.resize(_mask(true_last), *inner.shape[-2:])
    total = true_inner.flatten(1).sum(1)
    inside = (true_inner * mask).flatten(1).sum(1) / total.clamp(min=LEAST)
    alike = torch.where(total > LEAST, THETA - inside, 0)
    return (apart + alike).mean()


def _attention(logits: Tensor, classes: Tensor, maps: list[Tensor]) -> list[Tensor]:
    """Return ReLU(sum_k GAP(ReLU(dy/dA^k)) A^k) of each map, (B, h, w) each."""
    scores = logits.gather(1, classes[:, None]).sum()
    gradients = torch.autograd.grad(scores, maps, create_graph=True)
    weights = [g.relu().mean((2, 3), keepdim=True) for g in gradients]
    return [(w * a).sum(1).relu() for w, a in zip(weights, maps, strict=True)]


def _highest(attention: Tensor) -> Tensor:
    return attention.amax((1, 2), keepdim=True).clamp(min=LEAST)


def _mask(true: Tensor) -> Tensor:
    return torch.sigmoid(OMEGA * (true / _highest(true) - SHARE))


def _separability(true: Tensor, rival: Tensor) -> Tensor:
    """Return 2 sum(min(A^T, A^C) mask) / sum(A^T + A^C) of each image, (B,)."""
    highest = _highest(true)
    shared = torch.minimum(true, rival) / highest * _mask(true)
    total = ((true + rival) / highest).flatten(1).sum(1)
    return 2 * shared.flatten(1).sum(1) / total.clamp(min=LEAST)
