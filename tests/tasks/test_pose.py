"""Poses through the whole job: trained, resumed, tested, predicted, reported."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from as_json import check, explain_paths, gallery, pack, summary
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.data.decode import decode
from resight.data.point_marks import Points
from resight.evaluate.asked import Asked
from resight.metrics import pose
from resight.models.modelfile import load_header, load_tensors
from resight.render.skeleton import SIDES
from resight.service.report.report import report
from resight.service.run.data import data_of, opened_for
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train.train import train
from resight.tasks.pose.task import Pose
from resight.training.journal import read_csv
from resuming import assert_same_weights, by_processes, difference, stopped_after
from support import make_folder

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
NAMES = ("left_shoulder", "right_shoulder", "left_elbow", "right_elbow", "left_hip", "right_hip")
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 0], [255, 0, 255], [0, 255, 255]])
PLACES = np.array([[20, 10], [40, 10], [14, 22], [46, 22], [22, 30], [38, 30]])
WORDS = (
    "model=speednet8_narrow", "image_size=32", "batch_size=8", "lr=0.02", "val_share=0.2", "pose.stages=2",
    "pose.loss=rle",
)  # fmt: skip


def make_people(root, count=30, shift=0):
    """Dark pictures of 60 x 40, each with six dots in their own colours."""
    chance, rows = np.random.default_rng(0), []
    root.mkdir(parents=True)
    for number in range(count):
        pixels = chance.integers(0, 50, (40, 60, 3)).astype(np.uint8)
        places = PLACES + chance.integers(-6, 7, 2) + chance.integers(-2, 3, (6, 2))
        for (x, y), colour in zip(places, COLOURS, strict=True):
            pixels[y - 2 : y + 3, x - 2 : x + 3] = colour
        Image.fromarray(pixels).save(root / f"p{number:03d}.png")
        cells = ",".join(f"{x + shift},{y}" for x, y in places)
        rows.append(f"p{number:03d}.png,{cells},{'test' if number % 5 == 4 else 'train'}")
    header = ",".join(["path", *(f"{name}_{axis}" for name in NAMES for axis in "xy"), "split"])
    (root / "points.csv").write_text("\n".join([header, *rows]) + "\n")
    return root


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a finished run of two epochs."""
    place = tmp_path_factory.mktemp("pose")
    make_people(place / "people")
    answer = train(
        str(place / "people"), task="pose", recipe="fast", epochs=2, changes=WORDS, out=str(place / "run"),
        console=QUIET,
    )  # fmt: skip
    (place / "answer.json").write_text(json.dumps(answer))
    return place


@pytest.fixture
def run(place):
    return str(place / "run")


def test_the_model_file_knows_the_joints(place, run):
    header = load_header(place / "run/model.safetensors")
    about = header["about"]
    assert about["joints"] == list(NAMES) and about["swaps"] == [1, 0, 3, 2, 5, 4]
    assert header["preprocessing"]["frame"] == "stretch"
    assert header["task"] == {"name": "pose", "settings": {"loss": "rle", "stages": 2, "cut": 2.0}}
    opened = open_any(run)
    assert opened.task == Pose("rle", 2) and len(opened.network.refiners) == 1
    record = json.loads((place / "run/recipe.json").read_text())
    assert record["recipe"]["augment"] == ["affine", "flip"] and len(record["recipe"]) == 25
    rows = read_csv(place / "run/metrics.csv")
    assert len(rows) == 2 and rows[0].keys() >= set(Pose.columns)


def test_the_figures_are_those_of_the_predictions(place, run):
    """Predict each test picture, judge by hand."""
    answer, again = json.loads((place / "answer.json").read_text()), score([run])
    assert answer["n"] == 6 and all(answer[k] == again[k] for k in ("pose_error", "pck_0.2", "pcp", "joints"))
    split = data_of(open_any(run), None).dataset.split("test")
    rows = [next(predict(run, split.picture_name(i), exact=True)) for i in range(6)]
    said = np.array([[row["joints"][name] for name in NAMES] for row in rows]) + 0.5
    true, known = split.points.places[split.positions], np.ones((6, 6), bool)
    size = pose.sizes(true, known)
    apart = np.linalg.norm(said - true, axis=-1)
    assert again["pose_error"] == pytest.approx(100 * (apart / size[:, None]).mean(), abs=0.1)
    limbs = [(0, 2), (1, 3)]  # upper arms are all that these people have
    right = [
        max(apart[i, a], apart[i, b]) <= 0.5 * np.linalg.norm(true[i, a] - true[i, b])
        for i in range(6) for a, b in limbs
    ]  # fmt: skip
    assert again["pcp"] == pytest.approx(100 * np.mean(right)) == again["pcp_upper_arm"]
    assert len(again["stages"]) == 2 and again["stages"][1]["pose_error"] == again["pose_error"]
    low, high = again["pose_interval"]
    assert low <= again["pose_error"] <= high
    assert all(0 < c < 1 for c in rows[0]["confidence"].values()) and rows[0]["size"] == [60, 40]
    assert rows[0]["said"].startswith("left_shoulder ")


