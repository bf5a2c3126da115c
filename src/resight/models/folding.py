"""Batch normalization folded into the convolution before it, for inference."""

import copy
from typing import Any

import torch
from torch import nn
from torch.fx import GraphModule, symbolic_trace
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resight.models.classifier import Classifier


def folded(model: Classifier) -> nn.Module:
    """Return a copy in eval mode whose convolutions carry their batch normalizations.

    w' = w gamma / sqrt(var + eps), b' = beta - gamma mu / sqrt(var + eps). Logits agree to float32
    rounding. The copy is for inference only: it has no separate statistics any more.
    """
    model = copy.deepcopy(model).eval()
    graph = symbolic_trace(model)
    modules: dict[str, Any] = dict(graph.named_modules())
    for node in list(graph.graph.nodes):
        if node.op != "call_module" or not isinstance(modules[node.target], nn.BatchNorm2d):
            continue
        before = node.args[0]
        alone = before.op == "call_module" and len(before.users) == 1
        if not alone or not isinstance(modules[before.target], nn.Conv2d):
            continue
        _replace(graph, before.target, fuse_conv_bn_eval(modules[before.target], modules[node.target]))
        node.replace_all_uses_with(before)
        graph.graph.erase_node(node)
    graph.delete_all_unused_submodules()
    graph.recompile()
    return graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]


def _replace(graph: GraphModule, target: str, module: nn.Module) -> None:
    parent, _, name = target.rpartition(".")
    setattr(graph.get_submodule(parent), name, module)
