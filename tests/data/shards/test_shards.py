"""Tar shards: the WebDataset layout read by place, every fault of a shard told in one line."""

import io
import json
import os
import pickle
import tarfile

import numpy as np
import pytest

from resight.core.errors import DataError, ResightError
from resight.data.dataset import Box, fingerprint
from resight.data.layouts.splits import split_in
from resight.data.open import open_dataset
from resight.data.shards import index as shard_index
from resight.data.shards import members as shards_module
from resight.data.shards.index import load_index
from support import picture


def png(colour, seed):
    stream = io.BytesIO()
    picture(colour, seed=seed).save(stream, "PNG")
    return stream.getvalue()


def write_tar(file, members):
    with tarfile.open(file, "w") as archive:
        for name, content in members:
            about = tarfile.TarInfo(name)
            about.size = len(content)
            archive.addfile(about, io.BytesIO(content))


def members(labels, start=0, suffix="cls"):
    """Members of samples with different pictures, as label and picture."""
    for i, label in enumerate(labels, start):
        text = json.dumps({"label": label}) if suffix == "json" else str(label)
        yield f"{i:04d}.{suffix}", text.encode()
        yield f"{i:04d}.png", png((20 * (i % 10), 99, 50), i)


NAMES = ["zebra", "ant", "monkey"]


def shards(folder, *, names=NAMES, suffix="cls"):
    folder.mkdir(exist_ok=True)
    write_tar(folder / "train-000000.tar", members([0, 1, 2, 0], suffix=suffix))
    write_tar(folder / "train-000001.tar", members([2, 1], 4, suffix))
    write_tar(folder / "test-000000.tar", members([1, 0], 6, suffix))
    if names:
        (folder / "classes.json").write_text(json.dumps(names))
    return folder


@pytest.mark.parametrize("suffix", ["cls", "json", "txt"])
def test_labels_count_through_the_given_names_and_classes_are_sorted(tmp_path, suffix):
    dataset = open_dataset(shards(tmp_path / "d", suffix=suffix))
    assert dataset.classes == ("ant", "monkey", "zebra")
    assert dataset.train.labels.tolist() == [2, 0, 1, 2, 1, 0]
    assert dataset.split("test").labels.tolist() == [0, 2]
    for number in range(6):
        expected = np.asarray(picture((20 * number, 99, 50), seed=number))
        assert np.array_equal(np.asarray(dataset.train.decode(number)), expected)
    assert dataset.train.picture_name(4).endswith("train-000001.tar/0004.png")


def test_names_may_lie_in_the_shard_or_be_the_labels_own(tmp_path):
    folder = shards(tmp_path / "d", names=None)
    assert open_dataset(folder).classes == ("0", "1", "2")
    write_tar(folder / "train-000000.tar", [("classes.txt", b"a\nb\nc\n"), *members([0, 1, 2, 0])])
    assert open_dataset(folder).classes == ("a", "b", "c")


def test_one_tar_without_a_split_is_split_by_content(tmp_path):
    write_tar(tmp_path / "all.tar", members(["cat", "dog"] * 10))
    dataset = open_dataset(tmp_path / "all.tar")
    assert dataset.classes == ("cat", "dog")
    assert len(dataset.train) + len(dataset.split("test")) == 20 and len(dataset.split("test"))
    (tmp_path / "other").mkdir()
    write_tar(tmp_path / "other" / "pictures-0.tar", members(["cat", "dog"] * 10))
    again = open_dataset(tmp_path / "other")
    assert fingerprint(again.train) == fingerprint(dataset.train)


def test_a_name_tells_its_split_by_a_word():
    assert split_in("imagenet1k-validation-0001") == "val" and split_in("train_00") == "train"
    assert split_in("TEST") == "test" and split_in("testimony-01") is None and split_in("0001") is None


