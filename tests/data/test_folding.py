"""The fold of a picture is a matter of its content: brute force over digests that hashlib gives."""

import hashlib
import shutil
from pathlib import Path

import numpy as np
import pytest

from resight.core.errors import DataError
from resight.data.dataset import ArrayPictures, Dataset, Split, multi_hot
from resight.data.folding import NO_FOLD, fold, fold_number, in_folds, to_fold
from resight.data.open import open_as_it_is, open_dataset
from support import make_folder


def where(file):
    """Where a file lies in [0, 1): the first half of its digest as a share of all numbers."""
    digest = hashlib.blake2b(Path(file).read_bytes(), digest_size=16).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def numbers(dataset, count):
    """The fold of each file, by its name."""
    folds = in_folds(dataset, count)
    return {dataset.train.picture_name(i): int(k) for i, k in enumerate(folds.numbers)}


@pytest.fixture
def many(tmp_path):
    return make_folder(tmp_path / "many", count=60)


@pytest.mark.parametrize("count", [2, 3, 5, 10])
def test_the_fold_is_the_place_of_the_digest(many, count):
    dataset = to_fold(open_as_it_is(many))
    found = numbers(dataset, count)
    assert found == {str(f): 1 + int(count * where(f)) for f in many.rglob("*.png")}
    assert set(found.values()) == set(range(1, count + 1))
    assert not in_folds(dataset, count).notes


def test_the_last_fold_takes_the_greatest_digest():
    assert fold_number("f" * 32, 5) == 5 and fold_number("0" * 32, 5) == 1


def test_the_first_of_five_folds_is_what_is_tested_without_folds(many):
    dataset = to_fold(open_as_it_is(many))
    first = fold(dataset, in_folds(dataset, 5), 1).split("test")
    usual = open_dataset(many).split("test")
    assert [first.picture_name(i) for i in range(len(first))] == [
        usual.picture_name(i) for i in range(len(usual))
    ]


def test_each_picture_is_tested_once_and_never_learned_where_it_is(many):
    dataset = to_fold(open_as_it_is(many))
    folds = in_folds(dataset, 4)
    tested = []
    for k in folds.filled():
        part = fold(dataset, folds, k)
        own = set(part.split("test").positions.tolist())
        assert not own & set(part.train.positions.tolist())
        assert len(own) + len(part.train) == len(dataset.train)
        tested += own
    assert sorted(tested) == list(range(180))


def test_pictures_that_come_or_go_move_no_other(many, tmp_path):
    def by_content():
        return {Path(f).read_bytes(): k for f, k in numbers(to_fold(open_as_it_is(many)), 5).items()}

    before = by_content()
    for folder in many.iterdir():
        for file in sorted(folder.iterdir())[::3]:
            file.unlink()
    more = make_folder(tmp_path / "more", count=70, start=500_000)
    for file in more.rglob("*.png"):
        shutil.move(file, many / file.parent.name / f"new{file.name}")
    after = by_content()
    stayed = before.keys() & after.keys()
    assert len(stayed) == 120 and len(after) == 330
    assert all(before[content] == after[content] for content in stayed)


def test_equal_pictures_share_a_fold_and_contradictions_have_none(many):
    for number, file in enumerate(sorted((many / "red").iterdir())[:20]):
        shutil.copy(file, many / "red" / f"copy{number}.png")
    for number, file in enumerate(sorted((many / "green").iterdir())[:9]):
        shutil.copy(file, many / "blue" / f"copy{number}.png")
    dataset = to_fold(open_as_it_is(many))
    found = numbers(dataset, 7)
    for number, file in enumerate(sorted((many / "red").glob("0*.png"))[:20]):
        assert found[str(file)] == found[str(many / "red" / f"copy{number}.png")] > 0
    odd = [name for name, k in found.items() if k == NO_FOLD]
    assert len(odd) == 18 and all("copy" in n or "green/00" in n for n in odd)
    folds = in_folds(dataset, 7)
    assert "18 pictures are in several classes" in folds.notes[0]
    for k in folds.filled():
        learned = fold(dataset, folds, k).train
        assert {learned.picture_name(i) for i in range(len(learned))} >= set(odd)


def test_a_test_split_of_its_own_is_not_folded(tmp_path):
    for splits, test in (
        (("train", "test"), "test"),
        (("train", "val"), "val"),
        (("train", "val", "test"), "test"),
    ):
        root = make_folder(tmp_path / "-".join(splits), splits=splits)
        dataset = to_fold(open_as_it_is(root))
        names = {s: len(part) for s, part in dataset.splits.items()}
        assert names == {"train": 36, "test": 36, **({"val": 36} if len(splits) == 3 else {})}
        tested = dataset.split("test")
        assert all(f"/{test}/" in tested.picture_name(i) for i in range(36))
        assert len(in_folds(dataset, 3).numbers) == 36
    assert set(to_fold(open_as_it_is(make_folder(tmp_path / "plain"))).splits) == {"train"}


def drawn(classes, seed, several=()):
    """A data set of random pixels: class names of each picture."""
    pixels = np.random.default_rng(seed).integers(0, 255, (len(classes), 4, 4, 3)).astype(np.uint8)
    known = tuple(sorted({c for of in classes for c in (of if several else (of,))}))
    labels = multi_hot(classes, known) if several else np.array([known.index(c) for c in classes])
    split = Split("train", ArrayPictures(pixels, "p"), np.arange(len(pixels)), labels, known)
    return Dataset("drawn", known, {"train": split})


@pytest.mark.parametrize("count", [2, 3])
def test_every_network_learns_every_class(count):
    """Classes of two and three pictures, which often lie in one fold, in 200 data sets."""
    exceptions = 0
    for seed in range(200):
        dataset = drawn(["a"] * 3 + ["b"] * 3 + ["c"] * (3 if count == 3 else 2), seed)
        folds = in_folds(dataset, count)
        plain = [fold_number(dataset.train.digest(i), count) for i in range(len(dataset.train))]
        moved = np.flatnonzero(folds.numbers != plain)
        exceptions += len(moved)
        assert bool(folds.notes) == bool(len(moved))
        for i in moved:  # only a class that lay in one fold gives one picture, to the fold after
            own = dataset.train.labels == dataset.train.labels[i]
            assert len({plain[j] for j in np.flatnonzero(own)}) == 1
            assert folds.numbers[i] == plain[i] % count + 1 and sum(own[moved]) == 1
        for k in folds.filled():
            assert (fold(dataset, folds, k).train.class_counts() > 0).all()
    assert exceptions > 20


def test_several_classes_a_picture_are_learned_everywhere_or_refused():
    refused = 0
    for seed in range(200):
        dataset = drawn([("a",), ("a", "b"), ("b",), ("b", "c"), ("c",), ("c", "a"), ()], seed, several=True)
        try:
            folds = in_folds(dataset, 2)
        except DataError:
            refused += 1
            continue
        for k in folds.filled():
            assert (fold(dataset, folds, k).train.class_counts() > 0).all()
    assert refused < 40


def test_more_folds_than_different_pictures_of_a_class_is_refused(many):
    for file in sorted((many / "green").iterdir())[4:]:
        file.unlink()
    shutil.copy(many / "green" / "000.png", many / "green" / "copy.png")
    dataset = to_fold(open_as_it_is(many))
    assert len(in_folds(dataset, 4).filled()) == 4
    with pytest.raises(DataError, match=r"class 'green' has 4 different pictures.*--folds 4 or fewer"):
        in_folds(dataset, 5)
