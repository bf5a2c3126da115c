"""Which values of a picture are black and white, if its type alone does not determine them."""

import math
from dataclasses import asdict, dataclass, fields
from typing import Any

Pair = tuple[float, float]


@dataclass(frozen=True)
class Levels:
    """The values that become black and white, one pair for each type of pixel.

    They hold for a whole data set: a value is the same grey in every picture. 8-bit pictures have no
    entry: their 0 is black and their 255 is white.

    Attributes:
        word: for unsigned integers of 9 to 16 bits, as 16-bit values; None for the type's full range, 0 and
            65,535.
        integer: for signed and 32-bit integers; None if unknown.
        real: for floating-point numbers; None for 0 and 1 with no value beyond them.
    """

    word: Pair | None = None
    integer: Pair | None = None
    real: Pair | None = None

    def to_dict(self) -> dict[str, Pair | None]:
        """Return plain JSON types."""
        return asdict(self)

    @classmethod
    def from_dict(cls, document: dict[str, Any] | None) -> "Levels":
        """Build from `to_dict`; files written before levels existed have none.

        Raises:
            ValueError: if a pair is not two finite numbers, the first smaller; TypeError if it is not a pair.
        """
        if not isinstance(document or {}, dict):
            raise ValueError(f"levels: {document!r} is not an object")
        pairs = {f.name: (document or {}).get(f.name) for f in fields(cls)}
        return cls(**{kind: None if pair is None else _pair(kind, pair) for kind, pair in pairs.items()})


BY_TYPE = Levels()
"""Of a picture of which nothing is known but its type."""


def _pair(kind: str, pair: Any) -> Pair:
    low, high = map(float, pair)
    if not (math.isfinite(low) and math.isfinite(high - low) and low < high):
        raise ValueError(f"levels of {kind} pixels: {low:g} is not below {high:g}")
    return low, high
