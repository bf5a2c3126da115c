"""Head first, rates by stage, frozen statistics, a second task without forgetting, unequal classes."""

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.data.marks import ClassMarks
from resight.data.order import balanced
from resight.models.criterion import BinaryCriterion, Criterion
from resight.models.modelfile import load_model
from resight.models.old_tasks import keep_head, old_logits
from resight.models.zoo import create_model
from resight.service.run.run import open_run
from resight.service.train.words import _with_operations
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.tasks.teachers import OldSelf
from resight.training.optimizer import make_optimizer, set_mode, trunk_depths
from resight.training.recipe import Recipe
from support import make_folder, one_line, resight

BASE = {
    "model": "resnet20", "image_size": 16, "epochs": 4, "batch_size": 8, "lr": 0.1, "schedule": "constant",
    "augment": (), "normalize": "channel",
}  # fmt: skip
SHORT = ("--epochs", "2", "--set", "batch_size=8")


def recipe(**changes):
    return Recipe(**{**BASE, **changes})


def test_rates_fall_from_stage_to_stage():
    model = create_model("resnet20", 3)
    groups = make_optimizer(model, recipe(trunk_lr=(0.1, 2.0))).param_groups
    rates = {id(p): group["factor"] for group in groups for p in group["params"]}
    assert rates[id(model.fc.weight)] == 1
    assert rates[id(model.layer3[0].conv1.weight)] == pytest.approx(0.1)
    assert rates[id(model.layer2[0].conv1.weight)] == pytest.approx(0.05)
    assert rates[id(model.conv1.weight)] < rates[id(model.layer1[0].conv1.weight)] == pytest.approx(0.025)


def test_every_parameter_but_the_heads_last_layer_has_a_depth():
    for name in ("resnet20", "vgg11_bn", "googlenet", "nin_cifar", "densenet40_12"):
        model = create_model(name, 5)
        heads = {
            f"{layer}.{p}"
            for layer in model.last_layers()
            for p, _ in model.get_submodule(layer).named_parameters()
        }
        assert set(trunk_depths(model)) == {n for n, _ in model.named_parameters()} - heads


@pytest.mark.parametrize(("epoch", "alone"), [(0, True), (1, True), (2, False)])
def test_the_head_learns_alone_first(epoch, alone):
    model = create_model("resnet20", 3)
    set_mode(model, recipe(head_first=0.5), epoch)
    assert model.fc.weight.requires_grad
    assert model.conv1.weight.requires_grad is not alone
    assert model.bn1.training is not alone and model.training


LATER = ("--set", "lr=0.001", "--set", "head_first=0", "--set", "ema=0")
"""From the first step on: few steps move an average little, and the pictures say which epoch is kept."""


def test_a_trunk_of_rate_0_does_not_move_at_all(folder):
    resight(
        "train", folder, "--set", "model=resnet20", "--set", "image_size=16", *SHORT, "--out", "a", check=0
    )
    words = ("--recipe", "fine-tune", "--set", "weights=a", "--set", "image_size=16", *SHORT)
    resight("train", folder, *words, "--set", "trunk_lr=0", "--out", "b", check=0)
    before, after = load_file("a/model.safetensors"), load_file("b/model.safetensors")
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert moved == {"fc.weight", "fc.bias"}
    resight("train", folder, *words, "--set", "frozen_norm=true", *LATER, "--out", "c", check=0)
    after = load_file("c/model.safetensors")
    moved = {k for k in before if not torch.equal(before[k], after[k])}
    assert "conv1.weight" in moved and "bn1.weight" in moved and not [k for k in moved if "running" in k]


def test_old_answers_are_a_term_of_the_loss():
    torch.manual_seed(0)
    old = create_model("resnet20", 4).eval()
    old.classes = tuple("abcd")
    model = create_model("resnet20", 4)
    model.load_state_dict(old.state_dict())
    model.classes = old.classes
    keep_head(model, "first", {})
    model.reset_classifier(3)
    images, labels = torch.randn(6, 3, 16, 16), torch.tensor([0, 1, 2, 0, 1, 2])
    marks = ClassMarks.of(labels)
    model.eval()
    alone, _ = OneClass().objective(model, Aids())(images, marks, 0.0)
    both, _ = OneClass().objective(model, Aids(old=OldSelf(old)))(images, marks, 0.0)
    answers = (old(images) / 2).softmax(1)  # untouched: the least that the term can be is their entropy
    torch.testing.assert_close(both - alone, -(answers * answers.log()).sum(1).mean())
    both.backward()
    assert model.conv1.weight.grad.abs().sum() > 0
    with torch.no_grad():
        model.old_heads[0].weight.add_(torch.randn_like(model.old_heads[0].weight))
    worse, _ = OneClass().objective(model, Aids(old=OldSelf(old)))(images, marks, 0.0)
    assert worse > both
    moved = (old_logits(model, model.forward_features(images))[0] / 2).log_softmax(1)
    torch.testing.assert_close(worse - alone, -(answers * moved).sum(1).mean())


