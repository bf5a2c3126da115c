"""A learned density over the plane: an invertible network that turns it into a normal one (RealNVP)."""

import math

import torch
from torch import Tensor, nn

LAYERS, WIDTH = 6, 64


class Flow(nn.Module):
    """RealNVP of two numbers (Dinh, Sohl-Dickstein and Bengio 2017, "Density estimation using Real NVP").

    Each of six couplings leaves one number as it is and scales and shifts the other by functions of it. The
    sizes are those of Li et al. 2021, section 4.1 of the supplement: two hidden layers of 64.
    """

    masks: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("masks", torch.tensor([[0.0, 1.0], [1.0, 0.0]] * (LAYERS // 2)))
        self.scales = nn.ModuleList(_net() for _ in range(LAYERS))
        self.shifts = nn.ModuleList(_net() for _ in range(LAYERS))

    def towards(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn points (N, 2) into those of the normal density; returns them and log |det dz/dx|, (N,)."""
        z, log_det = x, x.new_zeros(len(x))
        couplings = zip(self.masks, self.scales, self.shifts, strict=True)
        for mask, scale, shift in reversed(list(couplings)):
            kept = mask * z
            s = torch.tanh(scale(kept)) * (1 - mask)
            z = kept + (1 - mask) * (z - shift(kept)) * torch.exp(-s)
            log_det = log_det - s.sum(1)
        return z, log_det

    def log_density(self, x: Tensor) -> Tensor:
        """Return log G(x) of points (N, 2), (N,)."""
        z, log_det = self.towards(x)
        return log_det - 0.5 * z.square().sum(1) - math.log(2 * math.pi)


def _net() -> nn.Sequential:
    net = nn.Sequential(
        nn.Linear(2, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, WIDTH), nn.LeakyReLU(), nn.Linear(WIDTH, 2)
    )
    for layer in net:
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight, gain=0.01)
    return net
