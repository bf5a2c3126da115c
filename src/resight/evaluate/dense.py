"""The dense test: fully connected layers slid over the larger map of a larger picture.

A fully connected layer that reads a map of n x n positions is a convolution with an n x n kernel. On a larger
map it gives a map of scores, and their mean over all places is the picture's (Simonyan and Zisserman 2014,
section 3.2). A network that was trained at another size than its paper's averages its map to n x n first; so
does each window here, whose side is that of the map at the network's own size.
"""

import torch
from torch import Tensor, nn

from resight.models.classifier import Classifier

MOST_WINDOWS = 64
"""So many windows go through the head at once."""


class Dense(nn.Module):
    """A network whose head reads every window of a larger map; the logits are the mean over the windows.

    On a map of the window's size or smaller it is the network itself.

    Args:
        network: with the head "flatten", in eval mode.
        size: side of its own pictures, in pixels.
    """

    @torch.inference_mode()
    def __init__(self, network: Classifier, size: int) -> None:
        super().__init__()
        self.network = network
        first = next(network.parameters())
        image = torch.zeros(1, network.in_channels, size, size, device=first.device)
        self.window = int(network.forward_features(image).shape[-1])

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into logits (B, classes)."""
        features = self.network.forward_features(images)
        height, width = (min(self.window, side) for side in features.shape[-2:])
        if features.shape[-2:] == (height, width):
            return self.network.forward_head(features)
        places = features.unfold(2, height, 1).unfold(3, width, 1).permute(0, 2, 3, 1, 4, 5)
        return torch.stack([self._mean(place.flatten(0, 1)) for place in places])

    def _mean(self, windows: Tensor) -> Tensor:
        """Return the mean logits (classes,) of the windows (N, K, h, w) of one picture."""
        total = [self.network.forward_head(part).sum(0) for part in windows.split(MOST_WINDOWS)]
        return torch.stack(total).sum(0) / len(windows)


def for_scales(network: nn.Module, size: int) -> nn.Module:
    """Return what tests a network on whole pictures of other sizes than its own.

    Args:
        network: in eval mode.
        size: side of its own pictures, in pixels.

    Returns:
        The network itself where its head pools, else `Dense`.
    """
    if isinstance(network, Classifier) and network.head == "flatten":
        return Dense(network, size)
    return network
