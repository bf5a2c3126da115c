"""What `resight similar` says: rows of pictures, and what holds for all of them."""

from collections.abc import Sequence
from dataclasses import dataclass

from resight.core.errors import Fault
from resight.core.figures import Inline


@dataclass(frozen=True)
class Near:
    """A picture that is near.

    Attributes:
        path: of the picture.
        distance: to the picture that was asked about, in [0, 2].
        label: its classes, with ";" between them; None without.
        near_copy: whether it is the same picture, saved again.
    """

    path: str
    distance: float
    label: str | None
    near_copy: bool


@dataclass(frozen=True)
class Answer:
    """A picture that was asked about, and the nearest ones, nearest first."""

    path: str
    near: list[Near]


@dataclass(frozen=True)
class Precision:
    """How well pictures of the same class are found.

    Attributes:
        map: mean average precision.
        map_interval: of 95 %.
        map_queries: pictures that it is the mean over.
        map_of_guessing: the same of a random order.
    """

    map: float
    map_interval: tuple[float, float]
    map_queries: int
    map_of_guessing: float


@dataclass(frozen=True)
class Summary:
    """What holds for all pictures.

    Attributes:
        precision: None where no classes are known.
        n: pictures that were compared with.
        features: numbers of each.
        near_copies: of the pictures found.
        skipped: pictures that could not be read.
        notes: about the data.
        page: the file of the page; None without.
    """

    precision: Inline[Precision | None]
    n: int
    features: int
    near_copies: int
    skipped: list[Fault]
    notes: Sequence[str]
    page: str | None = None
