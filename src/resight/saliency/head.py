"""Recognize a head that is pooling and one linear layer, by what it computes."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

LEAST = 1e-30


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


def pooled_head(model: nn.Module, activation: Tensor, logits: Tensor) -> Head | None:
    """Return the head behind a map, or None if it is another.

    The head is not recognized by its class but by what it computes: with the candidate layer's weights,
    pool(map) w + b must give the logits that the network gave, up to one constant factor. A layer with one
    map a class that is only pooled (Network in Network) has the identity for weights.

    Args:
        model: the network.
        activation: (B, K, h, w) float32.
        logits: (B, classes) float32, computed from it.
    """
    dtype = next((p.dtype for p in model.parameters()), torch.float32)
    tolerance = 1e-3 if dtype == torch.float32 else 3e-2 if dtype == torch.bfloat16 else 3e-3
    shape = (logits.shape[1], activation.shape[1])
    candidates: list[tuple[Tensor, Tensor]] = []
    if shape[0] == shape[1]:
        candidates.append((torch.eye(shape[0], device=activation.device), logits.new_zeros(())))
    for module in reversed(list(model.modules())):
        if isinstance(module, nn.Linear) and tuple(module.weight.shape) == shape:
            bias = module.bias.detach().float() if module.bias is not None else logits.new_zeros(())
            candidates.append((module.weight.detach().float(), bias))
    if not candidates:
        return None
    positive = activation.relu()
    negative = bool((activation < 0).any())
    for features, rectified in ((activation, False), (positive, True))[: 2 if negative else 1]:
        for pooling, pooled in (("gap", features.mean((2, 3))), ("gmp", features.amax((2, 3)))):
            for weight, bias in candidates:
                wanted, product = logits - bias, pooled @ weight.T
                factor = (product * wanted).sum() / (product * product).sum().clamp(min=LEAST)
                if torch.allclose(product * factor, wanted, rtol=tolerance, atol=tolerance * _size(wanted)):
                    return Head(features, weight * factor, pooling, rectified)
    return None


def _size(values: Tensor) -> float:
    return float(values.abs().max())
