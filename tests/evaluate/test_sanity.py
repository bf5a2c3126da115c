"""Sanity checks: weights become random from the top, in a copy only, and an edge filter is caught."""

import pytest
import torch
from scipy.stats import spearmanr
from torch import nn
from torch.nn import functional as F

from resight import create_model, explain
from resight.evaluate import sanity


def gradient(model, images, targets):
    return explain(model, images, "gradient", targets).maps


def edges(model, images, targets):
    """Asks no network."""
    del model, targets
    grey = images.mean(1)
    return F.pad((grey[:, 1:] - grey[:, :-1]).abs(), (0, 0, 0, 1)).clamp(max=1)


class Net(nn.Module):
    """Made in another order than it runs in, with a layer that never runs and a parameter of its own."""

    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(6, 4)
        self.unused = nn.Linear(6, 4)
        self.slope = nn.PReLU()
        self.second = nn.Conv2d(8, 6, 3, padding=1)
        self.first = nn.Conv2d(3, 8, 3, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.shift = nn.Parameter(torch.randn(1, 3, 1, 1))
        self.norm.running_mean.uniform_()

    def forward(self, x):
        return self.fc(self.second(self.slope(self.norm(self.first(x + self.shift)))).mean((2, 3)))


def changed_names(model, other):
    state = other.state_dict()
    return {k.split(".")[0] for k, v in model.state_dict().items() if not torch.equal(v, state[k])}


def test_layers_become_random_from_the_top_in_the_order_in_which_they_run():
    model, images = Net(), torch.randn(2, 3, 8, 8)
    state = {k: v.clone() for k, v in model.state_dict().items()}
    before = torch.get_rng_state()
    found = {name: changed_names(model, other) for name, other in sanity.randomized(model, images)}
    assert torch.equal(torch.get_rng_state(), before)
    # Six run: the root (its shift), first, norm, slope, second, fc. A quarter of them is two. A fresh PReLU
    # is what it was.
    assert found == {
        "head": {"fc"},
        "top 25 %": {"fc", "second"},
        "top 50 %": {"fc", "second"},
        "top 75 %": {"fc", "second", "norm", "first"},
        "all": {"fc", "second", "norm", "first", "shift", "unused"},
    }
    assert not changed_names(model, model) and all(
        torch.equal(v, state[k]) for k, v in model.state_dict().items()
    )
    assert not any(m._forward_pre_hooks for m in model.modules()) and model.training


def test_the_same_seed_gives_the_same_weights():
    model, images = Net(), torch.randn(2, 3, 8, 8)
    first, again, other = (
        [n.fc.weight.clone() for _, n in sanity.randomized(model, images, s)] for s in (0, 0, 1)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])
    assert torch.equal(first[0], first[-1])  # a layer is drawn once


def test_fresh_weights_have_the_size_that_keeps_signals():
    conv = nn.Conv2d(64, 32, 3)
    sanity.reinitialize(conv, torch.Generator().manual_seed(0))
    assert (
        float(conv.weight.detach().std()) == pytest.approx((2 / 576) ** 0.5, rel=0.05) and not conv.bias.any()
    )
    norm = nn.BatchNorm2d(4)
    norm.running_var.fill_(7)
    nn.init.constant_(norm.weight, 3)
    sanity.reinitialize(norm, torch.Generator())
    assert norm.running_var.tolist() == [1] * 4 and norm.weight.tolist() == [1] * 4


def test_a_gradient_notices_random_weights_and_an_edge_filter_does_not():
    torch.manual_seed(3)
    model = create_model("resnet20", 5).eval()
    images, targets = torch.randn(6, 3, 32, 32), torch.tensor([0, 1, 2, 3, 4, 0])
    modes = [m.training for m in model.modules()]
    state = {k: v.clone() for k, v in model.state_dict().items()}
    found = sanity.cascade(model, images, targets, {"gradient": gradient, "edges": edges})
    assert list(found["edges"]) == ["head", "top 25 %", "top 50 %", "top 75 %", "all", "chance"]
    for depth in ("head", "all"):
        assert found["edges"][depth].spearman.tolist() == pytest.approx([1] * 6)
        assert found["edges"][depth].ssim.tolist() == pytest.approx([1] * 6)
    assert found["gradient"]["all"].spearman.mean() < sanity.TOO_ALIKE
    assert found["gradient"]["all"].ssim.mean() < 0.7
    assert found["edges"]["chance"].spearman.mean() < 0.2
    assert [m.training for m in model.modules()] == modes
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert all(p.grad is None for p in model.parameters())


def test_rank_correlation_is_that_of_scipy_with_equal_values():
    generator = torch.Generator().manual_seed(0)
    first = torch.randint(0, 5, (6, 7, 9), generator=generator).double()
    second = torch.rand(6, 7, 9, generator=generator).double().clamp(min=0.4) + first / 4
    wanted = [spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(first, second, strict=True)]
    assert sanity.spearman(first, second).tolist() == pytest.approx(wanted, abs=1e-12)
    assert sanity.spearman(first, -first).tolist() == pytest.approx([-1] * 6)


def test_a_flat_map_is_like_a_flat_map_only():
    flat, other = torch.zeros(1, 4, 4).double(), torch.rand(1, 4, 4).double()
    assert sanity.spearman(flat, other).tolist() == [0]
    assert sanity.spearman(flat, flat).tolist() == [1]


def test_a_map_turned_upside_down_counts_as_alike():
    maps = torch.rand(2, 12, 12)
    assert sanity.likeness(maps, 1 - maps).spearman.tolist() == pytest.approx([1, 1])


def test_what_overflows_is_not_taken_for_a_difference():
    maps = torch.rand(2, 12, 12)
    broken = maps.clone()
    broken[1, 0, 0] = torch.nan
    found = sanity.likeness(maps, broken)
    assert float(found.spearman[0]) == pytest.approx(1)
    assert found.spearman.isnan().tolist() == found.ssim.isnan().tolist() == [False, True]
