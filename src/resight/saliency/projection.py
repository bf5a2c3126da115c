"""What in a picture excites one unit: its activity is sent back to the pixels by two published rules.

Deconvolution network (Zeiler and Fergus 2014, "Visualizing and understanding convolutional networks", section
2.1): the activity of one unit, all others set to zero, goes down through unpooling with the switches of the
forward pass, rectification, and the transposed filters. Guided backpropagation (Springenberg et al. 2015,
"Striving for simplicity", section 3.4): the gradient of the unit, which passes a ReLU only where both it and
the ReLU's input are positive.

Both are the backward pass with another rule at the ReLU, because autograd already does the other steps: the
backward pass of a convolution is the transposed filter, and that of max pooling puts the value where the
maximum was. Layers that the papers' networks lack keep their usual backward pass: batch normalization is the
fixed affine map of a trained network (only its scale comes back), average pooling spreads the signal, a
residual sum passes it to both branches, and a normalization across channels has its own gradient. The
relatives of ReLU (GELU, SiLU, ELU, leaky and parametric ReLU), which the papers do not use, are treated like
ReLU. Other activations keep their gradient.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.registry import lookup
from resight.saliency.capture import maps_at
from resight.saliency.look import wide
from resight.saliency.pictures import GuidedReLU


class _Deconvolution(torch.autograd.Function):
    """ReLU that rectifies the backward signal, whatever its input was."""

    @staticmethod
    def forward(ctx: Any, value: Tensor) -> Tensor:
        del ctx
        return value.clamp(min=0)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        del ctx
        return gradients[0].clamp(min=0)


class _Rectifiers(GuidedReLU):
    """Give ReLU and its relatives the guided gradient inside the context; their outputs stay the same."""

    RELATIVES: tuple[Callable[..., Any], ...] = (
        F.gelu, F.silu, F.elu, F.elu_, F.leaky_relu, F.leaky_relu_, F.prelu, F.celu, F.selu, F.hardswish,
        F.mish,
    )  # fmt: skip

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if func not in self.RELATIVES:
            return super().__torch_function__(func, types, args, kwargs)
        self.met += 1
        words = dict(kwargs or {})
        value = args[0] if args else words.pop("input")
        with torch.no_grad():
            output = func(value.clone(), *args[1:], **words)
        ruled = self.rule.apply(value)
        return ruled + (output - ruled).detach()


class _Deconvolving(_Rectifiers):
    """Let ReLU and its relatives rectify the backward signal inside the context."""

    rule: ClassVar[type[torch.autograd.Function]] = _Deconvolution


RULES: dict[str, type[GuidedReLU]] = {"deconvnet": _Deconvolving, "guided": _Rectifiers}


def project(
    model: nn.Module, images: Tensor, layer: str, units: Tensor, places: Tensor, rule: str = "deconvnet"
) -> Tensor:
    """Send the activity of one unit of each image back to its pixels.

    The network's modes, gradients, hooks and parameters are left unchanged.

    Args:
        model: the network.
        images: (B, C, H, W), normalized.
        layer: name of the layer whose map (B, K, h, w) holds the units.
        units: a channel of each image's map, (B,).
        places: row and column in the map, (B, 2).
        rule: "deconvnet" or "guided".

    Returns:
        (B, C, H, W) float32, signed; "deconvnet" scales with the unit's activation.

    Raises:
        UsageError: if the rule or layer is unknown, or the network runs neither ReLU nor a relative.
    """
    rectifiers = lookup(RULES, rule, "projection")
    images = images.detach().clone().requires_grad_()
    with torch.enable_grad(), rectifiers() as changed:
        found = maps_at(model, images, [layer])[layer]
        rows, columns = places.unbind(1)
        activity = found[torch.arange(len(images)), units, rows, columns]
    if not changed.met:
        raise UsageError(f"{rule} changes how ReLU works backwards, and this network has none")
    signal = activity.detach() if rule == "deconvnet" else torch.ones_like(activity)
    return wide(torch.autograd.grad(activity, images, signal)[0])
