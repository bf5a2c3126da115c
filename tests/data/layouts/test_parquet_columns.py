"""Parquet tables: which column is the picture and which the label, and what a label says."""

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from resight.core.errors import DataError
from resight.data.open import open_dataset

COLOURS = {"right": (200, 30, 30), "wrong": (30, 30, 200)}


def png(colour, seed):
    pixels = np.random.default_rng(seed).integers(0, 20, (12, 10, 3)) + np.array(colour)
    stream = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def contents(kind, count, start=0):
    return [png(COLOURS[kind], start + i) for i in range(count)]


def structs(kind, count, start=0):
    return [
        {"bytes": content, "path": f"{start + i}.png"}
        for i, content in enumerate(contents(kind, count, start))
    ]


def write(file, columns, features=None):
    """Write columns with Hugging Face features, each a type or a list of class names."""
    table = pa.table(columns)
    if features is not None:
        told = {
            name: {"_type": "ClassLabel", "names": about} if isinstance(about, list) else {"_type": about}
            for name, about in features.items()
        }
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": told}})})
    pq.write_table(table, file)
    return file


def write_labels(file, labels, names=None, start=0, column="label", kind=None):
    columns = {"image": structs("right", len(labels), start), column: pa.array(labels, kind)}
    return write(file, columns, {"image": "Image", column: names} if names else None)


def answers(split):
    """Return each row's path and classes."""
    return {split.picture_name(i): split.class_names(i) for i in range(len(split))}


def mean(split):
    return np.asarray(split.decode(0)).reshape(-1, 3).mean(0)


def whole(file):
    return open_dataset(file, whole=True)


N = 6
LABEL = ["a", "b"] * 3
PAIR, NUMBERS = ["a", "b"], [0, 1] * 3
FINE = {"fine_label": NUMBERS, "coarse_label": NUMBERS}
RIGHT = {"bytes": contents("right", N), "struct": structs("right", N)}
WRONG = {"bytes": contents("wrong", N), "struct": structs("wrong", N)}


@pytest.mark.parametrize(
    ("columns", "features"),
    [
        ({"mask": WRONG["struct"], "image": RIGHT["struct"]}, None),
        ({"mask": WRONG["bytes"], "image": RIGHT["bytes"]}, None),
        ({"phash": [b"12345678"] * N, "image": RIGHT["struct"]}, None),
        ({"phash": [b"12345678"] * N, "photograph": RIGHT["struct"]}, None),
        ({"thumbnail": WRONG["bytes"], "Img": RIGHT["bytes"]}, None),
        ({"image": WRONG["bytes"], "scan": RIGHT["struct"]}, {"scan": "Image", "image": "Value"}),
        ({"mask": WRONG["struct"], "image": RIGHT["struct"]}, {"mask": "Image", "image": "Image"}),
        ({"scan": RIGHT["bytes"]}, None),
    ],
)
def test_the_picture_is_what_features_or_names_say(tmp_path, columns, features):
    test = whole(write(tmp_path / "all.parquet", {**columns, "label": LABEL}, features)).split("test")
    assert mean(test)[0] > 150 > mean(test)[2]
    assert [test.class_names(i) for i in range(N)] == [(label,) for label in LABEL]


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"left": RIGHT["struct"], "right": RIGHT["struct"]}, None, "left, right could each be the picture"),
        ({"image": RIGHT["bytes"], "photo": RIGHT["bytes"]}, None, "image, photo could each be the picture"),
        (
            {"front": RIGHT["struct"], "back": RIGHT["struct"]},
            {"front": "Image", "back": "Image"},
            "front, back",
        ),
        ({"mask": RIGHT["struct"], "data": RIGHT["bytes"]}, None, "mask, data could each be the picture"),
        ({"image": ["a.png"] * N}, {"image": "Image"}, "'image' does not hold encoded pictures but string"),
        ({"image": ["a.png"] * N}, None, "has columns image, label; needs encoded pictures"),
    ],
)
def test_where_several_columns_or_none_may_be_the_picture_it_is_refused(tmp_path, columns, features, message):
    write(tmp_path / "all.parquet", {**columns, "label": LABEL}, features)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path / "all.parquet")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("columns", "features", "classes"),
    [
        ({"species": [0, 1] * 3, "site": [7, 8] * 3}, {"species": ["a", "b"]}, ("a", "b")),
        ({"label": [0, 1] * 3, "class_name": ["x", "y"] * 3}, {"label": ["a", "b"]}, ("a", "b")),
        (FINE, {"fine_label": PAIR, "coarse_label": ["c", "d"]}, PAIR),
        ({"class": LABEL, "id": [*range(6)]}, None, ("a", "b")),
        ({"Category": LABEL}, None, ("a", "b")),
        ({"target": [3, 4] * 3}, None, ("3", "4")),
        ({"label": pa.array(LABEL).dictionary_encode()}, None, ("a", "b")),
    ],
)  # fmt: skip
def test_the_label_is_what_features_or_names_say(tmp_path, columns, features, classes):
    data = whole(write(tmp_path / "all.parquet", {"image": RIGHT["struct"], **columns}, features))
    assert data.classes == tuple(classes)
    assert [data.split("test").class_names(i) for i in range(2)] == [(c,) for c in classes]


