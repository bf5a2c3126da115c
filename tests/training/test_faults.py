"""A fault is put into a training, in a process of its own: it ends with one clear line, and loses nothing."""

import os
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

import copies
from resight.core.files import digest
from resight.training.journal import read_csv
from support import make_folder, one_line, resight

pytestmark = pytest.mark.usefixtures("on_the_cpu")

WORDS = (
    "--set", "model=speednet8", "--set", "image_size=16", "--set", "batch_size=8", "--set", "epochs=3",
    "--set", "augment=resized-crop,flip", "--set", "memory_gib=0", "--set", "workers=2",
)  # fmt: skip
"""Two workers decode the pictures."""

COUNT = """
import os, signal, time
calls = {}
def count(name):
    calls[name] = calls.get(name, 0) + 1
    return calls[name]
def die():
    os.kill(os.getpid(), signal.SIGKILL)
"""

RUN = """
import sys
from resight.cli.main import run
sys.argv = ['resight', 'train', *sys.argv[1:]]
run()
"""


def faulty(fault, *words, code=None):
    """Run `resight train` with a fault in it."""
    done = copies.run(*words, program=COUNT + fault + RUN)
    if code is not None:
        assert done.returncode == code, f"{done.returncode}\n{done.stderr[-3000:]}"
    return done


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A training without a fault: 36 pictures of 3 classes, 3 steps an epoch."""
    place = tmp_path_factory.mktemp("faults")
    make_folder(place / "colours", count=16)
    resight("train", place / "colours", *WORDS, "--out", place / "whole", check=0)
    return place


def assert_same(a, b):
    for name in ("last/state.safetensors", "model.safetensors"):
        left, right = load_file(Path(a) / name), load_file(Path(b) / name)
        assert left.keys() == right.keys() and len(left) > 20
        assert not [key for key in left if not torch.equal(left[key], right[key])]


READING = """
from resight.data.samples import Samples
square = Samples._square
def broken(self, epoch, index):
    if epoch == 1 and count('read') == 7:
        {harm}
    return square(self, epoch, index)
Samples._square = broken
"""
KILLED = {
    "in a step": """
from torch.optim import SGD
step = SGD.step
def broken(*a, **k):
    count('step') == 5 and die()
    return step(*a, **k)
SGD.step = broken
""",
    "after the backward pass of a step": """
import torch
backward = torch.Tensor.backward
def broken(*a, **k):
    backward(*a, **k)
    count('backward') == 4 and die()
torch.Tensor.backward = broken
""",
    "while a checkpoint is written": """
import resight.core.files as files
fsync = os.fsync
def broken(descriptor):
    count('fsync') == 6 and die()
    fsync(descriptor)
files.os.fsync = broken
""",
    "between the model file and the checkpoint": """
import resight.service.train.job as job
save = job.save_state
def broken(*a):
    count('save') == 2 and die()
    save(*a)
job.save_state = broken
""",
    "while a picture is read": READING.format(harm="die()"),
}


@pytest.mark.parametrize(
    "moment",
    [m if "checkpoint is" in m else pytest.param(m, marks=pytest.mark.slow) for m in KILLED],
)
def test_killed_and_resumed_is_never_killed(whole, moment):
    words = (whole / "colours", *WORDS, "--out", "run")
    faulty(KILLED[moment], *words, code=-signal.SIGKILL)
    state = Path("run/last/state.safetensors")
    assert not state.exists() or load_file(state)  # whole, or not there
    resight("train", *words, "--resume", check=0)
    assert_same(whole / "whole", "run")


def test_sigterm_ends_with_a_saved_checkpoint_within_the_grace_of_a_cluster(whole):
    process = copies.start("train", whole / "colours", *WORDS, "--epochs", "60", "--out", "run")
    while not Path("run/metrics.csv").exists() or len(read_csv(Path("run/metrics.csv"))) < 2:
        assert process.poll() is None
        time.sleep(0.02)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert "resume with" in process.err.read_text()
    assert load_file("run/last/state.safetensors")


def test_a_worker_that_dies_is_said_and_costs_nothing(whole):
    fault = READING.format(harm="os._exit(1)")
    words = (whole / "colours", *WORDS, "--out", "run")
    assert "a data worker died" in one_line(faulty(fault, *words, "--set", "readers=processes"), 1)
    resight("train", *words, "--resume", check=0)
    assert_same(whole / "whole", "run")


@pytest.mark.parametrize("readers", ["threads", pytest.param("processes", marks=pytest.mark.slow)])
def test_a_worker_that_hangs_is_said_and_costs_nothing(whole, readers):
    fault = READING.format(harm="time.sleep(1000)")
    words = (whole / "colours", *WORDS, "--out", "run")
    done = faulty(fault, *words, "--set", "timeout=4", "--set", f"readers={readers}")
    assert "a data worker returned nothing for 4 seconds" in one_line(done, 1)
    resight("train", *words, "--resume", check=0)
    assert_same(whole / "whole", "run")


def test_a_batch_of_nan_stops_before_anything_is_saved_from_it(whole):
    fault = """