def test_extra_members_are_left_alone_and_samples_without_a_picture_are_noted(tmp_path):
    extra = [("0000.wnid", b"n01"), (".hidden.png", b"x"), ("0099.cls", b"1")]
    write_tar(tmp_path / "all.tar", [*members([0, 1] * 5), *extra])
    dataset = open_dataset(tmp_path / "all.tar")
    assert sum(map(len, dataset.splits.values())) == 10
    assert "1 samples have no picture" in dataset.notes[0] and "0099" in dataset.notes[0]


def test_samples_may_lie_in_folders_of_the_tar(tmp_path):
    rows = [(f"{c}/{n}", b) for c in ("a", "b") for n, b in members([c] * 5, start=1_000 * ord(c))]
    write_tar(tmp_path / "all.tar", rows)
    assert open_dataset(tmp_path / "all.tar").classes == ("a", "b")


def test_boxes_come_from_json(tmp_path):
    def sample(i, label, boxes):
        yield f"{i}.png", png((10, 20, 30), i)
        yield f"{i}.json", json.dumps({"label": label, "boxes": boxes}).encode()

    rows = [
        *sample(0, "cat", [{"label": "cat", "box": [1, 2, 3, 4.5]}, {"label": "owl", "box": [0, 0, 9, 9]}])
    ]
    rows += [*sample(1, "dog", []), *sample(2, "dog", [{"label": "dog", "box": [5, 6, 7, 8]}])]
    write_tar(tmp_path / "train.tar", rows)
    write_tar(tmp_path / "test.tar", sample(5, "dog", [{"label": "dog", "box": [0, 1, 2, 3]}]))
    train = open_dataset(tmp_path).train
    assert train.picture_boxes(0) == (Box(0, 1, 2, 3, 4.5), Box(-1, 0, 0, 9, 9))
    assert train.picture_boxes(1) == () and train.picture_boxes(2) == (Box(1, 5, 6, 7, 8),)


def cut(file, size):
    content = file.read_bytes()
    file.write_bytes(content[:size] if size else content[: len(content) // 2])


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda f: cut(f, 0), "train-000001.tar: "),
        (lambda f: cut(f, 512 * 2), "is truncated or damaged after 1,024 bytes"),
        (lambda f: f.write_bytes(b""), "train-000001.tar: cannot be read as tar"),
        (lambda f: f.write_bytes(b"\x1f\x8b" + bytes(600)), "compressed with gzip"),
        (lambda f: f.write_bytes(b"hello" * 300), "cannot be read as tar"),
        (lambda f: f.write_bytes(f.read_bytes()[:1024] + b"x" * 3000), "truncated or damaged after 1,024"),
        (lambda f: write_tar(f, [("a.png", b"x")]), "sample a has no label"),
        (
            lambda f: write_tar(f, [("a.png", b"x"), ("a.cls", b"7")]),
            "train-000001.tar/a.png: has label '7', which is not one of 3",
        ),
        (lambda f: write_tar(f, [("a.png", b"x"), ("a.jpg", b"x")]), "a.jpg has two pictures"),
        (
            lambda f: write_tar(f, [("a.png", b"x"), ("a.json", b"{")]),
            "boxes or masks of sample a cannot be read",
        ),
        (lambda f: (f.parent / "classes.json").write_text('{"a": 1}'), "classes.json: holds no class names"),
        (lambda f: (f.parent / "more.tar").write_bytes(f.read_bytes()), "more.tar: names no split"),
        (lambda f: (f.parent / "x.tar.gz").write_bytes(b""), "x.tar.gz: is compressed"),
    ],
)
def test_a_fault_of_a_shard_is_one_line(tmp_path, harm, message):
    folder = shards(tmp_path / "d")
    harm(folder / "train-000001.tar")
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(folder)
    assert "\n" not in str(caught.value)


