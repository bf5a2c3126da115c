"""What training makes small: side heads, distillation, hints, groups of parameters, options by name."""

import json
from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.marks import ClassMarks
from resight.models.modelfile import load_model, save_model
from resight.models.zoo import create_model
from resight.service.train.teachers import make_teacher
from resight.service.train.train import train
from resight.tasks.classify.objective import HINT_SHARE, soft_cross_entropy
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.tasks.teachers import Teacher
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES
from support import one_line, resight

BASE = {
    "model": "resnet20", "image_size": 32, "epochs": 1, "batch_size": 4, "lr": 0.1, "schedule": "constant",
    "augment": (), "normalize": "channel",
}  # fmt: skip
SMALL = ["image_size=32", "batch_size=8", "val_share=0"]


def recipe(**changes):
    return Recipe(**{**BASE, **changes})


def teacher_of(model):
    count = model.num_classes
    return Teacher(model.eval(), torch.arange(count), torch.ones(3, 1, 1), torch.zeros(3, 1, 1))


def test_side_heads_are_really_trained(folder):
    train(str(folder), model="googlenet_2014", epochs=1, changes=[*SMALL, "ema=0"], out="run")
    trained, _ = load_model(Path("run/model.safetensors"))
    torch.manual_seed(0)
    fresh = create_model("googlenet_2014", 3)
    for name in ("aux1.fc2.weight", "aux2.conv.conv.weight", "inception3a.branch1.conv.weight"):
        assert not torch.equal(trained.get_parameter(name), fresh.get_parameter(name)), name


def test_without_a_teacher_the_loss_is_the_networks_own():
    model = create_model("resnet20", 5)
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    model.eval()
    objective = OneClass().objective(model, Aids(smoothing=0.1))
    loss, wrong = objective(images, ClassMarks.of(labels), 0.5)
    logits = model(images)
    torch.testing.assert_close(loss, F.cross_entropy(logits, labels, label_smoothing=0.1))
    assert wrong.tolist() == [int((logits.argmax(1) != labels).sum())]


@pytest.mark.parametrize(("done", "weight"), [(0.0, 4.0), (0.5, 2.5), (1.0, 1.0)])
def test_a_student_learns_from_labels_and_teacher(done, weight):
    student, other = create_model("resnet20", 5).eval(), create_model("resnet32", 5).eval()
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 3])
    objective = OneClass().objective(student, Aids(teacher=teacher_of(other)))
    loss, _ = objective(images, ClassMarks.of(labels), done)
    logits = student(images)
    p = (other(images) / 3).softmax(1)
    q = (logits / 3).log_softmax(1)
    wanted = F.cross_entropy(logits, labels) + weight * -(p * q).sum(1).mean()
    torch.testing.assert_close(loss, wanted)
    assert soft_cross_entropy(logits, logits) < soft_cross_entropy(logits, -logits)


def test_hints_teach_the_lower_half_only():
    student, other = create_model("fitnet19", 5, hint=192), create_model("maxout", 5)
    objective = OneClass().objective(student, Aids(teacher=teacher_of(other), image_size=32))
    images, labels = torch.randn(2, 3, 32, 32), ClassMarks.of(torch.tensor([0, 1]))
    loss, _ = objective(images, labels, 0.0)
    regressed = student.get_submodule("regressor")(student.forward_to(images, "pool1"))
    hint = other.forward_to(images, "pool1")
    torch.testing.assert_close(loss, 0.5 * ((regressed - hint) ** 2).sum((1, 2, 3)).mean())
    loss.backward()
    learned = {n.split(".")[0] for n, p in student.named_parameters() if p.grad is not None and p.grad.any()}
    assert learned == {f"h{i}" for i in range(11)} | {"regressor"}
    assert not [n for n, p in other.named_parameters() if p.grad is not None]
    student.zero_grad()
    objective(images, labels, HINT_SHARE)[0].backward()
    assert student.get_parameter("fc.weight").grad is not None
    assert student.get_parameter("regressor.weight").grad is None


def test_a_hint_of_another_shape_is_said():
    student = create_model("fitnet19", 5, hint=100)
    with pytest.raises(UsageError, match="set hint= to its channels"):
        OneClass().objective(student, Aids(teacher=teacher_of(create_model("maxout", 5)), image_size=32))
    with pytest.raises(UsageError, match="teacher: the trunk of resnet20 has no layer 'pool1'"):
        OneClass().objective(student, Aids(teacher=teacher_of(create_model("resnet20", 5)), image_size=32))


