"""What the papers say beyond counts: initial weights, losses, bounds, scaling."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.models.families.efficientnet import compound_scaling, round_channels
from resight.models.families.highway import HighwayLayer
from resight.models.families.lenet import EuclideanRBF
from resight.models.families.nin import squared_hinge
from resight.models.families.preact import PreActUnit
from resight.models.zoo import create_model


def std_of(model, name):
    return model.get_parameter(name).std().item()


def test_alexnet_begins_as_section_5_says():
    model = create_model("alexnet_2012", 10)
    assert std_of(model, "conv3.weight") == pytest.approx(0.01, rel=0.02)
    ones = [n for n, p in model.named_parameters() if n.endswith("bias") and (p == 1).all()]
    assert ones == ["conv2.bias", "conv4.bias", "conv5.bias", "fc6.bias", "fc7.bias"]
    zf = create_model("zfnet", 10)
    assert not [n for n, p in zf.named_parameters() if n.endswith("bias") and p.any()]


def test_other_papers_first_weights():
    assert std_of(create_model("nin_cifar", 10), "cccp3.weight") == pytest.approx(0.05, rel=0.02)
    maxout = create_model("maxout", 10)
    for name, bound in (("h0", 0.005), ("h1", math.sqrt(3 / (96 * 64))), ("fc", math.sqrt(3 / 500))):
        assert maxout.get_parameter(f"{name}.weight").abs().max().item() == pytest.approx(bound, rel=1e-2)
    assert std_of(create_model("vgg11"), "features.8.weight") == pytest.approx(
        math.sqrt(2 / (9 * 512)), rel=0.02
    )
    google = create_model("googlenet_2014")
    assert (google.get_parameter("inception4a.branch1.conv.bias") == 0.2).all()
    assert not google.get_parameter("fc.bias").any() and not google.get_parameter("aux1.fc2.bias").any()
    bound = math.sqrt(3 / 192)
    assert google.get_parameter("inception3a.branch1.conv.weight").abs().max().item() == pytest.approx(
        bound, rel=0.01
    )
    assert create_model("inception_v3").get_parameter("AuxLogits.fc.weight").abs().max().item() <= 0.002
    lenet = create_model("lenet5", 10, 1)
    assert lenet.get_parameter("c1.weight").abs().max().item() == pytest.approx(2.4 / 25, rel=0.05)
    assert (create_model("deepface", 10, head="gap").get_parameter("c1.bias") == 0.5).all()
    assert std_of(create_model("resnet50"), "layer3.1.conv2.weight") == pytest.approx(
        math.sqrt(2 / (256 * 9)), rel=0.02
    )


def test_fresh_fitnets_and_highways_carry_their_input():
    """What a deep network without normalization must not do: fade away."""
    images = torch.randn(8, 3, 32, 32)
    for name in ("fitnet19", "highway19", "highway32"):
        with torch.no_grad():
            assert create_model(name, 10).eval().forward_features(images).std() > 1e-3


def test_a_highway_layer_is_its_formula():
    layer = HighwayLayer(3).double()
    assert (layer.gate.bias == -2).all()
    x = torch.randn(1, 3, 5, 5, dtype=torch.double)
    t, h = torch.sigmoid(layer.gate(x)), F.relu(layer.transform(x))
    torch.testing.assert_close(layer(x), h * t + x * (1 - t))
    layer.gate.bias.data.fill_(-100)
    torch.testing.assert_close(layer(x), x)


def test_lenets_table_and_codes():
    """Map 6 of C3 reads maps 0 to 3 of S2 and no other."""
    model = create_model("lenet5", 10, 1)
    c3 = model.get_submodule("c3")
    for row, reads in enumerate(((0, 1, 2), (1, 2, 3))):
        for column in range(6):
            x = torch.zeros(1, 6, 5, 5)
            x[0, column] = 1
            moved = (c3(x) - c3(torch.zeros(1, 6, 5, 5)))[0, row].abs().max() > 0
            assert bool(moved) == (column in reads)
    layer = EuclideanRBF(84, 10)
    assert set(layer.codes.unique().tolist()) == {-1.0, 1.0}
    x = torch.randn(2, 84)
    torch.testing.assert_close(layer(x), -(torch.cdist(x, layer.codes) ** 2), rtol=1e-4, atol=1e-3)
    distances = torch.cdist(layer.codes, layer.codes) + 1e9 * torch.eye(10)
    assert (distances**2 / 4).min() >= 3  # no two digits are drawn alike
    assert torch.equal(EuclideanRBF(84, 26).codes, EuclideanRBF(84, 26).codes)


def test_lenets_loss_is_equation_9():
    model = create_model("lenet5", 10, 1)
    logits = -torch.rand(4, 10) * 5
    labels = torch.tensor([0, 3, 9, 1])
    wanted = (
        sum(
            -logits[b, d] + math.log(math.exp(-0.1) + logits[b].exp().sum())
            for b, d in enumerate(labels.tolist())
        )
        / 4
    )
    torch.testing.assert_close(model.loss((logits,), labels, 0.0), wanted)


def test_squared_hinge_is_its_formula():
    scores, labels = torch.randn(3, 4), torch.tensor([1, 0, 3])
    wanted = (
        sum(
            max(0.0, 1 - (1 if k == labels[b] else -1) * float(scores[b, k])) ** 2
            for b in range(3)
            for k in range(4)
        )
        / 3
    )
    assert squared_hinge(scores, labels).item() == pytest.approx(wanted, rel=1e-5)


def test_companions_fade_with_the_training():
    model, labels = create_model("dsn", 10), torch.tensor([1, 2])
    outputs = tuple(torch.randn(2, 10) for _ in range(4))
    own = squared_hinge(outputs[0], labels)
    beside = sum(squared_hinge(o, labels) for o in outputs[1:])
    for done in (0.0, 0.5):
        torch.testing.assert_close(model.loss(outputs, labels, done), own + 0.001 * (1 - done) * beside)


@pytest.mark.parametrize(
    ("name", "weight"), [("googlenet_2014", 0.3), ("googlenet", 0.3), ("inception_v3", 0.4)]
)
def test_side_heads_are_weighed_as_published(name, weight):
    model, labels = create_model(name, 5), torch.tensor([1, 2])
    outputs = tuple(torch.randn(2, 5) for _ in range(1 + len(model.training_only())))
    wanted = F.cross_entropy(outputs[0], labels) + weight * sum(
        F.cross_entropy(o, labels) for o in outputs[1:]
    )
    torch.testing.assert_close(model.loss(outputs, labels, 0.0), wanted)


def test_side_heads_reach_the_trunk():
    """The gradient of the first side head alone reaches the stem, and no layer after its own."""
    model = create_model("googlenet_2014", 5)
    model.forward_training(torch.randn(2, 3, 64, 64))[1].sum().backward()
    assert model.get_parameter("conv1.conv.weight").grad.any()
    assert model.get_parameter("inception5b.branch1.conv.weight").grad is None


def test_bounds_on_weights():
    zf = create_model("zfnet", 5)
    weight = zf.get_parameter("conv1.weight")
    weight.data.normal_(0, 1)
    weight.data[0] = 0.01
    zf.constrain()
    rms = weight.square().mean((1, 2, 3)).sqrt()
    torch.testing.assert_close(rms[1:], torch.full_like(rms[1:], 0.1))
    assert rms[0].item() == pytest.approx(0.01)
    maxout = create_model("maxout", 5)
    for name, most in maxout.norms.items():
        parameter = maxout.get_parameter(f"{name}.weight")
        parameter.data.normal_()
        maxout.constrain()
        assert parameter.flatten(1).norm(dim=1).max().item() == pytest.approx(most, rel=1e-4)


def test_biases_and_last_layers_learn_as_released():
    nin, highway = create_model("nin_cifar", 10), create_model("highway19", 10)
    assert nin.learning("conv1.bias") == (2.0, 1.0) and nin.learning("cccp6.weight") == (0.1, 1.0)
    assert nin.learning("cccp6.bias") == (0.2, 1.0) and create_model("dsn", 10).learning("cccp6.weight") == (
        1.0,
        1.0,
    )
    assert highway.learning("fc.weight") == (1.0, 10.0) and highway.learning("conv1.bias") == (2.0, 0.0)
    assert create_model("maxout", 10).learning("h0.weight") == (0.05, 1.0)


def test_nothing_follows_the_sum_of_a_pre_activation_unit():
    unit = PreActUnit(8, 8, 1, bottleneck=False, dropout=0.0, activation="relu", norm="batch")
    nn.init.zeros_(unit.conv2.weight)
    x = torch.randn(2, 8, 4, 4)
    assert torch.equal(unit(x), x)


def test_compound_scaling():
    depth, width, resolution = compound_scaling(1)
    assert (depth, width, resolution) == (
        1.2,
        1.1,
        1.15,
    ) and depth * width**2 * resolution**2 == pytest.approx(2, rel=0.05)
    assert compound_scaling(3)[0] == pytest.approx(1.728)
    assert [round_channels(c) for c in (32 * 1.4, 16 * 1.1, 4, 24 * 1.1)] == [48, 16, 8, 24]


def test_nins_three_heads():
    images = torch.randn(2, 3, 32, 32)
    for options in ({}, {"head": "flatten"}, {"head": "flatten", "head_dropout": 0.5}, {"head": "gmp"}):
        model = create_model("nin_cifar", 10, **options)
        assert model(images).shape == (2, 10)
    dropped = create_model("nin_cifar", 10, head="flatten", head_dropout=0.5)
    assert dropped.head_dropout.p == 0.5 and dropped.fc.in_features == 640
