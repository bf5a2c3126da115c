"""The pictures of the benchmark: any data set, written once as class folders for all candidates."""

import shutil
from pathlib import Path

from PIL import Image

from resight.core.errors import DataError, UsageError
from resight.data.dataset import Dataset, Split
from resight.data.layouts.builtin import data_roots
from resight.data.open import open_dataset
from resight.tasks.classify.task import of_labels

DEFAULT = ("hymenoptera", "grocery", "wildlife_voc", "raccoon_kangaroo_voc")
"""Zips under the data root that are used when no data are given."""


def located(name: str, data_root: str | None) -> str:
    """Return the argument of `open_dataset` for a name: its zip under the data root, or the name itself.

    Raises:
        UsageError: if a default set does not exist.
    """
    if name not in DEFAULT or Path(name).exists():
        return name
    roots = data_roots(Path(data_root) if data_root else None)
    found = next((zip for root in roots if (zip := root / f"{name}.zip").is_file()), None)
    if found is None:
        raise UsageError(f"{name}.zip is not under the data root; set --data-root, or name your own data")
    return str(found)


def write_set(dataset: Dataset, place: Path) -> None:
    """Write a data set as class folders under train/, test/ and val/ (if it has one); files are not changed.

    The data set's own splits are used; if it has no test split, one is made by a hash of the content, see
    `open_dataset`.

    Raises:
        DataError: if the labels are multi-label, or a class name cannot be a folder name.
    """
    of_labels(dataset).require_one(dataset.name, "bench photos needs one class per picture")
    odd = [name for name in dataset.classes if "/" in name or name in ("", ".", "..")]
    if odd:
        raise DataError(f"{dataset.name}: the class {odd[0]!r} cannot be a folder's name; rename it")
    unfinished = place.with_name(f"{place.name}.part")
    shutil.rmtree(unfinished, ignore_errors=True)
    for name, split in dataset.splits.items():
        _write_split(split, unfinished / name)
    shutil.rmtree(place, ignore_errors=True)
    unfinished.rename(place)


def _write_split(split: Split, place: Path) -> None:
    for index in range(len(split)):
        (label,) = split.class_names(index)
        suffix = Path(split.picture_name(index)).suffix.lower() or ".jpg"
        path = place / label / f"{index:06d}{suffix}"
        path.parent.mkdir(parents=True, exist_ok=True)
        content = split.content(index)
        if isinstance(content, bytes):
            path.write_bytes(content)
        else:
            Image.fromarray(content).save(path.with_suffix(".png"))


def class_folders(name: str, data_root: str | None, place: Path) -> Path:
    """Write a data set as class folders under `place`, replacing older ones, and return the folder."""
    folder = place / Path(name).stem
    write_set(open_dataset(located(name, data_root), data_root), folder)
    return folder


def truth(root: Path) -> dict[str, str]:
    """Return the class of each test picture, by its path under test/."""
    test = root / "test"
    return {f"{f.parent.name}/{f.name}": f.parent.name for f in sorted(test.glob("*/*")) if f.is_file()}