import resight.data.prepare as prepare
call = prepare.Normalize.__call__
def broken(self, pixels):
    images = call(self, pixels)
    return images * float('nan') if count('batch') == 8 else images
prepare.Normalize.__call__ = broken
"""
    words = (whole / "colours", *WORDS, "--out", "run")
    assert "the loss became nan" in one_line(faulty(fault, *words), 1)
    assert all(t.isfinite().all() for t in load_file("run/last/state.safetensors").values())
    resight("train", *words, "--resume", check=0)
    assert_same(whole / "whole", "run")


@pytest.mark.slow
def test_a_read_error_in_the_middle_of_an_epoch_leaves_one_picture_out(whole):
    fault = """
from pathlib import Path
read = Path.read_bytes
def broken(path):
    if path.name == '003.png' and path.parent.name == 'red' and count('red') > 2:
        raise OSError(5, 'Input/output error')
    return read(path)
Path.read_bytes = broken
"""
    done = faulty(fault, whole / "colours", *WORDS, "--set", "workers=0", "--out", "run", "--json", code=0)
    import json

    skipped = json.loads(done.stdout)["skipped"]
    assert skipped and all(row["path"].endswith("red/003.png") for row in skipped)
    assert "Input/output error" in skipped[0]["fault"]


def test_a_second_run_into_the_same_folder_is_refused(whole):
    words = ("train", whole / "colours", *WORDS, "--out", "run")
    process = copies.start(*words, "--epochs", "200")
    try:
        while not Path("run/recipe.json").exists():
            assert process.poll() is None
            time.sleep(0.02)
        assert "another process is writing to it" in one_line(resight(*words, "--resume"), 1)
    finally:
        process.kill()
        process.wait()
    line = one_line(resight(*words, "--resume"), 2)  # the lock went with its holder
    assert "is at epoch" in line and "of 200" in line


@pytest.mark.slow
def test_a_clock_that_goes_backwards_changes_nothing(whole):
    fault = """
now = 2e9
def backwards():
    return now - 3600.0 * count('clock')
time.time = backwards
"""
    faulty(fault, whole / "colours", *WORDS, "--out", "run", code=0)
    assert_same(whole / "whole", "run")


MEMORY = """
import resight.tasks.classify.objective as objective, torch
forward = objective.Objective.forward
def broken(self, images, *rest):
    if len(images) > {most}:
        torch.empty(2**52)  # torch's own error
    return forward(self, images, *rest)
