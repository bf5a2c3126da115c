"""Standard output that is closed, full or left, and names of all kinds: one line each."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from support import one_line, resight


def shell(line, **options):
    env = {**os.environ, "RESIGHT": f"{sys.executable} -m resight"}
    return subprocess.run(
        ["sh", "-c", line], env=env, capture_output=True, text=True, timeout=120, check=False, **options
    )


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", ["augment --json", "--help"])
def test_a_full_standard_output_is_one_line(words):
    done = shell(f"$RESIGHT {words} > /dev/full")
    assert "No space left on device" in one_line(done, 1)


@pytest.mark.parametrize("words", ["augment", "--help"])
def test_a_closed_standard_output_is_one_line(words):
    done = shell(f"$RESIGHT {words} >&-")
    assert "standard output cannot be written" in one_line(done, 1)


def test_a_closed_or_full_standard_error_loses_no_answer():
    whole = shell("$RESIGHT --help").stdout
    assert "train" in whole
    for place in ("2>&-", "2> /dev/full"):
        done = shell(f"$RESIGHT --help {place}")
        assert (done.returncode, done.stdout) == (0, whole)


def test_a_reader_that_leaves_is_no_fault_of_the_command():
    done = shell("$RESIGHT --help | head -c 1")
    assert done.returncode == 0
    assert done.stderr == ""


@pytest.mark.parametrize("command", [("check",), ("train",), ("test",), ("predict", "RUN"), ("report",)])
def test_a_name_of_5000_letters_is_one_short_line(command):
    line = one_line(resight(*command, "x" * 5_000), 1)
    assert len(line) < 2_500


def test_an_empty_path_is_not_the_current_folder(tiny_run):
    assert "is empty" in one_line(resight("predict", tiny_run, ""), 2)


def test_escapes_in_names_do_not_reach_the_terminal(tiny_run, tmp_path):
    bad = tmp_path / "\x1b[31mred\x9b.png"
    bad.write_bytes(b"no picture")
    done = resight("predict", tiny_run, bad)
    assert "\x1b" not in done.stdout + done.stderr and "\x9b" not in done.stdout + done.stderr
    assert r"\x1b[31mred\x9b.png" in done.stderr
    gone = one_line(resight("predict", "\x1b[2Jrun", bad), 1)
    assert "\x1b" not in gone and r"\x1b[2Jrun" in gone


@pytest.mark.skipif(os.getuid() == 0, reason="root reads every folder")
def test_an_unreadable_folder_is_one_line(tmp_path):
    folder = tmp_path / "closed"
    folder.mkdir()
    folder.chmod(0)
    try:
        assert "closed" in one_line(resight("check", folder), 1)
    finally:
        folder.chmod(0o700)
