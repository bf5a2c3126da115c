"""The benchmark runs the product's own parts: a change of theirs must not leave it behind."""

import ctypes
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from as_json import bench
from resight.bench import load as bench_load
from resight.bench.peak import STATUS, peak_of, peak_of_process
from resight.cli import show


@pytest.mark.slow
@pytest.mark.parametrize("name", ["load", "train"])
def test_a_benchmark_measures_every_candidate(name, monkeypatch):
    monkeypatch.setattr(bench_load, "measure", lambda seconds, rounds: [])  # it has a test of its own
    rows = bench(name, 0.05, 1)
    assert len(rows) >= 2 and all(row["median"] > 0 for row in rows)
    assert rows[0]["ratio"] is None or rows[0]["ratio"] == 1


def test_an_interrupt_ends_every_candidate_at_once_and_without_a_traceback(tmp_path):
    candidate = (
        "import sys; from pathlib import Path; from resight.bench.interleave import answer, timed; "
        "answer(timed(lambda: Path(sys.argv[1]).touch() or 1))"
    )
    script = (
        "from resight.bench.interleave import interleave\n"
        f"try: interleave({candidate!r}, ['one', 'two'], 600, 1)\n"
        "except KeyboardInterrupt: print('interrupted')\n"
    )
    bench = subprocess.Popen(
        [sys.executable, "-c", script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        start_new_session=True,
    )  # fmt: skip
    while not (tmp_path / "two").exists():  # the first to run: the order begins turned round
        assert bench.poll() is None
        time.sleep(0.05)
    os.killpg(bench.pid, signal.SIGINT)
    assert bench.communicate(timeout=60) == ("interrupted\n", "")


def test_memory_is_unknown_where_the_system_does_not_tell(monkeypatch):
    def windows(name):
        raise TypeError(name)

    monkeypatch.setattr(ctypes, "CDLL", windows)
    assert peak_of(lambda: 3, torch.device("cpu")) == (3, None)


def test_a_table_shows_names_as_they_are(capsys):
    show.table(("class",), [(":smile:",), ("[red]x[/red]",), ("[/b]",)])
    assert capsys.readouterr().out.split()[1:] == [":smile:", "[red]x[/red]", "[/b]"]


@pytest.mark.skipif(not STATUS.exists(), reason="the system does not tell")
def test_the_peak_of_a_process_is_its_own_and_not_its_parents():
    large = bytearray(600_000_000)
    code = "from resight.bench.peak import peak_of_process; print(peak_of_process())"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(large) / 1e6 < peak_of_process() and 10 < float(done.stdout) < 550
