"""Held out is a matter of a picture's own content: others come and go, and it stays where it is."""

import hashlib
import random
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from resight.core.errors import DataError
from resight.data.open import open_as_it_is, open_dataset
from resight.data.splitting import hold_out, hold_out_by_rank, with_test_split, with_validation
from support import make_folder, picture


def sides(dataset):
    """Which split each file is in, by its content."""
    return {
        hashlib.sha256(Path(split.picture_name(i)).read_bytes()).hexdigest(): name
        for name, split in dataset.splits.items()
        for i in range(len(split))
    }


def places(file):
    """Where a file lies for test and validation: the halves of its digest, as a share of all numbers."""
    number = int.from_bytes(hashlib.blake2b(file.read_bytes(), digest_size=16).digest(), "big")
    return (number >> 64) / 2**64, (number & (2**64 - 1)) / 2**64


@pytest.fixture
def many(tmp_path):
    return make_folder(tmp_path / "many", count=60)


def test_a_picture_is_held_out_if_the_hash_of_its_content_is_below_the_share(many):
    dataset = with_validation(open_dataset(many), 0.25)
    expected = {"test": set(), "val": set(), "train": set()}
    for file in many.rglob("*.png"):
        test, val = places(file)
        expected["test" if test < 0.2 else "val" if val < 0.25 else "train"].add(str(file))
    found = {k: {s.picture_name(i) for i in range(len(s))} for k, s in dataset.splits.items()}
    assert found == expected and all(len(names) > 20 for names in found.values())
    assert len(dataset.notes) == 1  # no class needed an exception


def test_validation_is_a_share_of_what_the_test_leaves():
    """Each split reads its own half of the digest: among pictures that are not tested a quarter is 25 %."""
    dice = random.Random(0)
    contents = [f"{dice.getrandbits(128):032x}" for _ in range(20_000)]
    rest = [c for c in contents if int(c[:16], 16) / 2**64 >= 0.2]
    assert 0.78 < len(rest) / 20_000 < 0.82
    held = sum(int(c[16:], 16) / 2**64 < 0.25 for c in rest)
    assert 0.23 < held / len(rest) < 0.27


@pytest.mark.parametrize("more", [2, 18, 180])
def test_pictures_that_are_added_move_no_other(many, more):
    before = sides(with_validation(open_dataset(many), 0.1))
    for i in range(more):
        picture((200, 30, 30), seed=900_000 + i).save(many / ("blue", "green", "red")[i % 3] / f"new{i}.png")
    after = sides(with_validation(open_dataset(many), 0.1))
    assert len(after) == len(before) + more
    assert {content: after[content] for content in before} == before


def test_pictures_that_go_move_no_other(many):
    before = sides(with_validation(open_dataset(many), 0.1))
    for file in sorted(many.rglob("*.png"))[::4]:
        file.unlink()
    after = sides(with_validation(open_dataset(many), 0.1))
    assert len(after) == 135 and after == {content: before[content] for content in after}


def of_class(root, low, high, count, start=0):
    """Write pictures whose hash lies in a range; returns the files, nearest first."""
    root.mkdir(parents=True)
    found, seed = [], start
    while len(found) < count:
        file = root / f"{seed}.png"
        picture(seed=seed).save(file)
        if low <= places(file)[0] < high:
            found.append(file)
        else:
            file.unlink()
        seed += 1
    return sorted(found, key=lambda file: places(file)[0])


def test_a_class_that_nothing_is_held_out_of_gives_its_nearest_picture_by_name(tmp_path):
    far = of_class(tmp_path / "d" / "far", 0.2, 1.0, 4)
    of_class(tmp_path / "d" / "mixed", 0.0, 1.0, 20, start=1000)
    dataset = open_dataset(tmp_path / "d")
    test = dataset.split("test")
    held = [test.picture_name(i) for i in range(len(test)) if test.class_names(i) == ("far",)]
    assert held == [str(far[0])]
    (note,) = [note for note in dataset.notes if str(far[0]) in note]
    assert note.startswith("1 pictures are in the test split")


