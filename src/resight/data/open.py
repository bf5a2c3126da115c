"""`open_dataset`: whatever the user has, as one kind of thing."""

from dataclasses import replace
from pathlib import Path

from resight.core.errors import DataError
from resight.core.registry import nearest
from resight.data.dataset import Dataset
from resight.data.layouts.builtin import BUILTIN, open_builtin
from resight.data.layouts.coco import coco_files, open_coco
from resight.data.layouts.folder import open_folder
from resight.data.layouts.hub import is_hub, open_hub
from resight.data.layouts.table import SPLIT_PREFIXES, open_csv, open_parquet, parquet_shards
from resight.data.layouts.tiny_imagenet import is_tiny_imagenet, open_tiny_imagenet
from resight.data.layouts.voc import is_voc, open_voc
from resight.data.shards.members import PACKED, open_shards, split_of, tar_shards
from resight.data.splitting import with_test_split


def open_dataset(where: str | Path, data_root: str | Path | None = None, *, whole: bool = False) -> Dataset:
    """Open a data set.

    Args:
        where: a built-in name (`digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`), a folder of
            class folders with or without train/val/test above them, a folder of
            `train-*.parquet` shards, a `.parquet` file (encoded pictures and a label), a folder of
            WebDataset shards (`train-*.tar`) or one such `.tar`, a data set of the Hugging Face hub
            (`hf://owner/name`), a `.csv` (path,label[,split]), or pictures with boxes: a Pascal VOC
            folder, Tiny-ImageNet's folder, a COCO folder (`annotations/instances_train*.json`) or
            COCO's `.json` file, and `multi-label:` before these.
        data_root: where built-in data sets are looked for and downloaded to; by default
            `$RESIGHT_DATA`, else the user's cache folder.
        whole: pictures without splits of their own are all the test split, none held out: for
            testing a finished run on other data.

    Returns:
        A data set with at least the splits "train" and "test" (or "test" alone, for a parquet of
        that name). Classes are the sorted names of the training split. Pictures without splits of
        their own are divided by a hash of their content, the same way everywhere. A picture with boxes
        is labelled by its largest one. Pictures have several classes each after `multi-label:`, in a csv
        with the column `labels` (semicolons between them) and in parquet with lists of labels.

    Raises:
        DataError: in one line, with the cure.
    """
    dataset = open_as_it_is(where, data_root)
    require_fit(dataset)
    return as_test(dataset) if whole else with_test_split(dataset)


def as_test(dataset: Dataset) -> Dataset:
    """Return a data set whose pictures are all the test split, if it has no splits of its own."""
    if set(dataset.splits) == {"train"}:
        return replace(dataset, splits={"test": replace(dataset.train, name="test")})
    return with_test_split(dataset)


def require_fit(dataset: Dataset) -> None:
    """Refuse a data set of which a split has classes that the training split lacks.

    Raises:
        DataError: naming the split and the classes.
    """
    for split in dataset.splits.values():
        split.relabelled(dataset.classes)


def open_as_it_is(where: str | Path, data_root: str | Path | None = None) -> Dataset:
    """Open a data set with the splits that it has; see `open_dataset`.

    A split with classes that the training split lacks counts through these too: see `Split.fitted`.

    Raises:
        DataError: in one line, with the cure.
    """
    if str(where) in BUILTIN:
        dataset = open_builtin(str(where), Path(data_root) if data_root else None)
    elif is_hub(str(where)):
        dataset = open_hub(str(where))
    else:
        multi_label, path = parted_name(str(where))
        dataset = _open_path(Path(path), multi_label=multi_label)
        if multi_label and not dataset.multi_label:
            raise DataError(
                f"{path}: has one class a picture; multi-label: needs boxes, a csv with a column labels, or "
                "parquet with lists of labels"
            )
        if multi_label:
            dataset = replace(dataset, name=f"{MULTI_LABEL}{dataset.name}")
    return dataset


MULTI_LABEL = "multi-label:"
"""Before a place: its pictures have the classes of all their boxes."""


def parted_name(where: str) -> tuple[bool, str]:
    """Return whether a data set's name asks for several labels a picture, and the place that it names."""
    return where.startswith(MULTI_LABEL), where.removeprefix(MULTI_LABEL)


def _open_path(path: Path, *, multi_label: bool) -> Dataset:
    try:
        if path.is_dir():
            return _open_folder(path, multi_label=multi_label)
        return _open_file(path, multi_label=multi_label)
    except OSError as error:
        where = error.filename or path
        raise DataError(f"{where}: cannot be read ({error.strerror}); check its permissions") from error


def _open_file(path: Path, *, multi_label: bool) -> Dataset:
    if not path.exists():
        close = ", ".join(nearest(str(path), BUILTIN))
        raise DataError(f"{path}: there is no such file, folder or built-in data set; nearest: {close}")
    if path.suffix == ".parquet":
        split = next((s for s, p in SPLIT_PREFIXES.items() if path.stem.startswith(p)), "train")
        return open_parquet(str(path), {split if split == "test" else "train": [path]})
    if path.suffix == ".csv":
        return open_csv(path)
    if path.suffix == ".json":
        return open_coco(str(path), {"train": path}, multi_label=multi_label)
    if path.suffix == ".tar":
        return open_shards(str(path), {"test" if split_of(path.stem) == "test" else "train": [path]})
    if path.name.endswith(PACKED):
        raise DataError(f"{path}: is compressed, so no sample can be found; unpack it to .tar")
    raise DataError(f"{path}: is none of a folder, .parquet, .tar, .csv or .json; give one of these")


def _open_folder(path: Path, *, multi_label: bool) -> Dataset:
    if shards := parquet_shards(path):
        return open_parquet(str(path), shards)
    if is_tiny_imagenet(path):
        return open_tiny_imagenet(path)
    if is_voc(path):
        return open_voc(path, multi_label=multi_label)
    if files := coco_files(path):
        return open_coco(str(path), files, multi_label=multi_label)
    # An archive that was left beside the folders that came out of it is no shard.
    if not any(f.is_dir() and not f.name.startswith(".") for f in path.iterdir()) and (
        shards := tar_shards(path)
    ):
        return open_shards(str(path), shards)
    return open_folder(path)
