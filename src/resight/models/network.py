"""An entry of the table of networks: how a network is built, its source, and its input."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resight.models.classifier import Classifier


@dataclass(frozen=True)
class Network:
    """A row of the table of networks.

    Attributes:
        build: called with num_classes, in_channels and the family's options.
        family: name of the file that defines it.
        year: of the paper.
        paper: authors, title, number.
        input_size: side of the paper's square input, in pixels.
        classes: logits in the paper.
        channels: of the paper's images.
        least_size: side of the smallest square input, in pixels.
        before: options whose default has changed, with the old default. A model file that does not name them
            was written with the old defaults; a new network always writes its own.
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
