"""Loading of real photos at 224 compared with torchvision's ImageFolder with DataLoader, and timm's loader.

All give a network's input: the shorter side resized to 256, the middle 224 x 224 cut out, normalized float
batches of 64. Files are in the page cache, so decoding, resizing and transfer are measured.
"""

import io
import os
import statistics
import tempfile
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from PIL import Image
from torch import Tensor

from resight.bench.interleave import Block, answer, interleave, timed
from resight.bench.rows import Pixels, Rates, Row
from resight.core.preprocessing import IMAGENET_MEAN, IMAGENET_STD, Preprocessing
from resight.data.decode import decode
from resight.data.layouts.builtin import data_roots
from resight.data.open import open_dataset
from resight.data.order import Order
from resight.data.prepare import Normalize, centre_crop, fit, resize_shorter
from resight.data.shards.packing import Reduction, sample_of
from resight.data.stream import AHEAD, Readers, stream
from resight.service.data.pack import pack

CARD = Preprocessing(size=224, resize=256, mean=IMAGENET_MEAN, std=IMAGENET_STD)
PHOTOS, LARGE = 1000, 24
BATCH = 64
COMPARED = 50
"""Number of photos whose pixels are compared."""
REDUCTIONS = {"packed": Reduction(256), "uncompressed": Reduction(256, uncompressed=True)}
CORES = os.cpu_count() or 1
REFERENCES = {True: "ImageFolder, one core", False: "ImageFolder"}
WAYS = {  # kind, data, cores
    "ImageFolder, one core": ("imagefolder", "folder", 1),
    "timm, one core": ("timm", "folder", 1),
    "ours, folder, one core": ("ours", "folder", 1),
    "ours, parquet, one core": ("ours", "parquet", 1),
    "ours, tar, one core": ("ours", "tar", 1),
    "ours, packed at 256, one core": ("ours", "packed", 1),
    "ours, packed at 256, uncompressed, one core": ("ours", "uncompressed", 1),
    "ImageFolder": ("imagefolder", "folder", CORES),
    "timm": ("timm", "folder", CORES),
    "ours, folder": ("ours", "folder", CORES),
    "ours, parquet": ("ours", "parquet", CORES),
    "ours, tar": ("ours", "tar", CORES),
    "ours, packed at 256": ("ours", "packed", CORES),
    "ours, packed at 256, uncompressed": ("ours", "uncompressed", CORES),
    "ImageFolder, large photos": ("imagefolder", "large", CORES),
    "ours, large photos": ("ours", "large", CORES),
}


def measure(seconds: float, rounds: int, photos: int = PHOTOS, large: int = LARGE) -> list[Row]:
    """Measure all ways to load photos, interleaved.

    Args:
        seconds: minimum length of a block.
        rounds: blocks of each.
        photos: number of ordinary photos.
        large: number of large photos.

    Returns:
        Rows as in `bench.bench`; the first one's note says which photos they are.
    """
    with tempfile.TemporaryDirectory(prefix="resight-bench-") as name:
        place = Path(name)
        note = make_photos(place, photos, large)
        code = f"import sys; from resight.bench.load import worker; worker({name!r}, sys.argv[1])"
        ways = [way for way, (kind, _, _) in WAYS.items() if kind != "timm" or find_spec("timm")]
        found = interleave(code, ways, seconds, rounds)
        differences = {
            data: difference(place, data) for data in ("folder", "packed", "uncompressed", "large")
        }
    rows = []
    for way in ways:
        kind, data, cores = WAYS[way]
        to = "ImageFolder, large photos" if data == "large" else REFERENCES[cores == 1]
        own = differences.get(data, differences["folder"]) if kind == "ours" else None
        said = "" if own is None else f"differs from Pillow's resize by {own:.2f} of 255"
        rates = Rates.of(found[way].rates, found[to].rates)
        rows.append(Row("load-photos", way, "images/s", to, rates, Pixels(own), said if rows else note))
    return rows


def worker(place: str, way: str) -> None:
    """Run a candidate in this process."""
    kind, data, cores = WAYS[way]
    torch.set_num_threads(1)
    if kind == "ours":
        from resight.core.device import keep_pages

        keep_pages()
    answer(MAKERS[kind](Path(place) / data, cores))


def _imagefolder(root: Path, cores: int) -> Block:
    from torchvision import datasets, transforms

    steps = [
        transforms.Resize(CARD.resize), transforms.CenterCrop(CARD.size), transforms.ToTensor(),
        transforms.Normalize(CARD.mean, CARD.std),
    ]  # fmt: skip
    loader = torch.utils.data.DataLoader(
        datasets.ImageFolder(root / "train", transforms.Compose(steps)), batch_size=BATCH, shuffle=True,
        num_workers=cores if cores > 1 else 0, persistent_workers=cores > 1,
    )  # fmt: skip
    return _endless(lambda turn: (images for images, _ in loader), cores)


def _timm(root: Path, cores: int) -> Block:
    from timm.data.dataset import ImageDataset
    from timm.data.loader import create_loader

    loader = create_loader(
        ImageDataset(str(root / "train")), (3, CARD.size, CARD.size), BATCH,
        use_prefetcher=False, interpolation="bilinear", crop_pct=CARD.size / CARD.resize,
        device=torch.device("cpu"),
        num_workers=cores if cores > 1 else 0, persistent_workers=cores > 1,
    )  # fmt: skip
    return _endless(lambda turn: (images for images, _ in loader), cores)


