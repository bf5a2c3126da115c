"""Conversion of tensor names in published files to ours.

Released files use different names: torchvision's DenseNets have `norm.1` for `norm1`, common CIFAR ResNets
have `linear` and `shortcut`, timm's VGGs have convolutions for linear layers; and frameworks add a prefix to
every name.
"""

import re
from collections.abc import Callable, Mapping

from torch import Tensor

from resight.core.errors import ModelFileError

NUMBERED_BLOCK = {  # from the consecutively numbered port to timm's layers, in a block with expansion
    "_expand_conv": "conv_pw", "_bn0": "bn1", "_depthwise_conv": "conv_dw", "_bn1": "bn2",
    "_project_conv": "conv_pwl", "_bn2": "bn3",
}  # fmt: skip
NUMBERED_FIRST_BLOCK = {  # the same without expansion
    "_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2",
}  # fmt: skip
NUMBERED = {
    "_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier",
}  # fmt: skip

PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "net.", "encoder.", "network.")
"""Prefixes of DataParallel, torch.compile, Lightning and others, in any order, any number of times."""
LAST_LAYERS = ("linear.", "last_linear.", "head.fc.")
"""Third-party names of the layer that gives the logits."""
TIMM_VGG = {
    "pre_logits.fc1.": "classifier.0.",
    "pre_logits.fc2.": "classifier.3.",
    "head.fc.": "classifier.6.",
}
TIMM_BLOCK = {  # EfficientNet: from timm's layers to torchvision's, in a block with expansion
    "conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1",
    "se.conv_reduce": "2.fc1", "se.conv_expand": "2.fc2", "conv_pwl": "3.0", "bn3": "3.1",
}  # fmt: skip
TIMM_FIRST_BLOCK = {  # the same without expansion
    "conv_dw": "0.0", "bn1": "0.1", "se.conv_reduce": "1.fc1", "se.conv_expand": "1.fc2",
    "conv_pw": "2.0", "bn2": "2.1",
}  # fmt: skip


def our_names(state: Mapping[str, Tensor], family: str = "", last: str = "fc") -> dict[str, Tensor]:
    """Convert the names of published files to ours.

    Args:
        state: names to tensors.
        family: of the network, see `Network.family`.
        last: our name of the network's last layer.

    Raises:
        ModelFileError: if two names map to the same name, so that the file holds more than one network.
    """
    renamed: dict[str, Tensor] = {}
    origin: dict[str, str] = {}
    rename = FAMILIES.get(family, _same)
    for name, tensor in state.items():
        own = _other_resnets(rename(without_prefixes(name)), last)
        if own in renamed:
            raise ModelFileError(
                f"{origin[own]} and {name} both map to {own}: the file holds more than one network; save the "
                "state_dict of one"
            )
        renamed[own], origin[own] = tensor, name
    reshape = RESHAPED.get(family)
    return {k: reshape(k, v) for k, v in renamed.items()} if reshape else renamed


def without_prefixes(name: str) -> str:
    """Return a name without the prefixes that frameworks add."""
    while prefix := next((p for p in PREFIXES if name.startswith(p)), ""):
        name = name[len(prefix) :]
    return name


def _same(name: str) -> str:
    return name


def _other_resnets(name: str, last: str) -> str:
    name = name.replace(".shortcut.", ".downsample.")
    theirs = next((word for word in LAST_LAYERS if name.startswith(word)), "")
    return f"{last}.{name[len(theirs) :]}" if theirs else name


def _densenet(name: str) -> str:
    """Turn `denselayer1.norm.1.weight` into `denselayer1.norm1.weight`, as torchvision's own loader does."""
    return re.sub(r"(denselayer\d+\.(?:norm|relu|conv))\.([12])\.", r"\1\2.", name)


def _vgg(name: str) -> str:
    """Convert timm's names of the three fully connected layers to torchvision's."""
    word = next((word for word in TIMM_VGG if name.startswith(word)), "")
    return TIMM_VGG[word] + name[len(word) :] if word else name


