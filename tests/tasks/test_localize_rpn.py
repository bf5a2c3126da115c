"""The localization entry through the whole job: proposals, a second stage, views, and finding nothing."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from annotated import make_boxes
from as_json import explain_paths, summary
from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.class_boxes import ClassBoxes
from resight.data.dataset import ArrayPictures, Box, Dataset, Split
from resight.data.marks import OneBox
from resight.data.objects import ObjectMarks
from resight.evaluate.asked import Asked
from resight.metrics.accuracy import wilson_interval
from resight.models.zoo import create_model
from resight.service.report.report import report
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train.train import train
from resight.tasks.localize.result import LocalizeResult, Located
from resight.tasks.localize.task import Localize, objects_of
from resight.tasks.localize.views import Seen, views_of
from resight.tasks.task import Learned
from resight.training.checkpoints import FILE
from resuming import assert_same_weights, stopped_after

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = (
    "model=speednet8_narrow", "image_size=32", "batch_size=16", "lr=0.02", "weights=none",
    "localize.head=rpn", "localize.stages=2", "localize.regions=8",
)  # fmt: skip

OPTIONS = {"task": "localize", "recipe": "fast", "epochs": 2, "changes": WORDS, "console": QUIET}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a finished run of two epochs."""
    place = tmp_path_factory.mktemp("rpn")
    make_boxes(place / "boxes")
    answer = train(str(place / "boxes"), out=str(place / "run"), **OPTIONS)
    (place / "answer.json").write_text(json.dumps(answer, allow_nan=False))
    return place


def test_settings_of_the_two_heads_are_told_apart():
    for settings, match in (
        ({"head": "ssd"}, "localize.head=ssd: must be one of box, rpn"),
        ({"head": "rpn", "stages": 3}, "localize.stages=3: must be one of 1, 2"),
        ({"head": "rpn", "views": "many"}, "must be one of whole, dense, ten"),
        ({"head": "rpn", "anchors": 1}, "localize.anchors=1: must be 2 or more"),
        ({"head": "rpn", "anchor": 2.0}, "must lie between 0.01 and 1"),
        ({"views": "ten"}, "are settings of localize.head=rpn"),
        ({"head": "rpn", "per_class": True}, "are settings of localize.head=box"),
    ):
        with pytest.raises(UsageError, match=match):
            Localize(**settings)
    assert Localize().kind is OneBox and Localize(head="rpn").kind is ClassBoxes
    assert Localize(head="rpn").scored and not Localize().scored


def test_stopped_and_resumed_to_the_same_bits(place):
    with stopped_after(4):
        train(str(place / "boxes"), out="cut", **OPTIONS)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")


def test_a_run_of_an_older_version_is_resumed_with_the_defaults_of_later_settings(place):
    """Its state names only the settings that there were."""
    from resight.models.modelfile import load_tensors, save_tensors

    words = [word for word in WORDS if not word.startswith("localize.")]
    with stopped_after(4):
        train(str(place / "boxes"), out="old", **{**OPTIONS, "changes": words})
    tensors, document = load_tensors("old" / FILE)
    later = ("head", "anchor", "anchors", "stages", "regions", "views")
    kept = {k: v for k, v in document["identity"]["task"].items() if k not in later}
    assert len(kept) == 5
    save_tensors("old" / FILE, tensors, {**document, "identity": {**document["identity"], "task": kept}})
    train(resume="old", console=QUIET)
    assert open_any("old").task == Localize()


def test_the_test_again_gives_the_figures_of_the_training(place):
    answer, again = json.loads((place / "answer.json").read_text()), score([str(place / "run")])
    keys = (
        "n", "localization_error", "top5_localization_error", "top5_localization_interval", "gt_known_error",
        "gt_known_interval", "baselines",
    )  # fmt: skip
    assert all(answer[key] == again[key] for key in keys) and answer["n"] == 12
    assert again["top5_localization_error"] <= again["localization_error"]
    assert report(str(place / "run")).exists()
    with pytest.raises(UsageError, match="resight summary speednet8_narrow counts the trunk"):
        summary(str(place / "run"))


