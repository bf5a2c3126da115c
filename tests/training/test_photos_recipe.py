"""The recipe for photos: what it sets for which facts, and what then learns."""

from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from resight.models.zoo import create_model, read_options
from resight.service.train.train import train
from resight.training.optimizer import head_epochs, make_optimizer, set_mode
from resight.training.recipe import Facts
from resight.training.recipes import RECIPES, fast, photos

FACTS = Facts(
    model="efficientnet_lite0", pictures=1000, side=300, mirrors=True, pretrained=True, weights_size=224
)


def test_without_weights_it_is_the_recipe_from_scratch():
    facts = replace(FACTS, pretrained=False, weights_size=0, model="")
    assert photos.build(facts) == fast.photos(facts)
    assert RECIPES["photos"] is photos.build


@pytest.mark.parametrize(
    ("changes", "size"),
    [
        ({}, 224),
        ({"weights_size": 240}, 240),
        ({"weights_size": 0}, 224),
        ({"weights_size": 0, "least_size": 299}, 299),
    ],
)
def test_pictures_are_of_the_size_that_the_weights_saw(changes, size):
    assert photos.build(replace(FACTS, **changes)).image_size == size


def test_only_what_may_be_mirrored_is():
    assert "flip" in photos.build(FACTS).augment
    assert "flip" not in photos.build(replace(FACTS, mirrors=False)).augment


@pytest.mark.parametrize(
    ("pictures", "epochs", "batch", "held_out"),
    [
        (50, 40, 16, 0.0),
        (244, 16, 16, 0.0),
        (499, 8, 16, 0.0),
        (500, 8, 32, 0.0),
        (999, 4, 32, 0.0),
        (5_000, 4, 32, 0.1),
        (50_000, 4, 32, 0.05),
    ],
)
def test_epochs_batches_and_validation_follow_the_size_of_the_set(pictures, epochs, batch, held_out):
    chosen = photos.build(replace(FACTS, pictures=pictures))
    assert (chosen.epochs, chosen.batch_size, chosen.val_share) == (epochs, batch, pytest.approx(held_out))


@pytest.mark.parametrize(
    ("model", "first"), [("efficientnet_lite0", "blocks.4"), ("resnet18", "layer3"), ("resnet50", "layer3")]
)
def test_the_head_learns_alone_then_the_last_stages_with_it(model, first):
    """What learns, by name: most of the weights. No statistic moves."""
    chosen = photos.build(replace(FACTS, model=model))
    network = create_model(model, 3, **read_options(model, chosen.options))
    head = network.classifier_name

    def learn():
        return [name for name, p in network.named_parameters() if p.requires_grad]

    set_mode(network, chosen, 0)
    assert set(learn()) == {f"{head}.weight", f"{head}.bias"} and head_epochs(chosen) == 1
    set_mode(network, chosen, 1)
    assert learn()[0].startswith(first)
    whole = dict(network.named_parameters())
    assert sum(whole[name].numel() for name in learn()) > 0.85 * sum(p.numel() for p in whole.values())
    batch = torch.randn(2, 3, 64, 64)
    before = {name: b.clone() for name, b in network.named_buffers()}
    network(batch)
    assert all(torch.equal(b, before[name]) for name, b in network.named_buffers())


def test_rates_are_a_tenth_below_the_head_and_vectors_do_not_decay():
    chosen = photos.build(FACTS)
    network = create_model("efficientnet_lite0", 3)
    optimizer = make_optimizer(network, chosen)
    assert isinstance(optimizer, torch.optim.AdamW)
    found = {id(p): (g["factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert found[id(network.classifier.weight)] == (1.0, 0.05)
    assert found[id(network.conv_head.weight)] == (0.1, 0.05)
    assert found[id(network.bn2.bias)] == (0.1, 0.0)


@pytest.mark.parametrize(("pictures", "rate"), [(10, 0.00333), (150, 0.05), (300, 0.1), (50_000, 0.1)])
def test_the_fewer_the_photos_the_less_the_trunk_moves(pictures, rate):
    facts = replace(FACTS, pictures=pictures)
    assert photos.build(facts).trunk_lr == (rate, 1.0, 4.0)
    bare = photos.build(replace(facts, normalized=False)).trunk_lr
    assert bare == (pytest.approx(rate / 10, abs=1e-5), 1.0, 4.0)


def test_it_learns_from_a_run(folder, tiny_run, tmp_path):
    """From the command's words to a model file: the first stages are the old run's, the last are not."""
    words = [f"weights={tiny_run}", "epochs=2", "augment=flip", "lr=0.01"]
    train(str(folder), recipe="photos", changes=words, out=str(tmp_path / "out"))
    old, new = (load_file(run / "model.safetensors") for run in (tiny_run, tmp_path / "out"))
    moved = {name.partition(".")[0] for name in old if not torch.equal(old[name], new[name])}
    assert moved == {"layer2", "layer3", "fc"}
    assert not [name for name in old if "running" in name and not torch.equal(old[name], new[name])]
