"""Batch normalization folded into the convolution before it, for inference."""

import copy
from typing import Any

import torch
from torch import Tensor, nn
from torch.fx import GraphModule, Tracer
from torch.nn.utils.fusion import fuse_conv_bn_eval

from resight.models.classifier import Classifier
from resight.models.operators.convolution import LocallyConnected2d

UNSURE = 0.02
"""Two logits closer than this share of the top logit's distance from the mean may swap places in bf16; the
errors of bf16 through ResNets are about a quarter of it."""


class _Trunk(nn.Module):
    """The trunk only, as a module that can be traced."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> Tensor:
        return self.model.forward_features(images)


class Inference(nn.Module):
    """A network for inference: batch normalization folded, the trunk in a given precision.

    w' = w gamma / sqrt(var + eps), b' = beta - gamma mu / sqrt(var + eps). In float32 the logits agree up to
    rounding. In bf16 the trunk's weights are stored in bf16, so that no call casts them; the pooled map
    and the linear layer stay float32, and an image whose two highest logits are too close for bf16 to
    tell apart goes through the float32 trunk again. So labels equal float32's, except a few in 10,000.

    Args:
        model: copied, not changed.
        precision: of the trunk.
    """

    def __init__(self, model: Classifier, precision: torch.dtype) -> None:
        super().__init__()
        self.model = copy.deepcopy(model).eval()
        self.exact = fold(_Trunk(self.model))
        # bf16 gains nothing in a trunk without weights, of a classic pipeline, and harms its descriptors.
        self.precision = precision if any(True for _ in self.exact.parameters()) else torch.float32
        self.trunk = self.exact
        if self.precision != torch.float32:
            self.trunk = copy.deepcopy(self.exact).to(self.precision)

    def forward(self, images: Tensor) -> Tensor:
        """Turn float32 images (B, C, H, W) into float32 logits (B, classes)."""
        logits = self.model.forward_head(self.trunk(images.to(self.precision)).float())
        if self.precision == torch.float32:
            return logits
        best = logits.topk(min(2, logits.shape[1]), dim=1).values
        unsure = best[:, 0] - best[:, -1] <= UNSURE * (best[:, 0] - logits.mean(1))
        if unsure.any():
            logits[unsure] = self.model.forward_head(self.exact(images[unsure]))
        return logits


class _Tracer(Tracer):
    """Stops at our own convolutions and locally connected layers, which look at the size of their map."""

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = isinstance(m, LocallyConnected2d | nn.Conv2d)
        return own or super().is_leaf_module(m, module_qualified_name)


def fold(trunk: nn.Module) -> GraphModule:
    """Return a traced copy of a network in eval mode, its batch normalizations folded.

    Those that do not directly follow a convolution stay.
    """
    root = copy.deepcopy(trunk)
    graph = GraphModule(root, _Tracer().trace(root))
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
