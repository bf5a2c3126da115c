"""Class folders are such only where they look so; splits have many names; nothing is dropped unsaid."""

import os
import shutil
import unicodedata

import pytest

from resight.core.errors import DataError
from resight.data.dataset import fingerprint
from resight.data.layouts.splits import split_of
from resight.data.open import open_dataset
from support import make_folder, picture


def sizes(dataset):
    return {name: len(split) for name, split in dataset.splits.items()}


@pytest.mark.parametrize(
    ("split", "names"),
    [
        (
            "train",
            "train training training_set train_set trainset Train-Set train2017 TRAINING trainval train_data",
        ),
        ("val", "val valid validation dev eval val_set validation_set Validation val2017 evaluation devset"),
        ("test", "test testing test_set testset test2015 TEST testing_set test_images"),
        (None, "trainer cats tests-of-car validate testament training_ground development_board evaluate"),
    ],
)
def test_splits_are_known_by_their_common_names(split, names):
    assert {name: split_of(name) for name in names.split()} == dict.fromkeys(names.split(), split)


@pytest.mark.parametrize(
    ("folders", "expected"),
    [
        (("training_set", "test_set"), {"train": 12, "test": 12}),
        (("train_set", "dev", "Testing"), {"train": 12, "val": 12, "test": 12}),
        (("trainset", "eval"), {"train": 12, "test": 12}),
        (("train2017", "val2017"), {"train": 12, "test": 12}),
    ],
)
def test_split_folders_of_any_common_name_are_read(tmp_path, folders, expected):
    dataset = open_dataset(make_folder(tmp_path / "d", splits=folders, count=4))
    assert dataset.classes == ("blue", "green", "red") and sizes(dataset) == expected
    assert dataset.unused == ()


def test_folders_of_unknown_names_with_the_same_folders_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", splits=("first", "second"), count=2)
    with pytest.raises(
        DataError, match=r"each of first, second holds the folders blue, green, red: .* splits"
    ):
        open_dataset(root)
    # One folder in each is no other case, unless its name says nothing.
    root = make_folder(tmp_path / "e", classes=("cats",), splits=("first", "second"), count=2)
    with pytest.raises(DataError, match="each of first, second holds the folders cats"):
        open_dataset(root)


def test_splits_within_classes_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("train", "test"), splits=("cat", "dog"), count=2)
    with pytest.raises(DataError, match="splits within classes; put splits above, as test/cat"):
        open_dataset(root)


def test_two_folders_for_one_split_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "val", "valid"), count=2)
    with pytest.raises(DataError, match="two folders for the split val, val and valid"):
        open_dataset(root)


def test_classes_beside_a_folder_called_train_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("bus", "car"), count=3)
    make_folder(root, classes=("steam", "diesel"), splits=("train",), count=3)
    with pytest.raises(DataError, match="has pictures in bus, car next to train, which"):
        open_dataset(root)


def test_a_folder_with_pictures_beside_the_splits_is_refused(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=3)
    make_folder(root / "extra", count=1)
    with pytest.raises(DataError, match="has pictures in extra next to train, test, which"):
        open_dataset(root)


def test_a_train_is_a_vehicle_beside_others(tmp_path):
    root = make_folder(tmp_path / "d", classes=("bus", "car", "train"), count=5)
    dataset = open_dataset(root)
    assert dataset.classes == ("bus", "car", "train") and sum(sizes(dataset).values()) == 15
    assert f"{root / 'train'} holds pictures but no class folders, so it is read as a class" in dataset.notes
    (root / "train").rename(root / "test")  # as unlabelled pictures of Kaggle are
    with pytest.raises(DataError, match="pictures in test are not in class folders"):
        open_dataset(root)


def test_split_folders_without_class_folders_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("train", "test"), count=3)
    with pytest.raises(
        DataError, match="pictures in test, train are not in class folders, so they have no class"
    ):
        open_dataset(root)


def test_a_train_folder_without_class_folders_is_named(tmp_path):
    root = make_folder(tmp_path / "d", splits=("test",), count=3)
    make_folder(root, classes=("train",), count=3)
    with pytest.raises(
        DataError, match="train: its pictures are not in class folders, so their classes are unknown"
    ):
        open_dataset(root)


@pytest.mark.parametrize("split", ["test", "val"])
def test_an_empty_split_folder_is_left_out_with_a_note(tmp_path, split):
    root = make_folder(tmp_path / "d", splits=("train",), count=10)
    (root / split / "blue").mkdir(parents=True)
    dataset = open_dataset(root)
    assert (
        set(sizes(dataset)) == {"train", "test"} and sum(sizes(dataset).values()) == 30
    )  # held out of train
    assert f"{root / split} holds no pictures and is left out" in dataset.notes


