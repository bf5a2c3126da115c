"""A zip is the folder that it holds; what a stranger may hide in one is refused before it is unpacked."""

import stat
import zipfile
from pathlib import Path

import pytest

from resight.core.errors import DataError
from resight.data.cache import cache_folder
from resight.data.dataset import fingerprint
from resight.data.layouts import archive
from resight.data.open import open_dataset
from support import make_folder


def zipped(folder, file, prefix=""):
    with zipfile.ZipFile(file, "w") as out:
        for path in sorted(p for p in folder.rglob("*") if p.is_file()):
            out.write(path, prefix + path.relative_to(folder).as_posix())
    return file


@pytest.mark.parametrize("prefix", ["", "pictures/", "a/b/"])
def test_a_zip_is_its_folder(folder, tmp_path, prefix):
    file = zipped(folder, tmp_path / "colours.zip", prefix)
    with zipfile.ZipFile(file, "a") as more:
        more.writestr("__MACOSX/pictures/red/._000.png", b"x")
        more.writestr("pictures/.DS_Store", b"x")
    plain, dataset = open_dataset(folder), open_dataset(file)
    assert dataset.name == str(file) and dataset.classes == plain.classes
    assert {n: fingerprint(s) for n, s in dataset.splits.items()} == {
        n: fingerprint(s) for n, s in plain.splits.items()
    }


def test_a_zip_is_unpacked_once_and_again_where_it_is_not_whole(folder, tmp_path, monkeypatch):
    file = zipped(folder, tmp_path / "a.zip")
    first = Path(open_dataset(file).train.picture_name(0))
    assert first.is_relative_to(cache_folder() / "archives")
    before = first.stat().st_mtime_ns
    other = zipped(folder, tmp_path / "b.zip")  # the same bytes elsewhere
    assert open_dataset(other).train.picture_name(0) == str(first) and first.stat().st_mtime_ns == before
    first.unlink()
    assert open_dataset(file).train.picture_name(0) == str(first) and first.stat().st_size
    assert not [p for p in (cache_folder() / "archives").iterdir() if p.name.startswith(".")]


def test_messages_name_the_zip(folder, tmp_path):
    (folder / "red" / "notes.txt").write_text("x")
    (folder / "LICENSE").write_text("x")
    file = zipped(folder, tmp_path / "a.zip")
    dataset = open_dataset(file)
    assert any(f"{file}/red/notes.txt" in note for note in dataset.notes)
    assert dataset.unused == (f"{file}/LICENSE: is not part of class folders",)
    for path in (folder / "red", folder / "blue"):
        path.rename(folder / f"{path.name}.txt")
    with pytest.raises(DataError, match="one class only") as caught:
        open_dataset(zipped(make_folder(tmp_path / "one", classes=("red",)), tmp_path / "one.zip"))
    assert str(caught.value).startswith(f"{tmp_path / 'one.zip'}: ")


def member(name, content=b"x", flags=0, mode=0):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info, content, flags


@pytest.mark.parametrize(
    ("members", "message"),
    [
        ([member("../evil.png")], "points outside the folder"),
        ([member("a/../../evil.png")], "points outside the folder"),
        ([member("/etc/evil.png")], "points outside the folder"),
        ([member("C:\\evil.png")], "points outside the folder"),
        ([member("a\\..\\..\\evil.png")], "points outside the folder"),
        ([member("red/0.png", b"/etc/passwd", mode=stat.S_IFLNK | 0o777)], "is a link"),
        ([member("train.zip")], "holds an archive, train.zip"),
        ([member("red/a.png"), member("red\\a.png")], "two members named 'red/a.png'"),
        ([member("red"), member("red/a.png")], "is below another member that is a file"),
    ],
)
def test_members_that_are_not_safe_are_refused(tmp_path, members, message):
    file = tmp_path / "evil.zip"
    with zipfile.ZipFile(file, "w") as out:
        for info, content, _ in members:
            out.writestr(info, content)
    with pytest.raises(DataError, match=message) as caught:
        open_dataset(file)
    assert str(caught.value).startswith(str(file)) and "\n" not in str(caught.value)
    assert not (cache_folder() / "archives").exists() and not list(tmp_path.glob("**/evil.png"))


def test_encrypted_zips_are_refused(folder, tmp_path):
    file = zipped(folder, tmp_path / "a.zip")
    content = bytearray(file.read_bytes())
    start = content.index(b"PK\x01\x02")
    content[start + 8] |= 1  # the flag in the central directory
    file.write_bytes(content)
    with pytest.raises(DataError, match="is encrypted; unpack it with its password"):
        open_dataset(file)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path, monkeypatch):
    file = tmp_path / "bomb.zip"
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as out:
        out.writestr("red/0.png", b"\0" * (archive.SMALL + 1))
    with pytest.raises(DataError, match=r"bomb.zip: is \d[\d,]* times as large when unpacked"):
        open_dataset(file)
    monkeypatch.setattr(archive, "MOST_MEMBERS", 2)
    with pytest.raises(DataError, match="holds 36 files of"):
        open_dataset(zipped(make_folder(tmp_path / "d"), tmp_path / "many.zip"))


def test_a_full_disk_is_one_line(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(archive, "SPARE", 1 << 62)
    with pytest.raises(DataError, match=r"bytes in .*, where .* are free; set XDG_CACHE_HOME"):
        open_dataset(zipped(folder, tmp_path / "a.zip"))


@pytest.mark.parametrize("cut", [100, -100])
def test_damaged_zips_are_one_line(folder, tmp_path, cut):
    file = zipped(folder, tmp_path / "a.zip")
    content = bytearray(file.read_bytes())
    if cut > 0:
        content[200:300] = b"\0" * 100  # in the first picture: its check sum is wrong
    file.write_bytes(content if cut > 0 else content[:cut])
    with pytest.raises(DataError, match=r"a.zip: cannot be unpacked") as caught:
        open_dataset(file)
    assert "\n" not in str(caught.value)
    assert not any(cache_folder().glob("archives/*"))


def test_names_without_the_flag_for_utf8_are_utf8_where_they_can_be(folder, tmp_path):
    (folder / "red").rename(folder / "Bär")
    file = zipped(folder, tmp_path / "a.zip")
    content = file.read_bytes()
    for header, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):  # without the flag, as macOS writes them
        start = -1
        while (start := content.find(header, start + 1)) >= 0:
            flags = int.from_bytes(content[start + at : start + at + 2], "little") & ~archive.UTF8_NAME
            content = content[: start + at] + flags.to_bytes(2, "little") + content[start + at + 2 :]
    file.write_bytes(content)
    assert zipfile.ZipFile(file).namelist()[0].startswith("B├ñr")
    assert open_dataset(file).classes == ("Bär", "blue", "green")


REAL = {
    "hymenoptera": {"train": 244, "test": 153},
    "grocery": {"train": 634, "val": 80, "test": 240},
    "wildlife_voc": {"train": 373, "test": 126},
    "raccoon_kangaroo_voc": {"train": 245, "test": 81},
    "blood_cells_voc": {"train": 205, "val": 87, "test": 36},
    "tiny_imagenet_boxes": {"train": 3000, "test": 250},
    "coco_mini": {"train": 80, "test": 67},
    "orl_faces": {"train": 289, "test": 71},
}


@pytest.mark.parametrize("name", REAL)
def test_real_zips_are_read(real_data, name):
    dataset = open_dataset(real_data / f"{name}.zip")
    assert {k: len(v) for k, v in dataset.splits.items()} == REAL[name]
