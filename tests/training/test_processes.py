"""Several processes are one training: the same samples, the same pictures, the same weights."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import copies
from resight.core import seeds
from resight.data.order import Order
from resight.training.journal import read_csv
from support import make_folder, resight

pytestmark = pytest.mark.usefixtures("on_the_cpu")

WORDS = (
    "--set", "model=lenet5_modern", "--set", "image_size=32", "--set", "batch_size=8", "--set", "epochs=2",
    "--set", "lr=0.02", "--set", "augment=resized-crop,flip,pca-colour", "--set", "precision=fp32",
)  # fmt: skip
"""Without batch normalization, through which rounding errors grow tenfold with every few steps. In float32:
several processes add gradients up in another order than one alone, which bf16 rounds to differences of 1e-2.
Trainings of several processes at the default precision are in test_every_rank.py."""


def torchrun(processes, *words, restarts=0, **options):
    """The command in several processes."""
    return [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes), "--standalone",
        f"--max-restarts={restarts}", "-m", "resight", *map(str, words),
    ]  # fmt: skip


def launch(processes, *words, restarts=0):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        torchrun(processes, *words, restarts=restarts), capture_output=True, text=True, timeout=400,
        env=environment,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return done


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    place = tmp_path_factory.mktemp("processes")
    make_folder(place / "colours", count=24)
    resight("train", place / "colours", *WORDS, "--out", place / "one", check=0)
    return place


def differences(a, b):
    left, right = load_file(a / "last" / "state.safetensors"), load_file(b / "last" / "state.safetensors")
    assert left.keys() == right.keys() and len(left) > 15
    return {k: (left[k].double() - right[k].double()).abs().max().item() for k in left}


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_weights_are_those_of_one_process(colours, tmp_path, processes):
    launch(processes, "train", colours / "colours", *WORDS, "--out", "many")
    worst = differences(colours / "one", tmp_path / "many")
    assert max(worst.values()) < 1e-5, sorted(worst.items(), key=lambda kv: -kv[1])[:3]
    one, many = (read_csv(run / "metrics.csv") for run in (colours / "one", tmp_path / "many"))
    for row, other in zip(one, many, strict=True):
        assert row["train_loss"] == pytest.approx(other["train_loss"], abs=1e-4)
        assert row["val_error"] == other["val_error"] and row["train_error"] == other["train_error"]


@pytest.mark.slow
def test_the_main_job_runs_in_two_processes_at_its_defaults(tmp_path):
    """At the precision of users, with synchronized normalization, to the report."""
    answer = json.loads(launch(2, "train", "digits", "--epochs", "1", "--out", "run", "--json").stdout)
    assert answer["n"] == 359 and answer["top1_error"] < 50
    assert json.loads((tmp_path / "run" / "recipe.json").read_text())["processes"] == 2


@pytest.mark.slow
def test_minutes_are_the_same_epochs_in_all_processes(colours, tmp_path):
    """All measure, the slowest counts: epochs that differ would leave one process waiting for another."""
    pairs = zip(WORDS[::2], WORDS[1::2], strict=True)
    words = [word for pair in pairs if pair[1] != "epochs=2" for word in pair]
    launch(2, "train", colours / "colours", *words, "--minutes", "0.2", "--out", "run")
    record = json.loads((tmp_path / "run" / "recipe.json").read_text())
    (stage,) = record["stages"]
    assert stage["minutes"] == 0.2 and stage["epochs"] == record["recipe"]["epochs"] >= 1
    assert len(read_csv(tmp_path / "run" / "metrics.csv")) == stage["epochs"]
    assert not (tmp_path / "run" / "measuring").exists()


STEPS = """
import sys, torch
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel
import resight
from resight.core.distributed import world, leave
from resight.training.synced_norm import synchronize
own, synced = world(), sys.argv[2] == "synced"
torch.manual_seed(0)
model = resight.create_model("resnet20", 3).double().train()
model = synchronize(model) if synced else model
network = DistributedDataParallel(model, broadcast_buffers=False) if own.processes > 1 else model
optimizer = torch.optim.SGD(model.parameters(), 0.1, 0.9)
for step in range(6):
    images, labels = torch.randn(8, 3, 16, 16, dtype=torch.float64), torch.randint(3, (8,))
    share = 8 // own.processes
    part = slice(own.rank * share, own.rank * share + share)
    optimizer.zero_grad()
    F.cross_entropy(network(images[part]), labels[part]).backward()
    optimizer.step()
