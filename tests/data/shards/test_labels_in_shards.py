"""Tar shards: each by its own class names, one rule for labels, every member that is not used named."""

import io
import json
import tarfile

import numpy as np
import pytest

from as_json import pack
from data.shards.test_shards import members, png, write_tar
from resight.core.errors import DataError
from resight.data.dataset import Box
from resight.data.open import open_dataset
from resight.data.shards.index import load_index, stamp_of


def answers(split):
    return {split.picture_name(i).rpartition("/")[2]: split.class_names(i) for i in range(len(split))}


def whole(place):
    return open_dataset(place, whole=True).split("test")


def sample(key, *, picture=True, **marks):
    """Members of one sample: its picture and marks by suffix."""
    yield from ((f"{key}.{suffix}", content.encode()) for suffix, content in marks.items())
    if picture:
        yield f"{key}.png", png((90, 90, 20), sum(map(ord, key)))


def write_samples(file, samples, extra=()):
    write_tar(file, [*extra, *(member for one in samples for member in one)])


def refusal(place):
    with pytest.raises(DataError) as caught:
        open_dataset(place)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_each_shard_is_read_by_its_own_class_names(tmp_path):
    for shard, names in (("train-0", ["a", "b"]), ("train-1", ["b", "a", "c"])):
        table = ("classes.json", json.dumps(names).encode())
        write_samples(
            tmp_path / f"{shard}.tar",
            [sample(f"{shard}-{i}", cls=str(i)) for i in range(len(names))],
            [table],
        )
    assert answers(whole(tmp_path)) == {
        "train-0-0.png": ("a",), "train-0-1.png": ("b",),
        "train-1-0.png": ("b",), "train-1-1.png": ("a",), "train-1-2.png": ("c",),
    }  # fmt: skip
    write_samples(tmp_path / "train-2.tar", [sample("x", cls="0")])
    assert "train-2.tar: has class numbers but no class names" in refusal(tmp_path)
    write_samples(tmp_path / "train-2.tar", [sample("x", cls="a")])
    assert answers(whole(tmp_path))["x.png"] == ("a",)


def test_class_names_may_lie_in_the_folder_that_was_packed(tmp_path):
    rows = [("d/classes.json", b'["a", "b"]'), *((f"d/{name}", c) for name, c in members([0, 1] * 5))]
    write_tar(tmp_path / "train-0.tar", rows)
    assert open_dataset(tmp_path).classes == ("a", "b")
    write_tar(tmp_path / "train-0.tar", [*rows, ("classes.txt", b"b\na\n")])
    assert "two files of class names" in refusal(tmp_path)


