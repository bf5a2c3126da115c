"""A trained network deepened by layers that change nothing: the "solution by construction"."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from resight.models.blocks import BasicBlock, PlainBlock
from resight.models.classifier import Classifier
from resight.models.zoo import create_model
from resight.saliency.capture import maps_at


def deepened(shallow: Classifier, name: str, images: Tensor) -> Classifier:
    """Return a deeper network that computes what a shallower one of its family does.

    He et al. 2015, section 1: "a solution by construction to the deeper model: the added layers are identity
    mapping, and the other layers are copied from the learned shallower model". The added blocks stand at the
    end of each stage, where maps come from a ReLU, so a ReLU keeps them.

    - In a residual block the last batch normalization has a weight and a bias of 0: the residual is 0.
    - In a plain block each convolution copies its input, and each batch normalization undoes itself: its
      weight and bias are the deviation and the mean of what it gets, measured on `images`. While it trains,
      a batch has other statistics, so there it is an identity only up to these.

    Args:
        shallow: a plain or residual network of basic blocks, in eval mode.
        name: of the deeper network: the same stages with more blocks each.
        images: normalized training images (B, C, H, W).

    Returns:
        The deeper network in eval mode, with the other's classes and preprocessing. Its logits are equal to
        rounding.

    Raises:
        ValueError: if the two networks are not made of the same stages, or have no batch normalization.
    """
    deep = create_model(name, shallow.num_classes, shallow.in_channels, **shallow.options)
    own, other = shallow.state_dict(), deep.state_dict()
    if {k: v.shape for k, v in own.items()} != {k: v.shape for k, v in other.items() if k in own}:
        raise ValueError(f"{name} is not {shallow.name} with more blocks")
    if not any(isinstance(module, nn.BatchNorm2d) for module in shallow.modules()):
        raise ValueError(f"{shallow.name}: only networks with batch normalization can be deepened")
    deep.load_state_dict(other | own)
    moments = _moments(shallow, images)
    for stage, blocks in _stages(deep).items():
        for place, block in enumerate(blocks):
            if f"{stage}.{place}.conv1.weight" not in own:
                _silence(block, *moments[stage])
    deep.classes, deep.preprocessing = shallow.classes, shallow.preprocessing
    return deep.eval()


def _stages(model: Classifier) -> Mapping[str, nn.Sequential]:
    """Return the stages of basic blocks, by name."""
    named = [(name, m) for name, m in model.named_children() if isinstance(m, nn.Sequential)]
    return {name: m for name, m in named if all(isinstance(block, BasicBlock) for block in m)}


@torch.no_grad()
def _moments(model: Classifier, images: Tensor) -> dict[str, tuple[Tensor, Tensor]]:
    """Return mean and variance of each channel at the end of each stage."""
    maps = maps_at(model, images, list(_stages(model)))
    return {stage: (out.mean((0, 2, 3)), out.var((0, 2, 3), correction=0)) for stage, out in maps.items()}


@torch.no_grad()
def _silence(block: nn.Module, mean: Tensor, variance: Tensor) -> None:
    """Make a block an identity on maps of ReLU with these statistics."""
    own = block.state_dict()  # the tensors themselves
    if not isinstance(block, PlainBlock):
        own["bn2.weight"].zero_()
        own["bn2.bias"].zero_()
        return
    for number, norm in ((1, block.bn1), (2, block.bn2)):
        assert isinstance(norm, nn.BatchNorm2d)  # others have other tensors, and are refused above
        nn.init.dirac_(own[f"conv{number}.weight"])
        own[f"bn{number}.running_mean"].copy_(mean)
        own[f"bn{number}.running_var"].copy_(variance)
        own[f"bn{number}.weight"].copy_((variance + norm.eps).sqrt())
        own[f"bn{number}.bias"].copy_(mean)
