"""Every candidate of a benchmark does the work that its name says: counted, ours and the peers'.

What is counted is the pictures of each forward pass, at the layer that reads them.
"""

import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from resight.bench import bench as benches
from resight.bench import explain as explaining
from resight.bench import interleave as interleaving
from resight.bench import load as loading
from resight.bench import scale
from resight.bench.bench import Work, contests
from resight.bench.explain import Case, Looked
from resight.bench.interleave import timed
from resight.bench.limit import convolutions_alone, convolutions_of
from resight.models.zoo import create_model

SMALL, PHOTOS = Work("resnet20", 6, 32), Work("resnet18", 4, 64)
ALL = contests(SMALL, PHOTOS, PHOTOS)


@pytest.fixture
def passes(monkeypatch):
    """Pictures of each forward pass so far."""
    counted, plain = [], nn.Conv2d.forward

    def forward(self, images):
        if self.in_channels == 3:
            counted.append(len(images))
        return plain(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    return counted


@pytest.mark.parametrize(
    ("key", "name", "work"),
    [(k, name, work) for k, work in (("train", SMALL), ("train50", PHOTOS)) for name in ALL[k].candidates],
)
def test_a_step_of_training_is_one_pass_of_the_whole_batch(key, name, work, passes, monkeypatch):
    changes, plain = [], torch.optim.SGD.step
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: changes.append(1) or plain(self))
    monkeypatch.setattr(benches, "PICTURES", 64)
    block = ALL[key].candidates[name]()
    passes.clear()
    done, seconds = block(0.2)
    ahead = 2 * benches.WORKERS if (key, name) == ("train", "plain") else 0
    assert done and done % work.batch == 0 and seconds > 0
    assert passes == [work.batch] * (done // work.batch + ahead) and len(changes) == len(passes)


@pytest.mark.parametrize("name", ALL["predict"].candidates)
def test_a_step_of_prediction_is_one_pass_of_the_same_squares(name, passes):
    """In bf16 no second one in float32, which a trained network hardly ever takes."""
    block = ALL["predict"].candidates[name]()
    passes.clear()
    done, _ = block(0.1)
    assert passes == [PHOTOS.batch] * (done // PHOTOS.batch)


def test_the_limit_is_every_convolution_forward_and_backward():
    """By torch's own counter of operations, whose counts are those of a whole step."""
    own = convolutions_of("resnet20", 6, 32)
    assert len(own) == 19 and [c.first for c in own] == [True, *[False] * 18]
    assert own[0].shape == (6, 3, 32, 32) and own[-1].shape == (6, 64, 8, 8)
    model, images = create_model("resnet20", 10), torch.randn(6, 3, 32, 32)
    with FlopCounterMode(display=False) as whole:
        model(images).sum().backward()
    block = convolutions_alone("resnet20", 6, 32)
    with FlopCounterMode(display=False) as alone:
        block(0.0)
    counts = [c.get_flop_counts()["Global"] for c in (whole, alone)]
    convolving = [{str(k): v for k, v in found.items() if "conv" in str(k)} for found in counts]
    assert convolving[0] == convolving[1] and len(convolving[0]) == 2


def test_both_predict_the_same_pictures_alike(monkeypatch):
    """With the same weights their first layers see the same normalized pictures."""
    seen, plain = {}, nn.Conv2d.forward

    def forward(self, images):
        if self.in_channels == 3:
            seen.setdefault(len(seen), images.float())
        return plain(self, images)

    monkeypatch.setattr(nn.Conv2d, "forward", forward)
    for name in ("plain", "ours"):
        block = ALL["predict"].candidates[name]()
        seen.clear()
        block(0.0)
        seen[name] = seen.pop(0)
        if name == "plain":
            expected = seen[name]
    torch.testing.assert_close(seen["ours"], expected, rtol=2**-8, atol=2**-8)


def test_loading_counts_no_batch_that_was_read_before_its_turn():
    taken = []
    block = timed(lambda: taken.append(1) or 3, ahead=4)
    done, _ = block(0.0)
    assert done == 3 and len(taken) == 5
    assert loading.ahead_of(1) == 0 and loading.ahead_of(2) == 4 and loading.ahead_of(8) == 16


def test_both_load_batches_of_as_many_pictures(monkeypatch):
    monkeypatch.setattr(benches, "PICTURES", 300)
    for name in ALL["load"].candidates:
        assert ALL["load"].candidates[name]()(0.0)[0] == 128


def test_a_step_of_scaling_is_one_pass_and_one_change(passes, monkeypatch):
    """Alone and shared; each is measured as often as it is said, after one that warms up."""
    changes, counts, plain, times = [], [], torch.optim.SGD.step, scale._times
    monkeypatch.setattr(torch.optim.SGD, "step", lambda self: changes.append(1) or plain(self))

    def counted(*words):
        found = times(*words)
        counts.append(len(found))
        return found

    monkeypatch.setattr(scale, "_times", counted)
    facts = scale._work(0.05)
    assert len(counts) == 2 and facts["shortest"] <= facts["step"] <= facts["longest"]
    assert passes == [scale.BATCH] * (sum(counts) + 2) and len(changes) == len(passes)


def test_what_a_device_still_has_to_do_is_waited_for(monkeypatch):
    """A GPU has only been asked when the call comes back."""
    events = []
    monkeypatch.setattr(interleaving, "wait_for", lambda device: events.append("waited"))
    monkeypatch.setattr(scale, "wait_for", lambda device: events.append("waited"))
    timed(lambda: events.append("asked") or 1)(0.0)
    assert events == ["waited", "asked", "waited"]
    events.clear()
    scale._times(lambda: events.append("asked"), 0.0, torch.device("cpu"))
    assert events == ["asked", "waited"] * 2


CASE = Case("resnet18", batch=2, side=64)
PASSES = {
    ("explain", "forward only"): [2],
    ("explain", "resight"): [2],
    ("explain", "resight bf16"): [2],
    ("explain", "pytorch-grad-cam"): [2],
    ("explain", "torch-cam"): [2],
    ("explain", "captum"): [2],
    ("explain-all", "resight"): [2],
    ("explain-all", "torch-cam, one class"): [2],
    ("explain-smooth", "resight"): [2],  # its weights do not depend on the noise
    ("explain-smooth", "torch-cam"): [2] * (1 + explaining.SAMPLES),
    ("explain-ablation", "resight"): [1],  # in closed form
}
"""Pictures of each pass that one step takes."""


@pytest.mark.parametrize(("key", "name"), PASSES)
def test_a_step_of_explaining_takes_the_passes_of_its_method(key, name, passes):
    block = explaining.contests(CASE, Case("resnet18", batch=1, side=64))[key].candidates[name]()
    assert isinstance(block, Looked)
    block.layouts = (torch.channels_last,)
    block(0.0)
    passes.clear()
    done, _ = block(0.0)
    assert (passes, done) == (PASSES[key, name], PASSES[key, name][0])