def test_names_inside_and_beside_must_agree(tmp_path):
    write_samples(
        tmp_path / "train-0.tar",
        [sample("x", cls="0"), sample("y", cls="1")],
        [("classes.json", b'["a", "b"]')],
    )
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert answers(whole(tmp_path)) == {"x.png": ("a",), "y.png": ("b",)}
    (tmp_path / "classes.json").write_text('["b", "a"]')
    assert "train-0.tar: holds class names that differ" in refusal(tmp_path)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('["a", "a"]', "classes 0 and 1 are both named 'a'"),
        ('["a", " "]', "class 1 has an empty name"),
        ("[" * 100_000, "is not usable JSON"),
        ('{"classes": ["a", "b"], "mirrors": "no"}', "mirrors is"),
        ('["a", 1]', r"\[1\] is 1, but must be text"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_class_names_that_are_none_are_one_line(tmp_path, content, message, inside):
    extra = [("classes.json", content.encode())] if inside else []
    write_samples(tmp_path / "train-0.tar", [sample("x", cls="0"), sample("y", cls="1")], extra)
    if not inside:
        (tmp_path / "classes.json").write_text(content)
    with pytest.raises(DataError, match=message):
        open_dataset(tmp_path)


def test_an_empty_line_among_class_names_shifts_no_number(tmp_path):
    write_samples(tmp_path / "train-0.tar", [sample("x", cls="0"), sample("y", cls="1")])
    (tmp_path / "classes.txt").write_text("a\nb\n\n")
    assert answers(whole(tmp_path)) == {"x.png": ("a",), "y.png": ("b",)}
    (tmp_path / "classes.txt").write_text("a\n\nb\n")
    assert "class 1 has an empty name" in refusal(tmp_path)


@pytest.mark.parametrize(
    "marks",
    [
        {},
        {"cls": ""},
        {"cls": " \n"},
        {"cls": "-1"},
        {"cls": "nan"},
        {"json": "{}"},
        {"json": '{"label": null}'},
    ],
)
@pytest.mark.parametrize("names", [None, '["a", "b"]'])
def test_a_sample_without_a_label_is_counted_and_named(tmp_path, marks, names):
    labels = ("0", "1") if names else ("a", "b")
    samples = [sample(f"{i:02d}", cls=labels[i % 2]) for i in range(6)]
    write_samples(tmp_path / "train-0.tar", [*samples, sample("bare", **marks)])
    if names:
        (tmp_path / "classes.json").write_text(names)
    if names and marks == {"cls": "-1"}:  # out of range, as any other number
        assert "train-0.tar/bare.png: has label -1, but there are 2 classes" in refusal(tmp_path)
        return
    data = open_dataset(tmp_path, whole=True)
    assert data.classes == ("a", "b")
    assert answers(data.split("test")) == {f"{i:02d}.png": (("a", "b")[i % 2],) for i in range(6)}
    note = next(note for note in data.notes if "have no label" in note)
    assert note.startswith("1 of 7 rows of train") and note.endswith("train-0.tar/bare.png")


def test_a_split_without_labels_is_left_out_and_said(tmp_path):
    write_samples(tmp_path / "train-0.tar", [sample(f"{i:02d}", cls=str(i % 2)) for i in range(10)])
    write_samples(tmp_path / "test-0.tar", [sample("x", cls="-1"), sample("y", cls="-1")])
    (tmp_path / "classes.json").write_text('["a", "b"]')
    data = open_dataset(tmp_path)
    assert "the test split is left out: none of its 2 rows has a label" in data.notes
    assert {k: len(v) for k, v in data.splits.items()} == {"train": 8, "test": 2}


@pytest.mark.parametrize("marks", [{}, {"caption": "a cat"}])
def test_shards_without_any_label_are_refused(tmp_path, marks):
    write_samples(tmp_path / "train-0.tar", [sample("x", **marks), sample("y", **marks)])
    assert 'train-0.tar: sample x has no label (.cls, "label" in .json, or .txt)' in refusal(tmp_path)
    write_samples(tmp_path / "train-1.tar", [sample("z", cls="a"), sample("w", cls="b")])
    assert "train-0.tar: sample x has no label" in refusal(tmp_path)


def test_spellings_of_one_number_are_refused_and_white_space_does_not_count(tmp_path):
    write_samples(
        tmp_path / "train-0.tar", [sample("x", cls="0001"), sample("y", cls="1"), sample("z", cls="2")]
    )
    assert "train-0.tar/y.png: has label '1' and" in refusal(tmp_path)
    marks = {
        "a": {"cls": " cat\n"},
        "b": {"txt": "cat"},
        "c": {"json": '{"label": "cat "}'},
        "d": {"cls": "dog"},
    }
    write_samples(tmp_path / "train-0.tar", [sample(key, **own) for key, own in marks.items()])
    assert set(answers(whole(tmp_path)).values()) == {("cat",), ("dog",)}


def test_numbers_with_names_count_whatever_their_zeros(tmp_path):
    write_samples(
        tmp_path / "train-0.tar", [sample("x", cls="0001"), sample("y", cls="1"), sample("z", cls="000")]
    )
    (tmp_path / "classes.json").write_text('["a", "b"]')
    assert answers(whole(tmp_path)) == {"x.png": ("b",), "y.png": ("b",), "z.png": ("a",)}


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ('{"label": true}', "label is true, but must be text"),
        ('{"label": 1.5}', "label is 1.5, but must be text"),
        ('{"label": ["a"]}', "label is"),
        ('{"label": "a", "boxes": [{"label": "a", "box": [1, 2, 3]}]}', "does not have four edges"),
        ('{"label": "a", "boxes": [{"label": "a", "box": [1, 2, 3, "4"]}]}', "must be a number"),
        ('{"label": "a", "boxes": [{"label": "a", "box": [1, 2, 3, NaN]}]}', "not usable JSON"),
        ('{"label": "a", "boxes": [{"box": [1, 2, 3, 4]}]}', "has no 'label'"),
        ('{"label": "a\\u0000"}', "NUL"),
        ("[" * 50_000, "not usable JSON"),
    ],
)
def test_marks_of_another_shape_are_one_line(tmp_path, document, message):
    write_samples(tmp_path / "train-0.tar", [sample("x", json=document), sample("y", cls="b")])
    said = refusal(tmp_path)
    assert "train-0.tar: the boxes or masks of sample x cannot be read" in said and message in said