def test_a_teacher_is_fitted_to_the_students_pictures_and_classes(tmp_path):
    model = create_model("resnet20", 3).eval()
    model.classes = ("c", "a", "b")
    model.preprocessing = Preprocessing(size=32, resize=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    save_model(tmp_path / "t.safetensors", model, model.state_dict(), {})
    card = Preprocessing(size=32, resize=32, mean=(0.1, 0.2, 0.3), std=(0.2, 0.3, 0.4))
    wish = recipe(teacher=str(tmp_path / "t.safetensors"))
    teacher = make_teacher(wish, ("a", "b", "c"), card, torch.device("cpu"))
    pixels = torch.rand(2, 3, 32, 32)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (card.mean, card.std))
    with torch.no_grad():
        wanted = model((pixels - 0.5) / 0.5)[:, [1, 2, 0]]
    torch.testing.assert_close(teacher.logits((pixels - mean) / std), wanted, rtol=1e-4, atol=1e-4)
    with pytest.raises(UsageError, match="other classes"):
        make_teacher(wish, ("a", "b"), card, torch.device("cpu"))
    with pytest.raises(UsageError, match="another size or normalization"):
        make_teacher(
            wish, ("a", "b", "c"), Preprocessing(size=32, resize=32, contrast=55.0), torch.device("cpu")
        )


@pytest.mark.slow
def test_a_student_and_its_teacher_from_the_command_and_resumed(folder):
    train(
        str(folder),
        model="maxout",
        recipe="maxout2013-cifar",
        epochs=1,
        changes=["batch_size=8"],
        out="teacher",
    )
    words = ["batch_size=8", "teacher=teacher"]
    train(str(folder), recipe="fitnet2014-cifar", epochs=4, changes=words, out="whole")
    recipe_file = json.loads(Path("whole/recipe.json").read_text())
    assert recipe_file["recipe"]["teacher"] == "teacher" and recipe_file["recipe"]["options"] == ["hint=192"]
    student, _ = load_model(Path("whole/model.safetensors"))
    assert student.options == {"hint": 192} and torch.isfinite(student.get_parameter("h0.weight")).all()


def test_groups_have_the_networks_rates_and_decays():
    model = create_model("highway19", 5)
    optimizer = make_optimizer(model, recipe(model="highway19", weight_decay=0.01, trunk_lr=(0.5,)))
    seen = {id(p): (g["factor"], g["weight_decay"]) for g in optimizer.param_groups for p in g["params"]}
    assert len(seen) == len(list(model.parameters()))
    assert seen[id(model.get_parameter("conv1.weight"))] == (0.5, 0.01)
    assert seen[id(model.get_parameter("conv1.bias"))] == (1.0, 0.0)
    assert seen[id(model.get_parameter("fc.weight"))] == (1.0, 0.1)


def test_rmsprop_resumes_to_the_same_bits(folder):
    words = [*SMALL, "optimizer=rmsprop", "momentum=0.5", "lr=0.001", "model=lenet5_modern"]
    train(str(folder), epochs=3, changes=words, out="whole")
    import resight.training.loop as loop

    before, calls = loop.learning_rate, []

    def stop_once(*asked):
        calls.append(0)
        if len(calls) == 6:
            raise KeyboardInterrupt
        return before(*asked)

    loop.learning_rate = stop_once
    try:
        with pytest.raises(KeyboardInterrupt):
            train(str(folder), epochs=3, changes=words, out="cut")
    finally:
        loop.learning_rate = before
    train(str(folder), epochs=3, changes=words, out="cut", resume=True)
    a, b = (load_model(Path(f"{r}/model.safetensors"))[0] for r in ("whole", "cut"))
    assert all(
        torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True)
    )


def test_an_option_of_the_network_is_one_flag(folder):
    answer = train(
        str(folder),
        model="plain20",
        epochs=1,
        changes=[*SMALL, "activation=elu", "norm=lrn", "lr=0.001"],
        out="run",
    )
    model, _ = load_model(Path("run/model.safetensors"))
    assert model.options == {"activation": "elu", "norm": "lrn"} and answer["n"]
    for word, message in (
        ("colour=red", "unknown setting 'colour'"),
        ("activation=reluu", "not an activation"),
    ):
        with pytest.raises(UsageError, match=message):
            train(str(folder), model="resnet20", changes=[word], out="none")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"options": ("elu",)}, "is not key=value"),
        ({"warmup": (3.0,)}, "must be steps,rate"),
        ({"optimizer": "lion"}, "must be one of 'sgd', 'nesterov', 'rmsprop'"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes, message):
    with pytest.raises(UsageError, match=message):
        recipe(**changes)


