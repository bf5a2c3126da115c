"""What the table of networks says of each: how it is built, where it comes from, what it takes."""

from collections.abc import Callable
from dataclasses import dataclass

from resight.models.classifier import Classifier


@dataclass(frozen=True)
class Network:
    """A row of the table of networks.

    Attributes:
        build: called with num_classes, in_channels and the family's options.
        family: whose file it stands in.
        year: of the paper.
        paper: authors, title, number.
        input_size: side of the square that the paper gives it, in pixels.
        classes: logits in the paper.
        channels: of the paper's images.
        least_size: side of the smallest square that it takes, in pixels.
    """

    build: Callable[..., Classifier]
    family: str
    year: int
    paper: str
    input_size: int
    classes: int
    channels: int = 3
    least_size: int = 32
