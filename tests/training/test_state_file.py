"""The state of a training, from outside: refused by name, or taken up whole; old ones too."""

import dataclasses
import json
import random

import pytest
import torch
from safetensors.torch import save_file

from mutation import mutated
from resight.core.errors import ModelFileError, ResightError
from resight.models.zoo import create_model
from resight.training.checkpoints import FILE, Progress, load_state, save_state
from resight.training.ema import AveragedWeights

IDENTITY = {"recipe": {"lr": 0.1}, "data": "abc"}
ROW = {"epoch": 1, "step": 4, "lr": 0.1, "train_loss": 1.5, "val_loss": float("nan")}


def parts(kind=torch.optim.SGD):
    torch.manual_seed(0)
    model = create_model("lenet5_modern", 3, head="gap")
    options = {"momentum": 0.9} if kind is not torch.optim.AdamW else {}
    return model, kind(model.parameters(), lr=0.1, **options), AveragedWeights(model, 0.9)


def stepped(kind=torch.optim.SGD):
    model, optimizer, averages = parts(kind)
    model(torch.randn(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    averages.update(model, 4)
    return model, optimizer, averages


@pytest.fixture
def run(tmp_path):
    save_state(tmp_path, *stepped(), Progress(epoch=1, history=[ROW], parts=2), IDENTITY)
    return tmp_path


def written(run, change):
    """The state again, with its document or tensors changed, as the first version wrote it."""
    from resight.models.modelfile import load_tensors

    tensors, document = load_tensors(run / FILE)
    tensors = {k: v.clone() for k, v in tensors.items()}
    change(tensors, document)
    save_file(tensors, run / FILE, metadata={"resight": json.dumps(document)})


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.RMSprop, torch.optim.AdamW])
def test_what_was_saved_is_taken_up_to_the_bit(tmp_path, kind):
    model, optimizer, averages = stepped(kind)
    save_state(tmp_path, model, optimizer, averages, Progress(epoch=1, history=[ROW]), IDENTITY)
    again, other, means = parts(kind)
    progress = load_state(tmp_path, again, other, means, IDENTITY)
    assert progress.epoch == 1 and progress.history[0]["lr"] == 0.1
    for a, b in ((model.state_dict(), again.state_dict()), (averages.state, means.state)):
        assert all(torch.equal(a[k], b[k]) for k in a)
    for left, right in zip(model.parameters(), again.parameters(), strict=True):
        for key, value in optimizer.state[left].items():
            assert torch.equal(torch.as_tensor(value), torch.as_tensor(other.state[right][key])), key


def test_a_state_of_the_first_version_is_taken_up(run):
    written(run, lambda _, document: document["progress"].pop("parts"))
    assert load_state(run, *parts(), IDENTITY).parts == 1


@pytest.mark.parametrize(("best_epoch", "best"), [(0, None), (2, 12.5)])
def test_a_state_that_counted_wrong_answers_only_is_taken_up(run, best_epoch, best):
    """As it was written before tasks counted by name: nothing chosen yet stood as an error of 100 %."""

    def old(_, document):
        progress = document["progress"]
        del progress["sums"], progress["best"]
        progress |= {"wrong": 7, "best_epoch": best_epoch, "best_error": best or 100.0}

    written(run, old)
    progress = load_state(run, *parts(), IDENTITY, ("wrong",))
    assert progress.sums == {"wrong": 7.0} and progress.best == best and progress.best_epoch == best_epoch


def test_a_state_of_another_task_is_refused(run):
    with pytest.raises(ModelFileError, match=r"another task \(it does not count overlap\)"):
        load_state(run, *parts(), IDENTITY, ("overlap",))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda t, d: d.pop("progress"), "has no 'progress'"),
        (lambda t, d: d.update(progress=[]), "progress is [], but must be an object"),
        (lambda t, d: d["progress"].update(epoch=-1), "progress.epoch is -1"),
        (lambda t, d: d["progress"].update(epoch=10**30), "progress.epoch"),
        (lambda t, d: d["progress"].update(epoch="3"), "progress.epoch"),
        (lambda t, d: d["progress"].update(loss_sum=float("nan")), "progress.loss_sum is NaN"),
        (lambda t, d: d["progress"].update(history=[{"lr": "x"}]), "is damaged, or of a newer Resight (lr)"),
        (lambda t, d: d["progress"].update(faults=[{"path": 1}]), "faults[0].path"),
        (lambda t, d: d["progress"].update(wings=2), "of a newer Resight (wings)"),
        (lambda t, d: d.pop("identity"), "has no 'identity'"),
        (lambda t, d: t.pop("model.c1.bias"), "of another network (c1.bias)"),
        (lambda t, d: t.update({"model.c9.bias": torch.zeros(1)}), "of another network (c9.bias)"),
        (lambda t, d: t.update({"model.c1.bias": torch.zeros(7)}), "of another network (c1.bias)"),
        (lambda t, d: t.update({"model.c1.bias": torch.zeros(6).int()}), "of another network (c1.bias)"),
        (lambda t, d: t.update({"ema.c1.bias": torch.zeros(7)}), "of another network (c1.bias)"),
        (lambda t, d: t.update({"ema.q": torch.zeros(7)}), "of another network (q)"),
        (lambda t, d: t.update({"optimizer.momentum_buffer.q": torch.zeros(7)}), "of another network (q)"),
        (lambda t, d: t.update({"optimizer.step.q": torch.zeros(())}), "of another network (q)"),
        (lambda t, d: t.update({"optimizer.x": torch.zeros(1)}), "of another network ()"),
    ],
)  # fmt: skip
def test_a_state_that_no_training_leaves_is_refused(run, change, words):
    written(run, change)
    model, optimizer, averages = parts()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(ModelFileError) as caught:
        load_state(run, model, optimizer, averages, IDENTITY)
    assert words in str(caught.value) and "\n" not in str(caught.value)
    assert all(torch.equal(before[k], v) for k, v in model.state_dict().items())  # nothing is half taken up


def test_another_recipe_is_named(run):
    with pytest.raises(ModelFileError, match=r"was trained with other settings: lr 0\.1 -> 0\.2"):
        load_state(run, *parts(), {**IDENTITY, "recipe": {"lr": 0.2}})


def fuzz(run, count):
    content = (run / FILE).read_bytes()
    chance, taken = random.Random(11), 0
    fields = {f.name for f in dataclasses.fields(Progress)}
    for _ in range(count):
        (run / FILE).write_bytes(mutated(content, chance))
        model, optimizer, averages = parts()
        try:
            progress = load_state(run, model, optimizer, averages, IDENTITY)
        except ResightError as error:
            assert "\n" not in str(error) and len(str(error)) < 1000
            continue
        taken += 1
        assert progress.epoch >= 0 and set(vars(progress)) == fields
    assert 0 < taken < count


def test_mutated_states_are_refused_or_whole(run):
    fuzz(run, 100)


@pytest.mark.slow
def test_many_mutated_states_are_refused_or_whole(run):
    fuzz(run, 2000)
