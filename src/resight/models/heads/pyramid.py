"""A pyramid: maps of all scales with the same channels (Lin et al. 2017, "Feature Pyramid Networks")."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F


class Pyramid(nn.Module):
    """Adds to each map what the coarser ones see: 1x1 and 3x3 convolutions, nearest enlargement, a sum.

    Parameters are called as in torchvision.

    Args:
        channels: of the maps, the finest first.
        width: channels of what it gives.
    """

    def __init__(self, channels: Sequence[int], width: int) -> None:
        super().__init__()
        self.inner_blocks = nn.ModuleList(nn.Sequential(nn.Conv2d(k, width, 1)) for k in channels)
        self.layer_blocks = nn.ModuleList(
            nn.Sequential(nn.Conv2d(width, width, 3, padding=1)) for _ in channels
        )
        for layer in self.modules():
            if isinstance(layer, nn.Conv2d):
                nn.init.kaiming_uniform_(layer.weight, a=1)
                nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Turn maps, the finest first, into as many of `width` channels, and one of half the last size."""
        above = self.inner_blocks[-1](maps[-1])
        given = [self.layer_blocks[-1](above)]
        for number in range(len(maps) - 2, -1, -1):
            own = self.inner_blocks[number](maps[number])
            above = own + F.interpolate(above, size=own.shape[-2:], mode="nearest")
            given.insert(0, self.layer_blocks[number](above))
        return [*given, F.max_pool2d(given[-1], 1, 2, 0)]
