"""Pack a data set into a few tar shards that are fast to read."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from resight.core.console import counted
from resight.core.errors import ResightError, UsageError
from resight.core.files import require_place, write_json
from resight.data.dataset import Dataset
from resight.data.layouts.pointed import CroppedPictures
from resight.data.levels import settled
from resight.data.shards.marks import JOINTS, said_of
from resight.data.shards.packing import Reduction, mixed_order, samples, write_shards
from resight.service.run.data import opened_for
from resight.tasks.classify.task import of_labels
from resight.tasks.tasks import CLASSIFY, chosen

MOST_SHARDS = 100_000


@dataclass(frozen=True)
class PackedSplit:
    """How many pictures and shards a split has."""

    pictures: int
    shards: int


@dataclass(frozen=True)
class Packed:
    """The answer of `pack`.

    Attributes:
        data: name of the data set.
        out: the folder.
        splits: what was written of each.
        bytes: of all files.
        left_out: pictures that cannot be read, in words.
        notes: in words.
    """

    data: str
    out: str
    splits: dict[str, PackedSplit]
    bytes: int
    left_out: list[str]
    notes: list[str]


def pack(
    data: str,
    shards: int,
    size: int | None,
    out: str | None,
    quality: int = 90,
    data_root: str | None = None,
    *,
    uncompressed: bool = False,
    task: str = CLASSIFY,
) -> Packed:
    """Pack a data set into WebDataset shards, with indexes and `classes.json` (and `joints.json`).

    Splits are kept. Pictures are shuffled by their content, so that every shard is a random sample. Their
    bytes stay unchanged, broken ones too; or they are reduced or uncompressed, and broken ones left out.
    Pixels in memory become PNG.

    Args:
        data: what `open_dataset` takes.
        shards: number for the largest split; other splits get shards of the same size.
        size: the shorter side to which larger pictures are reduced, in pixels, antialiased, and written as
            JPEG; smaller pictures stay unchanged. None leaves all unchanged.
        out: the folder, which must not exist yet; by default DATA-packed.
        quality: of that JPEG, 1 to 100.
        data_root: see `open_dataset`.
        uncompressed: write every picture, reduced or not, as binary PPM: fastest to read, 3 bytes per pixel.
        task: what the pictures are for, a name in `TASKS`: it says which are taken and what is their class.

    Raises:
        UsageError: if a number is out of range, the folder exists, the data set is multi-label, or a picture
            shows several people, each with their key points.
        ResightError: if the data cannot be read or the folder cannot be written; nothing is left behind.
    """
    if not 1 <= shards <= MOST_SHARDS or not 1 <= quality <= 100 or (size is not None and size < 1):
        raise UsageError(
            f"--shards must be 1 to {MOST_SHARDS:,}, --quality 1 to 100 and --size 1 pixel or more"
        )
    kind, _ = chosen(task, [])
    dataset = kind.divided(opened_for(kind, data, data_root))
    if any(split.maps is not None for split in dataset.splits.values()):
        raise UsageError(f"{data}: has label maps, which shards do not support; train on it as it is")
    of_labels(dataset).require_one(data, "shards hold one class per picture", UsageError)
    _refuse_parts(data, dataset)
    folder = Path(out or f"{Path(dataset.name).stem}-packed")
    if folder.exists():
        raise UsageError(f"{folder}: already exists; choose another place with --out, or remove it")
    require_place(folder)
    reduction = Reduction(size, quality, uncompressed) if size or uncompressed else None
    dataset = settled(dataset) if reduction else dataset
    temporary = folder.with_name(f".{folder.name}.{os.getpid()}.tmp")
    try:
        temporary.mkdir()
        answer = _write(dataset, temporary, shards, reduction, str(folder))
        temporary.rename(folder)
    except OSError as error:
        raise ResightError(
            f"{folder}: cannot be written ({error.strerror}); free some space, or choose another --out"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return answer


def _refuse_parts(data: str, dataset: Dataset) -> None:
    """Refuse people cut out of one picture: packed, they would end up in training and in validation."""
    for split in dataset.splits.values():
        if split.points is None:
            continue
        digests = [split.digest(i) for i in range(len(split))]
        if isinstance(split.pictures, CroppedPictures) and len(set(digests)) < len(digests):
            raise UsageError(
                f"{data}: has pictures of several people, which a split of packed pictures would tear apart; "
                "train on it as it is"
            )


def _write(dataset: Dataset, folder: Path, shards: int, reduction: Reduction | None, out: str) -> Packed:
    write_json(folder / "classes.json", {"classes": list(dataset.classes), "mirrors": dataset.mirrors})
    points = dataset.splits[next(iter(dataset.splits))].points
    if points is not None:
        write_json(folder / JOINTS, said_of(points.skeleton))
    part = -(-max(map(len, dataset.splits.values())) // shards)
    left_out: list[str] = []
    splits: dict[str, PackedSplit] = {}
    for name, split in dataset.splits.items():
        found = counted(
            samples(split, mixed_order(split).tolist(), reduction, left_out), f"packing {name}", len(split)
        )
        counts = write_shards(folder, name, part, found)
        splits[name] = PackedSplit(sum(counts), len(counts))
    notes = list(dataset.notes)
    if any(split.masks is not None for split in dataset.splits.values()):
        notes.append("masks are left out: shards do not store them")
    size = sum(file.stat().st_size for file in folder.iterdir())
    return Packed(dataset.name, out, splits, size, left_out, notes)
