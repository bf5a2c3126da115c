"""torchvision's released detectors, which learned COCO, as the start of ours: equal layers, other names."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from resight.core.errors import ModelFileError, UsageError
from resight.models.origin import Origin, file_digest
from resight.models.solver import Solver
from resight.models.weights import TORCHVISIONS_LICENCE, torchvisions_file

NETWORK, WIDTH, ANCHOR = "resnet50", 256, 8.0
"""The trunk, width and smallest anchor, in strides, of what is released."""
PLACES = {
    "backbone.body.": "trunk.",
    "backbone.fpn.": "head.fpn.",
    "rpn.head.": "head.rpn.",
    "roi_heads.mask_head.": "head.masks.mask_head.",
    "roi_heads.mask_predictor.": "head.masks.mask_predictor.",
    "roi_heads.": "head.",
}
"""torchvision's beginnings of a detector's tensor names, and ours."""
SEGMENTERS = {
    "backbone.": "trunk.",
    "classifier.": "head.classifier.",
    "aux_classifier.": "head.aux_classifier.",
}
"""The same of FCN and DeepLabv3."""
BY_CLASS = ("head.box_predictor.", "head.masks.mask_predictor.mask_fcn_logits.")
"""Layers with numbers of every class: they stay fresh where the classes are other ones."""


def our_names(state: dict[str, torch.Tensor], places: Mapping[str, str] = PLACES) -> dict[str, torch.Tensor]:
    """Return torchvision's tensors of a detector, or of a segmenter (`SEGMENTERS`), under our names."""
    given = {}
    for name, tensor in state.items():
        old, new = next((pair for pair in places.items() if name.startswith(pair[0])), ("", ""))
        given[new + name.removeprefix(old)] = tensor
    return given


def load_released(network: Solver, *, masks: bool) -> str:
    """Load the weights of torchvision's Faster R-CNN, or Mask R-CNN, with a pyramid over ResNet-50.

    Layers of the classes stay fresh unless there are as many classes. torchvision uses these weights with
    batch normalization that adds nothing to the variance; ours adds its epsilon, so the scales are corrected.

    Args:
        network: a detector; changed.
        masks: of Mask R-CNN.

    Returns:
        What was loaded, and what stays fresh, in a line.

    Raises:
        UsageError: if the network is another one.
        ModelFileError: if the weights are not in torchvision's cache and cannot be downloaded.
    """
    plan: Any = network.head.plan
    if (network.name, plan.kind, plan.width, plan.anchor) != (NETWORK, "fpn", WIDTH, ANCHOR) or plan.context:
        raise UsageError(
            f"detect.released=torchvision: are of {NETWORK} with detect.head=fpn and detect.width={WIDTH}, "
            "without detect.anchor and detect.context; set these, or leave detect.released out"
        )
    entry = _entry(masks=masks)
    state = our_names(_state(entry))
    own = network.state_dict()
    fresh = [name for name in state if name.startswith(BY_CLASS) and state[name].shape != own[name].shape]
    kept = {name: tensor for name, tensor in state.items() if name not in fresh}
    missing, unexpected = network.load_state_dict(kept, strict=False)
    lacking = [name for name in missing if not name.startswith(BY_CLASS) and "num_batches" not in name]
    if unexpected or lacking:
        raise ModelFileError(
            f"detect.released=torchvision: the file in torchvision's cache is of another network (see "
            f"{(unexpected or lacking)[0]}); leave detect.released out"
        )
    _correct_scales(network.trunk)
    file, licence = torchvisions_file(entry), str(entry.meta.get("license", TORCHVISIONS_LICENCE))
    network.trunk.origin = Origin(f"torchvision {entry}", licence, file_digest(file), str(file), None)
    rest = "; layers of the classes are fresh" if fresh else ""
    return f"weights: torchvision's {'Mask' if masks else 'Faster'} R-CNN, learned on COCO{rest}"


def _entry(*, masks: bool) -> Any:
    from torchvision.models import detection

    if masks:
        return detection.MaskRCNN_ResNet50_FPN_Weights.DEFAULT
    return detection.FasterRCNN_ResNet50_FPN_Weights.DEFAULT


def _state(entry: Any) -> dict[str, torch.Tensor]:
    try:
        return dict(entry.get_state_dict(progress=False, check_hash=True))
    except Exception as error:  # the network, the disk or the hash: whatever the download raises
        why = str(error).partition("\n")[0]
        file = entry.url.rpartition("/")[2]
        raise ModelFileError(
            f"detect.released=torchvision: cannot be downloaded ({why}); put {file} into torchvision's cache "
            "(TORCH_HOME/hub/checkpoints), or leave detect.released out"
        ) from error


def _correct_scales(trunk: nn.Module) -> None:
    """Give batch normalization the scale with which it is what it was without its epsilon."""
    with torch.no_grad():
        for layer in trunk.modules():
            if isinstance(layer, nn.BatchNorm2d) and layer.running_var is not None:
                variance = layer.running_var.double()
                grown = ((variance + layer.eps) / variance.clamp(min=1e-12)).sqrt()
                layer.weight.mul_(grown.to(layer.weight.dtype))
