"""Resize and crop: a picture to the square that the network sees, by its preprocessing."""

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.console import counted
from resight.core.device import cores
from resight.core.errors import PictureError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.decode import SEEN, WHOLE

if TYPE_CHECKING:  # torch takes seconds to load, and an exported network needs none
    import torch
    from torch import Tensor

    from resight.data.dataset import Split

MOST_ASPECT = 16


FILTERS = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}


Picture: TypeAlias = "Image.Image | Tensor"
"""A decoded picture: Pillow's, or (3, H, W) uint8; see `decode_either`."""


def size_of(image: Picture) -> tuple[int, int]:
    """Return width and height in pixels."""
    return image.size if isinstance(image, Image.Image) else (image.shape[2], image.shape[1])


def resize_shorter(image: Image.Image, side: int, interpolation: str = "bilinear") -> Image.Image:
    """Resize so that the shorter side is `side` pixels, antialiased, aspect kept.

    The longer side is rounded down, as torchvision does. Of a strip longer than MOST_ASPECT times its
    shorter side only the middle is kept: enlarged, the whole could fill the memory.
    """
    resized = _resize_shorter(image, side, interpolation)
    assert isinstance(resized, Image.Image)
    return resized


def _resize_shorter(image: Picture, side: int, interpolation: str) -> Picture:
    width, height = size_of(image)
    if max(width, height) > MOST_ASPECT * min(width, height):
        most = MOST_ASPECT * min(width, height)
        left, top = max(0, (width - most) // 2), max(0, (height - most) // 2)
        image = _crop(image, left, top, min(width, most), min(height, most))
        width, height = size_of(image)
    elif isinstance(image, Image.Image) and WHOLE in image.info:
        return _resize_scaled(image, side, interpolation)
    if min(width, height) == side:
        return image
    size = _resized(width, height, side)
    if isinstance(image, Image.Image):
        return image.resize(size, FILTERS[interpolation])
    return _interpolate(image, size, interpolation)


def _resized(width: int, height: int, side: int) -> tuple[int, int]:
    longer = max(side, int(side * max(width, height) / min(width, height)))
    return (side, longer) if width <= height else (longer, side)


def _resize_scaled(image: Image.Image, side: int, interpolation: str) -> Image.Image:
    """Resize what was scaled inside libjpeg as the picture in the file would be, to a fraction of a pixel."""
    width, height = image.info[WHOLE]
    scale = round(max(width, height) / max(image.size))
    box = (0, 0, width / scale, height / scale)
    return image.resize(_resized(width, height, side), FILTERS[interpolation], box=box)


def _interpolate(image: "Tensor", size: tuple[int, int], interpolation: str) -> "Tensor":
    """Resize a tensor as Pillow does, antialiased; values differ by 1 of 255 at most."""
    from torch.nn import functional as F

    return F.interpolate(image[None], size=size[::-1], mode=interpolation, antialias=True)[0]


def _crop(image: Picture, left: int, top: int, width: int, height: int) -> Picture:
    if isinstance(image, Image.Image):
        return image.crop((left, top, left + width, top + height))
    return image[:, top : top + height, left : left + width]


def centre_crop(image: Image.Image, side: int) -> Image.Image:
    """Crop the central square of `side` pixels; the picture must be that large."""
    cropped = _centre_crop(image, side)
    assert isinstance(cropped, Image.Image)
    return cropped


def _centre_crop(image: Picture, side: int) -> Picture:
    width, height = size_of(image)
    if (width, height) == (side, side):
        return image
    return _crop(image, round((width - side) / 2), round((height - side) / 2), side, side)


def fit(image: Picture, preprocessing: Preprocessing) -> NDArray[np.uint8]:
    """Return the test-time square of a picture, (size, size, 3) uint8."""
    if preprocessing.frame == "stretch":
        sides = (preprocessing.size, preprocessing.size)
        return pixels_of(_stretch(image, sides, preprocessing.interpolation))
    if preprocessing.frame == "pad":
        sides = (preprocessing.size, preprocessing.size)
        return pixels_of(_stretch(_padded(image), sides, preprocessing.interpolation))
    if preprocessing.frame == "corner":
        sides = padded_sides(whole_size(image), preprocessing.size)
        shown = pixels_of(_stretch(image, sides, preprocessing.interpolation))
        square = np.zeros((preprocessing.size, preprocessing.size, 3), np.uint8)
        square[: sides[1], : sides[0]] = shown
        return square
    resized = _resize_shorter(image, preprocessing.resize, preprocessing.interpolation)
    return pixels_of(_centre_crop(resized, preprocessing.size))


def padded_sides(size: tuple[int, int], side: int) -> tuple[int, int]:
    """Return (width, height) of a picture whose longer side is resized to `side`."""
    width, height = (max(1, round(own * side / max(size))) for own in size)
    return width, height


def _stretch(image: Picture, sides: tuple[int, int], interpolation: str) -> Picture:
    """Resize all of a picture to (width, height)."""
    if not isinstance(image, Image.Image):
        return _interpolate(image, sides, interpolation)
    if image.size == sides:
        return image
    width, height = image.size
    if WHOLE in image.info:  # scaled inside libjpeg, which rounds up
        whole = image.info[WHOLE]
        scale = round(max(whole) / max(image.size))
        width, height = whole[0] / scale, whole[1] / scale
    return image.resize(sides, FILTERS[interpolation], box=(0, 0, width, height))


def _padded(image: Picture) -> Picture:
    """Return a picture in the middle of a black square of its longer side."""
    width, height = size_of(image)
    side = max(width, height)
    left, top = (side - width) // 2, (side - height) // 2
    if not isinstance(image, Image.Image):
        from torch.nn import functional as F

        return F.pad(image, (left, side - width - left, top, side - height - top))
    square = Image.new("RGB", (side, side))
    square.paste(image, (left, top))
    return square


def whole_size(image: Picture) -> tuple[int, int]:
    """Return (width, height) in pixels of the whole picture, although it may have been decoded smaller."""
    return image.info.get(SEEN, image.size) if isinstance(image, Image.Image) else size_of(image)


def seen_window(size: tuple[int, int], preprocessing: Preprocessing) -> tuple[float, float, float, float]:
    """Return what `fit` shows the network of a picture: (left, top, right, bottom) in the picture's pixels.

    Args:
        size: (width, height) of the picture.
        preprocessing: as for `fit`.
    """
    side, (width, height) = preprocessing.resize, size
    if preprocessing.frame == "stretch":
        return 0.0, 0.0, float(width), float(height)
    if preprocessing.frame == "pad":
        left, top = ((max(size) - edge) // 2 for edge in size)
        return -left, -top, max(size) - left, max(size) - top
    if preprocessing.frame == "corner":
        across, down = padded_sides(size, preprocessing.size)
        return 0.0, 0.0, preprocessing.size * width / across, preprocessing.size * height / down
    most = MOST_ASPECT * min(size)
    inner = (min(width, most), min(height, most))
    start = (max(0, (width - most) // 2), max(0, (height - most) // 2))
    resized = inner if min(inner) == side else _resized(*inner, side)
    edges = []
    for before, whole, scaled in zip(start, inner, resized, strict=True):
        first = round((scaled - preprocessing.size) / 2)
        edges.append(
            (before + first * whole / scaled, before + (first + preprocessing.size) * whole / scaled)
        )
    (left, right), (top, bottom) = edges
    return left, top, right, bottom


def pixels_of(image: Picture) -> NDArray[np.uint8]:
    """Return the pixels of a picture, (H, W, 3) uint8."""
    return np.asarray(image) if isinstance(image, Image.Image) else image.permute(1, 2, 0).numpy()


def cut_box(image: Picture, box: tuple[float, ...], size: int) -> NDArray[np.uint8]:
    """Cut a box (left, top, right, bottom), in pixels, out and resize it to a square, antialiased.

    Out of a tensor whole pixels are cut, the nearest to the box, as torchvision's random crops are. What a
    box shows beyond the picture is black.

    Returns:
        (size, size, 3) uint8.
    """
    width, height = size_of(image)
    if box[0] < 0 or box[1] < 0 or box[2] > width or box[3] > height:
        return _cut_beyond(image, box, size)
    if isinstance(image, Image.Image):
        square = image.resize((size, size), FILTERS["bilinear"], box=box, reducing_gap=3.0)  # type: ignore[arg-type]
        return np.asarray(square)
    left, top = min(round(box[0]), width - 1), min(round(box[1]), height - 1)
    right, bottom = max(left + 1, round(box[2])), max(top + 1, round(box[3]))
    part = image[:, top:bottom, left:right]
    return pixels_of(_interpolate(part, (size, size), "bilinear"))


def _cut_beyond(image: Picture, box: tuple[float, ...], size: int) -> NDArray[np.uint8]:
    """Cut a box that reaches beyond the picture out; what is inside lands on whole pixels of the square."""
    width, height = size_of(image)
    square, places, part = np.zeros((size, size, 3), np.uint8), [], []
    for low, high, most in ((box[0], box[2], width), (box[1], box[3], height)):
        scale = size / (high - low)
        first, last = round(max(0.0, -low) * scale), round((min(high, most) - low) * scale)
        places.append((first, max(last, first + 1)))
        part.append((max(low, 0.0), min(high, float(most))))
    (x0, x1), (y0, y1) = places
    inside = (part[0][0], part[1][0], part[0][1], part[1][1])
    if not isinstance(image, Image.Image):
        left, top, right, bottom = (round(edge) for edge in inside)
        shown = pixels_of(
            _interpolate(
                image[:, top : max(bottom, top + 1), left : max(right, left + 1)],
                (x1 - x0, y1 - y0),
                "bilinear",
            )
        )
    else:
        shown = np.asarray(
            image.resize((x1 - x0, y1 - y0), FILTERS["bilinear"], box=inside, reducing_gap=3.0)
        )
    square[y0:y1, x0:x1] = shown[: size - y0, : size - x0]
    return square


def typical_side(split: "Split", most: int = 64) -> int:
    """Return the median shorter side, in pixels, of some evenly spaced pictures of a split."""
    sides = []
    for index in np.unique(np.linspace(0, len(split) - 1, most).astype(int)):
        try:
            sides.append(min(split.decode(int(index)).size))
        except PictureError:
            continue  # it is reported where the split is read as a whole
    return int(np.median(sides)) if sides else 0


def decode_split(
    split: "Split", preprocessing: Preprocessing, *, whole: bool = False, strict: bool = False
) -> tuple["Split", list[NDArray[np.uint8]], list[PictureError]]:
    """Decode all pictures of a split into memory.

    Args:
        split: the split.
        preprocessing: gives the size.
        whole: keep whole pictures with the shorter side `preprocessing.resize`, instead of squares
            of `preprocessing.size`.
        strict: stop at the first broken picture instead of leaving it out.

    Returns:
        The split without broken pictures, its pictures (h, w, 3), and the faults.

    Raises:
        PictureError: the first fault, if `strict`.
    """

    def one(index: int) -> NDArray[np.uint8] | PictureError:
        try:
            image = split.read(index, at_least=preprocessing.resize)
        except PictureError as error:
            return error
        if whole:
            image = _resize_shorter(image, preprocessing.resize, preprocessing.interpolation)
            return np.ascontiguousarray(pixels_of(image))
        return np.ascontiguousarray(fit(image, preprocessing))

    with ThreadPoolExecutor(max_workers=cores()) as pool:
        results = list(counted(pool.map(one, range(len(split))), "reading pictures", len(split)))
    faults = [r for r in results if isinstance(r, PictureError)]
    if faults and strict:
        raise faults[0]
    kept = [i for i, r in enumerate(results) if not isinstance(r, PictureError)]
    pictures = [r for r in results if not isinstance(r, PictureError)]
    return (split if not faults else split.take(kept)), pictures, faults


class Normalize:
    """Turn uint8 RGB pixels into what the network takes.

    One multiply-add over whole pictures: shift and scale are spread to (size * size * 3) values, so
    that the innermost loop is long. Contrast normalization and whitening, where the card has them, take
    its place.

    Args:
        preprocessing: mean and deviation.
        device: where the pictures will be.
    """

    def __init__(self, preprocessing: Preprocessing, device: "torch.device") -> None:
        self.preprocessing, self.device = preprocessing, device
        self._by_shape: dict[tuple[int, int], tuple[Tensor, Tensor]] = {}
        self._whitening: Tensor | None = None

    def __call__(self, pixels: "Tensor") -> "Tensor":
        """Normalize pixels (B, H, W, 3) uint8 to (B, 3, H, W) float32, channels last in memory.

        Raises:
            UsageError: if a whitened card meets pictures of another size.
        """
        import torch

        count, height, width, _ = pixels.shape
        if self.preprocessing.contrast:
            return self._contrast(pixels)
        shift, scale = self._vectors(height, width)
        flat = pixels.reshape(count, -1).to(torch.float32)
        flat = torch.addcmul(shift, flat, scale, out=flat)
        return flat.view(count, height, width, 3).permute(0, 3, 1, 2)

    def _vectors(self, height: int, width: int) -> "tuple[Tensor, Tensor]":
        import torch
        from torch.nn import functional as F

        if (height, width) not in self._by_shape:
            card = self.preprocessing
            mean = torch.tensor(card.mean).view(3, 1, 1).expand(3, height, width)
            if card.pixel_mean:
                stored = torch.tensor(card.pixel_mean).view(1, 3, card.size, card.size)
                mean = F.interpolate(stored, (height, width), mode="bilinear")[0]
            std = torch.tensor(card.std).view(3, 1, 1).expand(3, height, width)
            scale = (1 / (255 * std)).permute(1, 2, 0).reshape(-1)
            shift = (-mean / std).permute(1, 2, 0).reshape(-1)
            self._by_shape[height, width] = (shift.to(self.device), scale.to(self.device))
        return self._by_shape[height, width]

    def _contrast(self, pixels: "Tensor") -> "Tensor":
        import torch
        from torch.nn import functional as F

        card, (count, height, width, _) = self.preprocessing, pixels.shape
        flat = contrast_normalized(pixels.permute(0, 3, 1, 2), card.contrast)
        if card.whitening is not None and (height, width) != (card.size, card.size):
            raise UsageError(
                f"pictures of {height} x {width}: this network's whitening is for {card.size} x {card.size}"
            )
        if card.pixel_mean:
            stored = torch.tensor(card.pixel_mean, device=self.device).view(1, 3, card.size, card.size)
            if (height, width) != (card.size, card.size):
                stored = F.interpolate(stored, (height, width), mode="bilinear")
            flat = flat - stored.flatten(1)
        if card.whitening is not None:
            if self._whitening is None:
                self._whitening = torch.from_numpy(card.whitening).to(self.device)
            flat = flat @ self._whitening
        images = flat.view(count, 3, height, width)
        return images.contiguous(memory_format=torch.channels_last)


def contrast_normalized(images: "Tensor", scale: float) -> "Tensor":
    """Return each picture (B, 3, H, W) of 0..255 as a vector (B, 3HW): less its mean, scaled to norm `scale`.

    Goodfellow et al. 2013, section 5.2; the released CIFAR-10 preparation has scale 55.
    """
    flat = images.flatten(1).float() / 255
    flat = flat - flat.mean(1, keepdim=True)
    return scale * flat / flat.norm(dim=1, keepdim=True).clamp(min=1e-8)


def zca(vectors: "Tensor", epsilon: float = 0.1) -> "Tensor":
    """Return W = E diag(1 / sqrt(lambda + epsilon)) E^T of centred vectors (N, D): (D, D), symmetric.

    E and lambda are the eigenvectors and eigenvalues of their covariance.
    """
    import torch

    covariance = (vectors.T @ vectors).double() / len(vectors)
    values, basis = torch.linalg.eigh(covariance)
    return (basis / (values.clamp(min=0) + epsilon).sqrt() @ basis.T).float()
