"""The table of methods, and `explain`, the one door to them."""

from collections.abc import Callable
from dataclasses import dataclass

from torch import Tensor, nn

from resight.core.registry import lookup
from resight.geometry import heatmaps
from resight.saliency.cam import cam
from resight.saliency.capture import Split, last_map_layer, split_at
from resight.saliency.explanation import Explanation, Target, class_names, resolve
from resight.saliency.grad_cam import grad_cam


@dataclass(frozen=True)
class Method:
    """How a method is computed and read.

    Attributes:
        compute: (model, split, targets (B, T)) to raw maps (B, T, h, w), signed.
        rectified: whether the paper cuts negative values off before the map is shown.
    """

    compute: Callable[[nn.Module, Split, Tensor], Tensor]
    rectified: bool


METHODS = {"cam": Method(cam, rectified=False), "grad_cam": Method(grad_cam, rectified=True)}


def explain(
    model: nn.Module,
    images: Tensor,
    method: str = "grad_cam",
    target: Target = None,
    layer: str | None = None,
) -> Explanation:
    """Show where a network looks for a class.

    Works on any torch classifier. No hook, mode, gradient, parameter or random state is different
    afterwards, also when something fails.

    Args:
        model: gives logits (B, classes) for images.
        images: (B, C, H, W), preprocessed as the network wants them, on its device.
        method: a name in `METHODS`.
        target: None (top-1), a class number, a class name, one per image, or several per image.
        layer: name of the layer whose map is read; by default the last one with a spatial map.

    Returns:
        Maps of shape (B, H, W), or (B, T, H, W) if several targets per image were asked for.

    Raises:
        UsageError: for an unknown method, layer or class, or a method that does not fit the network.
    """
    entry = lookup(METHODS, method, "saliency method")
    split = split_at(model, images, layer or last_map_layer(model, images))
    targets = resolve(target, split.logits.detach(), class_names(model))
    raw = entry.compute(model, split, targets).detach()
    shown = heatmaps.rectify(raw) if entry.rectified else raw
    maps = heatmaps.normalize(heatmaps.resize(shown, *images.shape[-2:]))
    scores = split.logits.detach().float().gather(1, targets)
    several = isinstance(target, Tensor) and target.ndim == 2
    if isinstance(target, list | tuple):
        several = any(isinstance(row, list | tuple) for row in target)
    fields = (maps, raw, targets, scores) if several else tuple(t[:, 0] for t in (maps, raw, targets, scores))
    return Explanation(fields[0].float(), fields[1], split.layer, fields[2], fields[3])