def test_every_recipe_names_a_network_that_takes_its_options():
    from resight.models.zoo import read_options

    for name, build in RECIPES.items():
        built = build(Facts(model="", pictures=50_000, side=32, mirrors=True))
        model = create_model(built.model, 10, **read_options(built.model, built.options))
        assert model.num_classes == 10, name


def test_too_small_pictures_are_enlarged_for_the_default_and_refused_otherwise(folder):
    built = RECIPES["fast"](Facts(model="alexnet", pictures=100, side=20, mirrors=True, least_size=63))
    assert built.image_size == 63
    done = resight("train", folder, "--model", "alexnet", "--epochs", "1", "--set", "image_size=32")
    line = one_line(done, 2)
    assert "does not take" in line and "image_size" in line


def test_a_teacher_whitened_otherwise_or_at_another_size_is_refused(tmp_path):
    import numpy as np

    model = create_model("lenet5_modern", 2, 3).eval()
    model.classes = ("a", "b")
    table = np.eye(48, dtype=np.float32)
    plain = Preprocessing(size=4, resize=4, contrast=55.0, pixel_mean=(0.0,) * 48)
    white = Preprocessing(size=4, resize=4, contrast=55.0, pixel_mean=(0.0,) * 48, whitening=table)
    wish = recipe(teacher=str(tmp_path / "t.safetensors"))
    for own, card in (
        (plain, white),
        (white, plain),
        (Preprocessing(size=4, resize=4), Preprocessing(size=8, resize=8)),
    ):
        model.preprocessing = own
        save_model(tmp_path / "t.safetensors", model, model.state_dict(), {})
        with pytest.raises(UsageError, match="another size or normalization"):
            make_teacher(wish, ("a", "b"), card, torch.device("cpu"))
    with pytest.raises(UsageError, match="give a run"):
        make_teacher(recipe(teacher="zoo:resnet18"), ("a", "b"), plain, torch.device("cpu"))


def test_fresh_layers_learn_at_the_full_rate_and_the_trunk_slower():
    for name, fresh in (("googlenet", ("fc", "aux1.fc2", "aux2.fc2")), ("nin_cifar", ("cccp6", "fc"))):
        model = create_model(name, 5, head="flatten") if name == "nin_cifar" else create_model(name, 5)
        optimizer = make_optimizer(model, recipe(model=name, trunk_lr=(0.1,)))
        rates = {id(p): g["factor"] for g in optimizer.param_groups for p in g["params"]}
        for parameter, value in model.named_parameters():
            wanted = model.learning(parameter)[0] * (1.0 if parameter.rsplit(".", 1)[0] in fresh else 0.1)
            assert rates[id(value)] == pytest.approx(wanted), parameter


def test_without_normalization_the_default_rate_is_lower(folder):
    answer = train(str(folder), model="resnet20", epochs=2, changes=[*SMALL, "norm = none"], out="run")
    assert answer["n"] and json.loads(Path("run/recipe.json").read_text())["recipe"]["options"] == [
        "norm=none"
    ]
    rates = {}
    for word in ("norm=none", "norm=batch"):
        train(str(folder), model="resnet20", epochs=1, changes=[*SMALL, word], out=word)
        rates[word] = json.loads(Path(f"{word}/recipe.json").read_text())["recipe"]["lr"]
    assert rates["norm=none"] == pytest.approx(rates["norm=batch"] / 10)


def test_fine_tuning_keeps_the_normalization_of_its_weights(folder):
    train(str(folder), model="lenet5_modern", epochs=1, changes=[*SMALL, "normalize=gcn-zca"], out="first")
    words = ["weights=first", "head=flatten", "batch_size=8", "image_size=32", "augment="]
    train(str(folder), recipe="fine-tune", epochs=1, changes=words, out="second")
    first, second = (load_model(Path(r) / "model.safetensors")[0].preprocessing for r in ("first", "second"))
    assert second == first and second.contrast == 55 and (second.whitening == first.whitening).all()
    with pytest.raises(UsageError, match="whitened at 32 pixels"):
        train(
            str(folder),
            recipe="fine-tune",
            epochs=1,
            changes=[*words[:3], "image_size=48", "augment="],
            out="c",
        )
    train(str(folder), model="resnet20", epochs=1, changes=[*SMALL, "normalize=pixel-mean"], out="third")
    words = ["weights=third", "batch_size=8", "image_size=48", "augment="]
    train(str(folder), recipe="fine-tune", epochs=1, changes=words, out="fourth")
    card = load_model(Path("fourth/model.safetensors"))[0].preprocessing
    assert card.std == (1.0, 1.0, 1.0) and len(card.pixel_mean) == 3 * 48 * 48
