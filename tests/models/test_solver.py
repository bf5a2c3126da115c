"""A trunk of the zoo under another head: the contract, what is left of the network, how fast it learns."""

import pytest
import torch
from torch import nn

from resight.core.errors import UsageError
from resight.models.solver import Head, Solver
from resight.models.zoo import create_model
from resight.training.optimizer import make_optimizer, set_mode, trunk_depths
from resight.training.recipe import Recipe


class Sums(Head):
    """Says 3 numbers for each map that it reads: a linear layer of its means."""

    def __init__(self, channels):
        super().__init__()
        self.reads = tuple(channels)
        self.layers = nn.ModuleList(nn.Linear(count, 3) for count in channels.values())
        self.slope = nn.PReLU()

    def forward(self, maps):
        means = [maps[stage].mean((2, 3)) for stage in self.reads]
        return self.slope(torch.cat([layer(m) for layer, m in zip(self.layers, means, strict=True)], 1))


def channels_of(name, size, *stages):
    """The channels of a network's stages: of the last one, if none is named."""
    model = create_model(name, 5).eval()
    with torch.no_grad():
        maps = model.forward_maps(torch.zeros(1, 3, size, size), list(model.stages))
    return {stage: maps[stage].shape[1] for stage in stages or list(maps)[-1:]}


def solver(name="resnet20", size=32, *stages):
    torch.manual_seed(0)
    return Solver(create_model(name, 5), Sums(channels_of(name, size, *stages))).eval()


def recipe(**changes):
    plain = {
        "model": "resnet20", "image_size": 32, "epochs": 4, "batch_size": 4, "lr": 0.1,
        "schedule": "constant", "augment": (), "normalize": "channel", "weight_decay": 0.01,
    }  # fmt: skip
    return Recipe(**{**plain, **changes})


# One of every kind of head that goes: linear, hidden layers, convolution, side heads, regressor.
@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("resnet20", 32), ("alexnet", 96), ("nin_cifar", 32), ("googlenet", 64), ("squeezenet1_1", 64),
        ("densenet40_12", 32), ("efficientnet_b0", 64), ("speednet8", 32), ("fitnet19", 32), ("maxout", 32),
    ],
)  # fmt: skip
def test_the_head_reads_the_map_of_the_trunk_and_nothing_else_is_left(name, size):
    whole = create_model(name, 5).eval()
    network = solver(name, size)
    network.trunk.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(2, 3, size, size)
    with torch.no_grad():
        features = whole.forward_features(images)
        assert torch.equal(network.forward_features(images), features)
        maps = network.forward_maps(images)
        assert list(maps) == [list(whole.stages)[-1]] and torch.equal(maps[network.head.reads[-1]], features)
        assert torch.equal(network(images), network.head(maps))
        assert torch.equal(network(images), network.forward_head(network.forward_features(images)))
    network.train()
    network(images).square().sum().backward()  # in several processes every weight must learn
    assert not [n for n, p in network.named_parameters() if p.grad is None]


def test_a_head_reads_several_maps_and_stages_behind_them_go():
    network = solver("resnet20", 32, "layer1", "layer2")
    whole = create_model("resnet20", 5).eval()
    network.trunk.load_state_dict(whole.state_dict(), strict=False)
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        maps, stages = network.forward_maps(images), whole.stages
        chained, expected = images, {}
        for name, stage in stages.items():
            chained = expected[name] = stage(chained)
        assert list(maps) == ["layer1", "layer2"]
        assert all(torch.equal(maps[name], expected[name]) for name in maps)
        assert torch.equal(network(images), network.head(maps)) and network(images).shape == (2, 6)
    assert not [name for name, _ in network.trunk.named_parameters() if name.startswith(("layer3", "fc"))]


def test_stages_that_are_not_there_or_out_of_order_are_refused():
    for stages in (("layer9",), ("layer2", "layer1"), ()):
        with pytest.raises(UsageError, match=r"of resnet20 are, in order, .*layer1, layer2, layer3"):
            create_model("resnet20", 5).drop_head(stages)


def test_the_new_head_learns_at_the_full_rate_and_the_trunk_slower():
    """A layer beside the classifier once counted as the trunk's last stage."""
    network = solver()
    rates = {
        id(p): (g["factor"], g["weight_decay"])
        for g in make_optimizer(network, recipe(trunk_lr=(0.1, 2.0))).param_groups
        for p in g["params"]
    }
    last = len(network.stages) - 1
    for name, parameter in network.named_parameters():
        if name.startswith("head."):
            decay = 0.0 if "slope" in name else 0.01
            assert rates[id(parameter)] == (1.0, decay), name
    assert rates[id(network.trunk.layer3[0].conv1.weight)] == (0.1, 0.01)
    assert rates[id(network.trunk.layer2[0].conv1.weight)] == (0.05, 0.01)
    assert max(trunk_depths(network).values()) == last
    assert not [name for name in trunk_depths(network) if name.startswith("head.")]


def test_the_head_alone_learns_first():
    network = solver()
    set_mode(network, recipe(head_first=0.5), 0)
    assert {n.split(".")[0] for n, p in network.named_parameters() if p.requires_grad} == {"head"}
    assert not network.trunk.layer1.training and network.head.training
    set_mode(network, recipe(head_first=0.5), 2)
    assert all(p.requires_grad for p in network.parameters()) and network.trunk.layer1.training


def test_bounds_and_rates_of_the_trunk_stay():
    trunk = create_model("maxout", 5)
    rates = {name: trunk.learning(name) for name, _ in trunk.named_parameters()}
    network = Solver(trunk, Sums(channels_of("maxout", 32)))
    for name, _ in network.trunk.named_parameters():
        assert network.learning(f"trunk.{name}") == rates[name]
    with torch.no_grad():
        for parameter in network.trunk.parameters():
            parameter.fill_(10.0)
    network.constrain()
    assert any(float(p.detach().abs().max()) < 10 for p in network.trunk.parameters())
