"""Data sets of the Hugging Face hub: `hf://owner/name`, or `hf://owner/name/configuration`.

Their parquet files are taken; where a data set has none of its own, those that the hub made of it (the branch
`refs/convert/parquet`). Files are downloaded once, into the hub's own cache.
"""

import re
from dataclasses import replace
from pathlib import Path

from resight.core.errors import DataError
from resight.data.dataset import Dataset
from resight.data.layouts.splits import split_in
from resight.data.layouts.table import open_parquet

SCHEME = "hf://"
CONVERTED = "refs/convert/parquet"


def is_hub(where: str) -> bool:
    """Whether the words name a data set of the hub."""
    return where.startswith(SCHEME)


def open_hub(where: str) -> Dataset:
    """Open a data set of the hub.

    Raises:
        DataError: if the extra is not installed, the words name no data set, it cannot be downloaded, or it
            has several configurations and none is named.
    """
    words = where.removeprefix(SCHEME).strip("/").split("/")
    if len(words) not in (2, 3) or not all(re.fullmatch(r"[\w.-]+", word) for word in words):
        raise DataError(f"{where}: does not name a data set of the hub; write hf://owner/name")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise DataError(
            f"{where}: needs huggingface_hub; install with: pip install 'resight[hub]'"
        ) from error
    name, configuration = "/".join(words[:2]), words[2] if len(words) == 3 else ""
    try:
        for revision in (None, CONVERTED):
            listed = hub.HfApi().list_repo_files(name, repo_type="dataset", revision=revision)
            if files := [file for file in listed if file.endswith(".parquet")]:
                files = _of_configuration(where, files, configuration)
                place = hub.snapshot_download(
                    name, repo_type="dataset", revision=revision, allow_patterns=files
                )
                return _noted(open_parquet(where, _by_split(where, Path(place), files)), files)
    except DataError:
        raise
    except Exception as error:  # the hub's client raises whatever the network gives
        reason = str(error).strip().splitlines()[0][:160] if str(error).strip() else type(error).__name__
        raise DataError(
            f"{where}: cannot be downloaded ({reason}); check the name and the network, or download it "
            "and give its folder"
        ) from error
    raise DataError(
        f"{where}: holds no parquet files, and the hub has no parquet copy; download it and give its folder"
    )


def _noted(dataset: Dataset, files: list[str]) -> Dataset:
    """Say so if the hub converted only the beginning of a split."""
    partial = next((file for file in files if "partial-" in file), None)
    if partial is None:
        return dataset
    note = f"the hub holds only a part of it as parquet ({partial}); the rest is not used"
    return replace(dataset, notes=(*dataset.notes, note))


def _of_configuration(where: str, files: list[str], configuration: str) -> list[str]:
    """Return the files of one configuration: one of several folders with files."""
    folders = {file.split("/")[0] for file in files if file.count("/") > 0}
    names = sorted(f for f in folders if not split_in(f) and f != "data")
    if configuration:
        if configuration not in names:
            raise DataError(
                f"{where}: has no configuration {configuration!r}; it has {', '.join(names) or 'one only'}"
            )
        return [file for file in files if file.startswith(configuration + "/")]
    if len(names) > 1:
        raise DataError(
            f"{where}: has several configurations, {', '.join(names)}; name one: "
            f"{where.rstrip('/')}/{names[0]}"
        )
    return files


def _by_split(where: str, place: Path, files: list[str]) -> dict[str, list[Path]]:
    found: dict[str, list[Path]] = {}
    for file in sorted(files):
        # The name of the file, or of the nearest folder that names a split.
        split = next((s for part in reversed(file.split("/")) if (s := split_in(part))), "")
        found.setdefault(split, []).append(place / file)
    if "" in found and len(found) > 1:
        raise DataError(
            f"{where}: {found[''][0].name} does not name a split; download the data set and give its folder"
        )
    return {split or "train": part for split, part in found.items()}
