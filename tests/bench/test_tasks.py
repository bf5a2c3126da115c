"""The benchmarks of detectors do the work that their names say, on both sides."""

import pytest
import torch
from torch import nn

from resight.bench.bench import CONTESTS
from resight.bench.interleave import Measured, timed
from resight.bench.own import remembering
from resight.bench.rows import PEAK, Memory
from resight.bench.tasks import Scene, contests

SCENE = Scene("resnet18", 2, 64)
ALL = contests(SCENE)
CASES = [(key, name) for key, contest in ALL.items() for name in contest.candidates]


@pytest.fixture
def passes(monkeypatch):
    """The images of each forward pass so far: how many, and their sides."""
    counted, plain = [], nn.Conv2d.forward

    def forward(self, images):
        if self.in_channels == 3:
            counted.append(tuple(images.shape))
        return plain(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return counted


@pytest.mark.parametrize(("key", "name"), CASES)
def test_a_step_is_one_pass_of_the_same_pictures(key, name, passes, monkeypatch):
    changes, plain = [], torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: changes.append(1) or plain(self))
    block = ALL[key].candidates[name]()
    passes.clear()
    done, seconds = block(0.01)
    count = SCENE.batch if key == "detect" else 1
    assert done and done % count == 0 and seconds > 0
    assert passes == [(count, 3, 64, 64)] * (done // count)
    assert len(changes) == (len(passes) if key == "detect" else 0)
    assert block.facts[PEAK] is None or block.facts[PEAK] > 0


def test_they_are_benchmarks_of_the_command():
    assert set(ALL) <= set(CONTESTS)
    assert all(list(contest.candidates) == ["plain", "ours in fp32", "ours"] for contest in ALL.values())


def test_the_peak_is_measured_once_and_compared_with_the_reference():
    calls = []
    block = remembering(timed(lambda: calls.append(bytearray(40_000_000)) or 1))
    for _ in range(3):
        block(0.0)
    assert len(calls) == 3 and (block.facts[PEAK] is None or 30 < block.facts[PEAK] < 80)
    found = {"a": Measured([], {PEAK: 50.0}), "b": Measured([], {PEAK: 75.0}), "c": Measured([], {})}
    assert Memory.of(found, "b", "a") == Memory(75.0, 1.5) and Memory.of(found, "c", "a") is None