def _flat(name: str, tensor: Tensor) -> Tensor:
    """Convert timm's 7x7 and 1x1 convolutions to the equivalent linear layers."""
    return tensor.flatten(1) if name.startswith("classifier.") and tensor.ndim == 4 else tensor


def _as_convolution(name: str, tensor: Tensor) -> Tensor:
    """Convert the linear layer that gives dlib's 128 numbers of a face to the equivalent 1x1 convolution."""
    return tensor[:, :, None, None] if name == "fc.weight" and tensor.ndim == 2 else tensor


FAMILIES: dict[str, Callable[[str], str]] = {"densenet": _densenet, "vgg": _vgg}
RESHAPED: dict[str, Callable[[str, Tensor], Tensor]] = {"vgg": _flat, "face": _as_convolution}


def is_timms_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of timm's EfficientNets, also used by TensorFlow's ports."""
    return any(without_prefixes(name) == "conv_stem.weight" for name in state)


def of_timms_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert the names of timm's EfficientNets to torchvision's.

    TensorFlow's ports (tf_efficientnet) have the same names, but a different padding and eps: the caller must
    know which of the two it has.
    """
    outer = {"conv_stem.": "features.0.0.", "bn1.": "features.0.1.", "conv_head.": "features.8.0."}
    outer |= {"bn2.": "features.8.1.", "classifier.": "classifier.1."}
    renamed = {}
    for name, tensor in state.items():
        if match := re.match(r"blocks\.(\d+)\.(\d+)\.(.+)\.(\w+)$", name):
            stage, block, layer, leaf = match.groups()
            table = TIMM_FIRST_BLOCK if stage == "0" else TIMM_BLOCK
            name = f"features.{int(stage) + 1}.{block}.block.{table.get(layer, layer)}.{leaf}"
        else:
            word = next((word for word in outer if name.startswith(word)), "")
            name = outer[word] + name[len(word) :] if word else name
        renamed[name] = tensor
    return renamed


def is_numbered_efficientnet(state: Mapping[str, Tensor]) -> bool:
    """Return whether tensors have the names of the PyTorch port that numbers all blocks consecutively."""
    return any(without_prefixes(name) == "_conv_stem.weight" for name in state)


def of_numbered_efficientnet(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Convert `_blocks.5._bn0.bias` to timm's `blocks.3.0.bn1.bias`, and so on.

    The names do not show where a stage begins: it begins where the number of output channels changes, since
    all stages of an EfficientNet have different widths.
    """
    state = {without_prefixes(name): tensor for name, tensor in state.items()}
    places = _places_of_blocks(state)
    renamed = {}
    for name, tensor in state.items():
        if match := re.match(r"_blocks\.(\d+)\.(\w+)\.(\w+)$", name):
            number, layer, leaf = match.groups()
            expands = f"_blocks.{number}._expand_conv.weight" in state
            table = NUMBERED_BLOCK if expands else NUMBERED_FIRST_BLOCK
            stage, place = places.get(int(number), ("", ""))
            name = f"blocks.{stage}.{place}.{table.get(layer, layer)}.{leaf}"
        else:
            layer, _, leaf = name.partition(".")
            name = f"{NUMBERED.get(layer, layer)}.{leaf}" if leaf else name
        renamed[name] = tensor
    return renamed


def _places_of_blocks(state: Mapping[str, Tensor]) -> dict[int, tuple[int, int]]:
    """Return the stage of a block, and its index in the stage, by the block's number."""
    matches = {name: re.match(r"_blocks\.(\d+)\._project_conv\.weight$", name) for name in state}
    widths = {int(found[1]): len(state[name]) for name, found in matches.items() if found}
    places, stage, place, before = {}, -1, 0, None
    for number in sorted(widths):
        stage, place = (stage, place + 1) if widths[number] == before else (stage + 1, 0)
        before = widths[number]
        places[number] = stage, place
    return places
