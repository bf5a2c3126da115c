"""A task through the whole job: chosen by name, trained, resumed, tested, predicted, reported, refused."""

import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from annotated import make_boxes
from as_json import check, explain_paths, gallery, pack, summary
from resight.core.errors import DataError, ModelFileError, ResightError, UnknownNameError, UsageError
from resight.data.marks import OneBox
from resight.data.open import open_as_it_is
from resight.metrics.localization import overlap
from resight.models.modelfile import load_header, load_model, load_tensors
from resight.service.pictures import batches
from resight.service.report.report import report
from resight.service.run.data import data_of, opened_for
from resight.service.run.run import open_any, open_run
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train.pictures import validation_of
from resight.service.train.train import train
from resight.tasks.localize.result import best_constant
from resight.tasks.localize.task import Localize
from resight.tasks.tasks import TASKS, chosen, header_of, task_of
from resight.training.journal import read_csv
from resuming import assert_same_weights, by_processes, difference, stopped_after
from support import make_folder

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = ("model=resnet20", "image_size=32", "batch_size=16", "lr=0.02", "localize.alpha=0.4")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a finished run of two epochs."""
    place = tmp_path_factory.mktemp("seam")
    make_boxes(place / "boxes")
    answer = train(
        str(place / "boxes"), task="localize", recipe="fast", epochs=2, changes=WORDS, out=str(place / "run"),
        console=QUIET,
    )  # fmt: skip
    (place / "answer.json").write_text(json.dumps(answer))
    return place


@pytest.fixture
def run(place):
    return str(place / "run")


def test_words_of_a_task_go_to_it_and_others_are_refused_by_name():
    task, rest = chosen("localize", ["lr=0.1", "localize.alpha=0.3", "localize.smooth=true"])
    assert task == Localize(alpha=0.3, smooth=True) and rest == ["lr=0.1"]
    with pytest.raises(UsageError, match=r"no setting 'beta'; its settings: localize.alpha"):
        chosen("localize", ["localize.beta=1"])
    with pytest.raises(UsageError, match="is a setting of --task localize; this is --task classify"):
        chosen("classify", ["localize.alpha=1"])
    with pytest.raises(UsageError, match="alpha='x': needs a number"):
        chosen("localize", ["localize.alpha=x"])
    with pytest.raises(UnknownNameError, match="nearest: localize"):
        chosen("localise", [])
    assert chosen("classify", ["augment.rotation=5"])[1] == ["augment.rotation=5"]


def test_what_is_written_of_a_task_is_read_back_and_classification_writes_nothing():
    task = Localize(alpha=0.3)
    assert task_of(header_of(task)) == task and header_of(chosen("classify", [])[0]) == {}
    assert type(task_of({})) is TASKS["classify"]


def test_record_and_header_name_the_task_and_its_settings(place, run):
    settings = {
        "alpha": 0.4, "per_class": False, "smooth": False, "mirrored": True, "head": "box", "anchor": 0.25,
        "anchors": 8, "stages": 1, "regions": 32, "views": "whole",
    }  # fmt: skip
    record = json.loads((place / "run/recipe.json").read_text())
    assert record["task"] == {"name": "localize", "settings": settings} and len(record["recipe"]) == 25
    assert "--task localize" in record["command"] and "--set localize.alpha=0.4" in record["command"]
    header = load_header(place / "run/model.safetensors")
    assert header["task"] == record["task"] and header["classes"] == ["blue", "red"]
    assert header["preprocessing"]["frame"] == "stretch" and header["test"].keys() == {
        "n", "localization_error", "localization_interval",
    }  # fmt: skip
    opened = open_any(run)
    assert opened.task == Localize(alpha=0.4) and opened.network.head.reads == ("layer3",)
    state = load_header(place / "run/last/state.safetensors")
    assert state["identity"]["task"] == {"task": "localize", **settings}


def test_what_needs_classes_refuses_the_run_in_a_line(place, run):
    with pytest.raises(UsageError, match="--task localize, which this command does not take"):
        open_run(run)
    with pytest.raises(UsageError, match="this needs a classifier"):
        _ = open_any(run).model
    with pytest.raises(ModelFileError, match="was trained with --task localize; here a classifier is needed"):
        load_model(place / "run/model.safetensors")
    with pytest.raises(UsageError, match="has no ensembles"):
        score([run, run])
    with pytest.raises(UsageError, match="sees one view"):
        score([run], views="flip")
    with pytest.raises(UsageError, match="--at-least is about classes"):
        next(predict(run, str(place / "boxes/JPEGImages"), at_least=0.5))
    boxes = str(place / "boxes")
    with pytest.raises(UsageError, match="--folds is for classification"):
        train(boxes, task="localize", folds=3, console=QUIET)
    with pytest.raises(UsageError, match="is fitted for classes alone"):
        train(boxes, task="localize", model="hog-svm", console=QUIET)
    with pytest.raises(UsageError, match="augment=mixup goes by the class"):
        train(boxes, task="localize", recipe="fast", changes=["augment=mixup"], out="mixed", console=QUIET)


def test_a_damaged_header_is_refused_by_name(place, tmp_path):
    from resight.models.modelfile import save_tensors

    path = place / "run/model.safetensors"
    for changes, fault in (
        ({"task": {"name": "fly", "settings": {}}}, "'fly' is not a task"),
        ({"task": {"name": "localize", "settings": {"beta": 1.0}}}, "unknown setting 'beta'"),
        ({"task": {"name": "classify", "settings": {}}}, "has no head of its own"),
        ({"classes": ["blue", "red", "green"]}, "do not fit"),
    ):
        tensors, document = load_tensors(path)
        save_tensors(tmp_path / "bad.safetensors", tensors, {**document, **changes})
        with pytest.raises(ModelFileError, match=fault):
            open_any(str(tmp_path / "bad.safetensors"))


def test_the_test_again_gives_the_figures_of_the_training(place, run):
    answer = json.loads((place / "answer.json").read_text())
    again = score([run])
    keys = ("n", "localization_error", "top1_error", "box_error", "iou", "baselines", "per_class")
    assert all(answer[key] == again[key] for key in keys) and answer["n"] == 12
    assert again["trained_on"] == 0 and again["task"] == "localize"
    assert answer["summary"].startswith("test: localization error ")
    on_train = score([run], split="train")
    assert (
        on_train["trained_on"] == on_train["n"] and "says nothing about new pictures" in on_train["notes"][-1]
    )


def test_answers_are_in_pixels_of_the_whole_picture(place, run):
    """By hand: the network on the picture stretched to its square, edges times the picture's sides."""
    opened = open_any(run)
    path = place / "boxes/JPEGImages/p004.png"
    row = next(predict(run, str(path), exact=True))
    card = opened.preprocessing
    small = Image.open(path).resize((32, 32), Image.Resampling.BILINEAR)
    pixels = torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1).float() / 255
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (card.mean, card.std))
    with torch.no_grad():
        views = torch.stack([(pixels - mean) / std, ((pixels - mean) / std).flip(2)])
        out, other = opened.network(views.to(opened.device)).cpu()
    back = torch.stack([1 - other[4], other[3], 1 - other[2], other[5]])
    x0, y0, x1, y1 = ((out[2:] + back) / 2 * torch.tensor([60, 40, 60, 40])).clamp(min=0).tolist()
    assert row["box"] == pytest.approx([x0, y0, x1 - x0, y1 - y0], abs=0.3) and row["size"] == [60, 40]
    assert row["label"] == opened.network.classes[int((out[:2].softmax(0) + other[:2].softmax(0)).argmax())]
    given = score([run])
    split = data_of(opened, None).dataset.split("test")
    boxes = [next(predict(run, split.picture_name(i), exact=True))["box"] for i in range(len(split))]
    said = np.array([[x, y, x + w, y + h] for x, y, w, h in boxes])
    true = np.array([split.picture_boxes(i)[0][1:] for i in range(len(split))])
    assert given["iou"] == pytest.approx(float(overlap(said, true).diagonal().mean()), abs=0.01)