def test_an_unlabelled_test_folder_is_named(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train",), count=10)
    make_folder(root, classes=("test",), count=2)
    dataset = open_dataset(root)
    assert set(sizes(dataset)) == {"train", "test"} and sum(sizes(dataset).values()) == 30
    assert dataset.unused == (
        f"{root / 'test'}: its pictures are not in class folders, so their classes are unknown",
    )


def test_everything_that_is_not_used_is_named(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=3)
    (root / "LICENSE").write_text("x")
    (root / "scripts").mkdir()
    (root / ".git").mkdir()
    (root / "__MACOSX").mkdir()
    picture().save(root / "sample.png")
    picture().save(root / "train" / "loose.png")
    (root / "train" / "Thumbs.db").write_text("x")
    (root / "train" / "list.txt").write_text("x")
    assert open_dataset(root).unused == (
        f"{root / 'scripts'}: is not part of class folders in splits",
        f"{root / 'LICENSE'}: is not part of class folders in splits",
        f"{root}: 1 pictures in it have no class, such as sample.png",
        f"{root / 'train' / 'list.txt'}: is next to the class folders",
        f"{root / 'train'}: 1 pictures in it have no class, such as loose.png",
    )


def test_many_files_that_are_not_used_are_counted(tmp_path):
    root = make_folder(tmp_path / "d", count=3)
    for i in range(30):
        (root / f"{i:02d}.txt").write_text("x")
    unused = open_dataset(root).unused
    assert len(unused) == 21 and unused[-1].startswith(f"{root}: 10 more files or folders")


@pytest.mark.parametrize("wrappers", ["data", "a/b/c"])
def test_wrapper_folders_are_looked_through(tmp_path, wrappers):
    root = make_folder(tmp_path / "d" / wrappers, splits=("train", "test"), count=3)
    plain = open_dataset(root)
    (tmp_path / "d" / "README.md").write_text("x")
    (tmp_path / "d" / "__MACOSX" / "train" / "red").mkdir(parents=True)
    picture().save(tmp_path / "d" / "__MACOSX" / "train" / "red" / "._0.png")
    dataset = open_dataset(tmp_path / "d")
    assert dataset.name == str(tmp_path / "d") and sizes(dataset) == {"train": 9, "test": 9}
    assert {n: fingerprint(s) for n, s in dataset.splits.items()} == {
        n: fingerprint(s) for n, s in plain.splits.items()
    }
    first = wrappers.split("/")[0]
    assert dataset.unused == (f"{tmp_path / 'd' / 'README.md'}: is next to {first}/, which is the data set",)


def test_one_class_folder_is_no_wrapper(tmp_path):
    root = make_folder(tmp_path / "d", classes=("red",))
    with pytest.raises(
        DataError, match=r"one class only, 'red'; a classifier needs at least two class folders$"
    ):
        open_dataset(root)
    (root / "list_attr.txt").write_text("x")
    with pytest.raises(
        DataError, match=r"one class only, 'red'; .* \(next to it: list_attr.txt, not recognized"
    ):
        open_dataset(root)


def test_two_data_sets_in_one_folder_are_refused(tmp_path):
    make_folder(tmp_path / "d" / "one", classes=("ant", "bee"), count=2)
    make_folder(tmp_path / "d" / "two", count=2)
    with pytest.raises(DataError, match="one: holds no pictures, only the folders ant, bee: classes within"):
        open_dataset(tmp_path / "d")


def test_classes_within_a_class_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("cat", "dog"), splits=("train",), count=3)
    make_folder(root / "train" / "vehicles", classes=("car", "bus"), count=3)
    with pytest.raises(DataError, match="vehicles: holds no pictures, only the folders bus, car"):
        open_dataset(root)


def test_class_folders_two_levels_down_are_not_flattened(tmp_path):
    for split in ("seg_train", "seg_test"):  # as Kaggle's "Intel image classification"
        make_folder(tmp_path / "d" / split / split, count=8)
    make_folder(tmp_path / "d", classes=("seg_pred",), count=8)
    with pytest.raises(DataError, match="seg_test/seg_test: holds no pictures, only the folders blue"):
        open_dataset(tmp_path / "d")


