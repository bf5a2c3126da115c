"""Reading ahead: the same batches in the same order, however they are read; memory flat."""

import os
import threading
import time

import numpy as np
import pytest
import torch

from data.shards.test_shards import png, write_tar
from resight.core.errors import DataError, PictureError
from resight.data import stream as module
from resight.data.open import open_dataset
from resight.data.order import Order
from resight.data.shards import columns
from resight.data.stream import Readers, stream

KINDS = [(0, False), (1, False), (3, False), (1, True), (2, True)]
BATCHES = [[3, 1], [4], [], [1, 5, 9, 2, 6]]


def times_ten(key):
    return torch.tensor(10 * key)


def listed(results):
    return [int(r) for r in results]


@pytest.mark.parametrize(("workers", "processes"), KINDS)
def test_batches_come_in_order_whatever_reads_them(workers, processes):
    found = list(stream(times_ten, listed, BATCHES, Readers(workers, processes)))
    assert found == [[30, 10], [40], [], [10, 50, 90, 20, 60]]


def test_slow_samples_do_not_change_the_order():
    def read(key):
        time.sleep(0.02 * (key % 3))
        return key

    batches = [list(range(i, i + 5)) for i in range(0, 40, 5)]
    assert list(stream(read, list, batches, Readers(3))) == batches


@pytest.mark.parametrize(("workers", "processes"), KINDS)
@pytest.mark.parametrize(
    "error", [DataError("x.tar: is gone; copy it"), PictureError("a.png", "is empty", "delete it")]
)
def test_an_error_comes_in_its_turn_and_in_its_own_words(workers, processes, error):
    def read(key):
        if key == 4:
            raise error
        return torch.tensor(key)

    found = stream(read, listed, BATCHES, Readers(workers, processes))
    assert next(found) == [3, 1]
    with pytest.raises(type(error)) as caught:
        list(found)
    assert str(caught.value) == str(error)


def die(key):
    if key == 4:
        os._exit(1)
    return torch.tensor(key)


def test_a_process_that_dies_is_one_line():
    with pytest.raises(DataError, match="a data worker died") as caught:
        list(stream(die, listed, BATCHES, Readers(1, processes=True)))
    assert "\n" not in str(caught.value)


def test_no_more_is_taken_up_than_is_read_ahead_and_leaving_ends_the_threads():
    taken = []

    def batches():
        for i in range(100):
            taken.append(i)
            yield [i]

    found = stream(times_ten, listed, batches(), Readers(2))
    next(found)
    assert len(taken) == module.AHEAD + 1
    found.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("resight-reader")]


def resident(pid):
    """Resident memory of a process and its children, in bytes."""
    with open(f"/proc/{pid}/task/{pid}/children") as file:  # noqa: PTH123
        children = [int(c) for c in file.read().split()]
    with open(f"/proc/{pid}/statm") as file:  # noqa: PTH123
        pages = int(file.read().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") + sum(resident(c) for c in children)


COUNT = 200_000


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="memory is read from /proc")  # noqa: PTH112
@pytest.mark.parametrize(
    ("kind", "workers", "processes"),
    [
        ("tar", 0, False),
        ("tar", 2, False),
        ("tar", 2, True),
        ("parquet", 0, False),
        ("parquet", 2, False),
        ("folder", 2, True),
    ],
)
def test_memory_is_flat_over_epochs_of_200_000_records(tmp_path, monkeypatch, kind, workers, processes):
    """200,000 records, real files read again and again: each is read, decoded and joined."""
    monkeypatch.setattr(columns, "KEPT", 1)  # no parquet is kept whole
    train = _records(tmp_path, kind)
    repeated = train.take(np.sort(np.arange(COUNT) % len(train)))
    assert (repeated.blocks() is not None) == (kind == "parquet")
    order, memory = Order(COUNT, 256, 0, blocks=repeated.blocks()), []

    def read(index):
        return torch.from_numpy(np.array(repeated.decode(int(index)))), int(repeated.labels[index])

    def join(samples):
        return torch.stack([pixels for pixels, _ in samples])

    for epoch in range(3):
        seen = 0
        for pixels in stream(read, join, order.batches(epoch), Readers(workers, processes)):
            seen += len(pixels)
            peak = resident(os.getpid()) if seen > COUNT - 5000 else 0
        assert seen == COUNT - COUNT % 256
        memory.append(peak)
    assert memory[2] <= 1.1 * memory[0], memory


def _records(root, kind):
    """A set of 2,000 tiny pictures."""
    contents = [(str(i % 2), png((20 * (i % 10), 99, 50), i % 50)) for i in range(2000)]
    if kind == "tar":
        for shard in range(4):
            part = list(enumerate(contents))[shard::4]
            rows = [
                (f"{i}.{s}", c)
                for i, (label, png_) in part
                for s, c in (("cls", label.encode()), ("png", png_))
            ]
            write_tar(root / f"train-{shard}.tar", rows)
        write_tar(root / "test-0.tar", [("a.png", contents[0][1]), ("a.cls", b"0")])
    elif kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        rows = [{"bytes": c, "path": None} for _, c in contents]
        table = pa.table({"image": rows, "label": [label for label, _ in contents]})
        pq.write_table(table, root / "train.parquet", row_group_size=25)
        pq.write_table(table.slice(0, 2), root / "test.parquet")
    else:
        for i, (label, content) in enumerate(contents):
            for split in ("train", "test") if i < 4 else ("train",):
                place = root / split / label / f"{i}.png"
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(content)
    return open_dataset(root).train