def test_validation_marks_are_moved_as_the_squares_are(place):
    """The bright pixels of each square lie in its box."""
    opened = open_any(str(place / "run"))
    dataset = data_of(opened, None).dataset
    squares, marks = validation_of(dataset, opened.preprocessing, [], Localize().kind, strict=True)
    assert len(squares) == len(marks) > 2
    for square, box in zip(squares, marks.boxes, strict=True):
        bright = square.float().amax(2) > 150
        rows, columns = (torch.nonzero(bright.any(along)).flatten() for along in (1, 0))
        found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
        assert (found - 32 * box).abs().max() < 1.5


def test_stopped_and_resumed_to_the_same_bits(place):
    words = {"task": "localize", "recipe": "fast", "epochs": 2, "changes": WORDS, "console": QUIET}
    with stopped_after(4):
        train(str(place / "boxes"), out="cut", **words)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")


def test_what_differs_on_resuming_is_named(place, tmp_path):
    shutil.copytree(place / "run", tmp_path / "run")
    own = str(tmp_path / "run")
    with pytest.raises(ModelFileError, match=r"other settings: alpha 0.4 -> 0.5"):
        train(resume=own, changes=["localize.alpha=0.5"], console=QUIET)
    with pytest.raises(ModelFileError, match="task localize -> classify"):
        train(resume=own, task="classify", console=QUIET)
    moved = make_boxes(tmp_path / "moved", shift=2)
    with pytest.raises(ModelFileError, match="was trained on other data"):
        train(str(moved), resume=own, console=QUIET)


