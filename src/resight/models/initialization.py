"""Initializations, by name and source."""

from torch import nn


def he_normal(model: nn.Module) -> None:
    """Initialize as He et al. 2015 ("Delving Deep into Rectifiers"), section 2.2.

    Convolutions get N(0, 2 / fan_out), the backward form of the paper's equation 14, which the
    published ResNet implementations use; batch normalization begins as the identity. Linear layers
    keep torch's uniform.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, nn.BatchNorm2d):
            nn.init.ones_(module.weight)
            nn.init.zeros_(module.bias)