def test_a_picture_in_which_nothing_is_found_says_so(place):
    run, path = str(place / "run"), str(place / "boxes/JPEGImages/p004.png")
    row = next(predict(run, path, exact=True))
    assert 0 < row["score"] < 1 and "found" not in row and f"score {row['score']:.3f}" in row["said"]
    low, high = (next(predict(run, path, exact=True, at_least=row["score"] + d)) for d in (-1e-6, 1e-6))
    assert low["found"] and low["said"] == row["said"]
    assert not high["found"] and high["said"] == f"nothing found; nearest: {row['said']}"
    assert {k: v for k, v in high.items() if k not in ("found", "said")} == {
        k: v for k, v in row.items() if k != "said"
    }
    (map_,) = explain_paths(run, [path], target="box:left", out="maps")
    assert map_["target"] == "box:left"


def asked_of(network, pixels, size):
    card = Preprocessing(size=size, resize=size, mean=(0.0,) * 3, std=(1.0,) * 3, frame="stretch")
    return Asked(network, card, torch.float32, lambda i: Image.fromarray(pixels[i]), range(len(pixels)))


@pytest.fixture(scope="module")
def network():
    torch.manual_seed(0)
    return Localize(head="rpn").network(create_model("speednet8_narrow", 2), Learned(("a", "b"))).eval()


@pytest.fixture(scope="module")
def pixels():
    return np.random.default_rng(0).integers(0, 255, (1, 56, 84, 3)).astype(np.uint8)


def stretched(pixels, side):
    small = Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)
    return torch.from_numpy(np.asarray(small).copy()).permute(2, 0, 1)[None].float() / 255


def test_dense_views_are_whole_pictures_of_three_sizes_with_anchors_of_the_learned_size(network, pixels):
    ((index, seen, where),) = views_of(asked_of(network, pixels, 32), "dense", mirrored=True)
    assert index == 0 and where.size == (84, 56) and len(seen.found) == 6
    with torch.no_grad():
        for number, side in enumerate((32, 48, 64)):
            image = stretched(pixels[0], side)
            for turn in (0, 1):
                view = image.flip(3) if turn else image
                features = network.forward_maps(view)[network.head.reads[-1]]
                own = Seen.of(network.head.said(features, side / 32))
                x0, y0, x1, y1 = own.boxes[0].unbind(1)
                boxes = torch.stack([1 - x1, y0, 1 - x0, y1], 1) if turn else own.boxes[0]
                row = 2 * number + turn
                torch.testing.assert_close(seen.found[row], own.found[0], atol=2e-3, rtol=0)
                torch.testing.assert_close(seen.logits[row], own.logits[0], atol=2e-3, rtol=0)
                torch.testing.assert_close(seen.boxes[row], boxes, atol=2e-3, rtol=0)
    found, boxes = seen.best()
    for label in (0, 1):
        view = int(seen.found[:, label].argmax())
        assert found[label] == seen.found[view, label] and torch.equal(boxes[label], seen.boxes[view, label])


def test_ten_crops_give_boxes_where_they_are_in_the_whole_picture(network, pixels):
    """28 pixels of 32: corners at 0 and 4 pixels; by hand."""
    ((_, seen, _),) = views_of(asked_of(network, pixels, 28), "ten", mirrored=True)
    assert len(seen.found) == 10
    image = stretched(pixels[0], 32)
    corners = [(0, 0), (4, 0), (0, 4), (4, 4), (2, 2)]
    with torch.no_grad():
        for row in range(10):
            x, y = corners[row % 5]
            crop = image[:, :, y : y + 28, x : x + 28]
            own = Seen.of(network(crop.flip(3) if row > 4 else crop))
            x0, y0, x1, y1 = own.boxes[0].unbind(1)
            if row > 4:
                x0, x1 = 1 - x1, 1 - x0
            wanted = torch.stack([x + 28 * x0, y + 28 * y0, x + 28 * x1, y + 28 * y1], 1) / 32
            torch.testing.assert_close(seen.boxes[row], wanted, atol=2e-3, rtol=0)
            torch.testing.assert_close(seen.found[row], own.found[0], atol=2e-3, rtol=0)