@pytest.mark.parametrize(
    ("columns", "features", "message"),
    [
        ({"class": LABEL, "target": LABEL}, None, "class, target could each be the label"),
        ({"label": LABEL, "labels": LABEL}, None, "label, labels could each be the label"),
        (
            {"dog": [0, 1] * 3, "cat": [0, 1] * 3},
            {"dog": ["a", "b"], "cat": ["a", "b"]},
            "dog, cat could each be",
        ),
        ({"sex": [0, 1] * 3, "label": LABEL}, {"sex": ["f", "m"]}, "sex, label could each be the label"),
        ({"caption": LABEL}, None, "needs encoded pictures .* and a column 'label'"),
    ],
)
def test_where_several_columns_or_none_may_be_the_label_it_is_refused(tmp_path, columns, features, message):
    write(tmp_path / "all.parquet", {"image": RIGHT["struct"], **columns}, features)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "all.parquet")


def test_columns_and_files_that_are_not_used_are_named(tmp_path):
    columns = {"image": RIGHT["struct"], "mask": WRONG["struct"], "label": LABEL}
    write(tmp_path / "train.parquet", columns)
    write(tmp_path / "extra.parquet", columns)
    unused = open_dataset(tmp_path).unused
    assert len(unused) == 2 and "'mask'" in unused[0] and "extra.parquet" in unused[1]


def test_parquet_files_alone_in_a_folder_need_no_split_in_their_names(tmp_path):
    write_labels(tmp_path / "0000.parquet", ["a", "b"] * 4)
    write_labels(tmp_path / "0001.PARQUET", ["a"], start=20)
    write_labels(tmp_path / "0002.parquet", ["b"], start=30)
    data = whole(tmp_path)
    assert len(data.split("test")) == 10 and not data.unused
    assert whole(tmp_path / "0000.parquet").classes == ("a", "b")
    (tmp_path / "cats").mkdir()
    with pytest.raises(DataError, match="holds no class folders"):
        open_dataset(tmp_path)


def test_paths_without_bytes_are_no_pictures(tmp_path):
    rows = [{"bytes": None, "path": f"{i}.png"} for i in range(N)]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    file = write(
        tmp_path / "all.parquet", {"image": pa.array(rows, kind), "label": LABEL}, {"image": "Image"}
    )
    with pytest.raises(DataError, match="'image' holds paths but no pictures"):
        open_dataset(file)
    rows[0]["bytes"] = RIGHT["bytes"][0]
    write(file, {"image": pa.array(rows, kind), "label": LABEL})
    assert len(whole(file).split("test")) == N


def test_real_columns_that_are_not_used_are_named(real_data):
    data = open_dataset(real_data / "imagenet_sample" / "imagenet_sample.parquet", whole=True)
    table = pq.read_table(real_data / "imagenet_sample" / "imagenet_sample.parquet", columns=["class_name"])
    test = data.split("test")
    names = [test.class_names(i)[0] for i in range(len(test))]
    spelled = [name.replace("_", " ") for name in table["class_name"].to_pylist()]
    other = {"crane": "crane bird", "crane (machine)": "crane", "maillot (tank suit)": "maillot tank suit"}
    assert names == [other.get(name, name) for name in spelled]
    assert any("1,000 of ImageNet" in note for note in data.notes)
    assert [note.split("'")[1] for note in data.unused] == ["wnid", "class_name"]