def test_links_in_class_folders_are_not_followed_and_named(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    (root / "red" / "all").symlink_to(root)
    dataset = open_dataset(root)
    assert sum(sizes(dataset).values()) == 15
    assert (
        f"1 links to folders in class folders are not followed, such as {root / 'red' / 'all'}"
        in dataset.notes
    )
    assert not any("hold folders" in note for note in dataset.notes)


def test_pictures_deeper_in_a_class_folder_are_noted(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    make_folder(root / "red", classes=("dark",), count=5, start=500)
    dataset = open_dataset(root)
    assert sum(sizes(dataset).values()) == 20
    assert any("1 class folders hold folders, whose pictures get the same class" in n for n in dataset.notes)


def test_one_folder_of_a_neutral_name_in_each_class_is_the_class(tmp_path):
    root = make_folder(tmp_path / "d", classes=("images",), splits=("cat", "dog"), count=5)
    dataset = open_dataset(root)
    assert dataset.classes == ("cat", "dog") and not any("folders hold folders" in n for n in dataset.notes)


@pytest.mark.parametrize("beside", [("depth",), ("masks_of_other_names",), ()])
def test_a_folder_called_images_is_no_class(tmp_path, beside):
    root = make_folder(tmp_path / "d", classes=("images",), count=3)
    make_folder(root, classes=beside, count=3, start=100)
    for name in beside:
        for path in (root / name).iterdir():
            path.rename(path.with_name(f"other-{path.name}"))
    (root / "boxes.dat").write_text("x")
    with pytest.raises(DataError, match=r"holds pictures in images/, next to .*boxes.dat, but no class fold"):
        open_dataset(root)


def test_pictures_without_folders_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("",), count=3)
    with pytest.raises(DataError, match="holds 3 pictures outside class folders"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("names", "difference"),
    [
        (("Cat", "cat"), "upper and lower case"),
        (("cat", "cat "), "spaces at the ends"),
        ((unicodedata.normalize("NFC", "Bär"), unicodedata.normalize("NFD", "Bär")), "their Unicode form"),
    ],
)
def test_class_folders_that_differ_in_their_spelling_only_are_refused(tmp_path, names, difference):
    with pytest.raises(DataError, match=f"differ only in {difference}"):
        open_dataset(make_folder(tmp_path / "d", classes=names, count=3))
    with pytest.raises(DataError, match=f"differ only in {difference}"):
        open_dataset(make_folder(tmp_path / "e", classes=(*names, "dog"), splits=("train", "test"), count=3))


def test_letters_are_classes_in_both_cases(tmp_path):
    root = make_folder(tmp_path / "d", classes=("a", "A", "b"), splits=("train", "test"), count=3)
    assert open_dataset(root).classes == ("A", "a", "b")


def test_a_split_in_another_unicode_form_has_the_same_classes(tmp_path):
    here, there = (unicodedata.normalize(form, "Bär") for form in ("NFD", "NFC"))
    root = make_folder(tmp_path / "d", classes=(here, "cat"), splits=("train",), count=3)
    make_folder(root, classes=(there, "cat"), splits=("test",), count=3)
    dataset = open_dataset(root)
    assert dataset.classes == tuple(sorted((here, "cat")))
    assert dataset.split("test").class_counts().tolist() == [3, 3]
    assert any("in another Unicode form" in note for note in dataset.notes)


def test_a_split_in_another_case_says_the_cause(tmp_path):
    root = make_folder(tmp_path / "d", classes=("cat", "dog"), splits=("train", "test"), count=3)
    (root / "test" / "cat").rename(root / "test" / "Cat")
    with pytest.raises(
        DataError, match="test/Cat: differs from the class folder 'cat' of train only in upper and"
    ):
        open_dataset(root)


def test_links_to_nothing_say_so(tmp_path):
    from resight.core.errors import PictureError

    root = make_folder(tmp_path / "d", count=5)
    (root / "red" / "000.png").unlink()
    (root / "red" / "000.png").symlink_to("gone.png")
    dataset = open_dataset(root)
    index = next(
        (split, i)
        for split in dataset.splits.values()
        for i in range(len(split))
        if split.picture_name(i).endswith("red/000.png")
    )
    with pytest.raises(
        PictureError, match=r"red/000.png: is a link to gone.png, which does not exist; fix the link"
    ):
        index[0].decode(index[1])
    (root / "violet").symlink_to(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"violet: is a link to .*nowhere, which does not exist"):
        open_dataset(root)
    with pytest.raises(DataError, match=r"violet: is a link to .*nowhere, which does not exist"):
        open_dataset(root / "violet")


def test_linked_class_folders_are_read(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    shutil.move(root / "red", tmp_path / "red")
    (root / "red").symlink_to(tmp_path / "red")
    assert open_dataset(root).classes == ("blue", "green", "red")


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_names_that_are_not_utf8_are_read(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    (root / "red").rename(os.fsdecode(os.fsencode(root) + b"/caf\xe9"))
    dataset = open_dataset(root)
    assert dataset.classes == ("blue", "caf\udce9", "green")
    assert sum(sizes(dataset).values()) == 15


def test_masks_among_the_pictures_are_refused(tmp_path):
    root = make_folder(tmp_path / "d", classes=("benign", "malignant"), count=4)
    for path in [*root.rglob("*.png")]:
        shutil.copy(path, path.with_name(f"{path.stem}_mask.png"))
    with pytest.raises(DataError, match=r"looks like a segmentation set: 8 masks .* such as benign/000_mask"):
        open_dataset(root)
