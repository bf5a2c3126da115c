"""Embeddings: what a network knows of a picture before its last layer, at length 1."""

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.core.errors import ModelFileError
from resight.models.classifier import Classifier
from resight.models.families.classic import Pipeline
from resight.models.solver import Solver


def features_of(network: Classifier | Solver, images: Tensor) -> Tensor:
    """Return the input of the last layer, (B, D); of a classic pipeline the scaled vector of the picture.

    That vector is the histogram of words, the Fisher vector or VLAD; principal components and kernels, which
    serve the classes, come after it.

    Of a trunk under another head it is the embedding that the head gives, else the mean of the last map.

    Args:
        network: in eval mode.
        images: (B, C, H, W).
    """
    if isinstance(network, Solver):
        return network(images) if network.head.embeds else network.forward_features(images).mean((2, 3))
    maps = network.forward_features(images)
    if isinstance(network, Pipeline):
        return network.get_submodule("scaling")(network.pool(maps))
    return network.forward_head(maps, pre_logits=True).flatten(1)


@torch.inference_mode()
def embeddings_of(network: Classifier | Solver, images: Tensor) -> Tensor:
    """Return features of length 1, (B, D) float32, on the CPU.

    Args:
        network: in eval mode.
        images: (B, C, H, W), on its device.

    Raises:
        ModelFileError: if one is not finite.
    """
    features = features_of(network, images).float().cpu()
    if not features.isfinite().all():
        raise ModelFileError(
            f"{network.name}: its features are not finite numbers; train it again with a lower lr="
        )
    return F.normalize(features, dim=1)