def test_every_cut_of_a_shard_is_found(tmp_path):
    file = tmp_path / "all.tar"
    write_tar(file, members(["a", "b"] * 3))
    whole = file.read_bytes()
    end = len(whole.rstrip(b"\0"))
    for size in [*range(100, end, 1000), end - 1, -(-end // 512) * 512]:
        file.write_bytes(whole[:size])
        with pytest.raises(DataError):
            open_dataset(file)


def test_a_shard_that_changes_or_shrinks_while_it_is_read_is_named(tmp_path):
    folder = shards(tmp_path / "d")
    train = open_dataset(folder).train
    train.decode(0)
    first, second = folder / "train-000000.tar", folder / "train-000001.tar"
    os.truncate(first, 600)
    with pytest.raises(DataError, match=r"train-000000\.tar: was truncated since it was opened"):
        train.decode(2)
    write_tar(second, members([1, 2], 40))
    with pytest.raises(DataError, match=r"train-000001\.tar: changed since it was opened"):
        train.decode(4)


def test_a_changed_shard_has_another_fingerprint(tmp_path):
    folder = shards(tmp_path / "d")
    before = fingerprint(open_dataset(folder).train)
    assert fingerprint(open_dataset(folder).train) == before
    write_tar(folder / "train-000001.tar", members([2, 1], 40))
    assert fingerprint(open_dataset(folder).train) != before


def test_an_index_is_made_once_and_anew_when_the_shard_changes(tmp_path, monkeypatch):
    folder = shards(tmp_path / "d")
    dataset = open_dataset(folder)
    assert (folder / "train-000000.tar.index").is_file()
    scan = []
    monkeypatch.setattr(shard_index, "scan", scan.append)
    again = open_dataset(folder)
    assert fingerprint(again.train) == fingerprint(dataset.train) and not scan
    monkeypatch.undo()
    for harm in (b"", b"junk", (folder / "train-000000.tar.index").read_bytes()[:300]):
        (folder / "train-000000.tar.index").write_bytes(harm)
        assert fingerprint(open_dataset(folder).train) == fingerprint(dataset.train)


def test_an_index_goes_to_the_cache_where_the_folder_cannot_be_written(tmp_path, monkeypatch):
    folder = shards(tmp_path / "d")
    real = shard_index.store_index

    def refuse(place, index):  # not by permissions: root may write everywhere
        if place.parent == folder:
            raise ResightError("cannot be written")
        real(place, index)

    monkeypatch.setattr(shard_index, "store_index", refuse)
    dataset = open_dataset(folder)
    assert len(list((tmp_path / "cache").rglob("*.index"))) == 3 and not list(folder.glob("*.index"))
    monkeypatch.setattr(shard_index, "scan", None)
    assert len(open_dataset(folder).train) == len(dataset.train)


def test_more_shards_than_may_stay_open_are_read_all_the_same(tmp_path, monkeypatch):
    monkeypatch.setattr(shards_module, "OPEN_FILES", 1)
    train = open_dataset(shards(tmp_path / "d")).train
    for number in (0, 5, 1, 4):
        assert train.decode(number).size == (24, 20)
    assert len(train.pictures._opened) == 1


def test_pictures_go_to_another_process_without_their_open_files(tmp_path):
    train = open_dataset(shards(tmp_path / "d")).train
    train.decode(0)
    again = pickle.loads(pickle.dumps(train))
    assert again.pictures._opened == {} and np.array_equal(
        np.asarray(again.decode(3)), np.asarray(train.decode(3))
    )


def test_large_shards_are_read_in_runs_and_small_ones_in_any_order(tmp_path, monkeypatch):
    folder = shards(tmp_path / "d")
    assert open_dataset(folder).train.blocks() is None
    monkeypatch.setattr(shards_module, "APART", 1)
    sizes = load_index(folder / "train-000000.tar").sizes
    monkeypatch.setattr(shards_module, "RUN", int(sizes[:2].sum()))
    train = open_dataset(folder).train
    assert train.blocks().tolist() == [0, 2, 4]
    assert train.take([1, 2, 3, 5]).blocks().tolist() == [0, 1, 3]
    assert train.take([2, 3]).blocks().tolist() == [0]
    assert train.take([3, 2]).blocks() is None
    assert [train.decode(i).size for i in (5, 0, 3)] == [(24, 20)] * 3


def test_archives_beside_class_folders_are_no_shards(folder):
    write_tar(folder / "original.tar", members([0, 1]))
    assert open_dataset(folder).classes == ("blue", "green", "red")