objective.Objective.forward = broken
"""
PLAIN = (
    "--set", "model=lenet5_modern", "--set", "image_size=32", "--set", "lr=0.01", "--set", "precision=fp32",
)  # fmt: skip
"""A network without batch normalization, whose statistics would be of a part. In float32: parts are added
up in another order, which bf16 would round to larger differences than those that a wrong sum makes."""


def test_out_of_memory_halves_the_batch_and_learns_the_same(whole):
    words = (whole / "colours", *WORDS, *PLAIN)
    resight("train", *words, "--out", "enough", check=0)
    done = faulty(MEMORY.format(most=3), *words, "--out", "little", code=0)
    assert "in 4 parts of 2 pictures" in done.stderr
    enough, little = (load_file(f"{run}/last/state.safetensors") for run in ("enough", "little"))
    assert enough.keys() == little.keys() and len(enough) > 8
    for key in enough:
        torch.testing.assert_close(little[key], enough[key], rtol=1e-3, atol=1e-5)
    rows = [read_csv(Path(run) / "metrics.csv")[-1] for run in ("enough", "little")]
    assert rows[0]["train_loss"] == pytest.approx(rows[1]["train_loss"], rel=1e-4)


@pytest.mark.slow
def test_out_of_memory_with_nothing_left_to_halve_is_said(whole):
    done = faulty(MEMORY.format(most=1), whole / "colours", *WORDS, *PLAIN, "--out", "run")
    lines = [line for line in done.stderr.splitlines() if line.startswith("resight: ")]
    assert done.returncode == 1 and len(lines) == 1 and "out of memory" in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.slow
def test_parts_add_up_to_the_batch(whole):
    words = (whole / "colours", *WORDS, *PLAIN)
    resight("train", *words, "--out", "one", check=0)
    resight("train", *words, "--set", "parts=3", "--out", "three", check=0)
    one, three = (load_file(f"{run}/last/state.safetensors") for run in ("one", "three"))
    for key in one:
        torch.testing.assert_close(three[key], one[key], rtol=1e-3, atol=1e-5)


@pytest.fixture(autouse=True)
def one_thread(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    assert os.environ["OMP_NUM_THREADS"] == "1"


@pytest.fixture(scope="module")
def packed(whole):
    """The pictures as shards, and a training on them without a fault."""
    resight("pack", whole / "colours", "--shards", "3", "--out", whole / "shards", check=0)
    resight("train", whole / "shards", *WORDS, "--out", whole / "from-shards", check=0)
    return whole


def test_shards_are_learned_as_pictures_listed_in_their_order(packed):
    """Shards hold the pictures in the order of their digests; a table of files lists them so."""
    files = sorted((packed / "colours").glob("*/*.png"), key=lambda file: digest(file.read_bytes()))
    rows = "".join(f"{file},{file.parent.name}\n" for file in files)
    (packed / "listed.csv").write_text("path,label\n" + rows)
    resight("train", packed / "listed.csv", *WORDS, "--out", packed / "from-table", check=0)
    assert_same(packed / "from-table", packed / "from-shards")


@pytest.mark.slow
def test_killed_while_a_shard_is_read(packed):
    fault = """
from resight.data.samples import Samples
from resight.data.shards.members import TarPictures
pread, square, epochs = TarPictures._pread, Samples._square, []
def told(self, epoch, index):
    epochs.append(epoch)
    return square(self, epoch, index)
def broken(self, *a):
    1 in epochs and count('read') == 6 and die()
    return pread(self, *a)
Samples._square, TarPictures._pread = told, broken
"""
    words = (packed / "shards", *WORDS, "--out", "run")
    faulty(fault, *words, code=-signal.SIGKILL)
    resight("train", *words, "--resume", check=0)
    assert_same(packed / "from-shards", "run")


CUT = """
from resight.data.samples import Samples
square = Samples._square
def broken(self, epoch, index):
    if epoch == 1 and count('read') == 5:
        for shard in Path('shards').glob('train-*.tar'):
            {harm}
    return square(self, epoch, index)
from pathlib import Path
Samples._square = broken
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "harm",
    ["os.truncate(shard, 1000)", "shard.write_bytes(shard.read_bytes()[::-1])"],
    ids=["truncated", "changed"],
)
def test_a_shard_that_is_harmed_mid_run_is_named_and_resuming_on_it_refused(packed, harm):
    import shutil

    shutil.copytree(packed / "shards", "shards")
    words = ("shards", *WORDS, "--set", "workers=0", "--out", "run")
    line = one_line(faulty(CUT.format(harm=harm), *words), 1)
    assert "shards/train-" in line and ("changed" in line or "truncated" in line)
    assert "shards/train-" in one_line(resight("train", *words, "--resume"), 1)
    shutil.rmtree("shards")
    shutil.copytree(packed / "shards", "shards")
    resight("train", *words, "--resume", check=0)
    assert_same(packed / "from-shards", "run")


@pytest.mark.slow
def test_other_pictures_in_a_whole_shard_are_refused_by_their_fingerprint(packed, tmp_path):
    import shutil

    shutil.copytree(packed / "from-shards", "run")
    make_folder(tmp_path / "others", count=16, start=900)
    resight("pack", "others", "--shards", "3", "--out", "shards", check=0)
    assert "other data" in one_line(resight("train", "shards", *WORDS, "--out", "run", "--resume"), 1)
