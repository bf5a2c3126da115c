"""A trunk of the zoo under another head than a classifier's."""

from collections import OrderedDict
from typing import Any, ClassVar, NamedTuple

from torch import Tensor, nn

from resight.core.preprocessing import Preprocessing
from resight.models.classifier import Classifier, decayed
from resight.models.old_tasks import OldTask
from resight.models.origin import Origin


class Head(nn.Module):
    """What reads the maps of a trunk: called with the maps of the stages `reads`, by name.

    Attributes:
        reads: names of the stages, in the order in which they run.
    """

    reads: tuple[str, ...]
    embeds: ClassVar[bool] = False
    """Whether its outputs are embeddings, (B, D)."""
    countable: ClassVar[bool] = True
    """Whether its layers see the same of every picture, so that they can be counted."""
    measures: ClassVar[bool] = False
    """Whether its own batch normalization measures its statistics where the trunk's are held fixed."""


class Pass(NamedTuple):
    """One network that a picture goes through.

    Attributes:
        prefix: of its layers' names.
        network: reads squares.
        side: of those squares, in pixels.
        times: how many squares of a picture it reads.
    """

    prefix: str
    network: nn.Module
    side: int
    times: int


class Solver(nn.Module):
    """A trunk and a head: `forward(x) == head(forward_maps(x))`.

    B images, K channels, h x w map. A classifier is the case of a head that reads the last map alone. The
    trunk keeps its published names, behind "trunk."; its own head, side heads and regressor go.

    Args:
        trunk: a network of the zoo; it is changed.
        head: reads maps of its stages; the stages behind the last one that it reads go too.

    Attributes:
        classes: names of the classes that the head knows.
        about: what else its answers are about, such as the names of joints; plain JSON types.
        preprocessing: how a picture must be prepared.

    Raises:
        UsageError: if the trunk lacks a stage that the head reads.
    """

    guided_layer = ""
    """No regressor learns beside the head."""

    def __init__(self, trunk: Classifier, head: Head) -> None:
        super().__init__()
        trunk.drop_head(head.reads)
        self.trunk, self.head = trunk, head
        self.classes: tuple[str, ...] = trunk.classes
        self.about: dict[str, Any] = {}
        self.preprocessing: Preprocessing | None = trunk.preprocessing

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

    def passes(self, side: int) -> list[Pass]:
        """Return what is counted for a picture, in the order in which it runs.

        Args:
            side: of the square that the network sees, in pixels.
        """
        return [Pass("", self, side, 1)]

    @property
    def stages(self) -> "OrderedDict[str, nn.Module]":
        """The named stages of the trunk, first to last."""
        return self.trunk.stages

    @property
    def countable(self) -> bool:
        """Whether its layers see the same of every picture, so that they can be counted."""
        return self.head.countable

    # Name, options and origin are the trunk's.

    @property
    def name(self) -> str:
        """The name under which the trunk was created."""
        return self.trunk.name

    @property
    def options(self) -> dict[str, Any]:
        """The options with which the trunk was created."""
        return self.trunk.options

    @property
    def in_channels(self) -> int:
        """Channels of the image."""
        return self.trunk.in_channels

    @property
    def old_tasks(self) -> list[OldTask]:
        """None: its trunk has lost its heads."""
        return []

    @property
    def weights_note(self) -> str:
        """What the weights of the trunk lack, see `Classifier`."""
        return self.trunk.weights_note

    @property
    def origin(self) -> Origin | None:
        """Where the weights of the trunk come from, if they are third-party weights."""
        return self.trunk.origin

    @property
    def looks_first(self) -> bool:
        """Whether a fresh trunk initializes from training images."""
        return self.trunk.looks_first

    def initialize_from(self, images: Tensor) -> None:
        """Let a fresh trunk initialize from normalized training images (B, C, H, W)."""
        self.trunk.initialize_from(images)

    @property
    def measured_norm(self) -> bool:
        """Whether each epoch measures the statistics of batch normalization for the kept weights."""
        return self.trunk.measured_norm

    @property
    def frozen_norm(self) -> bool:
        """Whether training leaves the statistics of batch normalization as they are."""
        return self.trunk.frozen_norm

    @property
    def frozen_depthwise(self) -> bool:
        """Whether training leaves the kernels of depth-wise convolutions as they are."""
        return self.trunk.frozen_depthwise

    def training_only(self) -> tuple[str, ...]:
        """Return the names of the heads that are used only in training: none."""
        return ()

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
