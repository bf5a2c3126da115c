"""The built-in data sets: found on disk, or fetched by torchvision.

`digits` comes inside scikit-learn: 1,797 real handwritten digits of 8 x 8 pixels (UCI, 1998). Its test split
is a stored list, so that figures can be compared across versions. As the pictures of these sets never change,
their validation is an exact share of each class, see `hold_out_by_rank`.
The others are looked for under the data root as class folders, as parquet or as their original idx
files, and only then downloaded. Nothing is ever read from a pickle that we did not download: the
CIFAR archives hold pickles, so they go through torchvision, which checks their MD5 first.
"""

import gzip
import os
import struct
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from resight.core.errors import DataError
from resight.core.files import digest
from resight.data.cache import cache_folder
from resight.data.dataset import ArrayPictures, Dataset, Split
from resight.data.layouts.folder import open_folder
from resight.data.layouts.table import open_parquet, parquet_shards

FASHION = (
    "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip
DIGITS_TEST = Path(__file__).with_name("digits_test.txt")
"""Digests of the test digits' 8 x 8 pixels, 8 letters each."""
DIGITS = tuple(str(d) for d in range(10))
BUILTIN = {
    "digits": None,
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "svhn": "SVHN",
}
UNMIRRORED = {"digits", "mnist", "svhn"}
MAT = "_32x32.mat"
"""End of the names of SVHN's files."""


def data_roots(data_root: Path | None) -> list[Path]:
    """Return where built-in data sets are looked for, first place first."""
    chosen = data_root or (Path(os.environ["RESIGHT_DATA"]) if os.environ.get("RESIGHT_DATA") else None)
    return [chosen] if chosen else [cache_folder()]


def open_builtin(name: str, data_root: Path | None) -> Dataset:
    """Open a built-in data set by name.

    Raises:
        DataError: if it is not on disk and cannot be downloaded.
    """
    return replace(_open(name, data_root), by_rank=True)


def _open(name: str, data_root: Path | None) -> Dataset:
    if name == "digits":
        return _digits()
    for root in data_roots(data_root):
        folder = root / name
        if not folder.is_dir():
            continue
        if shards := parquet_shards(folder):
            dataset = open_parquet(name, shards, folder)
        elif name == "svhn" and any(folder.rglob(f"*{MAT}")):
            dataset = _from_mat(folder)
        elif any(folder.rglob("*-ubyte*")):
            dataset = _from_idx(name, folder)
        else:
            dataset = open_folder(folder)
        return replace(dataset, name=name, mirrors=name not in UNMIRRORED)
    return _download(name, data_roots(data_root)[0])


def _digits() -> Dataset:
    from sklearn.datasets import load_digits

    bunch: Any = load_digits()
    small = np.round(bunch.images * (255 / 16)).astype(np.uint8)
    # Three times as large in the middle of a 32 x 32 canvas: small shifts leave the digit whole.
    grey = np.zeros((len(small), 32, 32), dtype=np.uint8)
    for canvas, digit in zip(grey, small, strict=True):
        enlarged = Image.fromarray(digit).resize((24, 24), Image.Resampling.BICUBIC)
        canvas[4:28, 4:28] = np.asarray(enlarged)
    dataset = _of_arrays("digits", {"train": (grey, bunch.target)}, DIGITS)
    tested = set(DIGITS_TEST.read_text(encoding="ascii").split())
    out = np.array([digest(pixels.astype(np.uint8).tobytes())[:8] in tested for pixels in bunch.images])
    if out.sum() != len(tested):
        raise DataError(
            "digits: scikit-learn's digits differ from those that Resight expects; install another version"
        )
    train, test = (np.flatnonzero(side) for side in (~out, out))
    splits = {"train": dataset.train.take(train), "test": dataset.train.take(test, "test")}
    return replace(dataset, splits=splits, notes=(f"its {len(test)} test pictures are a fixed list",))


def _of_arrays(name: str, splits: dict[str, tuple[NDArray, NDArray]], names: tuple[str, ...]) -> Dataset:
    classes = tuple(sorted(names))
    built = {}
    for split, (pixels, labels) in splits.items():
        rgb = np.repeat(pixels[..., None], 3, axis=-1) if pixels.ndim == 3 else pixels
        source = ArrayPictures(np.ascontiguousarray(rgb, dtype=np.uint8), f"{name}/{split}")
        raw = Split(split, source, np.arange(len(rgb)), np.asarray(labels, dtype=np.int64), names)
        built[split] = raw.relabelled(classes)
    return Dataset(name, classes, built, mirrors=name not in UNMIRRORED)


def _from_idx(name: str, folder: Path) -> Dataset:
    splits = {}
    for split, prefix in (("train", "train"), ("test", "t10k")):
        images = next(iter(sorted(folder.rglob(f"{prefix}-images*ubyte*"))), None)
        labels = next(iter(sorted(folder.rglob(f"{prefix}-labels*ubyte*"))), None)
        if images is None or labels is None:
            raise DataError(f"{folder}: lacks the idx files {prefix}-images and {prefix}-labels; add them")
        splits[split] = pixels, numbers = read_idx(images), read_idx(labels)
        if pixels.ndim != 3 or numbers.ndim != 1 or len(pixels) != len(numbers):
            raise DataError(
                f"{labels}: has shape {numbers.shape}, {images.name} has {pixels.shape}; they do not match:"
                " copy both again"
            )
        if (numbers >= len(DIGITS)).any():
            row = int(np.flatnonzero(numbers >= len(DIGITS))[0])
            raise DataError(
                f"{labels}: row {row} has label {numbers[row]}, outside the 10 classes; copy it again"
            )
    return _of_arrays(name, splits, FASHION if name == "fashion_mnist" else DIGITS)


def _from_mat(folder: Path) -> Dataset:
    """Read SVHN's cropped digits (Netzer et al. 2011, format 2); the extra pictures are not used."""
    splits = {}
    for split in ("train", "test"):
        file = next(iter(sorted(folder.rglob(f"{split}{MAT}"))), None)
        if file is None:
            raise DataError(f"{folder}: lacks {split}{MAT}; add it")
        splits[split] = read_mat(file)
    return _of_arrays("svhn", splits, DIGITS)


def read_mat(file: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Read pictures (N, 32, 32, 3) and digits (N,) of a file of SVHN, where a 0 has the label 10.

    Raises:
        DataError: if the file is no MATLAB file, or does not hold such pictures and labels.
    """
    from scipy.io import loadmat

    try:
        content = loadmat(str(file), variable_names=["X", "y"])
        pixels, labels = content["X"], content["y"]
    except KeyError as error:
        raise DataError(
            f"{file}: holds no variable {error}; SVHN's files hold X and y: copy it again"
        ) from error
    except Exception as error:  # scipy raises whatever a damaged file leads to
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(f"{file}: cannot be read as a MATLAB file ({reason}); copy it again") from error
    labels = labels.ravel()
    if pixels.ndim != 4 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise DataError(
            f"{file}: X is {pixels.dtype} {pixels.shape}, not uint8 (32, 32, 3, N); copy it again"
        )
    if len(labels) != pixels.shape[3] or not ((labels >= 1) & (labels <= 10)).all():
        raise DataError(
            f"{file}: y is not a label from 1 to 10 for each of {pixels.shape[3]} pictures; copy it again"
        )
    return np.ascontiguousarray(pixels.transpose(3, 0, 1, 2)), labels.astype(np.int64) % 10


def read_idx(file: Path) -> NDArray[np.uint8]:
    """Read an idx file of unsigned bytes (LeCun's MNIST format), plain or gzipped.

    Raises:
        DataError: if the file is not idx or is shorter than its header says.
    """
    try:
        content = file.read_bytes()
        content = gzip.decompress(content) if content[:2] == b"\x1f\x8b" else content
        zero, kind, dimensions = struct.unpack(">HBB", content[:4])
        shape = struct.unpack(f">{dimensions}I", content[4 : 4 + 4 * dimensions])
        values = np.frombuffer(content, np.uint8, offset=4 + 4 * dimensions)
    except (OSError, EOFError, struct.error, ValueError, zlib.error) as error:
        raise DataError(f"{file}: cannot be read as idx ({error}); copy it again") from error
    if zero != 0 or kind != 8 or values.size != np.prod(shape):
        raise DataError(f"{file}: is not a complete idx file of bytes; copy it again")
    return values.reshape(shape)


def _download(name: str, root: Path) -> Dataset:
    from torchvision import datasets

    builder = getattr(datasets, BUILTIN[name])  # type: ignore[arg-type]
    try:
        parts = {}
        for split in ("train", "test"):
            which = {"split": split} if name == "svhn" else {"train": split == "train"}
            parts[split] = builder(root / "torchvision", download=True, **which)
    except Exception as error:  # torchvision raises whatever the network, the archive or the disk gives
        reason = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise DataError(
            f"{name}: is not under {root} and cannot be downloaded ({reason}); "
            "put it there as parquet, idx or class folders, or give its folder with --data-root"
        ) from error
    if name == "svhn":
        splits = {s: (p.data.transpose(0, 2, 3, 1), np.asarray(p.labels)) for s, p in parts.items()}
    else:
        splits = {s: (np.asarray(p.data), np.asarray(p.targets)) for s, p in parts.items()}
    return _of_arrays(
        name,
        splits,
        tuple(parts["train"].classes)
        if name.startswith("cifar")
        else (FASHION if name == "fashion_mnist" else DIGITS),
    )
