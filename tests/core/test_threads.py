"""A training leaves cores to others that use them."""

import pytest
import torch

from resight.core import threads


@pytest.fixture
def machine(monkeypatch, tmp_path):
    """A machine of four cores; returns what sets how many threads run on it."""
    count = torch.get_num_threads()
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr(threads, "cores", lambda: 4)
    monkeypatch.setattr(threads, "PAUSE", 0.0)
    monkeypatch.setattr(threads, "LOAD", tmp_path / "loadavg")
    torch.set_num_threads(4)
    yield lambda running: threads.LOAD.write_text(f"9.99 0.10 0.20 {running}/300 4242\n")
    torch.set_num_threads(count)


@pytest.mark.parametrize(("running", "taken"), [(1, 4), (2, 3), (4, 1), (40, 1)])
def test_it_takes_the_cores_that_are_free_now(running, taken, machine):
    machine(running)
    said = threads.take_free_cores()
    assert torch.get_num_threads() == taken
    if taken == 4:
        assert said == ""
    else:
        assert said.startswith(f"threads: {taken} of 4 cores; other programs use the rest; OMP_NUM_THREADS")


def test_a_resumed_run_takes_the_threads_that_it_began_with(machine):
    machine(1)
    assert threads.take_free_cores(2).startswith("threads: 2 of 4 cores, as when the run began")
    assert torch.get_num_threads() == 2
    machine(9)
    assert threads.take_free_cores(2) == "" and torch.get_num_threads() == 2
    threads.take_free_cores(16)
    assert torch.get_num_threads() == 4


def test_what_the_user_sets_decides(machine, monkeypatch):
    machine(9)
    monkeypatch.setenv("OMP_NUM_THREADS", "4")
    assert threads.take_free_cores() == "" and torch.get_num_threads() == 4


@pytest.mark.parametrize("content", ["", "nonsense", "1 2 3"])
def test_where_the_system_does_not_tell_all_cores_are_taken(content, machine):
    if content:
        threads.LOAD.write_text(content)
    assert threads.take_free_cores() == "" and torch.get_num_threads() == 4


def test_linux_tells_at_least_this_thread():
    assert threads._running() is None or threads._running() >= 1