if own.is_main:
    torch.save(model.state_dict(), sys.argv[1])
leave()
"""


@pytest.mark.slow
def test_batch_normalization_over_processes_trains_as_in_one(tmp_path):
    """In float64, where rounding cannot hide or make a difference."""

    def weights(processes, kind):
        done = copies.together(processes, "weights.pt", kind, program=STEPS, cwd=tmp_path, timeout=200)
        assert done.returncode == 0, done.stderr
        return torch.load(tmp_path / "weights.pt", weights_only=True)

    one, apart = weights(1, "synced"), weights(2, "apart")

    def worst(a, b):
        return max((a[k].double() - b[k].double()).abs().max().item() for k in a)

    for processes in (2, 4):
        assert worst(one, weights(processes, "synced")) < 1e-8
    assert worst(one, apart) > 1e-3


def test_processes_share_every_step_whatever_their_number():
    whole = list(Order(103, 8, seed=3).batches(5))
    assert len(whole) == 12 and np.array_equal(np.concatenate(whole), seeds.permutation(3, 5, 103)[:96])
    for processes in (1, 2, 4, 8):
        shares = [list(Order(103, 8, 3, rank=r, processes=processes).batches(5)) for r in range(processes)]
        for step, batch in enumerate(whole):
            assert np.array_equal(np.concatenate([share[step] for share in shares]), batch)


@pytest.mark.slow
def test_a_process_killed_mid_run_costs_nothing(colours, tmp_path):
    launch(2, "train", colours / "colours", *WORDS, "--epochs", "40", "--out", "whole")
    process = subprocess.Popen(
        torchrun(2, "train", colours / "colours", *WORDS, "--epochs", "40", "--out", "run", restarts=3),
        env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for epoch in (3, 12):
        deadline = time.monotonic() + 200
        metrics = tmp_path / "run" / "metrics.csv"
        while not (metrics.exists() and len(read_csv(metrics)) >= epoch) and time.monotonic() < deadline:
            assert process.poll() is None
            time.sleep(0.02)
        os.kill(max(workers_of(process.pid)), signal.SIGKILL)
    assert process.wait(300) == 0
    assert not any(differences(tmp_path / "whole", tmp_path / "run").values())
    assert (tmp_path / "run" / "report.html").exists()


def workers_of(launcher):
    """The processes that a launcher started."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    return [int(child) for child in children]


@pytest.mark.slow
def test_testing_predicting_and_explaining_shard_exactly(colours, tmp_path):
    run, pictures = colours / "one", colours / "colours" / "red"
    (colours / "colours" / "broken.png").write_bytes(b"nothing")
    single, double = (
        json.loads(answer.stdout)
        for answer in (resight("test", run, "--json", check=0), launch(2, "test", run, "--json"))
    )
    assert single["n"] == double["n"] and single["confusion"] == double["confusion"]
    assert single["ece"] == pytest.approx(double["ece"], abs=1e-6)
    words = ("predict", run, pictures, colours / "colours" / "broken.png", "--json")
    single, double = (json.loads(answer.stdout) for answer in (resight(*words, check=0), launch(2, *words)))
    assert [row["path"] for row in single] == [row["path"] for row in double]
    assert single[-1]["error"] == double[-1]["error"]
    for row, other in zip(single[:-1], double[:-1], strict=True):
        assert row["label"] == other["label"]
        assert row["probability"] == pytest.approx(other["probability"], abs=1e-5)
    rows = json.loads(launch(2, "explain", run, pictures, "--out", "maps", "--json").stdout)
    alone = json.loads(resight("explain", run, pictures, "--out", "alone", "--json", check=0).stdout)
    assert [row["path"] for row in rows] == [row["path"] for row in alone]
    for row, other in zip(rows, alone, strict=True):
        np.testing.assert_allclose(np.load(row["map"]), np.load(other["map"]), atol=1e-4)


