"""A trunk of the zoo under another head than a classifier's."""

from collections import OrderedDict

from torch import Tensor, nn

from resight.models.classifier import Classifier, decayed


class Head(nn.Module):
    """What reads the maps of a trunk: called with the maps of the stages `reads`, by name.

    Attributes:
        reads: names of the stages, in the order in which they run.
    """

    reads: tuple[str, ...]


class Solver(nn.Module):
    """A trunk and a head: `forward(x) == head(forward_maps(x))`.

    B images, K channels, h x w map. A classifier is the case of a head that reads the last map alone. The
    trunk keeps its published names, behind "trunk."; its own head, side heads and regressor go.

    Args:
        trunk: a network of the zoo; it is changed.
        head: reads maps of its stages; the stages behind the last one that it reads go too.

    Raises:
        UsageError: if the trunk lacks a stage that the head reads.
    """

    guided_layer = ""
    """No regressor learns beside the head."""

    def __init__(self, trunk: Classifier, head: Head) -> None:
        super().__init__()
        trunk.drop_head(head.reads)
        self.trunk, self.head = trunk, head

    def forward_maps(self, images: Tensor) -> dict[str, Tensor]:
        """Turn images (B, C, H, W) into the maps (B, K, h, w) that the head reads, by stage."""
        return self.trunk.forward_maps(images, self.head.reads)

    def forward_features(self, images: Tensor) -> Tensor:
        """Turn images (B, C, H, W) into the last map (B, K, h, w)."""
        return self.trunk.forward_features(images)

    def forward_head(self, features: Tensor) -> Tensor:
        """Give what the head says of the last map (B, K, h, w), where it reads no other."""
        return self.head({self.head.reads[-1]: features})

    def forward(self, images: Tensor) -> Tensor:
        """Give what the head says of images (B, C, H, W)."""
        return self.head(self.forward_maps(images))

    @property
    def stages(self) -> "OrderedDict[str, nn.Module]":
        """The named stages of the trunk, first to last."""
        return self.trunk.stages

    @property
    def frozen_norm(self) -> bool:
        """Whether training leaves the statistics of batch normalization as they are."""
        return self.trunk.frozen_norm

    @property
    def frozen_depthwise(self) -> bool:
        """Whether training leaves the kernels of depth-wise convolutions as they are."""
        return self.trunk.frozen_depthwise

    def head_parameters(self) -> set[str]:
        """Return the names of the parameters that learn at the full rate: the head's."""
        return {f"head.{name}" for name, _ in self.head.named_parameters()}

    def learning(self, name: str) -> tuple[float, float]:
        """Return what a parameter's learning rate and weight decay are multiplied by."""
        if name.startswith("trunk."):
            return self.trunk.learning(name.removeprefix("trunk."))
        return 1.0, decayed(self, name)

    def constrain(self) -> None:
        """Bring the trunk's weights back within its bounds; called after every step."""
        self.trunk.constrain()