def test_metrics_and_report_show_the_figures_of_the_task(place, run):
    rows = read_csv(place / "run/metrics.csv")
    assert len(rows) == 2 and rows[0].keys() >= {"train_localization_error", "val_iou"}
    page = report(run).read_text()
    for words in (
        "localization error",
        "The worst answers",
        "The best answers",
        "best constant box",
        "localize.alpha",
    ):
        assert words in page, words
    assert page.count("data:image/") >= 3


def test_data_without_boxes_are_refused_and_one_class_is_enough(tmp_path):
    make_folder(tmp_path / "folder")
    with pytest.raises(DataError, match="has no boxes; --task localize learns from"):
        train(str(tmp_path / "folder"), task="localize", console=QUIET)
    one = make_boxes(tmp_path / "one", count=20, classes=("red",))
    with pytest.raises(ResightError, match="a classifier needs two"):
        open_as_it_is(one)
    assert open_as_it_is(one, None, Localize().rule).classes == ("red",)


def test_the_best_constant_box_is_the_best_of_many():
    """Against every box of a fine grid."""
    chance = torch.Generator().manual_seed(0)
    corner = torch.rand(40, 2, generator=chance, dtype=torch.float64) * 0.3
    boxes = torch.cat([corner, corner + 0.5], 1)
    found = np.array([best_constant(boxes)])
    reached = (overlap(found, boxes.numpy()) >= 0.5).mean()
    grid = np.linspace(0, 1, 11)
    every = [(a, b, c, d) for a in grid for b in grid for c in grid for d in grid if c > a and d > b]
    assert reached >= (overlap(np.array(every), boxes.numpy()) >= 0.5).mean(1).max()


def test_edges_and_classes_are_explained_by_name(place, run, tmp_path):
    picture = str(place / "boxes/JPEGImages/p004.png")
    (best,) = explain_paths(run, [picture], out=str(tmp_path / "out"))
    (edge,) = explain_paths(run, [picture], target="box:left", out=str(tmp_path / "out"))
    both = explain_paths(run, [picture], target="top2", out=str(tmp_path / "out"))
    row = next(predict(run, picture, exact=True))
    assert best["target"] == row["label"] and edge["target"] == "box:left"
    opened = open_any(run)
    assert best["layer"] == edge["layer"] == "trunk.layer3"
    (batch,) = batches(opened, [Path(picture)])
    with torch.no_grad():
        assert edge["score"] == pytest.approx(float(opened.network(batch.images)[0, 2]), abs=1e-5)
    assert {r["target"] for r in both} == {"blue", "red"} and both[0]["score"] >= both[1]["score"]
    assert np.load(edge["map"]).shape == (32, 32)
    assert not np.array_equal(np.load(edge["map"]), np.load(best["map"]))
    with pytest.raises(UsageError, match="box:lef: is not a target of --task localize; nearest: box:left"):
        explain_paths(run, [picture], target="box:lef", out=str(tmp_path / "out"))


