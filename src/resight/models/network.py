"""What the table of networks says of each: how it is built, where it comes from, what it takes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

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
        before: options whose default has changed, with what it was. A model file that does not name them was
            written then and means these; a new network always writes its own.
    """

    build: Callable[..., Classifier]
    family: str
    year: int
    paper: str
    input_size: int
    classes: int
    channels: int = 3
    least_size: int = 32
    before: dict[str, Any] = field(default_factory=dict)
