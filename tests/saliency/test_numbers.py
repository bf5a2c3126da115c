"""Numbers: NaN is an error, every precision works, and no float64 is made where a device has none."""

import pytest
import torch
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from resight import explain
from resight.core.errors import NotFiniteError, UsageError
from resight.evaluate.faithfulness import Examination
from resight.saliency import grad_cam
from resight.saliency.methods import METHODS

SIDE = 20
QUICK = {
    "score_cam": {"batch": 64},
    "rise": {"samples": 24},
    "augmented_grad_cam": {"copies": 4, "steps": 50},
    "smooth_grad_cam_pp": {"samples": 2},
    "smooth_grad": {"samples": 2},
    "integrated_gradients": {"steps": 4},
}


class Small(nn.Module):
    """Two convolutions; pooling and one linear layer behind them, or a hidden layer: no closed form."""

    def __init__(self, pool="gap", *, hidden=False):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 6, 3, 2, 1), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 8, 3, 2, 1), nn.ReLU()
        )
        self.hidden, self.fc = nn.Linear(8, 8) if hidden else None, nn.Linear(8, 5)
        self.pool = pool

    def forward(self, x):
        maps = self.body(x)
        pooled = maps.amax((2, 3)) if self.pool == "gmp" else maps.mean((2, 3))
        return self.fc(pooled if self.hidden is None else self.hidden(pooled.sigmoid()).relu())


class Tokens(nn.Module):
    """Two layers of attention over 4 x 4 tokens, whose mean is classified."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Conv2d(3, 8, 5, 5)
        self.blocks = nn.ModuleList(nn.MultiheadAttention(8, 2, batch_first=True) for _ in range(2))
        self.fc = nn.Linear(8, 5)

    def forward(self, x):
        tokens = self.embed(x).flatten(2).transpose(1, 2)
        for block in self.blocks:
            tokens = tokens + block(tokens, tokens, tokens)[0]
        return self.fc(tokens.mean(1))


def network(method, hidden=False):
    torch.manual_seed(4)
    if METHODS[method].reads == "attention":
        return Tokens().eval()
    return Small("gmp" if method == "gmp_cam" else "gap", hidden=hidden).eval()


def asked(model, images, method, **more):
    return explain(model, images, method, 1, **QUICK.get(method, {}), **more)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("method", METHODS)
def test_a_picture_that_is_not_finite_is_named(method, value):
    images = torch.randn(3, 3, SIDE, SIDE)
    images[1, 0, 4, 5] = value
    with pytest.raises(NotFiniteError, match="image 1 of the batch holds NaN or infinite"):
        asked(network(method), images, method)


@pytest.mark.parametrize("method", METHODS)
def test_an_answer_that_is_not_finite_is_an_error(method):
    model = network(method)
    with torch.no_grad():
        model.fc.bias[2] = float("nan")
    with pytest.raises(NotFiniteError, match="output for image 0 of the batch has NaN or infinity"):
        asked(model, torch.randn(2, 3, SIDE, SIDE), method)
    with pytest.raises(NotFiniteError, match="NaN"):
        _ = Examination(model, torch.randn(2, 3, SIDE, SIDE), torch.tensor([0, 1])).before


def test_a_class_that_can_never_be_is_an_answer():
    model = network("grad_cam")
    expected = explain(model, torch.ones(1, 3, SIDE, SIDE), "rise", 1, samples=8).raw
    with torch.no_grad():
        model.fc.bias[2] = -float("inf")
    got = explain(model, torch.ones(1, 3, SIDE, SIDE), "rise", 1, samples=8).raw
    assert got.isfinite().all() and (got > expected - 1e-6).all()
    with pytest.raises(NotFiniteError):
        explain(model, torch.ones(1, 3, SIDE, SIDE), target=2)


def test_a_map_that_is_not_finite_is_an_error(monkeypatch):
    blank = METHODS["grad_cam"]
    broken = type(blank)(lambda look: look.activation[:, None, 0] * float("nan"), "nobody", "Broken")
    monkeypatch.setitem(METHODS, "broken", broken)
    with pytest.raises(NotFiniteError, match="maps of Broken are NaN"):
        explain(network("grad_cam"), torch.randn(1, 3, SIDE, SIDE), "broken")


def test_pictures_of_whole_numbers_are_refused():
    with pytest.raises(UsageError, match=r"images must be floating point.*not torch\.uint8"):
        explain(network("grad_cam"), torch.zeros(1, 3, SIDE, SIDE, dtype=torch.uint8))


@pytest.mark.parametrize("hidden", [False, True])
@pytest.mark.parametrize("method", METHODS)
def test_float64_and_float16_give_the_maps_of_float32(method, hidden):
    if hidden and method in ("cam", "gmp_cam"):
        return
    model, images = network(method, hidden), torch.randn(2, 3, SIDE, SIDE)
    expected = asked(model, images, method)
    double = asked(model.double(), images.double(), method)
    assert double.raw.dtype == torch.float64 and double.maps.dtype == torch.float32
    if method == "smooth_grad_cam_pp" and hidden:
        return  # the noise of two copies decides: its last bit is amplified
    assert float((double.maps - expected.maps).abs().mean()) < 2e-3
    half = asked(model.half(), images.half(), method)
    assert half.maps.dtype == torch.float32 and float((half.maps - expected.maps).abs().mean()) < 0.1


class NoFloat64(TorchDispatchMode):
    """As on a device without float64: whatever makes such a tensor is told."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(out):
            assert not (isinstance(leaf, torch.Tensor) and leaf.dtype == torch.float64), str(func)
        return out


CASES = [(method, hidden) for method in METHODS for hidden in (False, True)]


@pytest.mark.parametrize(("method", "hidden"), CASES)
def test_a_device_without_float64_is_enough(method, hidden, monkeypatch):
    """The device is this one, told apart from Apple's by its name only."""
    if hidden and method in ("cam", "gmp_cam"):
        return
    model, images = network(method, hidden), torch.randn(2, 3, SIDE, SIDE)
    expected = asked(model, images, method).raw
    monkeypatch.setattr(grad_cam, "FLOAT64", ())
    with NoFloat64():
        got = asked(model, images, method).raw
    torch.testing.assert_close(got, expected, atol=2e-5 * float(expected.abs().max()), rtol=1e-4)


def test_small_gradients_keep_their_map_without_float64(monkeypatch):
    """Their squares and cubes are below the least number of float32."""
    model, images = network("grad_cam"), torch.randn(2, 3, SIDE, SIDE)
    with torch.no_grad():
        model.fc.weight.mul_(1e-22)
    expected = asked(model, images, "grad_cam_pp").raw
    monkeypatch.setattr(grad_cam, "FLOAT64", ())
    assert float(expected.abs().max()) > 0
    got = asked(model, images, "grad_cam_pp").raw
    torch.testing.assert_close(got, expected, atol=1e-5 * float(expected.abs().max()), rtol=1e-3)


def test_score_cams_prediction_is_made_where_float64_is(monkeypatch):
    """Its regression needs float64: it is computed on the CPU whatever the device."""
    made = []
    own = torch.Tensor.double
    monkeypatch.setattr(torch.Tensor, "double", lambda self: made.append(self.device.type) or own(self))
    result = asked(network("score_cam"), torch.randn(1, 3, SIDE, SIDE), "score_cam", reduced=6)
    assert result.raw.isfinite().all() and set(made) == {"cpu"}