@pytest.mark.parametrize("views", ["dense", "ten"])
def test_views_of_a_run_are_tested_by_its_setting(place, views):
    """Of the answer: probabilities are the mean over the views, box and score those of the surest view."""
    opened = open_any(str(place / "run"))
    task, path = replace(opened.task, views=views), place / "boxes/JPEGImages/p004.png"
    card = opened.preprocessing
    asked = Asked(opened.network, card, torch.float32, lambda i: Image.open(path).convert("RGB"), [0])
    ((_, answer),) = task.answers(asked)
    ((_, seen, _),) = views_of(asked, views, mirrored=True)
    likely = seen.logits.double().softmax(1).mean(0)
    label = int(likely.argmax())
    assert answer.label == label and answer.probability == pytest.approx(float(likely[label]))
    view = int(seen.found[:, label].argmax())
    assert answer.score == pytest.approx(float(seen.found[view, label].sigmoid()))
    edges = seen.boxes[view, label] * torch.tensor([60, 40, 60, 40])
    assert answer.box == pytest.approx(edges.clamp(min=0).tolist(), abs=1e-3)
    assert answer.each.shape == (2, 4) and answer.guesses[0] == label


def test_figures_of_ilsvrc_by_hand():
    """Top five: a guess with its class and its box; GT-known: that of the true class; any object counts."""
    names = tuple("abcdefg")
    boxes = [
        (Box(0, 0.0, 0.0, 10.0, 10.0), Box(0, 50.0, 50.0, 58.0, 58.0)),
        (Box(6, 0.0, 0.0, 10.0, 10.0),),
    ] * 2
    split = Split(
        "test", ArrayPictures(np.zeros((4, 60, 60, 3), np.uint8), "x"), np.arange(4), np.array([0, 6, 0, 6]),
        names,
        boxes=boxes, sizes=[(60, 60)] * 4,
    )  # fmt: skip
    right, small, wrong = [0.0, 0.0, 10.0, 10.0], [50.0, 50.0, 58.0, 58.0], [20.0, 20.0, 30.0, 30.0]

    def answer(guesses, own):
        each = np.array([own.get(label, wrong) for label in range(7)], np.float32)
        return Located(guesses[0], 0.9, tuple(each[guesses[0]].tolist()), (60, 60), 0.5, guesses, each)

    answers = [
        answer((1, 0, 2, 3, 4), {0: small}),  # second guess, on the smaller object of the class
        answer((0, 1, 2, 3, 4), {6: right}),  # not among the five, but its box is right
        answer((0, 1, 2, 3, 4), {1: right}),  # the right class with a wrong box
        answer((6, 1, 2, 3, 4), {6: right}),
    ]
    figures = LocalizeResult.of(list(enumerate(answers)), split, None).figures()
    assert figures["top5_localization_error"] == 50 and figures["gt_known_error"] == 25
    assert figures["gt_known_interval"] == list(wilson_interval(1, 4))
    assert figures["localization_error"] == 75 and figures["top1_error"] == 50
    one = Located(0, 0.9, tuple(right), (60, 60), None, (0,), np.array([right], np.float32))
    assert one.of_class(0).tolist() == one.of_class(6).tolist() == [right]