def test_pictures_with_a_dot_before_the_suffix_are_named_with_the_cause(tmp_path):
    samples = [sample(f"{i:02d}", cls="ab"[i % 2]) for i in range(4)]
    dotted = [("v1.final.png", png((9, 9, 9), 1)), ("v1.final.cls", b"a"), ("v2.final.JPG", b"x")]
    write_samples(tmp_path / "train-0.tar", samples, dotted)
    data = open_dataset(tmp_path, whole=True)
    assert len(data.split("test")) == 4
    note = next(note for note in data.notes if "v1.final.png" in note)
    assert note.startswith("2 members are not used") and "a dot before the suffix" in note
    assert any("2 samples have no picture" in n for n in data.notes)
    write_tar(tmp_path / "train-0.tar", dotted)
    assert "holds no picture (some members are pictures with a dot before the suffix" in refusal(tmp_path)


def special(name, kind, target=""):
    about = tarfile.TarInfo(name)
    about.type, about.linkname = kind, target
    return about


def append(file, *abouts):
    with tarfile.open(file, "a") as archive:
        for about in abouts:
            archive.addfile(about, io.BytesIO(bytes(about.size)))


def test_links_and_devices_are_counted_and_named(tmp_path):
    file = tmp_path / "train-0.tar"
    write_samples(file, [sample(f"{i:02d}", cls="ab"[i % 2]) for i in range(4)])
    append(
        file, special("90.png", tarfile.SYMTYPE, "/etc/passwd"), special("91.png", tarfile.LNKTYPE, "00.png")
    )
    append(
        file,
        special("92.png", tarfile.CHRTYPE),
        special("93.png", tarfile.FIFOTYPE),
        special("d", tarfile.DIRTYPE),
    )
    data = open_dataset(tmp_path, whole=True)
    assert sorted(answers(data.split("test"))) == [f"{i:02d}.png" for i in range(4)]
    assert len(data.notes) == 2
    assert data.notes[0].startswith("2 members are not used, such as 90.png") and "are links" in data.notes[0]
    assert (
        data.notes[1].startswith("2 members are not used, such as 92.png") and "are devices" in data.notes[1]
    )
    assert data.notes == open_dataset(tmp_path, whole=True).notes  # the stored index says so too


@pytest.mark.parametrize("name", ["/data/9.png", "../9.png", "a/../../9.png"])
def test_names_that_lead_elsewhere_are_refused(tmp_path, name):
    file = tmp_path / "train-0.tar"
    write_samples(file, [sample(f"{i:02d}", cls="ab"[i % 2]) for i in range(4)], [(name, b"x")])
    assert f"train-0.tar: {name} has an absolute name" in refusal(tmp_path)


def test_a_member_with_holes_is_refused(tmp_path):
    """Its bytes do not lie where its header says."""
    file = tmp_path / "train-0.tar"
    write_samples(file, [sample(f"{i:02d}", cls="ab"[i % 2]) for i in range(4)])
    about = tarfile.TarInfo("9.png")
    about.pax_headers = {"GNU.sparse.map": "0,1", "GNU.sparse.size": "512"}
    append(file, about)
    assert "9.png is stored as a sparse file" in refusal(tmp_path)


def test_a_size_beyond_the_shard_is_found_before_it_is_read(tmp_path, monkeypatch):
    import os

    file = tmp_path / "train-0.tar"
    about = tarfile.TarInfo("0.png")
    about.size = 2**40
    file.write_bytes(about.tobuf(tarfile.GNU_FORMAT) + bytes(1024))
    asked = []
    real = os.pread
    monkeypatch.setattr(os, "pread", lambda f, size, at: asked.append(size) or real(f, size, at))
    assert "is truncated" in refusal(tmp_path)
    assert max(asked) <= 512


def test_a_member_appended_twice_is_refused(tmp_path):
    file = tmp_path / "train-0.tar"
    write_samples(file, [sample("x", cls="a"), sample("y", cls="b")])
    append(file, tarfile.TarInfo("x.cls"))
    assert "sample x.cls has two pictures or labels" in refusal(tmp_path)


