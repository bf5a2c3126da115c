"""What users have, opened as one kind of thing; class order, splits and names are never guessed."""

import gzip
import io
import json
import shutil
import struct

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resight.core.errors import DataError
from resight.data.dataset import fingerprint
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from support import make_folder, picture


def labels_by_name(split):
    return {split.picture_name(i): split.classes[split.labels[i]] for i in range(len(split))}


def test_digits_are_real_and_split_for_good():
    dataset = open_dataset("digits")
    assert dataset.classes == tuple("0123456789") and not dataset.mirrors
    assert len(dataset.train) + len(dataset.split("test")) == 1797
    assert dataset.train.decode(0).size == (32, 32)
    again = open_dataset("digits")
    assert np.array_equal(dataset.train.positions, again.train.positions)


def test_class_folders_are_split_without_a_common_picture(folder):
    dataset = open_dataset(folder)
    assert dataset.classes == ("blue", "green", "red")
    train, test = dataset.train, dataset.split("test")
    assert len(train) + len(test) == 36 and np.bincount(test.labels).all()
    assert not {train.digest(i) for i in range(len(train))} & {test.digest(i) for i in range(len(test))}
    assert all(f"/{label}/" in name for name, label in labels_by_name(test).items())


def test_copies_of_a_picture_stay_on_one_side(folder):
    for path in list(folder.rglob("*.png")):
        shutil.copy(path, path.with_name("copy-" + path.name))
    dataset = with_validation(open_dataset(folder), 0.2)
    sides = [{s.digest(i) for i in range(len(s))} for s in dataset.splits.values()]
    assert len(sides) == 3 and all(sides)
    assert not sides[0] & sides[1] and not sides[0] & sides[2] and not sides[1] & sides[2]


def test_a_picture_in_two_classes_is_not_tested_on(folder):
    for path in list((folder / "blue").iterdir()):
        shutil.copy(path, folder / "green" / ("blue-" + path.name))
    test = open_dataset(folder).split("test")
    assert not [n for n in labels_by_name(test) if "/blue/" in n or "blue-" in n]


def test_the_split_depends_on_content_not_on_names(folder, tmp_path):
    names = {p.name for p in (folder / "red").iterdir()}
    first = open_dataset(folder).split("test")
    before = {first.digest(i) for i in range(len(first))}
    for number, name in enumerate(sorted(names)):
        (folder / "red" / name).rename(folder / "red" / f"z{len(names) - number}.png")
    second = open_dataset(folder).split("test")
    assert before == {second.digest(i) for i in range(len(second))}


def test_given_splits_are_kept(tmp_path):
    dataset = open_dataset(make_folder(tmp_path / "d", splits=("train", "val", "test"), count=4))
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 12, "val": 12, "test": 12}


def test_val_without_test_becomes_the_test_and_says_so(tmp_path):
    dataset = open_dataset(make_folder(tmp_path / "d", splits=("train", "valid"), count=4))
    assert set(dataset.splits) == {"train", "test"}
    assert "no epoch or setting is chosen on it" in dataset.notes[0]


def test_a_test_split_that_lacks_a_class_is_mapped_by_name(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=4)
    shutil.rmtree(root / "test" / "blue")
    test = open_dataset(root).split("test")
    assert test.classes == ("blue", "green", "red")
    assert set(labels_by_name(test).values()) == {"green", "red"}
    assert all(f"/{label}/" in name for name, label in labels_by_name(test).items())


def test_a_test_split_with_one_class_more_is_refused(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=4)
    (root / "test" / "red").rename(root / "test" / "violet")
    with pytest.raises(DataError, match="'violet'"):
        open_dataset(root)


def png(colour, seed):
    stream = io.BytesIO()
    picture(colour, seed=seed).save(stream, "PNG")
    return stream.getvalue()


