"""`open_dataset`: whatever the user has, as one kind of thing."""

from dataclasses import replace
from pathlib import Path

from resight.core.errors import DataError
from resight.core.registry import nearest
from resight.data.builtin import BUILTIN, open_builtin
from resight.data.dataset import Dataset
from resight.data.folder import open_folder
from resight.data.splitting import with_test_split
from resight.data.table import SPLIT_PREFIXES, open_csv, open_parquet, parquet_shards


def open_dataset(where: str | Path, data_root: str | Path | None = None, *, whole: bool = False) -> Dataset:
    """Open a data set.

    Args:
        where: a built-in name (`digits`, `mnist`, `fashion_mnist`, `cifar10`, `cifar100`), a folder of
            class folders with or without train/val/test above them, a folder of
            `train-*.parquet` shards, a `.parquet` file (encoded pictures and a label), or a `.csv`
            (path,label[,split]).
        data_root: where built-in data sets are looked for and downloaded to; by default
            `$RESIGHT_DATA`, else the user's cache folder.
        whole: pictures without splits of their own are all the test split, none held out: for
            testing a finished run on other data.

    Returns:
        A data set with at least the splits "train" and "test" (or "test" alone, for a parquet of
        that name). Classes are the sorted names of the training split. Pictures without splits of
        their own are divided by a hash of their content, the same way everywhere.

    Raises:
        DataError: in one line, with the cure.
    """
    if str(where) in BUILTIN:
        dataset = open_builtin(str(where), Path(data_root) if data_root else None)
    else:
        dataset = _open_path(Path(where))
    if whole and set(dataset.splits) == {"train"}:
        return replace(dataset, splits={"test": replace(dataset.train, name="test")})
    return dataset if set(dataset.splits) == {"test"} else with_test_split(dataset)


def _open_path(path: Path) -> Dataset:
    if path.is_dir():
        shards = parquet_shards(path)
        return open_parquet(str(path), shards) if shards else open_folder(path)
    if not path.exists():
        close = ", ".join(nearest(str(path), BUILTIN))
        raise DataError(f"{path}: there is no such file, folder or built-in data set; nearest: {close}")
    if path.suffix == ".parquet":
        split = next((s for s, p in SPLIT_PREFIXES.items() if path.stem.startswith(p)), "train")
        return open_parquet(str(path), {split if split == "test" else "train": [path]})
    if path.suffix == ".csv":
        return open_csv(path)
    raise DataError(f"{path}: is none of a folder, .parquet or .csv; give one of these")