def test_headers_that_nest_without_end_are_one_line(tmp_path):
    about = tarfile.TarInfo("././@LongLink")
    about.type, about.size = tarfile.GNUTYPE_LONGNAME, 1
    (tmp_path / "train-0.tar").write_bytes(
        (about.tobuf(tarfile.GNU_FORMAT) + bytes(512)) * 5000 + bytes(1024)
    )
    assert "train-0.tar: " in refusal(tmp_path)


def test_boxes_count_through_their_own_shard_and_by_name(tmp_path):
    for shard, names in (("train-0", ["a", "b"]), ("train-1", ["b", "a"])):
        box = json.dumps(
            {"label": 0, "boxes": [{"label": 0, "box": [1, 2, 3, 4]}, {"label": "a", "box": [0, 0, 1, 1]}]}
        )
        write_samples(
            tmp_path / f"{shard}.tar",
            [sample(shard, json=box)],
            [("classes.json", json.dumps(names).encode())],
        )
    data = open_dataset(tmp_path, whole=True)
    assert data.classes == ("a", "b") and answers(data.split("test")) == {
        "train-0.png": ("a",),
        "train-1.png": ("b",),
    }
    assert [data.split("test").picture_boxes(i) for i in range(2)] == [
        (Box(0, 1, 2, 3, 4), Box(0, 0, 0, 1, 1)), (Box(1, 1, 2, 3, 4), Box(0, 0, 0, 1, 1)),
    ]  # fmt: skip


def test_boxes_of_classes_called_by_digits_are_packed_as_they_are(tmp_path):
    """Names of digits in the packed boxes would be taken for class numbers."""

    def rows(start):
        for i in range(start, start + 8):
            label = ("7", "9")[i % 2]
            yield sample(
                f"{i:02d}",
                json=json.dumps({"label": label, "boxes": [{"label": label, "box": [0, 0, 5, 5]}]}),
            )

    write_samples(tmp_path / "train.tar", list(rows(0)))
    write_samples(tmp_path / "test.tar", list(rows(8)))
    (tmp_path / "d").mkdir()
    for name in ("train.tar", "test.tar"):
        (tmp_path / name).rename(tmp_path / "d" / name)
    pack(str(tmp_path / "d"), 1, None, str(tmp_path / "packed"))
    train = open_dataset(tmp_path / "packed").train
    assert train.classes == ("7", "9") and len(train) == 8
    for i in range(8):
        assert train.picture_boxes(i) == (Box(int(train.labels[i]), 0, 0, 5, 5),)


def store(place, arrays):
    with place.open("wb") as file:
        np.savez(file, **arrays)


def test_a_stored_index_that_does_not_fit_is_made_again(tmp_path):
    file = tmp_path / "train-0.tar"
    write_tar(file, members(["a", "b"] * 2))
    good = load_index(file)
    place = file.with_name("train-0.tar.index")
    whole_index = {name: getattr(good, name) for name in good.__dataclass_fields__}
    harms = {
        "labels": whole_index["labels"][:-1], "offsets": whole_index["offsets"] + 2**40,
        "sizes": -whole_index["sizes"], "digests": whole_index["digests"][:, :4],
        "boxes": np.zeros((3, 4), np.float32), "members": whole_index["sizes"],
        "ignored": np.array([], np.bytes_), "classes": np.array([b"[" * 9000]),
    }  # fmt: skip
    for name, harm in harms.items():
        store(place, {**whole_index, name: harm})
        again = load_index(file)
        assert all(np.array_equal(getattr(again, n), v) for n, v in whole_index.items()), name
    without = {name: array for name, array in whole_index.items() if name != "ignored"}
    store(place, without)  # as it was before members were counted
    assert np.array_equal(load_index(file).ignored, good.ignored)
    assert np.array_equal(stamp_of(file), good.stamp)


def test_names_that_hold_line_breaks_are_one_line(tmp_path):
    names = ["x\ny.png", "x\ny.cls", "z\n/0.png", "z\n/0.cls"]
    write_tar(
        tmp_path / "train-0.tar", [(names[0], b"x"), (names[1], b"a"), (names[2], b"x"), (names[3], b"-1")]
    )
    assert "train-0.tar/z?/0.png" in refusal(tmp_path)
    write_tar(tmp_path / "train-0.tar", [(names[0], b"x"), (names[1], b"a"), (names[0], b"x")])
    assert "x?y.png has two pictures" in refusal(tmp_path)
