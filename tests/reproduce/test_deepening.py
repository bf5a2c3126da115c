"""The solution by construction: a deeper network that answers as the shallower one."""

from copy import deepcopy

import pytest
import torch

from resight.models.zoo import create_model
from resight.reproduce.catalogue import experiment
from resight.reproduce.deepening import deepened
from resight.reproduce.experiment import Scale
from resight.reproduce.laboratory import Laboratory


@pytest.fixture(scope="module", params=["plain", "resnet"])
def trained(request):
    """A network of 20 layers with statistics as after a training, and images."""
    generator = torch.Generator().manual_seed(0)
    model = create_model(f"{request.param}20", 10, 3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                module.bias.uniform_(-0.3, 0.3, generator=generator)
                module.momentum = None  # the mean of all batches
        for _ in range(2):
            model.train()(torch.randn(32, 3, 32, 32, generator=generator))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 0.1
    return request.param, model.eval(), torch.randn(32, 3, 32, 32, generator=generator)


def test_a_deepened_network_answers_as_before(trained):
    family, shallow, images = trained
    deep = deepened(shallow, f"{family}56", images)
    with torch.no_grad():
        assert torch.allclose(deep(images), shallow(images), rtol=1e-4, atol=1e-4)
    assert deep.name == f"{family}56" and not deep.training


def test_while_it_trains_the_residual_one_is_still_the_same_and_the_plain_one_nearly(trained):
    family, shallow, images = trained
    deep = deepened(shallow, f"{family}56", images)
    with torch.no_grad():
        before, after = deepcopy(shallow).train()(images), deep.train()(images)
    tolerance = {"resnet": 1e-4, "plain": 0.3}[family]
    assert (before - after).norm() < tolerance * before.norm()


def test_all_of_the_added_layers_can_learn(trained):
    family, shallow, images = trained
    deep = deepened(shallow, f"{family}32", images).train()
    deep(images).logsumexp(1).sum().backward()
    added = deep.layer1[4]
    assert added.bn2.weight.grad.abs().sum() > 0
    assert (added.conv1.weight.grad.abs().sum() > 0) == (
        family == "plain"
    )  # behind a factor of zero at first


def test_other_networks_are_refused(trained):
    _, shallow, images = trained
    with pytest.raises(ValueError, match=r"is not .*20 with more blocks"):
        deepened(shallow, "resnet18", images)


def test_the_experiment_waits_for_the_run_that_its_file_is_made_from(tmp_path):
    lab = Laboratory(experiment("identity"), Scale(), (0, 1), tmp_path, print)
    training = lab.training("plain-56-on")
    assert lab._missing(training, 0) == ["plain-20"]
    words = " ".join(lab.words(training, 1))
    assert str(lab.file("plain-20-deepened", 1)) in words and "{" not in words
    assert lab.file("plain-20-deepened", 0) != lab.file("plain-20-deepened", 1)
    degradation = Laboratory(experiment("degradation"), Scale(), (0,), tmp_path, print)
    assert degradation.run_folder(degradation.training("plain-20"), 0) == lab.run_folder(
        lab.training("plain-20"), 0
    )
