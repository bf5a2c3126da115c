"""Parquet larger than memory: row groups one at a time, what is kept, what is learned once."""

import os
import pickle

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data.shards.test_shards import png
from resight.core.errors import DataError
from resight.data.dataset import fingerprint
from resight.data.open import open_dataset
from resight.data.shards import columns
from support import picture


def write(file, count, group, start=0, paths=True):
    rows = [
        {"bytes": png((20 * (i % 10), 99, 50), i), **({"path": f"{i}.png"} if paths else {})}
        for i in range(start, start + count)
    ]
    labels = [str(i % 2) for i in range(count)]
    pq.write_table(pa.table({"image": rows, "label": labels}), file, row_group_size=group)


@pytest.fixture
def grouped(tmp_path):
    root = tmp_path / "d"
    root.mkdir()
    write(root / "train-0.parquet", 10, 4)
    write(root / "train-1.parquet", 5, 4, start=10)
    write(root / "test.parquet", 4, 4, start=20)
    return root


def test_every_row_is_its_own_in_any_order(grouped):
    train = open_dataset(grouped).train
    for number in (14, 0, 9, 10, 4, 3):
        expected = np.asarray(picture((20 * (number % 10), 99, 50), seed=number))
        assert np.array_equal(np.asarray(train.decode(number)), expected)
        assert train.picture_name(number) == f"{number}.png"


def test_rows_without_a_path_are_named_by_their_own_file(tmp_path):
    for file, start in (("train-0", 0), ("train-1", 6)):
        write(tmp_path / f"{file}.parquet", 6, 4, start=start, paths=False)
    train = open_dataset(tmp_path, whole=True).split("test")
    assert train.picture_name(5) == "train-0.parquet row 5"
    assert train.picture_name(11) == "train-1.parquet row 5"


def test_row_groups_are_blocks_of_a_set_that_is_not_kept_whole(grouped, monkeypatch):
    assert open_dataset(grouped).train.blocks() is None
    monkeypatch.setattr(columns, "KEPT", 1000)
    assert open_dataset(grouped).train.blocks().tolist() == [0, 4, 8, 10, 14]


def test_no_more_row_groups_are_kept_than_are_needed(grouped, monkeypatch):
    monkeypatch.setattr(columns, "KEPT", 0)
    monkeypatch.setattr(columns, "KEPT_GROUPS", 2)
    pictures = open_dataset(grouped).train.pictures
    reads = []
    real = type(pictures)._read
    monkeypatch.setattr(type(pictures), "_read", lambda self, group: reads.append(group) or real(self, group))
    for number in range(15):
        pictures.content(number)
        assert len(pictures._groups) <= 2
    assert reads == [0, 1, 2, 3, 4]


def test_digests_are_gathered_once_and_again_when_the_file_changes(grouped, tmp_path, monkeypatch):
    before = fingerprint(open_dataset(grouped).train)
    assert list((tmp_path / "cache").rglob("*.index"))
    monkeypatch.setattr("resight.data.shards.columns.digest_of_nothing", None)
    with monkeypatch.context() as patch:
        patch.setattr("resight.data.shards.columns.ColumnPictures._group", None)
        assert fingerprint(open_dataset(grouped).train) == before
    write(grouped / "train-1.parquet", 5, 4, start=40)
    assert fingerprint(open_dataset(grouped).train) != before


def test_a_file_that_changes_or_is_cut_while_it_is_read_is_named(grouped):
    train = open_dataset(grouped).train
    write(grouped / "train-1.parquet", 5, 4, start=40)
    with pytest.raises(DataError, match=r"train-1\.parquet: changed since it was opened"):
        train.decode(12)
    train.decode(0)
    os.truncate(grouped / "train-0.parquet", 200)
    with pytest.raises(DataError, match=r"train-0\.parquet: cannot be read as parquet") as caught:
        train.decode(9)
    assert "\n" not in str(caught.value)


def test_a_truncated_file_is_one_line(grouped):
    os.truncate(grouped / "train-1.parquet", 300)
    with pytest.raises(DataError, match=r"train-1\.parquet: cannot be read as parquet"):
        open_dataset(grouped)


def test_pictures_go_to_another_process_with_nothing_read(grouped):
    train = open_dataset(grouped).train
    train.decode(0)
    again = pickle.loads(pickle.dumps(train))
    assert not again.pictures._groups
    assert np.array_equal(np.asarray(again.decode(3)), np.asarray(train.decode(3)))


def test_a_fork_reads_for_itself(grouped):
    train = open_dataset(grouped).train
    train.decode(0)
    with train.pictures._lock:  # as another thread may hold it when the process forks
        child = os.fork()
        if not child:
            os._exit(int(train.decode(12).size != (24, 20)))
    assert os.waitpid(child, 0)[1] == 0