def write_parquet(file, labels, names=None, start=0):
    column = "image"
    rows = [
        {"bytes": png((20 * (v % 10), 99, 50), start + i), "path": f"{i}.png"} for i, v in enumerate(labels)
    ]
    table = pa.table({column: rows, "label": pa.array(labels)})
    if names:
        features = {"label": {"names": names, "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    pq.write_table(table, file)


def test_parquet_names_are_sorted_and_labels_follow_them(tmp_path):
    names = ["zebra", "ant", "monkey"]
    write_parquet(tmp_path / "train-00000-of-00002.parquet", [0, 1, 2, 0], names)
    write_parquet(tmp_path / "train-00001-of-00002.parquet", [2, 1], names, start=50)
    write_parquet(tmp_path / "test.parquet", [1, 0], names, start=90)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("ant", "monkey", "zebra")
    assert dataset.train.labels.tolist() == [2, 0, 1, 2, 1, 0]
    assert dataset.split("test").labels.tolist() == [0, 2]
    assert dataset.train.decode(0).size == (24, 20)


def test_one_parquet_file_is_split(tmp_path):
    write_parquet(tmp_path / "all.parquet", [0] * 10 + [1] * 10 + [10] * 10)
    dataset = open_dataset(tmp_path / "all.parquet")
    assert dataset.classes == ("0", "1", "10") and len(dataset.train) + len(dataset.split("test")) == 30


def test_numbers_without_names_are_matched_as_names_not_as_positions(tmp_path):
    write_parquet(tmp_path / "train.parquet", [10, 2, 10, 2])
    write_parquet(tmp_path / "test.parquet", [2, 2], start=90)
    dataset = open_dataset(tmp_path)
    assert dataset.classes == ("10", "2")
    assert dataset.split("test").labels.tolist() == [1, 1]


def test_csv_with_and_without_splits(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    rows = [(p.relative_to(tmp_path), p.parent.name) for p in sorted(root.rglob("*.png"))]
    (tmp_path / "a.csv").write_text("path,label\n" + "".join(f"{p},{c}\n" for p, c in rows))
    assert open_dataset(tmp_path / "a.csv").split("test").class_counts().all()
    text = "".join(f"{p},{c},{'test' if '004' in str(p) else 'train'}\n" for p, c in rows)
    (tmp_path / "b.csv").write_text("path,label,split\n" + text)
    assert {k: len(v) for k, v in open_dataset(tmp_path / "b.csv").splits.items()} == {
        "train": 12,
        "test": 3,
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "needs a header line"),
        ("name,kind\na,b\n", "needs a header line"),
        ("path,label\nmissing.png,a\n", "does not exist"),
        ("path,label\n,a\n", ":2: its path is missing"),
        ("path,label,split\nx.png,a,holdout\n", "not one of train, val, test"),
    ],
)
def test_bad_csv_is_one_line(tmp_path, text, message):
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "x.csv")


def idx(array):
    return (
        struct.pack(">HBB", 0, 8, array.ndim) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()
    )


def test_mnist_from_idx_files(tmp_path):
    pixels = np.arange(40 * 28 * 28, dtype=np.uint32).astype(np.uint8).reshape(40, 28, 28)
    labels = (np.arange(40) % 10).astype(np.uint8)
    place = tmp_path / "root" / "mnist"
    place.mkdir(parents=True)
    for prefix in ("train", "t10k"):
        (place / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(pixels)))
        (place / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(labels))
    dataset = open_dataset("mnist", tmp_path / "root")
    assert len(dataset.train) == 40 and dataset.train.labels.tolist() == labels.tolist()
    assert np.array_equal(np.asarray(dataset.train.decode(3))[..., 0], pixels[3])
    (place / "train-labels-idx1-ubyte").write_bytes(idx(labels)[:-5])
    with pytest.raises(DataError, match="not a complete idx file"):
        open_dataset("mnist", tmp_path / "root")


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        ((20, 8, 8), (19,), "do not match"),
        ((20, 64), (20,), "do not match"),
        ((20, 8, 8), (20, 1), "do not match"),
        ((20, 8, 8), (20,), "row 7 has label 10, outside the 10 classes"),
    ],
)
def test_idx_files_that_do_not_fit_are_one_line(tmp_path, images, labels, message):
    place = tmp_path / "root" / "mnist"
    place.mkdir(parents=True)
    numbers = np.arange(np.prod(labels), dtype=np.uint8).reshape(labels) % 10
    numbers.flat[7] = 10
    for prefix in ("train", "t10k"):
        (place / f"{prefix}-images-idx3-ubyte").write_bytes(idx(np.zeros(images, np.uint8)))
        (place / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(numbers))
    with pytest.raises(DataError, match=message):
        open_dataset("mnist", tmp_path / "root")