def test_marks_have_all_objects_and_only_those_of_the_class_are_learned():
    boxes = [(Box(0, 4.0, 4.0, 24.0, 24.0), Box(0, 30.0, 5.0, 40.0, 20.0), Box(1, 45.0, 0.0, 55.0, 9.0))] * 2
    split = Split(
        "train", ArrayPictures(np.zeros((2, 40, 60, 3), np.uint8), "x"), np.arange(2), np.array([0, 0]),
        ("a", "b"), boxes=boxes, sizes=[(60, 40)] * 2, ignored=[(), boxes[1][1:2]],
    )  # fmt: skip
    from resight.data.augment.draws import Draws
    from resight.data.augment.warp import Warp

    marks = ClassBoxes.of_split(split)
    assert len(marks) == 2 and len(ClassBoxes.joined([marks, marks[:1]])) == 3
    turned = marks.moved(lambda sizes: Warp((torch.eye(3, dtype=torch.float64).expand(len(sizes), 3, 3),)))
    drawn = turned.drawn(Draws(0, 1, np.array([3, 4])))
    first, second = objects_of(drawn)
    assert first.labels.tolist() == [0, 0] and second.labels.tolist() == [0]
    shares = torch.tensor([60.0, 40, 60, 40])
    assert (first.boxes * shares).tolist() == pytest.approx(np.array([b[1:] for b in boxes[0][:2]]))
    assert len(first.ignored) == 1 and len(second.ignored) == 2 and first.word != second.word
    moved = replace(split, boxes=[boxes[0], (*boxes[1][:2], boxes[1][2]._replace(x0=44.0))])
    assert ClassBoxes.said(split, 1) != ClassBoxes.said(moved, 1) and ObjectMarks.said(
        split, 0
    ) == ClassBoxes.said(split, 0)


@pytest.mark.parametrize("stages", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_it_learns_where_the_objects_are(stages):
    """Far better than at first, on what it learns from."""
    from resight.data.augment.pipeline import Pipeline
    from resight.data.batches import ResidentBatches
    from resight.data.order import Order
    from resight.data.prepare import Normalize, decode_split
    from resight.tasks.task import Aids

    chance, boxes = np.random.default_rng(0), []
    pixels = np.zeros((24, 40, 60, 3), np.uint8)
    for i in range(24):
        width, height = chance.integers(12, 30, 2)
        x, y = chance.integers(60 - width), chance.integers(40 - height)
        pixels[i, y : y + height, x : x + width, 2 * (i % 2)] = 255
        boxes.append((Box(i % 2, float(x), float(y), float(x + width), float(y + height)),))
    split = Split(
        "train", ArrayPictures(pixels, "x"), np.arange(24), np.arange(24) % 2, ("a", "b"), boxes=boxes,
        sizes=[(60, 40)] * 24,
    )  # fmt: skip
    card = Preprocessing(size=32, resize=32, mean=(0.0,) * 3, std=(1.0,) * 3, frame="stretch")
    _, squares, _ = decode_split(split, card)
    batches = ResidentBatches(
        torch.from_numpy(np.stack(squares)), ClassBoxes.of_split(split), Normalize(card, torch.device("cpu")),
        Pipeline((), 2), Order(24, 12, 0),
    )  # fmt: skip
    torch.manual_seed(0)
    task = Localize(head="rpn", stages=stages, regions=8)
    network = task.network(create_model("speednet8_narrow", 2), Dataset("x", ("a", "b"), {"train": split}))
    objective, optimizer = task.objective(network, Aids()), torch.optim.Adam(network.parameters(), 0.003)
    for epoch in range(25):
        for batch in batches.epoch(epoch):
            loss, _ = objective(batch.images, batch.marks, 0.0)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    whole = next(batches.epoch(0))
    fresh = task.network(create_model("speednet8_narrow", 2), Learned(("a", "b")))
    with torch.no_grad():
        after, before = (
            task.judged(own.eval()(whole.images), whole.marks)["val_iou"] for own in (network, fresh)
        )
    assert after > 0.5 > 0.4 > before, (after, before)