def test_files_of_a_split_have_their_picture_in_one_column(tmp_path):
    write(tmp_path / "train-0.parquet", {"image": RIGHT["struct"], "label": LABEL})
    write(tmp_path / "train-1.parquet", {"img": RIGHT["struct"], "label": LABEL})
    with pytest.raises(DataError, match=r"train-1\.parquet: its picture column is 'img', that of train-0"):
        open_dataset(tmp_path)


def test_each_file_is_read_by_its_own_class_names(tmp_path):
    write_labels(tmp_path / "train-0.parquet", [0, 1, 0, 1], ["a", "b"])
    write_labels(tmp_path / "train-1.parquet", [0, 1, 2], ["b", "a", "c"], start=10)
    write_labels(tmp_path / "test.parquet", [1, 0], ["c", "a"], start=20)
    data = open_dataset(tmp_path)
    assert data.classes == ("a", "b", "c")
    expected = {
        "0.png": "a",
        "1.png": "b",
        "2.png": "a",
        "3.png": "b",
        "10.png": "b",
        "11.png": "a",
        "12.png": "c",
    }
    assert answers(data.train) == {name: (label,) for name, label in expected.items()}
    assert answers(data.split("test")) == {"20.png": ("a",), "21.png": ("c",)}


def test_names_and_numbers_of_one_class_meet_by_name(tmp_path):
    write_labels(tmp_path / "train-0.parquet", [0, 1], ["cat", "dog"])
    write_labels(tmp_path / "train-1.parquet", ["dog", "cat"], start=10)
    assert answers(open_dataset(tmp_path, whole=True).split("test")) == {
        "0.png": ("cat",), "1.png": ("dog",), "10.png": ("dog",), "11.png": ("cat",)
    }  # fmt: skip


def test_numbers_without_names_take_those_on_which_all_others_agree_or_are_refused(tmp_path):
    write_labels(tmp_path / "train-0.parquet", [0, 1, 0], ["b", "a"])
    write_labels(tmp_path / "train-1.parquet", [0, 1, 1], start=10)
    data = open_dataset(tmp_path, whole=True)
    assert answers(data.split("test"))["10.png"] == ("b",)
    assert any("train-1.parquet has no class names" in note for note in data.notes)
    write_labels(tmp_path / "train-2.parquet", [0, 1, 1], ["a", "b"], start=20)
    with pytest.raises(DataError, match=r"train-1\.parquet: has class numbers but no class names"):
        open_dataset(tmp_path)


@pytest.mark.parametrize("label", [2, -2, 2**40])
def test_a_number_out_of_range_is_named_with_its_file_and_row(tmp_path, label):
    write_labels(tmp_path / "train-0.parquet", [0, 1, 0], ["a", "b"])
    write_labels(tmp_path / "train-1.parquet", [0, 1, label], ["a", "b"], start=10)
    with pytest.raises(DataError, match=rf"train-1\.parquet: row 2 has label {label}, which is not one of 2"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("labels", "kind"),
    [
        (["a", "b", None, "a", "b", "a", "b"], None),
        (["a", "b", "", " a", "b ", "a\t", "\u00a0b"], None),
        (["a", "b", "nan", "a", "b", "a", "b"], None),
        ([0.0, 1.0, float("nan"), 0.0, 1.0, 0.0, 1.0], pa.float64()),
        ([0.0, 1.0, None, 0.0, 1.0, 0.0, 1.0], pa.float32()),
        ([0, 1, -1, 0, 1, 0, 1], None),
        ([0, 1, None, 0, 1, 0, 1], pa.int8()),
    ],
)
def test_a_missing_label_is_counted_named_and_no_class(tmp_path, labels, kind):
    data = whole(write_labels(tmp_path / "all.parquet", labels, kind=kind))
    test = data.split("test")
    assert len(data.classes) == 2 and len(test) == 6 and "2.png" not in answers(test)
    own = {name: data.classes.index(label[0]) for name, label in answers(test).items()}
    assert own == {"0.png": 0, "1.png": 1, "3.png": 0, "4.png": 1, "5.png": 0, "6.png": 1}
    assert any("1 of 7 rows of train have no label" in n and "all.parquet: row 2" in n for n in data.notes)


