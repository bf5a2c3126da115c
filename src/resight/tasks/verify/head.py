"""The head of verification: an embedding, and the classes of training that it is learned with."""

from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.models.classifier import Classifier
from resight.models.families.classic import Pipeline
from resight.models.solver import Head
from resight.tasks.verify.rows import UNKNOWN


class EmbeddingHead(Head):
    """Turns the last map into an embedding: what the trunk's own head knows before its last layer.

    The map is pooled as the trunk pools it, and goes through the layers of its head except the last (F7 of
    DeepFace, the two hidden layers of VGG). A trunk with a head of another kind gives the mean of its map.

    Args:
        trunk: before its head goes.
        people: how many are learned.
        unit: whether embeddings are scaled to length 1.

    Attributes:
        people: a direction for each person, (people, D).
        fitted: the threshold of a pair's distance, the false-match rate that it stands for, and the number of
            validation people that it was fitted on, (3,); `UNKNOWN` before they are.

    Raises:
        UsageError: for a classic pipeline, whose vector is not learned by a loss.
    """

    embeds: ClassVar[bool] = True

    def __init__(self, trunk: Classifier, people: int, *, unit: bool = True) -> None:
        super().__init__()
        if isinstance(trunk, Pipeline):
            raise UsageError(f"--task verify learns by a loss; {trunk.name} is fitted, see resight similar")
        self.reads, self.scale = (list(trunk.stages)[-1],), trunk.logit_scale
        self.unit = unit
        own = type(trunk)
        usual = (own.pool, own.forward_head) == (Classifier.pool, Classifier.forward_head)
        self.pooling, self.grid = (trunk.head, trunk.grid) if usual else ("gap", 1)
        before = trunk.before_last() if usual else []
        self.layers = nn.Sequential(*before)
        last = trunk.get_classifier()
        width = last.in_features if usual and isinstance(last, nn.Linear) else trunk.num_features
        self.people = nn.Parameter(torch.empty(people, int(width)))
        if people:
            nn.init.normal_(self.people, std=0.01)
        self.register_buffer("fitted", torch.full((3,), UNKNOWN))

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Turn the last map (B, K, h, w) into embeddings (B, D)."""
        features = maps[self.reads[0]] * self.scale
        if self.pooling == "gmp":
            vectors = torch.flatten(F.adaptive_max_pool2d(features, 1), 1)
        else:
            side = self.grid if self.pooling == "flatten" else 1
            vectors = torch.flatten(F.adaptive_avg_pool2d(features, side), 1)
        embeddings = self.layers(vectors)
        return F.normalize(embeddings, dim=1) if self.unit else embeddings

    def cosines(self, embeddings: Tensor) -> Tensor:
        """Return the cosines of embeddings (B, D) of length 1 with each person's direction, (B, people)."""
        return F.linear(embeddings, F.normalize(self.people, dim=1))
