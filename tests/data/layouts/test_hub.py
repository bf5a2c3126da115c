"""Data sets of the hub, with the download replaced."""

import sys

import huggingface_hub
import pytest

from data.test_open import write_parquet
from resight.core.errors import DataError
from resight.data.layouts.hub import open_hub
from resight.data.open import open_dataset


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub in a folder: revision, then file."""
    asked = []

    class Api:
        def list_repo_files(self, name, *, repo_type, revision):
            assert (name, repo_type) == ("own/photos", "dataset")
            root = tmp_path / "hub" / str(revision).replace("/", "-")
            return [str(p.relative_to(root)) for p in root.rglob("*") if p.is_file()]

    def download(name, *, repo_type, revision, allow_patterns):
        asked.append((name, repo_type, revision, sorted(allow_patterns)))
        return str(tmp_path / "hub" / str(revision).replace("/", "-"))

    monkeypatch.setattr(huggingface_hub, "HfApi", Api)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)

    def put(revision, file, labels=(0, 1, 0), start=0):
        place = tmp_path / "hub" / revision / file
        place.parent.mkdir(parents=True, exist_ok=True)
        write_parquet(place, list(labels), ["a", "b"], start=start)

    put.asked = asked
    return put


def test_its_own_parquet_is_taken(hub):
    hub("None", "data/train-00000-of-00002.parquet")
    hub("None", "data/train-00001-of-00002.parquet", start=10)
    hub("None", "data/validation-00000-of-00001.parquet", (1, 0), start=20)
    dataset = open_dataset("hf://own/photos")
    assert dataset.classes == ("a", "b") and dataset.name == "hf://own/photos"
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 6, "test": 2}
    assert hub.asked[0][2] is None and len(hub.asked[0][3]) == 3


def test_the_converted_parquet_is_taken_where_there_is_no_other(hub, tmp_path):
    (tmp_path / "hub" / "None").mkdir(parents=True)
    (tmp_path / "hub" / "None" / "README.md").write_text("x")
    hub("refs-convert-parquet", "default/train/0000.parquet")
    hub("refs-convert-parquet", "default/test/0000.parquet", (1, 0), start=20)
    dataset = open_dataset("hf://own/photos")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 3, "test": 2}
    assert hub.asked == [
        (
            "own/photos",
            "dataset",
            "refs/convert/parquet",
            ["default/test/0000.parquet", "default/train/0000.parquet"],
        )
    ]


def test_one_of_several_configurations_is_asked_for(hub):
    for name in ("large", "small"):
        hub("None", f"{name}/train-00000.parquet")
        hub("None", f"{name}/test-00000.parquet", start=20)
    with pytest.raises(
        DataError, match="several configurations, large, small; name one: hf://own/photos/large"
    ):
        open_dataset("hf://own/photos")
    assert len(open_dataset("hf://own/photos/small").train) == 3
    assert all(file.startswith("small/") for file in hub.asked[0][3])
    with pytest.raises(DataError, match="no configuration 'huge'; it has large, small"):
        open_dataset("hf://own/photos/huge")


@pytest.mark.parametrize("where", ["hf://", "hf://own", "hf://own/a/b/c", "hf://own/a b"])
def test_words_that_name_nothing_are_one_line(where):
    with pytest.raises(DataError, match="write hf://owner/name"):
        open_hub(where)


def test_a_data_set_without_parquet_is_one_line(hub, tmp_path):
    with pytest.raises(DataError, match="holds no parquet files"):
        open_dataset("hf://own/photos")


def test_without_network_or_extra_there_is_one_line(monkeypatch):
    def offline(*_, **__):
        raise ConnectionError("no route to host\nand more")

    monkeypatch.setattr("huggingface_hub.HfApi.list_repo_files", offline)
    with pytest.raises(DataError, match=r"cannot be downloaded \(no route to host\)") as caught:
        open_dataset("hf://own/photos")
    assert "\n" not in str(caught.value)
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(DataError, match=r"pip install 'resight\[hub\]'"):
        open_dataset("hf://own/photos")


def test_a_part_that_the_hub_converted_is_said(hub, tmp_path):
    (tmp_path / "hub" / "None").mkdir(parents=True)
    hub("refs-convert-parquet", "default/partial-train/0000.parquet")
    hub("refs-convert-parquet", "default/test/0000.parquet", (1, 0), start=20)
    data = open_dataset("hf://own/photos")
    assert (
        len(data.train) == 3 and "only a part of it" in data.notes[-1] and "partial-train" in data.notes[-1]
    )
