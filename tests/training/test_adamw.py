"""AdamW and Adam as values of `optimizer`, held against torch's own; exact resume; a trunk that rests."""

import copy
from dataclasses import replace

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.core.registry import lookup
from resight.models.zoo import create_model
from resight.training.checkpoints import Progress, load_state, save_state
from resight.training.optimizer import head_epochs, make_optimizer, set_mode
from resight.training.recipe import Facts
from resight.training.recipes import RECIPES


def recipe(**changes):
    facts = Facts(model="resnet20", pictures=1000, side=32, mirrors=True)
    plain = lookup(RECIPES, "he2015-cifar", "recipe")(facts)
    return replace(plain, **{"optimizer": "adamw", "lr": 0.01, "weight_decay": 0.1, "epochs": 4, **changes})


def network():
    torch.manual_seed(0)
    return create_model("resnet20", 3)


def learn(model, optimizer, steps, start=0):
    for step in range(start, start + steps):
        for group in optimizer.param_groups:
            group["lr"] = 0.01 * (1 - step / 10) * group["factor"]
        generator = torch.Generator().manual_seed(step)
        images = torch.randn(4, 3, 16, 16, generator=generator)
        optimizer.zero_grad()
        F.cross_entropy(model(images), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()


def test_it_is_torchs_adamw_with_decay_on_matrices_only():
    """The oracle: AdamW of torch over groups written down here, at the same rates."""
    model = network()
    other = copy.deepcopy(model)
    optimizer = make_optimizer(model, recipe(trunk_lr=(0.1, 2.0), momentum=0.8))
    groups = []
    for name, parameter in other.named_parameters():
        depth = {"layer3": 0, "layer2": 1, "layer1": 2, "conv1": 3, "bn1": 3}.get(name.partition(".")[0])
        factor = 1.0 if depth is None else 0.1 / 2.0**depth
        decay = 0.1 if name.endswith("weight") and parameter.dim() > 1 else 0.0
        groups.append({"params": [parameter], "factor": factor, "weight_decay": decay})
    oracle = torch.optim.AdamW(groups, lr=0.01, betas=(0.8, 0.999), eps=1e-8, foreach=False)
    learn(model, optimizer, 3)
    learn(other, oracle, 3)
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-6, msg=name)


def test_adam_has_the_decay_in_its_gradient():
    """The oracle: Adam of torch over all parameters, norms and biases decayed too."""
    model = network()
    other = copy.deepcopy(model)
    oracle = torch.optim.Adam(
        [{"params": list(other.parameters()), "factor": 1.0, "weight_decay": 0.1}],
        lr=0.01, betas=(0.8, 0.999), eps=1e-8, foreach=False,
    )  # fmt: skip
    learn(model, make_optimizer(model, recipe(optimizer="adam", momentum=0.8)), 3)
    learn(other, oracle, 3)
    for (name, ours), theirs in zip(model.named_parameters(), other.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5, msg=name)


def test_decay_is_decoupled():
    """With no gradient at all a matrix shrinks by lr times decay, a bias stays: L2 through Adam would not."""
    model = network()
    optimizer = make_optimizer(model, recipe())
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    for name, parameter in model.named_parameters():
        kept = 1 - 0.01 * 0.1 if parameter.dim() > 1 else 1.0
        torch.testing.assert_close(parameter.detach(), before[name] * kept, msg=name)
    assert before["fc.bias"].abs().sum() > 0


@pytest.mark.parametrize("changes", [{}, {"head_first": 0.5}, {"optimizer": "adam"}])
def test_it_resumes_to_the_bit(tmp_path, changes):
    """Five steps, or three, a save, a load into a fresh network, and two; also where a trunk joins later."""
    chosen = recipe(**changes)

    def run(model, optimizer, steps, start):
        for step in range(start, start + steps):
            set_mode(model, chosen, step)
            learn(model, optimizer, 1, step)

    whole = network()
    run(whole, make_optimizer(whole, chosen), 5, 0)
    model = network()
    optimizer = make_optimizer(model, chosen)
    run(model, optimizer, 3, 0)
    save_state(tmp_path, model, optimizer, None, Progress(epoch=3), {})
    fresh = network()
    optimizer = make_optimizer(fresh, chosen)
    assert load_state(tmp_path, fresh, optimizer, None, {}).epoch == 3
    run(fresh, optimizer, 2, 3)
    for (name, wanted), found in zip(whole.state_dict().items(), fresh.state_dict().values(), strict=True):
        assert torch.equal(wanted, found), name


class Watch(nn.Module):
    """Counts what passes; stands in for a layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.graphs = layer, []

    def forward(self, x):
        y = self.layer(x)
        self.graphs.append(y.requires_grad)
        return y


def test_while_the_head_learns_alone_the_trunk_has_no_graph():
    """No layer of the trunk gives anything to differentiate, no statistic moves; the head has gradients."""
    chosen = recipe(head_first=0.5)
    assert head_epochs(chosen) == 2
    model = network()
    model.layer3[-1] = Watch(model.layer3[-1])
    optimizer = make_optimizer(model, chosen)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    set_mode(model, chosen, 1)
    learn(model, optimizer, 1)
    assert model.layer3[-1].graphs == [False]
    moved = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    assert moved == {"fc.weight", "fc.bias"}
    assert all(p.grad is None for name, p in model.named_parameters() if not name.startswith("fc."))
    set_mode(model, chosen, 2)
    learn(model, optimizer, 1, 1)
    assert model.layer3[-1].graphs == [False, True] and model.conv1.weight.grad is not None


def test_stages_before_the_last_ones_stay_as_they_are():
    """trunk_lr=0.1,1,2: stages 1 and 2 have no graph and keep weights and statistics, the last two learn."""
    chosen = recipe(trunk_lr=(0.1, 1.0, 2.0))
    model = network()
    names = list(model.stages)
    assert len(names) == 4  # the stem, and one for each map size
    model.layer1[-1] = Watch(model.layer1[-1])
    optimizer = make_optimizer(model, chosen)
    before = {name: v.clone() for name, v in model.state_dict().items()}
    set_mode(model, chosen, 0)
    learn(model, optimizer, 1)
    assert model.layer1[-1].graphs == [False]
    moved = {name for name, v in model.state_dict().items() if not torch.equal(v, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"layer2", "layer3", "fc"}
    assert "layer2.0.bn1.running_mean" in moved
    assert not model.layer1.training and model.layer2.training


def test_kernels_of_one_channel_stay_if_asked():
    model = create_model("efficientnet_lite0", 3, frozen_depthwise=True)
    set_mode(model, recipe(), 0)
    fixed = {name for name, p in model.named_parameters() if not p.requires_grad}
    wanted = {f"{name}.weight" for name, m in model.named_modules() if name.endswith("conv_dw")}
    assert fixed == wanted and len(wanted) == 16
    plain = create_model("resnet20", 3, frozen_depthwise=True)
    set_mode(plain, recipe(), 0)
    assert all(p.requires_grad for p in plain.parameters())
