"""Kinds of input that are fuzzed. Each makes one case from a number: files, a call, and what is right.

What is right comes from another reader than Resight's: the rows that were written, or what Pillow, csv,
pyarrow or tarfile make of the damaged bytes. It is a sorted list of (class, picture), a picture being the
digest of its RGB pixels. Where no other reader can tell, only a refusal or what was written is right.
"""

import csv
import hashlib
import io
import json
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image, ImageFile

from resight.data.decode import decode
from resight.data.open import open_dataset

CLASSES = ("ant", "bee", "cat")


@dataclass(frozen=True)
class Case:
    """One input.

    Attributes:
        answer: reads it with Resight.
        right: all answers that are right; an empty list means that only a refusal is.
    """

    answer: Callable[[], Any]
    right: list[Any] = field(default_factory=list)


def digest(image: Image.Image) -> str:
    return hashlib.sha256(f"{image.size}".encode() + np.asarray(image).tobytes()).hexdigest()[:12]


def random_picture(rng: np.random.Generator) -> Image.Image:
    height, width = rng.integers(9, 24, 2)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


def encoded(image: Image.Image, form: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, form, **options)
    return stream.getvalue()


def damaged(data: bytes, rng: np.random.Generator) -> bytes:
    """Flip bits, cut, repeat, insert or replace: one to four times."""
    parts = bytearray(data)
    for _ in range(rng.integers(1, 5)):
        if not parts:
            break
        place, length = int(rng.integers(len(parts))), int(rng.integers(1, 40))
        match rng.integers(6):
            case 0:
                parts[place] ^= 1 << int(rng.integers(8))
            case 1:
                del parts[place:]
            case 2:
                del parts[place : place + length]
            case 3:
                parts[place:place] = parts[place : place + length]
            case 4:
                parts[place : place + length] = rng.bytes(length)
            case 5:
                parts[place : place + 4] = (0xFFFFFFFF).to_bytes(4)
    return bytes(parts)


def content(where: Path, named: str = "") -> list[tuple[str, str]] | str:
    """Return what Resight reads of a data set: (class, picture) of all splits, sorted.

    With `named`, which is left out, this is a complaint if no note names it.
    """
    dataset = open_dataset(where)
    if named and not any(named in line for line in (*dataset.notes, *dataset.unused)):
        return f"{named} is left out without a word"
    return sorted(
        (";".join(split.class_names(i)), digest(split.decode(i)))
        for split in dataset.splits.values()
        for i in range(len(split))
    )


def pictures_by_class(rng: np.random.Generator) -> list[tuple[str, Image.Image]]:
    return [(name, random_picture(rng)) for name in CLASSES for _ in range(4)]


def as_rows(pictures: list[tuple[str, Image.Image]]) -> list[tuple[str, str]]:
    return sorted((name, digest(image)) for name, image in pictures)


FORMS = {
    "PNG": ("png", {}), "JPEG": ("jpg", {}), "GIF": ("gif", {}), "BMP": ("bmp", {}), "TIFF": ("tif", {}),
    "WEBP": ("webp", {"lossless": True}), "PPM": ("ppm", {}), "TGA": ("tga", {}), "ICO": ("ico", {}),
}  # fmt: skip


def picture(number: int, folder: Path) -> Case:
    """A damaged picture file: the pixels that Pillow reads without a complaint, or a refusal."""
    rng = np.random.default_rng((1, number))
    form = list(FORMS)[number % len(FORMS)]
    suffix, options = FORMS[form]
    data = encoded(random_picture(rng), form, **options)
    if number % 4:
        data = damaged(data, rng)
    path = folder / f"picture.{suffix}"
    path.write_bytes(data)
    return Case(lambda: digest(decode(path)), oracles_of(data))


def oracles_of(data: bytes) -> list[str]:
    """Return the digest of what Pillow reads of the bytes, strictly; none if it refuses them."""
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with Image.open(io.BytesIO(data), formats=list(FORMS)) as image:
            image.load()
            if image.mode not in ("RGB", "L", "P", "1"):
                return [ANYTHING]  # transparency, CMYK and high bit depths have their own tests
            if "transparency" in image.info:
                return [ANYTHING]
            return [digest(image.convert("RGB"))]
    except Exception:  # noqa: BLE001 - whatever Pillow raises is its refusal
        return []


