"""The head that says a class and a box."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.models.solver import Head

GRID = 7
"""Places along each side of the map that the box is read from: one mean over the map would tell no place."""
CHANNELS = 128
"""That the map is reduced to: a few hundred boxes cannot fit a weight for each channel at each place."""
CALM = 4.0
"""What the places are divided by besides, so that rates for classes fit boxes too."""
MIDDLE = (0.25, 0.25, 0.75, 0.75)
"""The box that a fresh head says, in shares of the sides."""


class BoxHead(Head):
    """Says a class and a box: class logits from the mean of the map, and edges from its places.

    Args:
        stage: that it reads.
        channels: K, of its map.
        classes: how many there are.
        boxes: how many: one for all classes, or one for each.
        scale: what the network multiplies its map by before the last layer, see `Classifier.logit_scale`.
    """

    def __init__(self, stage: str, channels: int, classes: int, boxes: int, scale: float = 1.0) -> None:
        super().__init__()
        self.reads, self.scale = (stage,), scale
        self.named = nn.Linear(channels, classes)
        self.reduce = nn.Conv2d(channels, CHANNELS, 1, bias=False)
        self.even = nn.GroupNorm(1, CHANNELS)  # of one picture alone: a step may be computed in parts
        self.edges = nn.Linear(CHANNELS * GRID**2, 4 * boxes)
        nn.init.normal_(self.edges.weight, std=0.001)
        with torch.no_grad():
            self.edges.bias.copy_(torch.tensor(MIDDLE).repeat(boxes))

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Turn a map (B, K, h, w) into (B, classes + 4 boxes): logits, then x0, y0, x1, y1 of each box."""
        features = maps[self.reads[0]] * self.scale
        mean = torch.flatten(F.adaptive_avg_pool2d(features, 1), 1)
        places = F.relu(self.even(self.reduce(F.adaptive_avg_pool2d(features, GRID))))
        return torch.cat([self.named(mean), self.edges(places.flatten(1) / (GRID * CALM))], 1)
