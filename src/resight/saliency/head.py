"""Recognize a head that is pooling and one linear layer, by what it computes."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

LEAST = 1e-30
FEW = 4
"""Up to this many logits may match by chance."""
ROUNDING = 1e-6
"""Share of the largest logit; differences below it are not significant."""


@dataclass(frozen=True)
class Head:
    """A head in closed form: logits = pool(features) weight' + bias.

    Attributes:
        features: (B, K, h, w), what is pooled: the layer's map, or its positive part where the network
            rectifies it on the way (DenseNet).
        weight: (classes, K).
        pooling: "gap" or "gmp".
        rectified: whether the features are the positive part of a map that has negative values.
    """

    features: Tensor
    weight: Tensor
    pooling: str
    rectified: bool

    @property
    def linear_in_the_map(self) -> bool:
        """Whether the gradient of every logit is the same at every position of the layer's map."""
        return self.pooling == "gap" and not self.rectified


def pooled_head(
    model: nn.Module, activation: Tensor, logits: Tensor, slope: Callable[[], Tensor]
) -> Head | None:
    """Return the head behind a map, or None if it is not pooling and one linear layer.

    The head is recognized by what it computes, not by its class: with the candidate layer's weights,
    pool(map) w + b must give the network's logits, up to one constant factor. A factor, few logits (a single
    one fits every head up to a factor), or logits that equal the biases (of a dead network) prove little:
    then the gradient at the map must be the head's, too. A layer with one map per class that is only pooled
    (Network in Network) has the identity as weights.

    Args:
        model: the network.
        activation: (B, K, h, w) float32 or float64.
        logits: (B, classes) float32 or float64, computed from it.
        slope: gives the gradient of the first class's logits at the map, (B, K, h, w).
    """
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    tolerance = {torch.bfloat16: 3e-2, torch.float16: 3e-3}.get(dtype, 1e-3)
    values = torch.promote_types(activation.dtype, logits.dtype)
    activation, logits = activation.to(values), logits.to(values)
    shape = (logits.shape[1], activation.shape[1])
    candidates: list[tuple[Tensor, Tensor]] = []
    if shape[0] == shape[1]:
        candidates.append((torch.eye(shape[0], device=activation.device, dtype=values), logits.new_zeros(())))
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.Linear) and tuple(module.weight.shape) == shape:
            bias = module.bias.detach().to(values) if module.bias is not None else logits.new_zeros(())
            candidates.append((module.weight.detach().to(values), bias))
    if not candidates or not logits.isfinite().all():
        return None
    positive = activation.relu()
    pools = [(f, r, p) for f, r in ((activation, False), (positive, True)) for p in ("gap", "gmp")]
    pools = pools if (activation < 0).any() else pools[:2]
    rounding = ROUNDING * _size(logits)
    kept: Tensor | None = None
    for fitted in (False, True):
        for features, rectified, pooling in pools:
            pooled = features.mean((2, 3)) if pooling == "gap" else features.amax((2, 3))
            for weight, bias in candidates:
                wanted, product = logits - bias, pooled @ weight.T
                factor = (product * wanted).sum() / (product * product).sum().clamp(min=LEAST)
                factor = factor if fitted else torch.ones_like(factor)
                if not _close(product * factor, wanted, tolerance, rounding):
                    continue
                head = Head(features, weight * factor, pooling, rectified)
                if not fitted and logits.numel() > FEW and _size(wanted) > rounding:
                    return head
                kept = slope() if kept is None else kept
                if _has_slope(head, kept, tolerance):
                    return head
    return None


def _has_slope(head: Head, slope: Tensor, tolerance: float) -> bool:
    """Return whether the gradient of the first class's logits is that of the head."""
    weight, features = head.weight[0][:, None, None].expand_as(slope), head.features
    active = features > 0 if head.rectified else torch.ones_like(features, dtype=torch.bool)
    if head.pooling == "gap":
        return _close(slope, weight * active / features[0, 0].numel(), tolerance)
    below = features < features.amax((2, 3), keepdim=True)
    live = active.any(3).any(2)  # the network chooses which of several maxima has the gradient
    return not slope[below].any() and _close(slope.sum((2, 3)) * live, weight[..., 0, 0] * live, tolerance)


def _close(values: Tensor, wanted: Tensor, tolerance: float, least: float = 0.0) -> bool:
    return torch.allclose(values, wanted, rtol=tolerance, atol=max(tolerance * _size(wanted), least))


def _size(values: Tensor) -> float:
    return float(values.abs().max())