def test_a_split_without_labels_is_left_out_and_said(tmp_path):
    """As the hub has ImageNet: the test split's labels are all -1."""
    write_labels(tmp_path / "train.parquet", [0, 1, 0], ["a", "b"])
    write_labels(tmp_path / "validation.parquet", [0, 1], ["a", "b"], start=10)
    write_labels(tmp_path / "test.parquet", [-1, -1], ["a", "b"], start=20)
    data = open_dataset(tmp_path)
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 3, "test": 2}
    assert answers(data.split("test")) == {"10.png": ("a",), "11.png": ("b",)}
    assert "the test split is left out: none of its 2 rows has a label" in data.notes
    write_labels(tmp_path / "train.parquet", [-1, -1, -1], ["a", "b"])
    with pytest.raises(DataError, match="train split cannot be used: none of its 3 rows has a label"):
        open_dataset(tmp_path)


def test_a_split_without_a_label_column_is_left_out_and_said(tmp_path):
    write_labels(tmp_path / "train.parquet", ["a", "b"] * 4)
    write(tmp_path / "test-0.parquet", {"image": structs("right", 2, 20), "id": [1, 2]})
    data = open_dataset(tmp_path)
    assert "the test split is left out: none of its 2 rows has a label" in data.notes
    assert not set(answers(data.split("test"))) & {"20.png", "21.png"}
    write_labels(tmp_path / "test-1.parquet", ["a"], start=30)
    with pytest.raises(DataError, match=r"test-0\.parquet: has columns image, id; needs .* a column 'label'"):
        open_dataset(tmp_path)


def test_an_empty_split_is_left_out_and_said(tmp_path):
    write_labels(tmp_path / "train.parquet", ["a", "b"] * 4)
    pictures = pa.array([], pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    write(tmp_path / "test.parquet", {"image": pictures, "label": pa.array([], pa.string())})
    data = open_dataset(tmp_path)
    assert "the test split is left out: it has no rows" in data.notes and len(data.split("test")) == 2


@pytest.mark.parametrize(("first", "second"), [("0", "0.0"), ("1", "0001"), ("-2", "-02")])
def test_two_spellings_of_one_number_are_refused(tmp_path, first, second):
    write_labels(tmp_path / "all.parquet", [first, "7", second] * 3)
    with pytest.raises(
        DataError, match=rf"row 2 has label '{second}' and .*row 0 has '{first}', two spellings"
    ):
        open_dataset(tmp_path / "all.parquet")


def test_unicode_forms_are_one_class_and_lookalikes_two_which_is_noted(tmp_path):
    labels = ["caf\u00e9", "cafe\u0301", "Cat", "cat"]
    data = whole(write_labels(tmp_path / "all.parquet", labels))
    assert data.classes == ("Cat", "caf\u00e9", "cat")
    assert any("Unicode forms" in note for note in data.notes)
    assert any("'Cat' and 'cat'" in note for note in data.notes)


def test_one_unicode_form_alone_keeps_its_spelling(tmp_path):
    data = whole(write_labels(tmp_path / "all.parquet", ["cafe\u0301", "tea"]))
    assert data.classes == ("cafe\u0301", "tea") and not data.notes


@pytest.mark.parametrize(
    ("metadata", "message"),
    [
        ("{", "is not usable JSON"),
        ("[" * 100_000, "is not usable JSON"),
        ('{"info": {"features": [1]}}', "info.features is"),
        (
            '{"info": {"features": {"label": {"_type": "ClassLabel", "names": [1, 2]}}}}',
            "are not a list of names",
        ),
        (
            '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}',
            "both named 'a'",
        ),
        ('{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", ""]}}}}', "empty name"),
    ],
)
def test_metadata_that_are_no_features_are_one_line(tmp_path, metadata, message):
    table = pa.table({"image": RIGHT["struct"], "label": [0, 1] * 3})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "all.parquet")
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(tmp_path / "all.parquet")
    assert "\n" not in str(caught.value) and "all.parquet" in str(caught.value)


