"""What must happen to a picture before a network sees it, as data that travels with the weights."""

from dataclasses import asdict, dataclass
from typing import Any

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """A test-time preprocessing: resize the shorter side, crop the centre, normalize.

    Pixels are RGB, divided by 255, less `mean`, over `std`.

    Attributes:
        size: side of the square that the network sees, in pixels.
        resize: shorter side before the centre crop, in pixels.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        pixel_mean: per pixel mean, (3 * size * size) values in [0, 1], in place of `mean`
            (He et al. 2015, section 3.4, subtract it); empty if unused.
    """

    size: int
    resize: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    pixel_mean: tuple[float, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the per-pixel mean (it is stored as a tensor)."""
        document = asdict(self)
        del document["pixel_mean"]
        return document

    @classmethod
    def from_dict(cls, document: dict[str, Any], pixel_mean: tuple[float, ...] = ()) -> "Preprocessing":
        """Build from `to_dict` and the tensor that travelled beside it."""
        return cls(
            size=int(document["size"]),
            resize=int(document["resize"]),
            mean=tuple(document["mean"]),
            std=tuple(document["std"]),
            pixel_mean=pixel_mean,
        )
