"""Local descriptors on a grid: dense SIFT (OpenCV) and histograms of oriented gradients (scikit-image).

Both are torch operators, so that a network with them is traced, compiled, exported and run on the meta device
like any other; they compute on the CPU, picture by picture.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.device import cores
from resight.core.errors import UsageError

CELLS, BINS = 4, 8
SIFT = CELLS * CELLS * BINS
"""Numbers of a SIFT descriptor: 4 x 4 cells of 8 orientations (Lowe 2004, section 6)."""
HOG_BLOCK = 2
"""Cells along a side of a HOG block (Dalal and Triggs 2005, section 6.4)."""
NORMS = ("root", "l2")
Window = tuple[tuple[int, int], int, int, tuple[float, float]]
"""Kernel, stride, dilation and padding, in pixels: what one position of a map is made from."""


def grey(images: Tensor) -> Tensor:
    """Return the luma (B, H, W) of images (B, C, H, W) in [0, 1]: 0.299 R + 0.587 G + 0.114 B."""
    images = images.float().clamp(0, 1)
    if images.shape[1] == 1:
        return images[:, 0]
    if images.shape[1] != 3:
        raise UsageError(f"descriptors need 1 or 3 channels, not {images.shape[1]}")
    weights = images.new_tensor([0.299, 0.587, 0.114])
    return torch.einsum("bchw,c->bhw", images, weights)


def grid(side: int, patch: int, step: int) -> NDArray[Any]:
    """Return the centres, in pixels, of whole patches along a side; the rest is split evenly on both ends.

    Args:
        side: of the picture, in pixels.
        patch: side of a patch; a picture smaller than one still has one centre.
        step: pixels between two centres.
    """
    count = positions(side, patch, step)
    return (side - 1) / 2 + (np.arange(count) - (count - 1) / 2) * step


def positions(side: int, patch: int, step: int) -> int:
    """Return the number of centres that `grid` gives."""
    return max(side - patch, 0) // step + 1


def key_point_size(patch: float) -> float:
    """Return the size of the key point whose SIFT descriptor covers a patch.

    OpenCV makes a cell 3 / 2 of the size wide, so its four cells are six times the size wide.
    """
    return patch / (CELLS * 1.5)


@lru_cache(32)
def _key_points(height: int, width: int, step: int, patches: tuple[int, ...]) -> tuple[Any, ...]:
    import cv2

    rows, columns = grid(height, patches[0], step), grid(width, patches[0], step)
    # Angle 0 keeps the descriptors upright.
    return tuple(
        cv2.KeyPoint(float(x), float(y), key_point_size(patch), 0.0)
        for patch in patches
        for y in rows
        for x in columns
    )


def _each(images: NDArray[Any], one: Callable[[NDArray[Any]], NDArray[Any]]) -> Iterator[NDArray[Any]]:
    """Yield `one` of every picture, with as many threads as torch uses."""
    count = min(cores(), len(images))
    if count < 2:
        yield from map(one, images)
        return
    with ThreadPoolExecutor(count) as pool:
        yield from pool.map(one, images)


@torch.library.custom_op("resight::dense_sift", mutates_args=())
def dense_sift(images: Tensor, step: int, patches: list[int], sigma: float) -> Tensor:
    """Return SIFT descriptors on a grid, as OpenCV gives them.

    Args:
        images: (B, C, H, W) in [0, 1]; C is 3 (RGB) or 1.
        step: pixels between two descriptors.
        patches: sides of the patches in pixels, the smallest first: it defines the grid. Larger patches may
            extend beyond the border, where OpenCV ignores the missing pixels.
        sigma: the picture's blur, in pixels, before gradients are taken.

    Returns:
        (B, S * 128, h, w) whole numbers of 0 to 255, patches outermost.
    """
    import cv2

    if not images.shape[0]:
        return _empty_sift(images, step, patches, sigma)
    whole = (grey(images) * 255).round().to(torch.uint8).cpu().numpy()
    height, width = whole.shape[1:]
    points = _key_points(height, width, step, tuple(patches))
    shape = (len(patches), positions(height, patches[0], step), positions(width, patches[0], step), SIFT)

    def one(picture: NDArray[Any]) -> NDArray[Any]:
        sift = cv2.SIFT.create(nOctaveLayers=1, sigma=sigma)  # one for each thread
        return sift.compute(picture, points)[1].reshape(shape)

    maps = np.stack(list(_each(whole, one))).transpose(0, 1, 4, 2, 3)
    flat = torch.from_numpy(np.ascontiguousarray(maps)).flatten(1, 2)
    return flat.to(images.device, images.dtype)


@dense_sift.register_fake
def _empty_sift(images: Tensor, step: int, patches: list[int], sigma: float) -> Tensor:
    del sigma
    height, width = (positions(int(side), patches[0], step) for side in images.shape[2:])
    return images.new_empty(images.shape[0], len(patches) * SIFT, height, width)


@torch.library.custom_op("resight::dense_hog", mutates_args=())
def dense_hog(images: Tensor, cells: int, orientations: int) -> Tensor:
    """Return histograms of oriented gradients: blocks of 2 x 2 cells, each clipped and normalized (L2-Hys).

    Args:
        images: (B, C, H, W) in [0, 1]; C is 3 (RGB) or 1.
        cells: along the shorter side; a cell is a square of whole pixels, and the rest of the picture is cut
            off evenly on all sides.
        orientations: bins of unsigned orientation.

    Returns:
        (B, 4 * orientations, h, w), of all blocks.
    """
    from skimage.feature import hog

    side, (top, rows), (left, columns) = _cells(int(images.shape[2]), int(images.shape[3]), cells)
    whole = grey(images)[:, top : top + rows * side, left : left + columns * side].cpu().numpy()

    def one(picture: NDArray[Any]) -> NDArray[Any]:
        return hog(
            picture, orientations, (side, side), (HOG_BLOCK, HOG_BLOCK), "L2-Hys", feature_vector=False
        )

    empty = _empty_hog(images, cells, orientations)
    if not images.shape[0]:
        return empty
    blocks = np.stack(list(_each(whole, one)))
    maps = torch.from_numpy(blocks).flatten(3).permute(0, 3, 1, 2)
    return maps.to(images.device, images.dtype).contiguous()


@dense_hog.register_fake
def _empty_hog(images: Tensor, cells: int, orientations: int) -> Tensor:
    _, (_, rows), (_, columns) = _cells(int(images.shape[2]), int(images.shape[3]), cells)
    height, width = rows - HOG_BLOCK + 1, columns - HOG_BLOCK + 1
    return images.new_empty(images.shape[0], HOG_BLOCK**2 * orientations, height, width)


def _cells(height: int, width: int, cells: int) -> tuple[int, tuple[int, int], tuple[int, int]]:
    """Return the side of a cell, and for rows and columns the first pixel and the number of cells."""
    shorter = min(height, width)
    if (side := shorter // cells) < 1:
        raise UsageError(f"{height} x {width} pixels are too few for {cells} cells; lower cells=")
    counts = [cells if extent == shorter else extent // side for extent in (height, width)]
    (top, left) = ((extent - n * side) // 2 for extent, n in zip((height, width), counts, strict=True))
    return side, (top, counts[0]), (left, counts[1])


def _no_gradient(ctx: Any, gradient: Tensor) -> None:
    del ctx, gradient
    raise UsageError(
        "SIFT and HOG have no gradient with respect to the pixels; choose a method that needs none, such as "
        "grad_cam, occlusion or rise"
    )


dense_sift.register_autograd(_no_gradient)
dense_hog.register_autograd(_no_gradient)


class DenseSift(nn.Module):
    """SIFT descriptors of several patch sizes on one grid: (B, C, H, W) to (B, S * 128, h, w).

    Deviation from Lazebnik et al. 2006: patches of several sizes share the grid of the smallest.

    Args:
        patch: side of the smallest patch, in pixels.
        step: pixels between two descriptors.
        scales: number of patch sizes: 1, 3/2, 2, ... times `patch`.
        norm: "l2" (length 1, clipped at 0.2, length 1: Lowe 2004, section 6.1) or "root" (square roots of
            the L1-normalized values: Arandjelovic and Zisserman 2012, section 2).
        sigma: see `dense_sift`.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(self, patch: int, step: int, scales: int, norm: str, sigma: float) -> None:
        super().__init__()
        if norm not in NORMS:
            raise UsageError(f"norm={norm!r} is not one of {', '.join(NORMS)}")
        if patch < CELLS or step < 1 or not 1 <= scales <= 8 or not 0.5 <= sigma <= 8:
            raise UsageError(
                f"patch={patch}, step={step}, scales={scales}, sigma={sigma}: patch must be {CELLS} or more, "
                "step 1 or more, scales 1 to 8, sigma 0.5 to 8"
            )
        self.patches = [round(patch * (1 + extra / 2)) for extra in range(scales)]
        self.step, self.norm, self.sigma = step, norm, sigma
        self.channels = scales * SIFT

    def window(self, height: int, width: int) -> Window:
        """Return the largest patch as a sliding window; soft bins and the blur also read pixels beyond it."""
        largest = self.patches[-1]
        up, back = (
            (largest - 1) / 2 - float(grid(side, self.patches[0], self.step)[0]) for side in (height, width)
        )
        return (largest, largest), self.step, 1, (up, back)

    def forward(self, images: Tensor) -> Tensor:
        """Return normalized descriptors."""
        return self.normalized(self.raw(images))

    def raw(self, images: Tensor) -> Tensor:
        """Return descriptors as OpenCV gives them: (B, S * 128, h, w) whole numbers of 0 to 255."""
        return torch.ops.resight.dense_sift(images, self.step, self.patches, self.sigma)

    def normalized(self, raw: Tensor) -> Tensor:
        """Normalize every descriptor of a map; that of a flat patch stays zero."""
        each = raw.unflatten(1, (len(self.patches), SIFT))
        if self.norm == "root":
            return (each / each.sum(2, keepdim=True).clamp(min=1)).sqrt().flatten(1, 2)
        each = F.normalize(each, dim=2).clamp(max=0.2)
        return F.normalize(each, dim=2).flatten(1, 2)