def test_a_built_in_that_cannot_be_downloaded_is_one_line(tmp_path, monkeypatch):
    def offline(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr("torchvision.datasets.CIFAR10.__init__", offline)
    with pytest.raises(DataError, match=r"cannot be downloaded \(no route to host\)"):
        open_dataset("cifar10", tmp_path)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: root.mkdir(), "holds no class folders"),
        (lambda root: (root / "cat").mkdir(parents=True), "holds no class folders"),
        (lambda root: make_folder(root, classes=("red",)), "one class only, 'red'"),
        (lambda root: make_folder(root, count=1), "has one picture"),
        (lambda root: make_folder(root, splits=("val", "test")), "no train folder"),
    ],
)
def test_folders_that_teach_nothing_are_refused(tmp_path, make, message):
    make(tmp_path / "d")
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "d")


def test_an_unreadable_folder_is_named(folder, monkeypatch):
    import os

    real = os.scandir

    def locked(place):
        if str(place).endswith("green"):
            raise PermissionError(13, "Permission denied", str(place))
        return real(place)

    monkeypatch.setattr(os, "scandir", locked)
    with pytest.raises(DataError, match=r"green: cannot be read \(Permission denied\)"):
        open_dataset(folder)


def test_an_unknown_data_set_gives_the_nearest_names():
    with pytest.raises(DataError, match="nearest: cifar10"):
        open_dataset("cifar-10")


def test_a_place_is_compared_with_its_neighbours_and_never_taken_for_a_built_in_set(tmp_path):
    (tmp_path / "fruit").mkdir()
    (tmp_path / "letters").mkdir()
    with pytest.raises(DataError, match=f"nearest: {tmp_path / 'fruit'}$"):
        open_dataset(tmp_path / "fruti")
    for place in (tmp_path / "cifar1", tmp_path / "gone" / "mnist"):
        with pytest.raises(DataError, match="; built in: digits, ") as error:
            open_dataset(place)
        assert "nearest" not in str(error.value)


def test_the_fingerprint_changes_with_content_and_label_only(folder, tmp_path):
    first = fingerprint(open_dataset(folder).train)
    moved = folder.rename(tmp_path / "elsewhere")
    assert fingerprint(open_dataset(moved).train) == first
    for path in (moved / "red").iterdir():
        path.write_bytes(path.read_bytes() + b" ")
    assert fingerprint(open_dataset(moved).train) != first


def test_real_cifar_has_its_classes_and_no_leak(real_data):
    dataset = open_dataset(real_data / "cifar10_shift" / "test.parquet")
    assert dataset.classes[:3] == ("airplane", "automobile", "bird")
    assert set(dataset.splits) == {"test"} and len(dataset.split("test")) == 1200


def test_split_folders_in_any_spelling_are_splits_not_classes(tmp_path):
    root = make_folder(tmp_path / "d", splits=("Training", "TEST"), count=4)
    dataset = open_dataset(root)
    assert dataset.classes == ("blue", "green", "red")
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 12, "test": 12}


def test_files_that_are_no_pictures_and_empty_folders_are_noted(folder):
    (folder / "red" / "notes.txt").write_text("x")
    (folder / "violet").mkdir()
    notes = " ".join(open_dataset(folder).notes)
    assert "1 files do not have a picture suffix" in notes and "notes.txt" in notes
    assert "1 folders hold no pictures" in notes and "violet" in notes


def test_other_data_without_splits_is_a_test_as_a_whole(folder):
    dataset = open_dataset(folder, whole=True)
    assert set(dataset.splits) == {"test"} and len(dataset.split("test")) == 36


@pytest.mark.parametrize("label", [-1, 3])
def test_labels_without_a_class_are_named(tmp_path, label):
    write_parquet(tmp_path / "train.parquet", [0, 1, 2, label], ["a", "b", "c"])
    with pytest.raises(DataError, match=f"row 3 has label {label}"):
        open_dataset(tmp_path)


def test_empty_files_are_not_copies_of_each_other(folder):
    from resight.data.dataset import shared_pictures

    for name in ("red", "green"):
        (folder / name / "empty.png").write_bytes(b"")
    train, test = (open_dataset(folder).splits[s] for s in ("train", "test"))
    assert shared_pictures(train, test) == 0
