"""A classic pipeline is fitted, tested, used and reported as a network is."""

import json
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from as_json import look
from resight.core.errors import UsageError
from resight.data.open import open_dataset
from resight.service.run.run import open_run
from resight.service.train.train import train
from support import make_folder, one_line, resight

SMALL = ("--set", "words=12", "--set", "descriptors=3000", "--set", "c=1,10", "--set", "folds=2")


def stripes(root, count=20, size=40):
    """A folder of grey stripes that lie or stand."""
    rng = np.random.default_rng(0)
    for name in ("lying", "standing"):
        (root / name).mkdir(parents=True)
        for i in range(count):
            wave = np.sin(np.arange(size) * 0.8 + rng.uniform(0, 6))
            picture = 128 + 60 * np.tile(wave[:, None], (1, size)) + rng.normal(0, 8, (size, size))
            pixels = (picture if name == "lying" else picture.T).clip(0, 255).astype(np.uint8)
            Image.fromarray(pixels).convert("RGB").save(root / name / f"{i}.png")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Stripes, and a finished run on them, made once."""
    place = tmp_path_factory.mktemp("classic")
    stripes(place / "stripes")
    resight("train", "stripes", "--model", "bovw", *SMALL, "--out", "run", check=0, cwd=place)
    return place


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("bovw", ("kernel=linear",)),
        ("fisher", ("words=4", "pca=8", "patch=8", "step=4", "scales=1")),
        pytest.param("vlad", ("words=12", "pca=16", "patch=8", "step=4", "scales=2"), marks=pytest.mark.slow),
        pytest.param("hog-svm", (), marks=pytest.mark.slow),
    ],
)
def test_from_pictures_to_a_report(place, model, words, tmp_path):
    sets = [w for word in words for w in ("--set", word)]
    small = SMALL if model != "hog-svm" else ()
    done = resight(
        "train", place / "stripes", "--model", model, *small, *sets, "--out", "run", "--json", check=0
    )
    answer = json.loads(done.stdout)
    held = open_dataset(place / "stripes").split("test")
    assert answer["top1_error"] == 0 and answer["n"] == len(held)
    for name in ("model.safetensors", "recipe.json", "metrics.csv", "report.html", "tensorboard"):
        assert (tmp_path / "run" / name).exists()
    (tmp_path / "run").rename(tmp_path / "moved")
    tested = json.loads(resight("test", "moved", "--json", check=0).stdout)
    assert (tested["top1_error"], tested["ece"]) == (answer["top1_error"], answer["ece"])
    named = json.loads(resight("predict", "moved", place / "stripes" / "lying", "--json", check=0).stdout)
    assert sum(row["label"] == "lying" for row in named) >= 19 and len(named) == 20
    assert all(0.5 < row["probability"] <= 1 for row in named)


def test_the_run_says_what_was_found(place):
    record = json.loads((place / "run" / "recipe.json").read_text())
    found = record["fit"]
    assert record["recipe"]["model"] == "bovw" and found["C"] in (1, 10) and found["support_vectors"] > 0
    assert found["vector_length"] == 12 * 21 and set(found["cross_validation_errors"]) == {"1", "10"}
    run = open_run(str(place / "run"))
    assert run.model.options["support"] == found["support_vectors"] == len(run.model.kernel.vectors)
    assert run.facts["fit"] == found
    header, row = (place / "run" / "metrics.csv").read_text().split()
    assert header.startswith("epoch,step") and row.startswith("1,1,,")
    page = (place / "run" / "report.html").read_text()
    assert "bovw" in page and "data:image" in page


@pytest.mark.slow
def test_the_command_in_the_record_makes_the_same_run(place, tmp_path):
    import shlex

    record = json.loads((place / "run" / "recipe.json").read_text())
    words = shlex.split(record["command"])
    assert words[:3] == ["resight", "train", "stripes"]
    resight("train", place / "stripes", *words[3:], "--out", tmp_path / "again", check=0)
    first, second = (open_run(str(run)).model.state_dict() for run in (place / "run", tmp_path / "again"))
    assert set(first) == set(second)
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


def test_a_look_shows_words_and_leaves_the_loss_out(place, tmp_path):
    answer = look(str(place / "run"), str(tmp_path / "look"), only=("patches", "surface"))
    assert [line.partition(":")[0] for line in answer["left_out"]] == ["surface"]
    assert {facts["layer"] for facts in answer["patches"]} >= {"words"}


def test_maps_of_methods_with_and_without_gradients(place, tmp_path):
    picture = place / "stripes" / "lying" / "0.png"
    done = resight(
        "explain", place / "run", picture, "--method", "grad_cam,occlusion", "--out", tmp_path / "maps",
        "--json", check=0,
    )  # fmt: skip
    rows = json.loads(done.stdout)
    assert [row["method"] for row in rows] == ["grad_cam", "occlusion"]
    assert rows[0]["layer"] == "words"
    assert all(np.load(row["map"]).max() > 0 for row in rows)
    done = resight("explain", place / "run", picture, "--method", "gradient", "--out", tmp_path / "maps")
    assert "no gradient" in one_line(done, 2)


@pytest.mark.slow
def test_resuming_a_finished_fit_tests_it_again_and_another_recipe_is_refused(place, tmp_path):
    import shutil

    shutil.copytree(place / "run", tmp_path / "run")
    words = ("train", place / "stripes", "--model", "bovw", *SMALL, "--out", "run", "--resume")
    kept = {n: (tmp_path / "run" / n).read_bytes() for n in ("metrics.csv", "recipe.json")}
    done = resight(*words, check=0)
    assert "codebook" not in done.stderr and "report" in done.stderr
    assert all((tmp_path / "run" / name).read_bytes() == content for name, content in kept.items())
    line = one_line(resight(*words, "--set", "words=13"), 1)
    assert "other settings: options" in line and "words=12" in line and "words=13" in line
    assert "codebook" not in resight("train", "--resume", "run", check=0).stderr
    (tmp_path / "run" / "model.safetensors").unlink()
    assert "starts again" in resight(*words, check=0).stderr


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"changes": ["lr=0.1"]}, "lr=0.1: is for networks; bovw has the settings model, image_size"),
        ({"epochs": 3}, "epochs=3: is for networks"),
        ({"changes": ["augment=flip"]}, "augment=flip: is for networks"),
        ({"changes": ["sharpen=1"]}, "sharpen=1: is for networks"),
        ({"changes": ["colour=red"]}, "colour=red: is unknown"),
        ({"changes": ["support=4"]}, "support=4: is unknown"),
        ({"changes": ["options=frozen_norm=true"]}, "does not take frozen_norm"),
        ({"changes": ["words=many"]}, "words='many': needs a whole number"),
        ({"changes": ["words=1"]}, "words=1 must be 2 or more"),
        ({"recipe": "fine-tune"}, "--recipe fine-tune is for networks"),
    ],
)
def test_settings_that_mean_nothing_here_are_refused(place, words, message, tmp_path):
    with pytest.raises(UsageError) as caught:
        train(str(place / "stripes"), model="bovw", out=str(tmp_path / "run"), **words)
    assert message in str(caught.value) and not (tmp_path / "run").exists()


def test_its_weights_start_no_training_of_a_network(place):
    done = resight("train", place / "stripes", "--set", f"weights={place / 'run'}", "--out", "next")
    assert "are for bovw, which is fitted from scratch" in one_line(done, 2)


def test_broken_pictures_are_left_out_and_named(place, tmp_path):
    make = stripes(tmp_path / "stripes")
    (make / "lying" / "broken.png").write_bytes((make / "lying" / "0.png").read_bytes()[:60])
    done = resight("train", "stripes", "--model", "hog-svm", "--out", "run", "--json", check=0)
    answer = json.loads(done.stdout)
    assert [fault["path"].endswith("broken.png") for fault in answer["skipped"]] == [True]
    assert resight("train", "stripes", "--model", "hog-svm", "--out", "other", "--strict").returncode == 1


@pytest.mark.slow
def test_an_interrupted_fit_leaves_nothing_broken(tmp_path):
    make_folder(tmp_path / "colours", count=60)
    words = [sys.executable, "-m", "resight", "train", "colours", "--model", "fisher", "--out", "run"]
    words += ["--set", "image_size=200"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    assert process.stderr
    for line in process.stderr:
        if "run folder" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    said = process.communicate(timeout=120)[1]
    assert process.returncode == 130 and "--resume" in said and "Traceback" not in said
    assert not (tmp_path / "run" / "model.safetensors").exists()


@pytest.mark.slow
def test_digits(tmp_path):
    answer = json.loads(resight("train", "digits", "--model", "hog-svm", "--json", check=0).stdout)
    assert answer["top1_error"] < 3


@pytest.mark.slow
def test_fisher_vectors_find_more_than_words_on_photos(unzipped):
    words = ("--set", "image_size=128", "--set", "c=10", "--set", "mirror=false", "--json")
    errors = {
        model: json.loads(resight("train", unzipped("grocery"), "--model", model, *words, check=0).stdout)
        for model in ("bovw", "fisher")
    }
    assert errors["fisher"]["top1_error"] < errors["bovw"]["top1_error"] - 5 < 85