def _ours(root: Path, cores: int) -> Block:
    train = open_dataset(root).train
    order, normalize = (
        Order(len(train), BATCH, 0, blocks=train.blocks()),
        Normalize(CARD, torch.device("cpu")),
    )

    def read(index: int) -> np.ndarray:
        return fit(train.read(index, CARD.resize), CARD)

    def join(squares: list[np.ndarray]) -> Tensor:
        return torch.from_numpy(np.stack(squares))

    def epoch(turn: int) -> Iterator[Tensor]:
        batches = (indices.tolist() for indices in order.batches(turn))
        for squares in stream(read, join, batches, Readers(cores if cores > 1 else 0)):
            yield normalize(squares)

    return _endless(epoch, cores)


MAKERS: dict[str, Callable[[Path, int], Block]] = {"imagefolder": _imagefolder, "timm": _timm, "ours": _ours}


def _endless(epoch: Callable[[int], Iterator[Tensor]], cores: int) -> Block:
    """Return a block of batches; batches read ahead before its turn do not count, for any candidate."""

    def batches() -> Iterator[Tensor]:
        turn = 0
        while True:
            yield from epoch(turn)
            turn += 1

    iterator = batches()
    return timed(lambda: len(next(iterator)), ahead_of(cores))


def ahead_of(cores: int) -> int:
    """Return how many batches the readers may have ready: ours AHEAD and one, a DataLoader's two each."""
    return max(AHEAD + 1, 2 * cores) if cores > 1 else 0


def difference(place: Path, data: str) -> float:
    """Return the mean absolute difference, of 255, between our squares of photos and Pillow's."""
    train = open_dataset(place / ("large" if data == "large" else "folder")).train
    found = []
    for index in range(min(COMPARED, len(train))):
        content = train.pictures.content(int(train.positions[index]))
        assert isinstance(content, bytes)  # they are files
        whole = resize_shorter(decode(content), CARD.resize)
        expected = np.asarray(centre_crop(whole, CARD.size)).astype(np.int16)
        if data in REDUCTIONS:
            own = fit(decode(sample_of(train, index, REDUCTIONS[data]).content), CARD)
        else:
            own = fit(train.read(index, CARD.resize), CARD)
        found.append(float(np.abs(expected - own).mean()))
    return statistics.mean(found)


# --- photos ----------------------------------------------------------------------------------------


def make_photos(place: Path, photos: int, large: int) -> str:
    """Write the photos as folder, parquet, tar, reduced tar, and large ones; return their source in words.

    They come from the sample of ImageNet under the data root, whose shorter sides are at most 256, enlarged
    and written with about as many bytes as ImageNet's photos; without the sample they are synthetic.
    """
    source = next(
        (f for r in data_roots(None) if (f := r / "imagenet_sample" / "imagenet_sample.parquet").is_file()),
        None,
    )
    originals = pq.read_table(source)["image"].to_pylist() if source else None

    def photo(number: int) -> Image.Image:
        if originals is None:
            return drawn(number)
        return decode(originals[number % len(originals)]["bytes"])

    rows = []
    for number in range(photos):
        content = enlarged(photo(number), 375, 98)
        rows.append({"image": {"bytes": content, "path": None}, "label": str(number % 2)})
        _write(place / "folder" / "train" / str(number % 2) / f"{number}.jpg", content)
    for number in range(large):
        _write(
            place / "large" / "train" / str(number % 2) / f"{number}.jpg", enlarged(photo(number), 3000, 85)
        )
    (place / "parquet").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), place / "parquet" / "train.parquet", row_group_size=100)
    pack(str(place / "folder"), 4, None, str(place / "tar"))
    pack(str(place / "folder"), 4, 256, str(place / "packed"))
    pack(str(place / "folder"), 4, 256, str(place / "uncompressed"), uncompressed=True)
    size = statistics.mean(len(row["image"]["bytes"]) for row in rows) / 1000
    what = "of ImageNet, enlarged" if originals else "drawn, since imagenet_sample is not under the data root"
    return f"{photos} photos {what} to a shorter side of 375, {size:.0f} kB each; {large} large ones of 3000"


def drawn(number: int) -> Image.Image:
    """Return a picture with about as much detail as a photo: noise that falls off with frequency."""
    generator = np.random.default_rng(number)
    total = np.zeros((256, 341, 3))
    for octave in range(1, 8):
        noise = generator.uniform(-1, 1, (2**octave, 2**octave, 3)).astype(np.float32)
        for channel in range(3):
            layer = Image.fromarray(noise[..., channel]).resize((341, 256), Image.Resampling.BICUBIC)
            total[..., channel] += np.asarray(layer) * 0.6**octave
    return Image.fromarray(np.clip(128 + 120 * total, 0, 255).astype(np.uint8))


def enlarged(image: Image.Image, side: int, quality: int) -> bytes:
    """Return a picture as JPEG, its shorter side `side` pixels."""
    scale = side / min(image.size)
    size = (round(image.width * scale), round(image.height * scale))
    stream = io.BytesIO()
    image.resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=quality)
    return stream.getvalue()


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