def test_the_baseline_is_the_mean_pose_of_the_training_pictures(run):
    given = data_of(open_any(run), None)
    learned, tested = given.dataset.train, given.dataset.split("test")
    mean = (learned.points.places[learned.positions] / [60, 40]).mean(0) * [60, 40]
    true = tested.points.places[tested.positions]
    size = (true.max(1) - true.min(1)).max(1)
    expected = 100 * (np.linalg.norm(true - mean, axis=-1).mean(1) / size).mean()
    assert score([run])["baselines"]["mean pose"]["pose_error"] == pytest.approx(expected)


def test_stopped_and_resumed_to_the_same_bits(place):
    words = {"task": "pose", "recipe": "fast", "epochs": 2, "changes": WORDS, "console": QUIET}
    with stopped_after(3):
        train(str(place / "people"), out="cut", **words)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")
    assert any(name.startswith("errors.0.") for name in load_tensors(Path("cut/model.safetensors"))[0])


def test_other_points_are_other_data(place, tmp_path):
    moved = make_people(tmp_path / "moved", shift=1)
    with pytest.raises(ModelFileError, match="was trained on other data"):
        train(str(moved), resume=str(place / "run"), console=QUIET)


def test_the_report_draws_and_compares(run):
    page = report(run).read_text()
    for words in (
        "pose error",
        "The worst answers",
        "mean pose",
        "its stage 1",
        "Joint by joint",
        "left_elbow",
    ):
        assert words in page, words
    assert page.count("data:image/") >= 3


def test_data_without_points_are_refused(tmp_path):
    make_folder(tmp_path / "folder")
    with pytest.raises(DataError, match="holds no key points"):
        train(str(tmp_path / "folder"), task="pose", console=QUIET)
    with pytest.raises(DataError, match="has no key points; --task pose learns from"):
        train("digits", task="pose", console=QUIET)


def test_a_joint_is_explained_by_name(place, run, tmp_path):
    """The score is the first stage's distance of the joint from the middle of the square."""
    picture = str(place / "people/p004.png")
    how = {"methods": ("gradient",), "out": str(tmp_path / "out")}  # Grad-CAM's may be all below 0: cut off
    (one,) = explain_paths(run, [picture], target="joint:left_hip", **how)
    (other,) = explain_paths(run, [picture], target="joint:right_elbow", **how)
    assert one["target"] == "joint:left_hip" and np.load(one["map"]).shape == (32, 32)
    assert not np.array_equal(np.load(one["map"]), np.load(other["map"]))
    opened = open_any(run)
    answer = next(opened.task.answers(asked_about(opened, picture)))[1]
    x, y = answer.stages[0][NAMES.index("left_hip")]
    assert one["score"] == pytest.approx(np.hypot(x / 60 - 0.5, y / 40 - 0.5), abs=1e-3)
    with pytest.raises(UsageError, match="joint:left_hipp: is not a target of --task pose; nearest"):
        explain_paths(run, [picture], target="joint:left_hipp", out=str(tmp_path / "out"))


def asked_about(opened, picture):
    card = opened.preprocessing
    return Asked(
        opened.network, card, torch.float32, lambda _: decode(Path(picture), at_least=card.resize), [0]
    )


def test_other_joints_are_refused(place, run, tmp_path):
    people = make_people(tmp_path / "people")
    table = people / "points.csv"
    table.write_text(table.read_text().replace("_elbow_", "_knee_"))
    with pytest.raises(
        DataError, match="other joints than the network says: left_elbow, right_elbow, left_knee"
    ):
        score([run], data=str(people))


