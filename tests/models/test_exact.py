"""Layers on numbers small enough to count by hand: what no shape and no parameter count would show."""

import pytest
import torch
from torch import nn

from resight.core.distributed import World
from resight.models.blocks import PadShortcut
from resight.models.zoo import create_model
from resight.training import synced_norm

BATCH = torch.tensor([[[[1.0, 3.0]]], [[[5.0, 7.0]]]])
"""Mean 4, variance 5 (of a population) and 20 / 3 (of a sample)."""


def statistics(norm):
    return norm.running_mean.item(), norm.running_var.item()


@pytest.mark.parametrize("kind", [nn.BatchNorm2d, synced_norm.SyncedBatchNorm2d])
@pytest.mark.parametrize("momentum", [0.1, 0.01])
def test_running_statistics_keep_the_old_and_take_a_little_of_the_new(kind, momentum, monkeypatch):
    """old (1 - m) + new m: from 10 and 2 with m = 0.1 to 9.4 and 2.4667."""
    monkeypatch.setattr(synced_norm, "world", World)
    norm = kind(1, momentum=momentum).train()
    norm.running_mean.fill_(10.0)
    norm.running_var.fill_(2.0)
    norm(BATCH)
    expected = (10 * (1 - momentum) + 4 * momentum, 2 * (1 - momentum) + 20 / 3 * momentum)
    assert statistics(norm) == pytest.approx(expected, rel=1e-6)


PUBLISHED = {
    # torchvision's and timm's networks, and what He et al. and the others of CIFAR's papers trained with.
    "resnet20": (0.1, 1e-5), "plain20": (0.1, 1e-5), "resnet18": (0.1, 1e-5), "vgg11_bn": (0.1, 1e-5),
    "densenet_bc100_12": (0.1, 1e-5), "preact_resnet110": (0.1, 1e-5), "wrn40_1": (0.1, 1e-5),
    "resnext29_32x4d": (0.1, 1e-5),
    # Szegedy et al. 2015, as torchvision has it: eps 1e-3.
    "inception_v3": (0.1, 1e-3),
    # Tan and Le 2019, as torchvision has it: decay 0.99 and eps 1e-3 from B5 on.
    "efficientnet_b0": (0.1, 1e-5), "efficientnet_b5": (0.01, 1e-3),
}  # fmt: skip


@pytest.mark.parametrize("name", PUBLISHED)
def test_batch_normalization_has_the_published_momentum_and_eps(name):
    with torch.device("meta"):
        model = create_model(name, num_classes=10)
    norms = [m for m in model.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    assert norms and {(m.momentum, m.eps) for m in norms} == {PUBLISHED[name]}
    assert all(m.affine and m.track_running_stats for m in norms)


def test_option_a_keeps_every_second_pixel_and_puts_zeros_on_both_sides_of_the_channels():
    """He et al. 2015, section 3.3; the side is that of the CIFAR weights in circulation: half before."""
    x = torch.arange(2 * 4 * 4, dtype=torch.float32).view(1, 2, 4, 4) + 1
    out = PadShortcut(2, 4, 2)(x)
    assert out.shape == (1, 4, 2, 2)
    assert out[0, 0].tolist() == out[0, 3].tolist() == [[0, 0], [0, 0]]
    assert out[0, 1].tolist() == [[1, 3], [9, 11]]
    assert out[0, 2].tolist() == [[17, 19], [25, 27]]


def test_an_odd_channel_of_option_a_goes_behind():
    x = torch.ones(1, 2, 2, 2)
    assert PadShortcut(2, 5, 1)(x)[0, :, 0, 0].tolist() == [0, 1, 1, 0, 0]
    assert torch.equal(PadShortcut(2, 2, 1)(x), x)


def test_the_shortcuts_of_a_network_are_option_a():
    model = create_model("resnet20", num_classes=10, shortcut="A").eval()
    pads = {name: m for name, m in model.named_modules() if isinstance(m, PadShortcut)}
    assert {(m.stride, m.pad) for m in pads.values()} == {
        (2, (0, 0, 0, 0, 8, 8)), (2, (0, 0, 0, 0, 16, 16))
    }  # fmt: skip
