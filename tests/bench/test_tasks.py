"""The benchmarks of detectors do the work that their names say, on both sides."""

import pytest
import torch
from torch import nn

from resight.bench.bench import CONTESTS
from resight.bench.interleave import Measured, timed
from resight.bench.own import remembering
from resight.bench.rows import PEAK, Memory
from resight.bench.tasks import DETECT, SEGMENT, Scene, contests, our_network
from resight.data.prepare import Normalize

BATCH, SIDE = 2, 64
SCENES = {  # torchvision's segmenters have no smaller trunk
    "detect": Scene("resnet18", BATCH, SIDE), "segment": Scene("resnet50", BATCH, SIDE),
}  # fmt: skip
ALL = {
    key: contest for task, scene in SCENES.items() for key, contest in contests(scene).items() if task in key
}
CASES = [(key, name) for key, contest in ALL.items() for name in contest.candidates]
CASES = [pytest.param(*case, marks=[pytest.mark.slow] * (case[1] == "ours in fp32")) for case in CASES]


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
    trained = not key.endswith("-test")
    count = BATCH if trained else 1
    assert done and done % count == 0 and seconds > 0
    assert passes == [(count, 3, SIDE, SIDE)] * (done // count)
    assert len(changes) == (len(passes) if trained else 0)
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


@pytest.mark.parametrize(("key", "task"), [("detect", DETECT), ("segment", SEGMENT)])
def test_both_sides_answer_alike_before_they_learn(key, task, monkeypatch):
    """The same decoded picture, the same weights: the same classes of all pixels, the same objects."""
    said, plain = [], nn.Module.__call__

    def call(self, *given):
        found = plain(self, *given)
        if type(self).__name__ in ("FasterRCNN", "DeepLabV3"):
            said.append(found)
        return found

    monkeypatch.setattr(nn.Module, "__call__", call)
    ALL[f"{key}-test"].candidates["plain"]()(0.0)
    network = our_network(SCENES[key], task).eval()
    own = task.outputs(
        network, SCENES[key].square(), Normalize(SCENES[key].card, torch.device("cpu")), torch.float32
    )
    if key == "segment":
        assert torch.equal(own, said[0]["out"].argmax(1).to(torch.uint8)) and len(own.unique()) > 1
    else:
        (theirs,) = said[0]
        assert len(own[0].labels) > 20 and torch.equal(own[0].labels + 1, theirs["labels"])
        torch.testing.assert_close(own[0].boxes * SIDE, theirs["boxes"], atol=1e-3, rtol=1e-4)