def test_the_summary_of_a_run_counts_trunk_and_head(run):
    rows = summary(run)
    own = open_any(run).network
    assert rows["parameters"] == sum(p.numel() for p in own.parameters()) and rows["task"] == "localize"
    assert rows["input_size"] == 32 and "head.edges" in {layer["name"] for layer in rows["layers"]}


def test_boxes_and_sizes_travel_in_shards(place, tmp_path):
    """Packed pictures give the same marks, in the same words, and can be trained on."""
    pack(str(place / "boxes"), 2, None, str(tmp_path / "packed"), task="localize")
    before, after = (
        opened_for(Localize(), str(where)).train for where in (place / "boxes", tmp_path / "packed")
    )
    said = [sorted(OneBox.said(part, i) for i in range(len(part))) for part in (before, after)]
    assert said[0] == said[1] and len(said[0]) == 48
    pack(str(place / "boxes"), 2, 20, str(tmp_path / "small"), task="localize")
    small = opened_for(Localize(), str(tmp_path / "small")).train
    assert small.picture_size(0) == (30, 20)
    halves = {tuple(b[1:]) for i in range(len(small)) for b in small.picture_boxes(i)}
    assert halves == {tuple(e / 2 for e in b[1:]) for i in range(48) for b in before.picture_boxes(i)}


def test_check_and_augment_take_the_pictures_of_the_task(tmp_path):
    one = make_boxes(tmp_path / "one", count=20, classes=("red",))
    assert check(str(one), task="localize")["n"] == 20
    answer = gallery(str(one), str(tmp_path / "g.png"), ["augment=flip"], task="localize")
    assert len(answer["rows"]) == 8
    with pytest.raises(DataError, match="a classifier needs two"):
        check(str(one))


@pytest.mark.parametrize("processes", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_processes_train_what_one_does(place, tmp_path, processes):
    """The same samples, marks and, but for the order of sums, weights; and one answer of the test."""
    words = [
        "train", place / "boxes", "--task", "localize", "--recipe", "fast", "--json",
        *(w for key in ("model=lenet5_modern", "image_size=32", "batch_size=16", "epochs=2", "lr=0.02",
                        "precision=fp32", "normalize=imagenet") for w in ("--set", key)),
    ]  # fmt: skip
    answers = []
    for count in (1, processes):
        said = by_processes(count, words, tmp_path / str(count), timeout=300)
        answers.append(json.loads(said))
    assert difference(tmp_path / "1", tmp_path / str(processes)) < 1e-5
    assert answers[0]["n"] == answers[1]["n"] == 12
    assert answers[0]["iou"] == pytest.approx(answers[1]["iou"], abs=1e-4)
    rows = [read_csv(tmp_path / str(n) / "metrics.csv") for n in (1, processes)]
    for a, b in zip(*rows, strict=True):
        assert a["train_localization_error"] == b["train_localization_error"]
        assert a["val_iou"] == pytest.approx(b["val_iou"], abs=1e-4)


def test_a_run_that_classifies_lends_its_trunk(place, run, tmp_path):
    """With `trunk_lr=0` every tensor of the trunk is still the classifier's."""
    small = ["model=resnet20", "image_size=32", "batch_size=16"]
    boxes, words = str(place / "boxes"), {"epochs": 1, "console": QUIET}
    train(boxes, recipe="fast", changes=small, out="classes", **words)
    borrowed = [*small[1:], "weights=classes", "trunk_lr=0"]
    train(boxes, task="localize", recipe="fine-tune", changes=borrowed, out="boxes", **words)
    lent, _ = load_tensors(Path("classes/model.safetensors"))
    own, header = load_tensors(Path("boxes/model.safetensors"))
    trunk = {name.removeprefix("trunk."): value for name, value in own.items() if name.startswith("trunk.")}
    assert trunk.keys() == {name for name in lent if not name.startswith("fc.")}
    assert all(torch.equal(trunk[name], lent[name]) for name in trunk)
    assert header["weights"]["source"] == "classes"
    with pytest.raises(ModelFileError, match="was trained with --task localize; here a classifier is needed"):
        train(boxes, recipe="fine-tune", changes=[f"weights={run}"], out="back", **words)
