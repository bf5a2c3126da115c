import errno

import pytest

from resight.core import files
from resight.core.errors import ResightError


def test_a_failure_keeps_the_old_file_and_leaves_no_other(tmp_path):
    path = tmp_path / "a.txt"
    files.write_text(path, "old")
    with pytest.raises(RuntimeError), files.replacing(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_is_one_line(tmp_path):
    with (
        pytest.raises(ResightError, match="no space left"),
        files.replacing(tmp_path / "a") as temporary,
    ):
        temporary.write_text("")
        raise OSError(errno.ENOSPC, "No space left on device")


def test_a_place_that_cannot_be_written_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResightError, match="choose another place"):
        files.write_text(tmp_path / "file" / "below", "x")


def test_a_name_that_is_not_utf_8_is_one_line(tmp_path):
    with pytest.raises(
        ResightError, match=r"x\.xml: cannot be written: a name in it is not UTF-8 .*bad.udcff"
    ):
        files.write_text(tmp_path / "x.xml", "first\n<path>bad\udcff.png</path>\nmore")
    assert not list(tmp_path.iterdir())
