"""Killed at any moment and resumed: the same weights, bit for bit, as a run never killed."""

import random
import signal
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import copies
from resight.training.journal import read_csv
from support import make_folder, one_line, resight

pytestmark = pytest.mark.usefixtures("on_the_cpu")

BASE = ("--set", "batch_size=8", "--set", "epochs=6", "--set", "image_size=16")
WORDS = (*BASE, "--set", "model=resnet20", "--set", "augment=resized-crop,flip,pca-colour")
KINDS = {
    "whole pictures in memory": WORDS,
    "decoded in workers": (*WORDS, "--set", "memory_gib=0"),
    "squares on the device": (*BASE, "--set", "model=speednet8"),
}


def tensors(path):
    with safe_open(path, "pt") as file:
        return {k: file.get_tensor(k) for k in file.keys()}  # noqa: SIM118


def assert_equal_runs(a, b):
    for name in ("model.safetensors", "last/state.safetensors"):
        left, right = tensors(a / name), tensors(b / name)
        assert left.keys() == right.keys() and len(left) > 30
        differing = [k for k in left if not torch.equal(left[k], right[k])]
        assert not differing, f"{name}: {len(differing)} tensors differ, first {differing[:3]}"
    drop = ("seconds", "images_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in drop} for row in read_csv(r / "metrics.csv")]
        for r in (a, b)
    ]
    assert rows[0] == rows[1] and len(rows[0]) == 6


def start(*words):
    return copies.start("train", *words)


def wait_for(run, epoch, process):
    """Wait until an epoch is on record."""
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        file = Path(run) / "metrics.csv"
        if file.exists() and len(read_csv(file)) >= epoch:
            return
        time.sleep(0.01)
    assert process.poll() is None, process.err.read_text()


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    place = tmp_path_factory.mktemp("resume")
    make_folder(place / "colours", count=40)
    resight("train", place / "colours", *WORDS, "--out", place / "whole", check=0)
    return place


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_sigkill_at_five_random_moments_changes_nothing(uninterrupted, tmp_path, kind):
    data, run = uninterrupted / "colours", tmp_path / "run"
    resight("train", data, *KINDS[kind], "--out", tmp_path / "whole", check=0)
    dice = random.Random(kind)
    resume, kills = (), 0
    for moment in range(5):
        # Another number of workers each time: it may not matter.
        words = (data, *KINDS[kind], "--set", f"workers={moment % 3}", "--out", run, *resume)
        process = start(*words)
        if moment < 4:
            wait_for(run, moment + 1, process)
        time.sleep(dice.random() * 0.7)
        process.kill()
        kills += process.wait() == -signal.SIGKILL
        resume = ("--resume",)
    resight("train", data, *KINDS[kind], "--out", run, "--resume", check=0)
    assert kills >= 4
    assert_equal_runs(tmp_path / "whole", run)


def test_an_interrupt_saves_inside_the_epoch_and_resumes(uninterrupted, tmp_path):
    data, run = uninterrupted / "colours", tmp_path / "run"
    process = start(data, *WORDS, "--out", run)
    wait_for(run, 2, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    assert f"resume with: resight train --resume {run}" in process.err.read_text()
    resight("train", "--resume", run, check=0)
    assert_equal_runs(uninterrupted / "whole", run)


def test_two_runs_of_one_seed_are_equal_and_of_two_seeds_are_not(uninterrupted, tmp_path):
    data = uninterrupted / "colours"
    resight("train", data, *WORDS, "--out", tmp_path / "same", check=0)
    assert_equal_runs(uninterrupted / "whole", tmp_path / "same")
    resight("train", data, *WORDS, "--seed", "1", "--out", tmp_path / "other", check=0)
    with pytest.raises(AssertionError):
        assert_equal_runs(uninterrupted / "whole", tmp_path / "other")


def test_resuming_with_other_words_or_other_data_is_refused(uninterrupted, tmp_path):
    import shutil

    run = tmp_path / "run"
    shutil.copytree(uninterrupted / "whole", run)
    data = uninterrupted / "colours"
    line = one_line(resight("train", data, *WORDS, "--set", "lr=0.9", "--out", run, "--resume"), 1)
    assert "other settings: lr 0.075 -> 0.9" in line
    changed = make_folder(tmp_path / "changed", count=40, start=7)
    assert "other data" in one_line(resight("train", changed, *WORDS, "--out", run, "--resume"), 1)


def test_a_full_disk_costs_no_more_than_the_epoch(tmp_path):
    """The checkpoint does not fit under the limit of file size; the old one stays whole."""
    import resource

    make_folder(tmp_path / "d", count=20)
    words = ("train", "d", *WORDS, "--out", "run")
    process = start(*words[1:])
    wait_for("run", 2, process)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    before = Path("run/last/state.safetensors").read_bytes()

    def limit():
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))

    done = resight(*words, "--resume", preexec_fn=limit)
    assert "no space left" in one_line(done, 1)
    assert Path("run/last/state.safetensors").read_bytes() == before
    assert not list(Path("run").rglob("*.tmp"))
    resight(*words, "--resume", check=0)


def test_an_unfinished_run_is_no_model_but_says_how_to_resume(tmp_path):
    Path("run").mkdir()
    Path("run/recipe.json").write_text("{}")
    assert "resume it with: resight train --resume run" in one_line(resight("predict", "run", "x.png"), 1)