ANYTHING = "anything"
"""A right answer that equals all: the oracle cannot tell."""


def table(number: int, folder: Path) -> Case:
    """A csv in a random dialect, whole or with one planted fault."""
    rng = np.random.default_rng((2, number))
    pictures = pictures_by_class(rng)
    rows = []
    for i, (name, image) in enumerate(pictures):
        (folder / f"p{i}.png").write_bytes(encoded(image))
        rows.append([f"p{i}.png", name])
    header = [["path", "label"], ["Path", "Label"], [" path", "label "], ["file", "class"]][rng.integers(3)]
    delimiter, quoting = ",;\t"[rng.integers(3)], [csv.QUOTE_MINIMAL, csv.QUOTE_ALL][rng.integers(2)]
    encoding = ["utf-8", "utf-8-sig", "utf-16"][rng.integers(3)]
    stream = io.StringIO()
    ends = ["\n", "\r\n"][rng.integers(2)]
    writer = csv.writer(stream, delimiter=delimiter, quoting=quoting, lineterminator=ends)
    right = [as_rows(pictures)]
    fault = rng.integers(7)
    victim = int(rng.integers(len(rows)))
    if fault == 1:
        rows[victim].append("large")
    elif fault == 2:
        rows[victim].pop()
    elif fault == 3:
        rows.append([rows[victim][0], next(c for c in CLASSES if c != rows[victim][1])])
    elif fault == 4:
        rows[victim][0] = "gone.png"
    writer.writerows([header, *rows])
    text = stream.getvalue()
    if fault in (1, 2, 3) or fault == 4:
        right = []
    elif fault == 5:
        text = (
            text.replace(rows[victim][0], f'"{rows[victim][0]}', 1) if quoting == csv.QUOTE_MINIMAL else text
        )
        right = [] if quoting == csv.QUOTE_MINIMAL else right
    elif fault == 6:
        text, right = text[: len(text) // 2] + "\0" + text[len(text) // 2 :], []
    path = folder / ["table.csv", "table.CSV"][rng.integers(2)]
    path.write_bytes(text.encode(encoding))
    return Case(lambda: content(path), right)


def parquet(number: int, folder: Path) -> Case:
    """Parquet with a second binary column, in any order, with or without features; or damaged bytes."""
    rng = np.random.default_rng((3, number))
    pictures = pictures_by_class(rng)
    columns: dict[str, Any] = {
        "image": [{"bytes": encoded(image), "path": f"p{i}.png"} for i, (_, image) in enumerate(pictures)],
        "label": [CLASSES.index(name) for name, _ in pictures],
    }
    features: dict[str, Any] = {
        "image": {"_type": "Image"},
        "label": {"_type": "ClassLabel", "names": list(CLASSES)},
    }
    if rng.integers(2):
        columns["mask"] = [{"bytes": encoded(random_picture(rng)), "path": ""} for _ in pictures]
        features["mask"] = {"_type": "Image"}
    else:
        columns["phash"] = [rng.bytes(8) for _ in pictures]
        features["phash"] = {"dtype": "binary", "_type": "Value"}
    order = list(rng.permutation(list(columns)))
    made = pa.table({name: columns[name] for name in order})
    rows = as_rows(pictures)
    if rng.integers(2):
        info = json.dumps({"info": {"features": {name: features[name] for name in order}}})
        made = made.replace_schema_metadata({"huggingface": info})
    else:  # without the names of the classes, a class is called by its number
        rows = sorted((str(CLASSES.index(name)), pixels) for name, pixels in rows)
    path = folder / "train.parquet"
    pq.write_table(made, path)
    if number % 3 == 0:
        path.write_bytes(damaged(path.read_bytes(), rng))
        return Case(lambda: content(path), right_of_parquet(path, made, rows))
    return Case(lambda: content(path), [rows])


def right_of_parquet(path: Path, made: pa.Table, rows: list[tuple[str, str]]) -> list[Any]:
    """Return what is right of a damaged file: its rows, unless pyarrow reads others of it."""
    try:
        again = pq.read_table(path)
    except Exception:  # noqa: BLE001 - whatever pyarrow raises is its refusal
        return [rows]  # the damage may lie in a column that is not used
    same = again.equals(made) and again.schema.metadata == made.schema.metadata
    return [rows] if same else [ANYTHING]  # parquet has no checksums: other values are read by both


def shards(number: int, folder: Path) -> Case:
    """A WebDataset shard, whole or with damaged bytes."""
    rng = np.random.default_rng((4, number))
    pictures = pictures_by_class(rng)
    path = folder / "train-000000.tar"
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w") as archive:
        for i in rng.permutation(len(pictures)):
            name, image = pictures[i]
            for suffix, data in (("png", encoded(image)), ("cls", name.encode())):
                member = tarfile.TarInfo(f"{i:06d}.{suffix}")
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
    data, right = stream.getvalue(), [as_rows(pictures)]
    if number % 2:
        data = damaged(data, rng)
        right = [right[0], *rows_of_tar(data)]
    path.write_bytes(data)
    return Case(lambda: content(path), right)


def rows_of_tar(data: bytes) -> list[Any]:
    """Return what tarfile and Pillow make of a damaged shard; nothing if they refuse a part of it."""
    samples: dict[str, dict[str, bytes]] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            for member in archive:
                key, _, suffix = member.name.partition(".")
                file = archive.extractfile(member)
                samples.setdefault(key, {})[suffix] = file.read() if file else b""
        rows = []
        for sample in samples.values():
            found = oracles_of(sample["png"])
            rows.append((sample["cls"].decode().strip(), found[0]))
        return [sorted(rows)]
    except Exception:  # noqa: BLE001 - whatever they raise is their refusal
        return []


def coco(number: int, folder: Path, fault: int | None = None) -> Case:
    """A COCO file, whole or with one planted fault."""
    rng = np.random.default_rng((5, number))
    pictures = pictures_by_class(rng)
    images, annotations = [], []
    for i, (name, image) in enumerate(pictures):
        (folder / f"p{i}.png").write_bytes(encoded(image))
        images.append({"id": i + 1, "file_name": f"p{i}.png", "width": image.width, "height": image.height})
        box: list[Any] = [1, 1, image.width - 3, image.height - 3]
        annotations.append(
            {"id": i + 1, "image_id": i + 1, "category_id": CLASSES.index(name) + 1, "bbox": box,
             "area": box[2] * box[3], "iscrowd": 0}
        )  # fmt: skip
    categories = [{"id": i + 1, "name": name} for i, name in enumerate(CLASSES)]
    document: dict[str, Any] = {"images": images, "annotations": annotations, "categories": categories}
    victim = int(rng.integers(len(images)))
    fault = int(rng.integers(9)) if fault is None else fault
    path = folder / "instances_train.json"
    if fault in (4, 5, 7):  # one box that says nothing: its picture is left out, and named
        if fault == 4:
            annotations[victim]["category_id"] = 77
        else:
            annotations[victim]["bbox"] = [None, "a", {}, []] if fault == 5 else [1, 1, float("nan"), 5]
        path.write_text(json.dumps(document))
        rest = as_rows(pictures[:victim] + pictures[victim + 1 :])
        return Case(lambda: content(path, named=f"p{victim}.png"), [rest])
    match fault:
        case 1:
            images[victim]["id"] = images[victim - 1]["id"]
        case 2:
            categories[1]["id"] = 1
        case 3:
            for annotation in annotations:
                annotation["bbox"] = [0.1, 0.1, 0.5, 0.5]
        case 6:
            del document[["images", "annotations", "categories"][rng.integers(3)]]
        case 8:
            document["categories"] = {"a": "b"}
    path.write_text(json.dumps(document))
    return Case(lambda: content(path), [] if fault else [as_rows(pictures)])


def damaged_json(number: int, folder: Path) -> Case:
    """A COCO file with damaged bytes: what is no JSON is refused; of the rest no other reader tells."""
    case = coco(number, folder, fault=0)
    path = folder / "instances_train.json"
    if number % 4 == 0:
        return case
    data = damaged(path.read_bytes(), np.random.default_rng((6, number)))
    path.write_bytes(data)
    try:
        json.loads(data)
    except (ValueError, RecursionError):
        return Case(case.answer, [])
    return Case(case.answer, [ANYTHING])


KINDS: dict[str, Callable[[int, Path], Case]] = {
    "pictures": picture,
    "csv": table,
    "parquet": parquet,
    "tar": shards,
    "coco": coco,
    "json": damaged_json,
}
"""What is fuzzed, by name."""
