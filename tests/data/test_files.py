"""Only regular files of a bounded size are read, and nothing waits for a pipe."""

import os
import socket
from pathlib import Path

import pytest
from PIL import Image

from resight.core.errors import PictureError
from resight.core.levels import Levels
from resight.data import files
from resight.data.dataset import FilePictures
from resight.data.decode import decode
from resight.data.files import FILE_LIMIT, read_file
from resight.data.frames import read_frame
from resight.data.given import found
from resight.service.test.predict import _Pictures


def fifo(place):
    os.mkfifo(place)


def bound(place):
    unix = socket.socket(socket.AF_UNIX)
    unix.bind(str(place))
    unix.close()


def zeros(place):
    place.symlink_to("/dev/zero")


def terminal(place):
    place.symlink_to("/dev/tty")


def folder(place):
    place.mkdir()


def sparse(place):
    with place.open("wb") as file:
        file.truncate(200 * 10**9)


def dangling(place):
    place.symlink_to(place.with_name("gone"))


def loop(place):
    place.symlink_to(place)


ODD = {
    "a named pipe": fifo, "a socket": bound, "a device": zeros, "a folder": folder,
    "over the limit of 1,073,741,824": sparse, "which does not exist": dangling, "symbolic links": loop,
}  # fmt: skip


@pytest.mark.parametrize("fault", ODD)
def test_what_is_no_file_is_refused_in_one_line(fault, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # a socket's path must be short
    place = Path("x.jpg")
    ODD[fault](place)
    for read in (read_file, decode, lambda path: FilePictures([path]).content(0)):
        with pytest.raises(PictureError, match=fault) as caught:
            read(place)
        assert str(caught.value).startswith("x.jpg: ") and "\n" not in str(caught.value)
    assert read_frame(place, (3, 4)).size == (3, 4)
    assert len(FilePictures([place]).digest(0)) == 32


def test_a_device_is_not_even_opened(tmp_path, monkeypatch):
    terminal(tmp_path / "x.jpg")
    monkeypatch.setattr(files.os, "open", None)
    with pytest.raises(PictureError, match="a device"):
        read_file(tmp_path / "x.jpg")


def test_a_pipe_that_takes_the_place_of_a_file_is_refused(tmp_path, monkeypatch):
    place, regular = tmp_path / "x.jpg", tmp_path / "y.jpg"
    fifo(place)
    regular.write_bytes(b"x")
    before = regular.stat()
    monkeypatch.setattr(Path, "stat", lambda *_, **__: before)
    with pytest.raises(PictureError, match="a named pipe"):
        read_file(place)


def test_a_file_without_a_size_and_one_that_grows_are_read_to_the_limit(tmp_path):
    assert read_file(Path("/proc/self/status")).startswith(b"Name:")
    place = tmp_path / "x"
    place.write_bytes(b"12345678")
    assert read_file(place, most=8) == b"12345678"
    with pytest.raises(PictureError, match="8 bytes or more, over the limit of 7"):
        read_file(place, most=7)


def test_a_picture_that_does_not_fit_in_memory_is_one_line(tmp_path, monkeypatch):
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    for place, word in ((files.os, "open"), (Image.core, "new")):
        with monkeypatch.context() as patch:
            patch.setattr(place, word, no_memory)
            with pytest.raises(PictureError, match="does not fit in memory; reduce it"):
                decode(tmp_path / "x.png")
    assert FILE_LIMIT == 2**30


def no_memory(*_, **__):
    raise MemoryError


def test_the_pictures_of_a_call_may_hold_a_pipe(tmp_path):
    fifo(tmp_path / "x.jpg")
    read = _Pictures(*found([str(tmp_path)]), 32, Levels())
    with pytest.raises(PictureError, match="a named pipe"):
        read(0)
