"""The preprocessing of a picture before a network sees it, stored with the weights."""

from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any

from resight.core.levels import BY_TYPE, Levels

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

INTERPOLATIONS = ("bilinear", "bicubic")
FRAMES = ("crop", "stretch", "pad", "corner")
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True, kw_only=True)
class Preprocessing:
    """A test-time preprocessing: resize, crop the centre, normalize.

    Pixels are RGB, divided by 255, minus `mean`, divided by `std`. With `contrast`, instead: each picture
    minus its own mean over all values, scaled to the norm `contrast`, minus `pixel_mean`, times `whitening`.

    Attributes:
        size: side of the square that the network sees, in pixels.
        resize: shorter side before the centre crop, in pixels.
        mean: per channel, in [0, 1].
        std: per channel, in [0, 1].
        pixel_mean: per pixel mean, (3 * size * size) values in [0, 1], in place of `mean`
            (He et al. 2015, section 3.4, subtract it); empty if unused.
        interpolation: of the resizing, "bilinear" or "bicubic", both antialiased.
        contrast: global contrast normalization (Goodfellow et al. 2013, section 5.2); 0 for none.
        whitening: ZCA, (3 * size * size, 3 * size * size), over the order of `pixel_mean`; None for none.
        levels: which values are black and white in pictures of more than 8 bits.
        frame: what is seen of a picture: "crop", its centre after the shorter side is resized; "stretch",
            all of it, resized to the square; "pad", all of it in its proportions, centred on black; or
            "corner", all of it, the longer side resized, in the upper left of a square, black elsewhere.
    """

    size: int
    resize: int
    mean: tuple[float, ...] = IMAGENET_MEAN
    std: tuple[float, ...] = IMAGENET_STD
    pixel_mean: tuple[float, ...] = ()
    interpolation: str = "bilinear"
    contrast: float = 0.0
    whitening: "NDArray[np.float32] | None" = field(default=None, compare=False, repr=False)
    levels: Levels = BY_TYPE
    frame: str = "crop"

    def to_dict(self) -> dict[str, Any]:
        """Return plain JSON types, without the two tables (they are stored as tensors)."""
        plain = [f.name for f in fields(self) if f.name not in ("pixel_mean", "whitening", "levels", "frame")]
        framed = {} if self.frame == "crop" else {"frame": self.frame}
        return {**{name: getattr(self, name) for name in plain}, "levels": self.levels.to_dict(), **framed}

    @classmethod
    def from_dict(
        cls,
        document: dict[str, Any],
        pixel_mean: tuple[float, ...] = (),
        whitening: "NDArray[np.float32] | None" = None,
    ) -> "Preprocessing":
        """Build from `to_dict` and the tensors stored with it."""
        return cls(
            size=int(document["size"]),
            resize=int(document["resize"]),
            mean=tuple(document["mean"]),
            std=tuple(document["std"]),
            pixel_mean=pixel_mean,
            interpolation=str(document.get("interpolation", "bilinear")),
            contrast=float(document.get("contrast", 0.0)),
            whitening=whitening,
            levels=Levels.from_dict(document.get("levels")),
            frame=str(document.get("frame", "crop")),
        )