class Hog(nn.Module):
    """Histograms of oriented gradients: (B, C, H, W) to (B, 4 * orientations, h, w).

    Deviation from Dalal and Triggs 2005: the cell is a share of the picture, not 8 pixels, and there is no
    gamma correction.

    Args:
        cells: along the shorter side.
        orientations: bins of unsigned orientation.

    Raises:
        UsageError: for a value out of range.
    """

    def __init__(self, cells: int, orientations: int) -> None:
        super().__init__()
        if cells < HOG_BLOCK or orientations < 2:
            raise UsageError(f"cells={cells}, orientations={orientations}: must be 2 or more each")
        self.cells, self.orientations = cells, orientations
        self.channels = HOG_BLOCK**2 * orientations

    def window(self, height: int, width: int) -> Window:
        """Return a block as a sliding window, including the neighbours that its gradients read."""
        side, (top, _), (left, _) = _cells(height, width, self.cells)
        block = HOG_BLOCK * side + 2
        return (block, block), side, 1, (1 - top, 1 - left)

    def forward(self, images: Tensor) -> Tensor:
        """Return the blocks' histograms."""
        return torch.ops.resight.dense_hog(images, self.cells, self.orientations)


def descriptor_count(model: nn.Module, size: int) -> int:
    """Return the number of descriptors of a square picture of `size` pixels; 0 if the network has none."""
    for module in model.modules():
        if isinstance(module, DenseSift):
            side = positions(size, module.patches[0], module.step)
            return side * side * len(module.patches)
        if isinstance(module, Hog):
            return (module.cells - HOG_BLOCK + 1) ** 2 if size >= module.cells else 0
    return 0