@pytest.mark.slow
def test_words_that_are_off_are_said_once(colours):
    done = subprocess.run(
        torchrun(2, "train", colours / "colours", "--set", "epoch=3"),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    lines = [line for line in done.stderr.splitlines() if line.startswith(("resight: ", "resight ("))]
    assert done.returncode and len(lines) == 1 and "unknown setting 'epoch'" in lines[0]
    assert not Path("runs").exists()


@pytest.mark.slow
def test_a_step_that_cannot_be_shared_and_commands_for_one_process_are_refused(colours):
    done = subprocess.run(
        torchrun(2, "train", colours / "colours", *WORDS, "--set", "batch_size=7"),
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert "batch_size=7 cannot be shared by 2 processes" in done.stderr
    done = subprocess.run(
        torchrun(2, "check", colours / "colours"), capture_output=True, text=True, timeout=300
    )  # fmt: skip
    assert "runs in one process" in done.stderr


NORM = """
import sys, torch
from torch import nn
from resight.core.distributed import world, leave
from resight.training.synced_norm import synchronize
own = world()
part = slice(0, 2) if own.rank == 0 else slice(2, 6)  # unequal shares
found = {}
for dtype in (torch.float32, torch.bfloat16):
    images, wanted, layer = torch.load("whole.pt", weights_only=False)
    x = images[part].to(dtype).requires_grad_()
    y = synchronize(layer.float())(x)
    y.backward(wanted[part].to(dtype))
    names = ("output", "input", "weight", "bias", "mean", "var")
    values = (y, x.grad, layer.weight.grad, layer.bias.grad, layer.running_mean, layer.running_var)
    found[str(dtype)] = dict(zip(names, (v.detach() for v in values)))
torch.save(found, f"got-{own.rank}.pt")
leave()
"""


@pytest.fixture(scope="module")
def normalized(tmp_path_factory):
    """What one layer gives in float64 for maps that bf16 holds exactly, and what two processes give."""
    place = tmp_path_factory.mktemp("norm")
    torch.manual_seed(0)
    images = (torch.randn(6, 5, 4, 3) * 3 + 40).bfloat16().double()
    images[:, 4] = 7.0  # a channel without variance
    layer, wanted = nn.BatchNorm2d(5).double(), torch.randn(6, 5, 4, 3).bfloat16().double()
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    torch.save((images, wanted, layer), place / "whole.pt")
    done = copies.together(2, program=NORM, cwd=place, timeout=200)
    assert done.returncode == 0, done.stderr
    x = images.clone().requires_grad_()
    y = layer(x)
    y.backward(wanted)
    expected = {
        "output": y.detach(), "input": x.grad, "weight": layer.weight.grad, "bias": layer.bias.grad,
        "mean": layer.running_mean, "var": layer.running_var,
    }  # fmt: skip
    return expected, [torch.load(place / f"got-{rank}.pt", weights_only=True) for rank in (0, 1)]


@pytest.mark.parametrize(
    ("dtype", "rounding"), [(torch.float32, 1e-4), (torch.bfloat16, 2**-8)], ids=["float32", "bf16"]
)
def test_synchronized_normalization_is_that_of_the_whole_batch(normalized, dtype, rounding):
    """Maps and their gradients are rounded to their precision once; statistics and weights are float32's."""
    expected, found = normalized
    first, second = (answers[str(dtype)] for answers in found)
    close = {"rtol": 1e-4, "atol": 1e-4, "check_dtype": False}
    for name in ("output", "input"):
        joined = torch.cat([first[name], second[name]])
        assert joined.dtype == dtype
        torch.testing.assert_close(joined, expected[name], rtol=rounding, atol=1e-4, check_dtype=False)
    for name in ("weight", "bias"):
        assert first[name].dtype == torch.float32
        torch.testing.assert_close(first[name] + second[name], expected[name], **close)
    for answers in (first, second):
        torch.testing.assert_close(answers["mean"], expected["mean"], **close)
        torch.testing.assert_close(answers["var"], expected["var"], **close)


SHARDED = (*WORDS, "--set", "ema=0.9", "--set", "shard=true")


def test_sharded_weights_learn_what_whole_ones_do(colours, tmp_path):
    """Parameters, momenta and averages lie cut up in two processes; what is judged and saved is whole."""
    done = copies.together(2, "train", colours / "colours", *SHARDED, "--out", "sharded")
    assert done.returncode == 0, done.stderr[-3000:]
    resight("train", colours / "colours", *WORDS, "--set", "ema=0.9", "--out", "whole", check=0)
    worst = differences(tmp_path / "whole", tmp_path / "sharded")
    assert max(worst.values()) < 1e-5, sorted(worst.items(), key=lambda kv: -kv[1])[:3]
    errors = [[r["val_error"] for r in read_csv(tmp_path / n / "metrics.csv")] for n in ("whole", "sharded")]
    assert errors[0] == errors[1]


@pytest.mark.slow
def test_a_sharded_run_goes_on_in_as_many_processes_as_there_are(colours, tmp_path):
    """What is saved is whole, so one process takes up what two left, and the other way round."""
    words = ("train", colours / "colours", *SHARDED[:-1], "shard=true", "--out", "run")
    process = subprocess.Popen(
        torchrun(2, *words, "--epochs", "30"), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    while not (tmp_path / "run" / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=100)
    assert (tmp_path / "run" / "last" / "state.safetensors").exists()
    assert len(read_csv(tmp_path / "run" / "metrics.csv")) < 30
    alone = [word if word != "shard=true" else "shard=false" for word in words]
    resight(*alone, "--epochs", "30", "--resume", check=0)
    launch(2, *words[:-1], "straight", "--epochs", "30")
    worst = differences(tmp_path / "run", tmp_path / "straight")
    assert max(worst.values()) < 1e-4, sorted(worst.items(), key=lambda kv: -kv[1])[:3]


@pytest.mark.parametrize(
    ("words", "fault"),
    [
        ((), "needs several processes"),
        (("--set", "compile=on"), "cannot be combined with compile=on"),
    ],
)
def test_sharding_alone_or_compiled_is_refused(colours, words, fault):
    done = resight("train", colours / "colours", *WORDS, "--set", "shard=true", *words, check=2)
    assert fault in done.stderr and len(done.stderr.strip().splitlines()) == 1


@pytest.mark.slow
@pytest.mark.parametrize("words", [("head_first=0.5",), ("model=maxout",)])
def test_sharding_what_needs_whole_weights_is_refused(colours, words):
    done = subprocess.run(
        torchrun(2, "train", colours / "colours", *SHARDED, "--set", *words), capture_output=True, text=True
    )
    assert done.returncode and "resight: shard=true: " in done.stderr


@pytest.mark.slow
def test_sharded_with_batch_normalization_as_ddp_does(colours, tmp_path):
    """The same two processes, whose sums are in the same order; four epochs of synchronized statistics."""
    words = [w if w != "model=lenet5_modern" else "model=resnet20" for w in WORDS]
    words = [w if w != "lr=0.02" else "lr=0.002" for w in words]
    launch(2, "train", colours / "colours", *words, "--out", "ddp")
    launch(2, "train", colours / "colours", *words, "--set", "shard=true", "--out", "sharded")
    worst = differences(tmp_path / "ddp", tmp_path / "sharded")
    assert max(worst.values()) < 1e-2, sorted(worst.items(), key=lambda kv: -kv[1])[:3]
