"""Training, resuming, predicting and explaining on every device: the CPU, and a GPU where there is one.

Each test runs on the CPU too, so that the first machine with a GPU finds tests that work. What must agree is
compared with the CPU; equality to the bit is asked of the CPU only, for convolutions on GPUs add up in no
fixed order.
"""

import json
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file
from torch import distributed as dist

from resight.core.device import pick_device, tf32
from resight.data.batches import Batch
from resight.data.marks import ClassMarks
from resight.models.zoo import create_model
from resight.saliency.methods import explain
from resight.service.test.predict import predict
from resight.service.train.job import Job
from resight.service.train.train import train
from resight.tasks.classify.task import OneClass
from resight.tasks.task import Aids
from resight.training.checkpoints import Progress
from resight.training.journal import read_csv
from resight.training.optimizer import make_optimizer
from resight.training.parallel import Shared
from resight.training.recipe import Recipe
from resight.training.sharding import put_together, whole
from resight.training.step import Step
from support import make_folder

WORDS = ["model=speednet8_narrow", "image_size=16", "batch_size=8", "lr=0.02"]
RECIPE = Recipe(
    model="speednet8_narrow", image_size=16, epochs=1, batch_size=16, lr=0.1, schedule="constant", augment=(),
    normalize="channel", precision="fp32",
)  # fmt: skip


def hide(patch):
    """Leave only the CPU to what runs in this process."""
    for backend in (torch.cuda, torch.backends.mps):
        if backend.is_available():
            patch.setattr(backend, "is_available", cache(lambda: False))  # torch asks what the cache wraps


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def device(request, monkeypatch):
    if request.param == "cpu":
        hide(monkeypatch)
    elif not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    picked = pick_device()
    assert picked.type == request.param
    return picked


def quiet(data, out, *words, **options):
    return train(str(data), changes=[*WORDS, *words], out=str(out), console=Console(quiet=True), **options)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("precision=fp32",), "float32"),
        (("precision=bf16",), "bfloat16"),
        (("precision=tf32",), "tf32"),
        (("precision=fp32", "memory_gib=0"), "float32"),
        pytest.param(("precision=fp32", "compile=on"), "float32", marks=pytest.mark.slow),
    ],
    ids=["fp32", "bf16", "tf32", "streamed", "compiled"],
)
def test_training_runs_and_begins_as_on_the_cpu(folder, device, monkeypatch, words, said):
    figures = quiet(folder, "run", *words, epochs=2)
    record = json.loads(Path("run/recipe.json").read_text())
    assert record["precision"] == ("float32" if said == "tf32" and device.type == "cpu" else said)
    assert all(tensor.isfinite().all() for tensor in load_file("run/model.safetensors").values())
    assert 0 <= figures["top1_error"] <= 100
    if device.type != "cpu":
        with monkeypatch.context() as patch:
            hide(patch)
            quiet(folder, "reference", *words, epochs=2)
        found, expected = (read_csv(f"{run}/metrics.csv")[0]["train_loss"] for run in ("run", "reference"))
        assert found == pytest.approx(expected, abs=0.05)


@pytest.mark.parametrize(("precision", "allowed"), [("fp32", False), ("tf32", True)])
def test_tf32_is_a_choice_of_training_and_of_nothing_else(folder, device, monkeypatch, precision, allowed):
    seen, step = [], Step.__call__

    def switches():
        return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32

    monkeypatch.setattr(Step, "__call__", lambda self, *a: seen.append(switches()) or step(self, *a))
    quiet(folder, "run", f"precision={precision}", epochs=1)
    assert set(seen) == {(allowed, allowed)} and switches() == (False, False)


def test_a_resumed_run_is_the_run_that_was_not_stopped(folder, device, monkeypatch):
    """To the bit on a CPU; on a GPU to what the order of its sums leaves of two epochs."""
    quiet(folder, "whole", "precision=fp32", epochs=4)
    save = Job.save

    def stop(self):
        save(self)
        if self.progress.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Job, "save", stop)
        quiet(folder, "run", "precision=fp32", epochs=4)
    quiet(folder, "run", "precision=fp32", epochs=4, resume=True)
    found, expected = (load_file(f"{run}/last/state.safetensors") for run in ("run", "whole"))
    assert found.keys() == expected.keys() and len(found) > 50
    for name, tensor in found.items():
        if device.type == "cpu":
            assert torch.equal(tensor, expected[name]), name
        else:
            torch.testing.assert_close(tensor, expected[name], rtol=0.05, atol=0.05, msg=name)


def prepared(device):
    """A network, its objective, optimizer and a batch, the same at every call."""
    torch.manual_seed(0)
    model = create_model(RECIPE.model, 3)
    images, labels = torch.randn(16, 3, 16, 16), torch.randint(3, (16,))
    model = model.to(device, memory_format=torch.channels_last)
    images = images.to(device, memory_format=torch.channels_last)
    return (
        model,
        OneClass().objective(model, Aids()),
        Batch(images, ClassMarks.of(labels.to(device))),
    )


def stepped(model, objective, batch, progress, say=print):
    """Take one step with the product's own code; returns the loss of this process."""
    optimizer = make_optimizer(model, RECIPE)
    step = Step(model, objective, optimizer, RECIPE.batch_size, torch.float32)
    found = step(batch, 0, 0.0, 0, progress, say)
    optimizer.step()
    return float(found[0])


