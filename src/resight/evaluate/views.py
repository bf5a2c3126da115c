"""The views of one picture at test time: crops, flips, scales.

Source: Krizhevsky et al. 2012, section 4.1 (ten crops); He et al. 2015, section 3.4 (fully convolutional at
shorter sides {224, 256, 384, 480, 640}, averaged). Fully connected layers: see `dense.py`.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.prepare import centre_crop, fit, resize_shorter

VIEWS = ("single", "flip", "ten-crop")


def check_views(views: str, scales: tuple[int, ...]) -> None:
    """Refuse a protocol that does not exist.

    Raises:
        UsageError: naming what does.
    """
    if views not in VIEWS:
        raise UsageError(f"views {views!r} is none of {', '.join(VIEWS)}")
    if scales and views == "ten-crop":
        raise UsageError("--scales sees whole pictures; ten crops do not go with it, flips do")
    if any(s < 16 for s in scales):
        raise UsageError(f"scales {scales} must be 16 pixels or more")


def views_of(
    image: Image.Image, preprocessing: Preprocessing, views: str, scales: tuple[int, ...]
) -> list[NDArray[np.uint8]]:
    """Return the views of a picture, each (h, w, 3) uint8; probabilities are averaged over them.

    Args:
        image: RGB.
        preprocessing: size and resize of the network.
        views: "single" (centre crop), "flip" (and its mirror image), "ten-crop" (centre and four
            corners, and their mirror images; where the network sees whole pictures, so that there is
            nothing to crop, the picture is first enlarged by 8 / 7).
        scales: shorter sides at which the whole picture is seen, in place of the centre crop.
    """
    if preprocessing.frame != "crop" and (scales or views == "ten-crop"):
        raise UsageError(
            f"this network sees whole pictures (frame {preprocessing.frame}); ten crops and --scales do not "
            "go with it, flips do"
        )
    if scales:
        how = preprocessing.interpolation
        seen = [np.asarray(resize_shorter(image, scale, how)) for scale in scales]
    elif views == "ten-crop":
        size = preprocessing.size
        resize = preprocessing.resize if preprocessing.resize > size else round(size * 8 / 7)
        seen = _five_crops(resize_shorter(image, resize, preprocessing.interpolation), size)
    else:
        seen = [fit(image, preprocessing)]
    if views == "single":
        return seen
    return [*seen, *(np.ascontiguousarray(view[:, ::-1]) for view in seen)]


def _five_crops(image: Image.Image, size: int) -> list[NDArray[np.uint8]]:
    width, height = image.size
    corners = [(0, 0), (width - size, 0), (0, height - size), (width - size, height - size)]
    crops = [centre_crop(image, size)]
    crops += [image.crop((left, top, left + size, top + size)) for left, top in corners]
    return [np.asarray(crop) for crop in crops]