@pytest.mark.slow
def test_a_run_learns_two_more_tasks_and_answers_all_three(tmp_path):
    shapes = {
        "first": ("blue", "green", "red"),
        "second": ("one", "two"),
        "third": ("three", "four", "five", "six"),
    }
    for number, (name, classes) in enumerate(shapes.items()):
        make_folder(tmp_path / name, classes, start=50_000 * number)
    resight(
        "train",
        "first",
        "--set",
        "model=resnet20",
        "--set",
        "image_size=16",
        *SHORT,
        "--out",
        "run1",
        check=0,
    )
    for before, name, run in (("run1", "second", "run2"), ("run2", "third", "run3")):
        resight(
            "train",
            name,
            "--recipe",
            "li2016",
            "--set",
            f"weights={before}",
            *SHORT,
            "--set",
            "lr=0.001",
            "--out",
            run,
            check=0,
        )
    first, third = (load_file(f"{run}/last/state.safetensors") for run in ("run1", "run3"))
    assert not torch.equal(
        first["model.conv1.weight"], third["model.conv1.weight"]
    )  # all learned, not the head alone
    model, facts = load_model(tmp_path / "run3" / "model.safetensors")
    assert [task.name for task in model.old_tasks] == ["first", "second"]
    assert model.classes == tuple(sorted(shapes["third"])) and facts["recipe"]["teacher"] == "weights"
    for name in ("first", "second"):
        answer = json.loads(resight("test", f"run3@{name}", "--json", check=0).stdout)
        assert answer["classes"] == sorted(shapes[name]) and answer["data"].endswith(name)
        row = json.loads(
            resight("predict", f"run3@{name}", f"{name}/{shapes[name][0]}/000.png", "--json", check=0).stdout
        )
        assert row[0]["label"] in shapes[name]
    assert open_run("run3@first").preprocessing.resize == open_run("run1").preprocessing.resize
    old = open_run("run3@first").model
    torch.testing.assert_close(old.get_classifier().weight, model.old_heads[0].weight)
    assert "no such task; its old tasks: first, second" in one_line(resight("test", "run3@fourth"), 2)
    assert "learned no other task" in one_line(resight("test", "run1@first"), 2)


def test_not_forgetting_needs_a_run_and_its_normalization(folder, tiny_run):
    words = ("train", folder, "--recipe", "li2016", *SHORT)
    assert "weights=RUN" in one_line(resight(*words), 2)
    assert "normalize=weights" in one_line(
        resight(*words, "--set", f"weights={tiny_run}", "--set", "normalize=channel"), 2
    )
    with pytest.raises(UsageError, match="has a custom head"):
        keep_head(create_model("nin_cifar", 3), "x", {})


def test_a_rare_class_counts_as_much_as_the_others():
    torch.manual_seed(0)
    logits, labels = torch.randn(6, 3), torch.tensor([0, 0, 0, 0, 1, 2])
    weights = torch.tensor([0.5, 2.0, 2.0])
    own = F.cross_entropy(logits, labels, reduction="none")
    wanted = (own[:4].sum() * 0.5 + own[4] * 2 + own[5] * 2) / 6
    torch.testing.assert_close(Criterion(weights=weights)(logits, labels), wanted)
    soft = F.one_hot(labels, 3).float()
    torch.testing.assert_close(Criterion(weights=weights)(logits, soft), wanted)


def test_each_class_for_itself():
    logits, targets = torch.tensor([[2.0, -1.0, 0.5]]), torch.tensor([[1.0, 0.0, 1.0]])
    p = logits.sigmoid()[0]
    wanted = -(p[0].log() + (1 - p[1]).log() + p[2].log()) / 3
    torch.testing.assert_close(BinaryCriterion()(logits, targets), wanted)
    smooth = BinaryCriterion(0.2)(logits, targets)
    assert smooth > wanted


def test_a_rare_class_weighs_as_much_as_there_is_of_it():
    """A mixed picture that shows little of a rare class does not count as if it were one."""
    logits, weights = torch.tensor([[0.3, -0.2]]), torch.tensor([50.0, 1.0])
    criterion = BinaryCriterion(weights=weights)
    losses = [
        F.binary_cross_entropy_with_logits(logits, torch.tensor([[y, 0.0]]), reduction="none")[0]
        for y in (1.0, 0.05)
    ]
    for y, weight, loss in zip((1.0, 0.05), (50.0, 1 + 0.05 * 49), losses, strict=True):
        wanted = (loss[0] * weight + loss[1]) / 2
        torch.testing.assert_close(criterion(logits, torch.tensor([[y, 0.0]])), wanted)


def test_classes_are_drawn_equally_often_and_their_samples_in_turn():
    labels = np.array([0] * 70 + [1] * 20 + [2] * 10)
    drawn = balanced(labels, 0, 0)
    counts = np.bincount(labels[drawn], minlength=3)
    assert len(drawn) == 100 and counts.max() - counts.min() <= 1
    repeats = np.bincount(drawn, minlength=100)
    assert repeats[90:].min() >= 3 and repeats[90:].max() <= 4 and repeats[:70].max() == 1
    assert not np.array_equal(drawn, balanced(labels, 0, 1)) and np.array_equal(drawn, balanced(labels, 0, 0))


@pytest.mark.parametrize("kind", ["sampling", pytest.param("loss", marks=pytest.mark.slow)])
def test_balance_finds_the_rare_class(tmp_path, kind):
    make_folder(tmp_path / "d", ("red",), 60)
    make_folder(tmp_path / "d", ("green",), 8, start=500)
    words = (
        "--set",
        "model=resnet20",
        "--set",
        "image_size=16",
        *SHORT,
        "--set",
        f"balance={kind}",
        "--out",
        "run",
    )
    resight("train", "d", *words, check=0)
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["recipe"]["balance"] == kind


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["augment.rotation=15"], ("shift", "flip", "rotation:15")),
        (["augment.flip=off", "augment.mixup=0.2"], ("shift", "mixup:0.2")),
        (["augment=pad-crop", "augment.cutout="], ("pad-crop", "cutout")),
        (["augment.gan=runs/gan,share=0.3"], ("shift", "flip", "gan:runs/gan;share=0.3")),
        (["augment.flip=@0.3"], ("shift", "flip@0.3")),
    ],
)
def test_one_operation_is_one_word(words, wanted):
    changed = _with_operations(recipe(augment=("shift", "flip")), words)
    assert changed[-1] == f"augment={','.join(wanted)}"