@pytest.mark.parametrize("metadata", ['{"info": null}', "{}", '{"info": {"features": null}}'])
def test_metadata_without_features_say_nothing(tmp_path, metadata):
    table = pa.table({"image": RIGHT["struct"], "label": LABEL})
    pq.write_table(table.replace_schema_metadata({"huggingface": metadata}), tmp_path / "all.parquet")
    assert whole(tmp_path / "all.parquet").classes == ("a", "b")


def test_a_split_column_tells_splits_where_no_file_name_does(tmp_path):
    columns = {"image": RIGHT["struct"], "label": LABEL, "split": ["train"] * 4 + ["Test"] * 2}
    data = open_dataset(write(tmp_path / "all.parquet", columns))
    assert answers(data.split("test")) == {"4.png": ("a",), "5.png": ("b",)} and len(data.train) == 4
    assert not data.unused
    columns["split"] = ["train"] * 5 + ["holdout"]
    with pytest.raises(DataError, match="row 5: split 'holdout' is not one of train, val, test"):
        open_dataset(write(tmp_path / "all.parquet", columns))


LISTS = [["a"], [], ["b", "a"], None, ["b"]]


def test_lists_hold_any_number_of_classes_and_null_is_no_label(tmp_path):
    columns = {"image": structs("right", 5), "label": pa.array(LISTS, pa.list_(pa.string()))}
    data = whole(write(tmp_path / "all.parquet", columns))
    assert answers(data.split("test")) == {"0.png": ("a",), "1.png": (), "2.png": ("a", "b"), "4.png": ("b",)}
    assert any("1 of 5 rows" in note and "row 3" in note for note in data.notes)


@pytest.mark.parametrize(
    ("lists", "message"),
    [
        ([[0, 1], [0], [-1]], "row 2 lists a label that is missing or -1"),
        ([[1, 0, 0], [0, 1, 0]], "its rows list 3 zeros and ones"),
    ],
)
def test_lists_of_something_else_are_refused(tmp_path, lists, message):
    write(tmp_path / "all.parquet", {"image": structs("right", len(lists)), "label": lists})
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path / "all.parquet")


def test_large_columns_are_not_read_to_know_what_they_are(tmp_path, monkeypatch):
    file = write_labels(tmp_path / "all.parquet", ["a", "b"] * 30)
    read = []
    real = pq.ParquetFile.read
    monkeypatch.setattr(
        pq.ParquetFile,
        "read",
        lambda self, columns=None, **k: read.append(columns) or real(self, columns=columns, **k),
    )
    monkeypatch.setattr("resight.data.shards.columns.ColumnPictures._read", None)
    assert len(whole(file).split("test")) == 60 and read == [["label"]]


def test_names_of_columns_that_hold_line_breaks_are_one_line(tmp_path):
    write(tmp_path / "all.parquet", {"a\nb": RIGHT["struct"], "a\rc": RIGHT["struct"], "label": LABEL})
    with pytest.raises(DataError, match=r"columns a\?b, a\?c could each be the picture"):
        open_dataset(tmp_path / "all.parquet")


def test_texts_that_are_no_utf_8_are_one_line(tmp_path):
    """As damaged files have them: the bytes of a label, and of a picture's path."""
    columns = {
        "image": [{"bytes": c, "path": f"zzz{i}"} for i, c in enumerate(RIGHT["bytes"])],
        "label": ["yyy", "b"] * 3,
    }
    pq.write_table(pa.table(columns), tmp_path / "good.parquet", compression="none", use_dictionary=False)
    content = (tmp_path / "good.parquet").read_bytes()
    (tmp_path / "label.parquet").write_bytes(content.replace(b"yyy", b"\xff\xfe\xfd"))
    with pytest.raises(DataError, match=r"label\.parquet: cannot be read as parquet"):
        open_dataset(tmp_path / "label.parquet")
    (tmp_path / "path.parquet").write_bytes(content.replace(b"zzz1", b"\xff\xfe\xfd1"))
    test = whole(tmp_path / "path.parquet").split("test")
    assert [test.picture_name(i) for i in range(2)] == ["zzz0", "path.parquet row 1"]
