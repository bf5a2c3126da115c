"""Statistics of batch normalization that belong to the weights that are kept.

Training updates the running statistics by a tenth per step, so they describe the weights of the last ten to
thirty steps. With a few hundred pictures that is several epochs: the weights have changed since, and
averaged weights never had these statistics. So they are measured for the kept weights, on plain training
pictures (Izmailov et al. 2018, section 3.2; Wu and Johnson 2021, section 3).
"""

import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from resight.core.device import autocast
from resight.models.classifier import Classifier
from resight.models.solver import Solver


@torch.no_grad()
def measured_statistics(
    model: Classifier | Solver, images: Tensor, precision: torch.dtype
) -> dict[str, Tensor]:
    """Return the mean and the unbiased variance that each batch normalization sees, by buffer name.

    Those in eval mode, whose statistics are held fixed, are left out. The network's weights and mode stay as
    they are; its running statistics are overwritten.

    Args:
        model: the network.
        images: (N, C, H, W), normalized; two or more, taken as one batch.
        precision: of the products.
    """
    modes = {module: module.training for module in model.modules()}
    norms = {
        name: module
        for name, module in model.named_modules()
        if isinstance(module, _BatchNorm) and module.training and module.track_running_stats
    }
    momenta = {name: norm.momentum for name, norm in norms.items()}
    counters = {name: norm.num_batches_tracked for name, norm in norms.items()}
    model.eval()
    for norm in norms.values():
        norm.train()
        norm.momentum = 1.0
        norm.num_batches_tracked = torch.zeros((), dtype=torch.long, device=images.device)
    try:
        with autocast(images.device, precision):
            model(images)
    finally:
        for name, norm in norms.items():
            norm.momentum, norm.num_batches_tracked = momenta[name], counters[name]
        for module, training in modes.items():
            module.training = training
    return {
        f"{name}.{key}": getattr(norm, key).clone()
        for name, norm in norms.items()
        for key in ("running_mean", "running_var")
    }
