"""The attention losses: against explicit loops, at their extremes, and in a training."""

import json
from pathlib import Path

import pytest
import torch

from resight.core.errors import UsageError
from resight.data.marks import ClassMarks
from resight.models.modelfile import load_model
from resight.models.zoo import create_model
from resight.service.train.train import train
from resight.tasks.classify.attention import attention_losses
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.training.recipe import Recipe

RECIPE = Recipe(
    model="resnet20", image_size=32, epochs=1, batch_size=4, lr=0.1, schedule="constant", augment=(),
    normalize="channel",
)  # fmt: skip


def maps_of(model, images):
    maps = []
    (logits,) = model.forward_training(images, maps)
    return maps, logits


def by_loops(inner, last, logits, labels):
    """The formulas of the paper for one image at a time; gradients by autograd, sums by hand."""
    total = 0.0
    for i, label in enumerate(labels.tolist()):
        order = logits[i].argsort(descending=True).tolist()
        rival = next(c for c in order if c != label)
        attention = {}
        for name, full in (("inner", inner), ("last", last)):
            for kind, number in (("true", label), ("rival", rival)):
                (gradient,) = torch.autograd.grad(logits[i, number], full, retain_graph=True)
                one = torch.zeros(full.shape[2:], dtype=full.dtype)
                for k in range(full.shape[1]):
                    one += gradient[i, k].clamp(min=0).mean() * full[i, k].detach()
                attention[name, kind] = one.clamp(min=0)
            scale = attention[name, "true"].max()
            for kind in ("true", "rival"):
                attention[name, kind] /= scale
        masks = {n: torch.sigmoid(100 * (attention[n, "true"] - 0.55)) for n in ("inner", "last")}
        for name in ("inner", "last"):
            t, c = attention[name, "true"], attention[name, "rival"]
            total += 2 * (torch.minimum(t, c) * masks[name]).sum() / (t + c).sum()
        mask = torch.nn.functional.interpolate(
            masks["last"][None, None], inner.shape[2:], mode="bilinear", align_corners=False
        )[0, 0]
        total += 0.8 - (attention["inner", "true"] * mask).sum() / attention["inner", "true"].sum()
    return total / len(labels)


@pytest.mark.parametrize("name", ["resnet20", "vgg11_bn"])
def test_the_losses_are_the_papers(name):
    model = create_model(name, 5, head="gap").double().eval()
    images, labels = torch.randn(3, 3, 64, 64, dtype=torch.float64), torch.tensor([0, 3, 2])
    maps, logits = maps_of(model, images)
    loss = attention_losses(maps[-2], maps[-1], logits, labels)
    assert loss.item() == pytest.approx(by_loops(maps[-2], maps[-1], logits, labels).item(), rel=1e-9)


def test_a_step_down_the_gradient_makes_them_smaller():
    model = create_model("resnet20", 5).double().eval()
    images, labels = torch.randn(4, 3, 32, 32, dtype=torch.float64), torch.tensor([0, 3, 2, 1])

    def loss():
        maps, logits = maps_of(model, images)
        return attention_losses(maps[-2], maps[-1], logits, labels)

    before = loss()
    gradients = torch.autograd.grad(before, list(model.parameters()), allow_unused=True)
    scale = 1e-4 / sum(float(g.square().sum()) for g in gradients if g is not None) ** 0.5
    with torch.no_grad():
        for parameter, gradient in zip(model.parameters(), gradients, strict=True):
            if gradient is not None:
                parameter -= scale * gradient
    assert loss() < before


def test_an_image_without_attention_gives_no_loss_and_no_nan():
    model = create_model("resnet20", 3).eval()
    with torch.no_grad():
        model.fc.weight.fill_(-1.0)
    maps, logits = maps_of(model, torch.randn(2, 3, 32, 32))
    loss = attention_losses(maps[-2], maps[-1], logits, torch.tensor([0, 1]))
    gradients = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in gradients if g is not None)


def test_the_option_adds_them_by_their_weight():
    images, labels = torch.randn(4, 3, 32, 32), torch.tensor([0, 3, 2, 1])
    marks = ClassMarks.of(labels)
    model = create_model("resnet20", 5).eval()
    plain, wrong = OneClass().objective(model, Aids())(images, marks, 0.5)
    model.options = {"sharpen": 0.5}
    loss, same = OneClass().objective(model, Aids(compiled=True))(images, marks, 0.5)
    maps, again = maps_of(model, images)
    more = attention_losses(maps[-2], maps[-1], again, labels)
    torch.testing.assert_close(loss, plain + 0.5 * more)
    torch.testing.assert_close(model(images), again)
    assert int(same) == int(wrong) == int((again.argmax(1) != labels).sum())
    assert more.item() > 0.01


def test_a_training_with_them_from_words_to_file(folder):
    words = ["model=resnet20", "sharpen=0.5", "image_size=32", "batch_size=8", "ema=0"]
    train(str(folder), epochs=2, changes=words, out="run")
    model, _ = load_model(Path("run/model.safetensors"))
    assert model.options == {"sharpen": 0.5} and model.sharpen == 0.5
    assert "sharpen=0.5" in json.loads(Path("run/recipe.json").read_text())["recipe"]["options"]


def test_what_cannot_be_is_said():
    with pytest.raises(UsageError, match="must not be negative"):
        create_model("resnet20", 5, sharpen=-1.0)
    with pytest.raises(UsageError, match="two classes"):
        OneClass().objective(create_model("resnet20", 1, sharpen=1.0), Aids())


def test_given_weights_can_end_earlier_and_be_sharpened(folder):
    base = ["model=resnet20", "image_size=32", "batch_size=8", "ema=0"]
    train(str(folder), epochs=1, changes=base, out="whole")
    words = ["weights=whole", "image_size=32", "batch_size=8", "last=layer2", "sharpen=0.5"]
    train(str(folder), recipe="fine-tune", epochs=1, changes=words, out="early")
    model, _ = load_model(Path("early/model.safetensors"))
    assert model.options == {"last": "layer2", "sharpen": 0.5} and list(model.stages)[-1] == "layer2"
    assert model.fc.weight.shape == (3, 32)
    words = ["weights=early", "last=layer1", "image_size=32"]
    with pytest.raises(UsageError, match="have another last; leave last= out"):
        train(str(folder), recipe="fine-tune", epochs=1, changes=words, out="refused")