@pytest.fixture
def group(device, tmp_path):
    """A process group of this process alone: torchrun makes none for one."""
    backend = "nccl" if device.type == "cuda" else "gloo"
    own = device if device.type == "cuda" else None
    meeting = f"file://{tmp_path}/meeting"
    dist.init_process_group(backend, init_method=meeting, rank=0, world_size=1, device_id=own)
    yield device
    dist.destroy_process_group()


@pytest.mark.parametrize("way", ["shared", "sharded"])
def test_a_group_of_one_process_steps_as_none_does(group, way):
    model, objective, batch = prepared(group)
    expected = stepped(model, objective, batch, Progress())
    state = {k: v.clone() for k, v in model.state_dict().items()}
    model, objective, batch = prepared(group)
    if way == "shared":
        objective = Shared(objective, group, find_unused=False)
    else:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard

        model.to(memory_format=torch.contiguous_format)
        fully_shard(objective, mesh=init_device_mesh(group.type, (1,)))
    assert stepped(model, objective, batch, Progress()) == pytest.approx(expected, rel=1e-4)
    for name, tensor in whole(model.state_dict()).items():
        torch.testing.assert_close(tensor, state[name], rtol=1e-3, atol=1e-4, msg=name)
    model.eval()
    with put_together(objective), torch.no_grad():
        assert model(batch.images).isfinite().all()


def test_a_step_that_does_not_fit_is_halved(device, monkeypatch):
    """On a GPU the card's memory is bounded; on the CPU more than four pictures are refused as a GPU does."""
    model, objective, batch = prepared(device)
    progress, said = Progress(), []
    if device.type == "cuda":
        images = torch.randn(4096, 3, 32, 32, device=device)
        batch = Batch(images, ClassMarks.of(torch.randint(3, (4096,), device=device)))
        monkeypatch.setattr(RECIPE.__class__, "batch_size", 4096)
        torch.cuda.empty_cache()
        fraction = (torch.cuda.memory_reserved() + 2**30) / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(fraction)
    else:
        plain = objective.forward

        def forward(images, targets, done):
            if len(images) > 4:
                raise RuntimeError("CUDA error: out of memory")
            return plain(images, targets, done)

        objective.forward = forward
    try:
        assert np.isfinite(stepped(model, objective, batch, progress, said.append))
    finally:
        if device.type == "cuda":
            torch.cuda.set_per_process_memory_fraction(1.0)
    assert progress.parts >= 2 and progress.parts & (progress.parts - 1) == 0
    assert said and f"in {progress.parts} parts" in said[-1]


METHODS = (
    "cam", "grad_cam", "grad_cam_pp", "smooth_grad_cam_pp", "layer_cam", "hires_cam", "xgrad_cam",
    "ablation_cam", "score_cam", "augmented_grad_cam", "guided_grad_cam", "gradient", "occlusion",
    "eigen_cam", "eigen_grad_cam", "finer_cam", "integrated_gradients", "smooth_grad",
    pytest.param("rise", marks=pytest.mark.slow),
)  # fmt: skip


@pytest.fixture(scope="module")
def explained():
    """A network and pictures."""
    torch.manual_seed(0)
    return create_model("resnet20", 4).eval(), torch.randn(2, 3, 32, 32)


@pytest.mark.parametrize("method", METHODS)
def test_maps_are_those_of_the_cpu(explained, device, method):
    model, images = explained
    expected = explain(model, images, method, target=1).maps
    try:
        found = explain(model.to(device), images.to(device), method, target=1).maps.cpu()
    finally:
        model.to("cpu")
    assert found.shape == (2, 32, 32) and (found - expected).abs().max() < 1e-2


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """A folder of pictures, a run that was trained on the CPU, and what it says of the pictures there."""
    place = tmp_path_factory.mktemp("learned")
    with pytest.MonkeyPatch.context() as patch:
        hide(patch)
        folder, run = make_folder(place / "pictures", count=10), place / "run"
        quiet(folder, run, "precision=fp32", epochs=4)
        return run, folder, list(predict(str(run), [str(folder)], exact=True))


@pytest.mark.parametrize("exact", [True, False])
def test_predictions_are_those_of_the_cpu(learned, device, exact):
    run, folder, expected = learned
    found = list(predict(str(run), [str(folder)], exact=exact))
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-4 if exact else 0.02)


@pytest.mark.gpu
def test_float32_on_a_gpu_is_that_of_ieee():
    """A product of TF32 is off by 1e-3 of its size, one of IEEE float32 by 1e-6."""
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA device here")
    device = pick_device()
    images, layer = torch.randn(8, 64, 32, 32, dtype=torch.float64), torch.nn.Conv2d(64, 64, 3).double()
    exact = layer(images)
    layer, images = layer.float().to(device), images.float().to(device)

    def error():
        return float((layer(images).cpu().double() - exact).abs().max() / exact.abs().max())

    with torch.no_grad():
        assert error() < 1e-5
        if torch.cuda.get_device_capability(0) >= (8, 0):
            with tf32(allowed=True):
                assert error() > 1e-5


def test_a_weight_that_learns_without_being_averaged_is_an_error(group):
    """Torch would leave its gradient as it is in every process, without a word."""
    model, objective, _ = prepared(group)
    model.conv1.weight.requires_grad = False
    joined = Shared(objective, group, find_unused=False)
    joined.require_averaged()
    model.conv1.weight.requires_grad = True
    with pytest.raises(RuntimeError, match=r"conv1\.weight is trained, but its gradient is not averaged"):
        joined.require_averaged()