def test_the_summary_counts_every_stage_and_its_head(run):
    """A later stage reads a sub-image of each of the six joints: its cost is six times that of one."""
    rows, network = summary(run), open_any(run).network
    assert rows["task"] == "pose" and rows["input_size"] == 32
    assert rows["parameters"] == sum(p.numel() for p in network.parameters())
    layers = {layer["name"]: layer for layer in rows["layers"] if layer["name"]}
    first, later = layers["head.places"], layers["refiners.0.head.places"]
    inputs = network.head.places.in_features
    assert first["multiply_adds"] == inputs * 6 * 4 and later["multiply_adds"] == 6 * inputs * 6 * 4
    assert later["parameters"] == first["parameters"] == inputs * 24 + 24 and later["output"] == [24]
    assert rows["multiply_adds"] == sum(layer["multiply_adds"] for layer in rows["layers"])
    # Squares of 32 pixels in both stages here: six sub-images, so seven times the first stage.
    assert layers["refiners.0.input"]["output"] == [3, 32, 32]
    assert rows["multiply_adds"] == 7 * sum(
        layer["multiply_adds"] for layer in layers.values() if not layer["name"].startswith("refiners.")
    )


def test_check_takes_the_set_and_augment_draws_joints(place, tmp_path):
    people = str(place / "people")
    assert check(people, task="pose")["n"] == 30
    gallery(people, str(tmp_path / "g.png"), ["augment=flip", "image_size=48"], task="pose")
    drawn = np.asarray(Image.open(tmp_path / "g.png").convert("RGB")).astype(int)
    for side in ("left", "right"):
        assert (np.abs(drawn - SIDES[side]).max(-1) < 60).sum() > 100


def test_joints_and_sizes_travel_in_shards(place, tmp_path):
    """Packed pictures give the same joints, in the same words, whether their index is stored or scanned."""
    pack(str(place / "people"), 2, None, str(tmp_path / "packed"), task="pose")
    before = opened_for(Pose(), str(place / "people"))
    for stored in (True, False):
        if not stored:
            for index in (tmp_path / "packed").glob("*.index"):
                index.unlink()
        after = opened_for(Pose(), str(tmp_path / "packed"))
        assert after.classes == before.classes and after.mirrors and after.splits.keys() == {"train", "test"}
        for name, split in before.splits.items():
            other = after.splits[name]
            assert other.points.skeleton == split.points.skeleton
            said = [sorted(Points.said(s, i) for i in range(len(s))) for s in (split, other)]
            assert said[0] == said[1] and len(said[0]) == len(split)
            read = [{s.digest(i): Points.read(s, i) for i in range(len(s))} for s in (split, other)]
            for digest, (places, known, size, swaps) in read[0].items():
                own = read[1][digest]
                assert np.array_equal(own[0], places) and np.array_equal(own[1], known)
                assert (own[2], own[3]) == (size, swaps)
    pack(str(place / "people"), 2, 20, str(tmp_path / "small"), task="pose")
    small = opened_for(Pose(), str(tmp_path / "small")).train
    halves = {tuple((2 * p).ravel()) for p in small.points.places}
    assert small.picture_size(0) == (30, 20) and halves == {
        tuple(p.ravel()) for p in before.train.points.places
    }


def test_shards_whose_joints_do_not_fit_are_refused(place, tmp_path):
    packed = tmp_path / "packed"
    pack(str(place / "people"), 1, None, str(packed), task="pose")
    document = json.loads((packed / "joints.json").read_text())
    for changes, fault in (
        ({"names": document["names"][:5]}, "its numbers do not fit its 5 names"),
        ({"names": [*document["names"], "nose"], "swaps": []}, "does not have the 7 key points"),
        ({"limbs": "none"}, "does not say what the joints are"),
    ):
        (packed / "joints.json").write_text(json.dumps({**document, **changes}))
        with pytest.raises(DataError, match=fault):
            opened_for(Pose(), str(packed))
    (packed / "joints.json").unlink()
    with pytest.raises(DataError, match="holds no key points"):
        opened_for(Pose(), str(packed))


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_what_one_does(place, tmp_path, processes):
    """The same samples, joints and draws and, but for the order of sums, the same weights and errors."""
    settings = (
        "model=lenet5_modern", "image_size=32", "batch_size=8", "epochs=2", "lr=0.02", "precision=fp32",
        "normalize=imagenet", "pose.stages=2",
    )  # fmt: skip
    words = [
        "train", str(place / "people"), "--task", "pose", "--recipe", "fast", "--json",
        *(w for key in settings for w in ("--set", key)),
    ]  # fmt: skip
    for count in (1, processes):
        by_processes(count, words, tmp_path / str(count), timeout=1200)
    state, _ = load_tensors(tmp_path / "1" / "last/state.safetensors")
    assert any("errors.0.variance" in name for name in state)
    assert difference(tmp_path / "1", tmp_path / str(processes)) < 1e-5
    rows = [read_csv(tmp_path / str(n) / "metrics.csv") for n in (1, processes)]
    for a, b in zip(*rows, strict=True):
        assert a["train_pose_error"] == pytest.approx(b["train_pose_error"], abs=1e-3)