def test_a_class_that_all_is_held_out_of_keeps_its_farthest_picture_by_name(tmp_path):
    near = of_class(tmp_path / "d" / "near", 0.0, 0.2, 4)
    of_class(tmp_path / "d" / "mixed", 0.0, 1.0, 20, start=1000)
    dataset = open_dataset(tmp_path / "d")
    train = dataset.train
    kept = [train.picture_name(i) for i in range(len(train)) if train.class_names(i) == ("near",)]
    assert kept == [str(near[-1])]
    (note,) = [note for note in dataset.notes if str(near[-1]) in note]
    assert note.startswith("1 pictures are not in the test split")


@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_class_is_on_both_sides_however_small(tmp_path, count):
    dataset = open_dataset(make_folder(tmp_path / "d", count=count, start=3))
    for split in dataset.splits.values():
        assert (split.class_counts() > 0).all()


def test_of_few_pictures_validation_takes_none_that_the_share_does_not_ask_for(tmp_path):
    """A tenth of four pictures is less than half a picture."""
    far = of_class(tmp_path / "d" / "far", 0.2, 1.0, 5)
    for file in far:
        shutil.copy(file, file.with_suffix(".copy.png"))
    make_folder(tmp_path / "d", classes=("other",), count=5)
    dataset = with_validation(open_dataset(tmp_path / "d"), 0.1)
    assert (dataset.train.class_counts() > 0).all() and not [n for n in dataset.notes if " val " in n]


def test_a_class_whose_pictures_are_copies_of_one_is_named(tmp_path):
    root = make_folder(tmp_path / "d", count=6)
    for file in sorted((root / "red").iterdir())[1:]:
        shutil.copy(root / "red/000.png", file)
    dataset = open_dataset(root)
    assert "no test picture of: red" in dataset.notes
    for name in ("blue", "green"):
        shutil.rmtree(root / name)
        shutil.copytree(root / "red", root / name)
    with pytest.raises(DataError, match="no picture can be held out"):
        open_dataset(root)


def test_the_test_digits_are_a_stored_list_that_no_rule_can_change(monkeypatch):
    """The digests of the positions were taken of the version before the list."""
    monkeypatch.setattr("resight.data.splitting.hold_out", lambda *_: pytest.fail("no list"))
    dataset = with_validation(open_dataset("digits"), 0.1)
    assert {k: len(v) for k, v in dataset.splits.items()} == {"train": 1295, "test": 359, "val": 143}
    test = dataset.split("test")
    # Of each class a fifth, as published: the figures of experiments.md are of these.
    assert test.class_counts().tolist() == [36, 36, 35, 37, 36, 36, 36, 36, 35, 36]
    words = [" ".join(map(str, split.positions.tolist())) for split in dataset.splits.values()]
    digests = [hashlib.sha256(text.encode()).hexdigest()[:16] for text in words]
    assert digests == ["b26027b02a9481f9", "959d08395f7f6589", "3bd34f1528824f88"]


def test_runs_of_before_can_have_their_split_by_rank(folder):
    raw = replace(open_as_it_is(folder), by_rank=True)
    dataset = with_validation(with_test_split(raw), 0.2)
    assert [split.class_counts().tolist() for split in dataset.splits.values()] == [
        [8, 8, 8], [2, 2, 2], [2, 2, 2],
    ]  # fmt: skip
    train, test = hold_out_by_rank(raw.train, 0.2, "test")
    for number in range(3):
        held, kept = (sorted(s.digest(i) for i in np.flatnonzero(s.labels == number)) for s in (test, train))
        assert held[-1] < kept[0]  # the lowest digests of each class


def test_several_classes_a_picture_are_all_on_both_sides(tmp_path):
    rows = ["path,labels"]
    for i in range(60):
        picture(seed=i).save(tmp_path / f"{i}.png")
        names = [name for name, every in (("often", 1), ("seldom", 10), ("rare", 20)) if i % every == 0]
        rows.append(f"{i}.png,{';'.join(names)}")
    (tmp_path / "d.csv").write_text("\n".join(rows))
    train, test, _ = hold_out(open_as_it_is(tmp_path / "d.csv").train, 0.2, "test")
    assert (train.class_counts() > 0).all() and (test.class_counts() > 0).all()
    assert test.class_counts()[0] == len(test)
