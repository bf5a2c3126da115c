"""Detection through the whole job: marks follow the picture, resuming is exact, nothing is no fault."""

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console

from as_json import check, explain_paths, gallery, summary
from resight.core.errors import DataError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import StreamedBatches
from resight.data.dataset import ArrayPictures, Box, Dataset, Split, fingerprint
from resight.data.objects import MaskedObjects, ObjectMarks
from resight.data.open import open_as_it_is
from resight.data.order import Order
from resight.data.prepare import Normalize, fit, seen_window
from resight.data.stream import Readers
from resight.evaluate.asked import Asked
from resight.localize.segments import run_lengths_of
from resight.models.zoo import create_model
from resight.service.locate.annotations import write_coco
from resight.service.locate.answer import Box as BoxOf
from resight.service.locate.answer import Row
from resight.service.report.report import report
from resight.service.run.data import opened_for
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train.train import train
from resight.tasks.detect.result import Detected, DetectResult
from resight.tasks.detect.task import Detect, targets_of
from resight.tasks.task import Aids
from resight.training.checkpoints import Progress
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Recipe
from resight.training.step import Step
from resuming import assert_same_weights, by_processes, difference, stopped_after

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = (
    "weights=none", "model=speednet8_narrow", "image_size=48", "batch_size=8", "detect.width=8",
    "detect.regions=16", "detect.anchors=32", "detect.anchor=3",
)  # fmt: skip
SIZE, SIDE = (60, 40), 48
COLOURS = {"red": (230, 40, 40), "blue": (40, 40, 230)}
NAMES = tuple(COLOURS)


def drawn(chance, count, names=NAMES):
    """A dark picture of 60 x 40 with bright boxes, and these: (class, x0, y0, x1, y1)."""
    pixels, boxes = chance.integers(0, 60, (SIZE[1], SIZE[0], 3)).astype(np.uint8), []
    for place in range(count):
        width, height = chance.integers(10, 18, 2)
        x, y = 30 * place + chance.integers(0, 30 - width), chance.integers(0, SIZE[1] - height)
        name = names[chance.integers(len(names))]
        pixels[y : y + height, x : x + width] = COLOURS[name]
        boxes.append((name, int(x), int(y), int(x + width), int(y + height)))
    return pixels, boxes


def make_coco(root, count=40, names=NAMES):
    """COCO: two objects a picture, one or none; one box of no area, one crowd; polygons round the boxes."""
    chance = np.random.default_rng(0)
    for split, pictures in (("train", count), ("val", count // 3)):
        folder = root / split
        folder.mkdir(parents=True)
        images, things = [], []
        for number in range(pictures):
            pixels, boxes = drawn(chance, (2, 1, 2, 0)[number % 4], names)
            Image.fromarray(pixels).save(folder / f"{number:03d}.png")
            images.append({"id": number, "file_name": f"{number:03d}.png", "width": 60, "height": 40})
            for name, x0, y0, x1, y1 in boxes:
                thing = {"image_id": number, "category_id": 1 + names.index(name), "iscrowd": 0}
                outline = [[x0, y0, x1, y0, x1, y1, x0, y1]]
                things.append({**thing, "bbox": [x0, y0, x1 - x0, y1 - y0], "segmentation": outline})
        things.append({"bbox": [5, 5, 0, 9], "image_id": 0, "category_id": 1, "iscrowd": 0})
        crowd = run_lengths_of(np.arange(40 * 60).reshape(40, 60) % 60 > 50)
        things.append(
            {"bbox": [51, 0, 9, 40], "segmentation": crowd, "image_id": 3, "category_id": 1, "iscrowd": 1}
        )
        things = [{"id": n, "area": 1.0, **thing} for n, thing in enumerate(things)]
        categories = [{"id": 1 + n, "name": name} for n, name in enumerate(names)]
        document = {"images": images, "annotations": things, "categories": categories}
        (folder / "_annotations.coco.json").write_text(json.dumps(document))
    return root


def split_of(count=16, masks=None):
    chance, pixels, boxes = np.random.default_rng(1), [], []
    for number in range(count):
        own, named = drawn(chance, (2, 1, 2, 0)[number % 4])
        pixels.append(own)
        boxes.append(tuple(Box(NAMES.index(name), *map(float, edges)) for name, *edges in named))
    labels = np.zeros((count, 2), np.float32)
    for row, own in enumerate(boxes):
        labels[row, [box.label for box in own]] = 1
    return Split(
        "train", ArrayPictures(np.stack(pixels), "x"), np.arange(count), labels, NAMES, boxes=boxes,
        sizes=[SIZE] * count, ignored=[()] * count, masks=masks,
    )  # fmt: skip


CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, frame="corner")


def batches(words, kind=ObjectMarks, workers=0, train=None, batch=8):
    train = train or split_of()
    normalize = Normalize(CARD, torch.device("cpu"))
    pipeline, order = Pipeline(parse(words), 2), Order(len(train), batch, 0)
    return StreamedBatches(
        train, None, CARD, normalize, pipeline, order, Readers(workers, processes=True), kind, strict=True
    )


@pytest.mark.parametrize("words", [(), ("flip",), ("rescale:0.5", "flip"), ("rescale", "rotation:8")])
def test_boxes_are_where_the_moved_picture_shows_their_objects(words):
    checked = 0
    for epoch in range(3):
        for batch in batches(words).epoch(epoch):
            columns = zip(
                batch.images, batch.marks.boxes, batch.marks.labels, batch.marks.ignored, strict=True
            )
            for image, boxes, labels, ignored in columns:
                bright = torch.stack([image[2 * n] > 0.5 for n in (0, 1)])
                for box, label, passed in zip(SIDE * boxes, labels, ignored, strict=True):
                    x0, y0, x1, y1 = box.round().int().tolist()
                    own = bright[int(label)]
                    if passed or (labels == label).sum() > 1 or "rotation:8" in words:
                        if not passed and min(x1 - x0, y1 - y0) > 4:
                            assert own[y0 + 1 : y1 - 1, x0 + 1 : x1 - 1].float().mean() > 0.6
                        continue
                    rows, columns_ = (torch.nonzero(own.any(along)).flatten() for along in (1, 0))
                    found = torch.tensor([columns_.min(), rows.min(), columns_.max() + 1, rows.max() + 1])
                    assert (found - box).abs().max() < 1.6, (found, box)
                    checked += 1
    assert checked > 10 or "rotation:8" in words


def test_a_rescaled_picture_keeps_its_aspect_and_is_black_outside():
    for batch in batches(("rescale:0.5",)).epoch(0):
        for image in batch.images:
            assert (image == 0).all(0).any() or image.mean() > 0  # cut, or padded
    pixels = Image.fromarray(np.full((40, 60, 3), 200, np.uint8))
    square = fit(pixels, CARD)
    assert square.shape == (SIDE, SIDE, 3) and (square[:32] == 200).all() and (square[32:] == 0).all()
    assert seen_window((60, 40), CARD) == (0.0, 0.0, 60.0, 60.0)


def test_marks_are_the_same_whatever_the_workers_and_their_words_follow_the_epoch():
    first, second = (list(batches(("rescale", "flip"), workers=n).epoch(1)) for n in (0, 2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.marks.words, other.marks.words)
        assert all(torch.equal(a, b) for a, b in zip(one.marks.boxes, other.marks.boxes, strict=True))
    words = torch.cat([batch.marks.words for batch in first])
    assert len(set(words.tolist())) == len(words) and 0 not in words.tolist()
    later = torch.cat([batch.marks.words for batch in batches(("rescale", "flip")).epoch(2)])
    assert not set(later.tolist()) & set(words.tolist())
    part = first[0].marks[2:5]
    assert len(part) == 3 and torch.equal(part.words, first[0].marks.words[2:5])
    assert len(ObjectMarks.joined([part, part])) == 6


def test_the_fingerprint_covers_boxes_and_flags():
    train = split_of()
    digest = fingerprint(train, ObjectMarks.said)
    moved = [(train.boxes[0][0]._replace(x0=1.0), *train.boxes[0][1:]), *train.boxes[1:]]
    assert fingerprint(replace(train, boxes=moved), ObjectMarks.said) != digest
    flagged = replace(train, ignored=[train.boxes[0][:1], *train.ignored[1:]])
    assert fingerprint(flagged, ObjectMarks.said) != digest


def test_objects_cut_off_are_ignored_and_masks_move_with_their_boxes(tmp_path):
    data = open_as_it_is(make_coco(tmp_path / "coco"), None, Detect().rule)
    assert data.classes == ("blue", "red") and len(data.train) == 40
    assert any("2 boxes have no area inside their picture" in note for note in data.notes)
    checked = 0
    for batch in batches(("rescale:0.5", "flip"), MaskedObjects, train=data.train).epoch(0):
        for row, target in enumerate(targets_of(batch.marks, (SIDE, SIDE))):
            assert target.masks.shape == (len(target.boxes), SIDE, SIDE)
            assert len(target.boxes) == int((~batch.marks.ignored[row]).sum())
            for box, mask in zip(target.boxes, target.masks, strict=True):
                rows, columns = (torch.nonzero(mask.any(along)).flatten() for along in (1, 0))
                found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert (found - box).abs().max() < 1.6
                checked += 1
    assert checked > 20
    crowd = ObjectMarks.read(data.train, 3)
    assert crowd[2].tolist() == [True] == crowd[3].tolist()


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set with masks and a finished run of two epochs."""
    place = tmp_path_factory.mktemp("detect")
    make_coco(place / "coco")
    words = [*WORDS, "detect.masks=true"]
    answer = train(
        str(place / "coco"), task="detect", epochs=2, changes=words, out=str(place / "run"), console=QUIET
    )
    (place / "answer.json").write_text(json.dumps(answer))
    return place


def test_killed_and_resumed_to_the_same_bits(place):
    words = {"task": "detect", "epochs": 2, "changes": [*WORDS, "detect.masks=true"], "console": QUIET}
    with stopped_after(6):
        train(str(place / "coco"), out="cut", **words)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")


def test_figures_are_numbers_or_none_and_the_test_again_gives_them(place):
    answer, again = json.loads((place / "answer.json").read_text()), score([str(place / "run")])
    text = json.dumps(again, allow_nan=False)  # no NaN anywhere
    assert "NaN" not in text
    keys = ("n", "objects", "ap", "ap_interval", "ap50", "mask_ap", "voc07", "per_class", "by_size")
    assert all(answer[key] == again[key] for key in keys)
    assert again["n"] == 13 and again["objects"] == sum(row["objects"] for row in again["per_class"].values())
    assert again["by_size"]["large"] is None and again["summary" if "summary" in again else "said"]


def test_predictions_and_report(place):
    row = next(predict(str(place / "run"), str(place / "coco/val/000.png"), exact=True))
    assert row["size"] == [60, 40] and "said" in row
    for found in row["objects"]:
        x, y, w, h = found["box"]
        assert x >= 0 and y >= 0 and x + w <= 60.1 and y + h <= 40.1 and w > 0 and h > 0
        assert found["segmentation"]["size"] == [40, 60] and sum(found["segmentation"]["counts"]) == 2400
    page = report(str(place / "run")).read_text()
    for words in ("average precision", "The worst answers", "What goes wrong", "By size", "detect.width"):
        assert words in page, words


def test_a_detection_is_explained_by_the_score_in_its_box(place, tmp_path):
    """The score is the class's logit in that box; what is nowhere found is refused."""
    run, path = str(place / "run"), str(place / "coco/val/000.png")
    opened = open_any(run)
    rows = explain_paths(run, [path], out=str(tmp_path / "maps"), target="top2")
    assert 1 <= len(rows) <= 2 and all(Path(row["image"]).is_file() for row in rows)
    assert np.isfinite([row["score"] for row in rows]).all()
    image = torch.zeros(1, 3, SIDE, SIDE)
    with pytest.raises(UsageError, match="is no class of this run; its classes: blue, red"):
        opened.task.aims(opened.network, image, "green", None)
    with pytest.raises(UsageError, match="nothing of that is found"):
        replace(opened.task, score=0.999).aims(opened.network, image, "red", None)
    aim = replace(opened.task, score=0.0).aims(opened.network, image, None, None)[0]
    raw = opened.network(image)
    found = opened.network.head.detections(
        raw, (SIDE, SIDE), [(SIDE, SIDE)], replace(opened.task, score=0.0).kept
    )
    logits, _ = opened.network.head._named(raw, [found[0].boxes[:1]], (SIDE, SIDE))
    assert torch.equal(aim.score(raw), logits[:, int(found[0].labels[0]) + 1])


def test_a_detection_is_named_by_class_number_or_rank(place, tmp_path):
    """As docs/detecting.md says: of a class its best detection, of topK the K best, of nothing the best."""
    run, path = str(place / "run"), str(place / "coco/val/000.png")
    found = [one["label"] for one in next(predict(run, path, exact=True))["objects"]]
    assert found
    ways = {None: [0], "top1": [0], "top3": [0, 1, 2][: len(found)], found[0]: [0]}
    ways[str(["blue", "red"].index(found[0]))] = [0]
    ways |= {label: [found.index(label)] for label in found}
    for target, rows in ways.items():
        answer = explain_paths(run, [path], out=str(tmp_path / "maps"), target=target)
        assert [row["target"] for row in answer] == [f"{found[row]} {row + 1}" for row in rows], target
    image = torch.zeros(1, 3, SIDE, SIDE)
    opened = open_any(run)
    for target in ("2", "99", "top0", "blue-red"):
        with pytest.raises(UsageError, match=f"--target {target}: is no class of this run"):
            opened.task.aims(opened.network, image, target, None)


def test_the_summary_counts_trunk_and_head(place):
    rows, network = summary(str(place / "run")), open_any(str(place / "run")).network
    assert rows["parameters"] == sum(p.numel() for p in network.parameters()) and rows["task"] == "detect"
    names = {layer["name"] for layer in rows["layers"]}
    assert "head.fpn.inner_blocks.0.0" in names and "head.rpn.cls_logits" in names


def test_check_and_augment_take_the_pictures_of_the_task(place, tmp_path):
    assert check(str(place / "coco"), task="detect")["n"] == 53
    words = ["augment=rescale:0.5,flip"]
    answer = gallery(str(place / "coco"), str(tmp_path / "g.png"), words, task="detect")
    assert len(answer["rows"]) == 8 and Path(answer["image"]).is_file()


def test_boxes_that_locate_writes_are_data_of_a_detector(tmp_path):
    chance, rows = np.random.default_rng(0), []
    for number in range(4):
        pixels, boxes = drawn(chance, 1 + number % 2)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        found = [BoxOf(name, 0.5, (x0, y0, x1 - x0, y1 - y0)) for name, x0, y0, x1, y1 in boxes]
        rows.append(Row(str(tmp_path / f"{number}.png"), 60, 40, found))
    write_coco(tmp_path / "boxes.json", rows, NAMES, "by hand")
    train = opened_for(Detect(), str(tmp_path / "boxes.json")).train
    for index, row in enumerate(rows):
        boxes, labels, ignored, _, size = ObjectMarks.read(train, index)
        x, y, w, h = np.array([own.box for own in row.boxes], float).T
        assert np.array_equal(boxes, np.stack([x, y, x + w, y + h], 1)) and size == (60, 40)
        assert [train.classes[n] for n in labels] == [own.label for own in row.boxes]
        assert not ignored.any()


@pytest.mark.slow
def test_two_processes_step_as_one_does(place, tmp_path):
    """The same samples and draws: after a step of 32 pictures the weights are equal to rounding.

    One step, by plain gradient descent: later ones may draw other regions, because rounding can turn the
    order of two proposals that are nearly equal.
    """
    words = ["train", place / "coco", "--task", "detect", "--json", "--epochs", "1"]
    more = (
        "frozen_norm=true",
        "precision=fp32",
        "batch_size=32",
        "optimizer=sgd",
        "lr=0.01",
        "warmup=",
        "schedule=constant",
    )
    words += [w for key in (*WORDS, *more) for w in ("--set", key)]
    for count in (1, 2):
        by_processes(count, words, tmp_path / str(count), timeout=500)
    assert difference(tmp_path / "1", tmp_path / "2") < 1e-4


def test_parts_of_a_step_and_two_processes_equal_the_whole():
    """Gradients of a step in one part, in two, and as the mean of what two processes have."""
    task, train_split = Detect(width=8, anchors=32, regions=16, anchor=3.0), split_of()
    recipe = Recipe(
        model="speednet8_narrow", image_size=SIDE, epochs=1, batch_size=8, lr=0.1, schedule="constant",
        augment=(), normalize="channel",
    )  # fmt: skip

    def gradients(parts, processes=1):
        total = 0
        for rank in range(processes):
            torch.manual_seed(0)
            trunk = create_model("speednet8_narrow", 2)
            network = task.network(trunk, Dataset("x", NAMES, {"train": train_split})).eval()
            objective, optimizer = task.objective(network, Aids()), make_optimizer(network, recipe)
            order = Order(16, 8, 0, rank=rank, processes=processes)
            whole = batches(("rescale", "flip"))
            whole.order = order
            progress = Progress(sums=dict.fromkeys(task.counts, 0.0))
            progress.parts = parts
            step = Step(network, objective, optimizer, order.share, torch.float32)
            found = step(next(whole.epoch(0)), 0, 0.0, 0, progress, print)
            assert torch.isfinite(found).all()
            own = [torch.zeros_like(p) if p.grad is None else p.grad for p in network.parameters()]
            total = total + torch.cat([g.flatten() for g in own]) / processes
        return total

    whole = gradients(1)
    assert whole.norm() > 0
    assert (gradients(2) - whole).norm() < 1e-5 * whole.norm()
    assert (gradients(1, processes=2) - whole).norm() < 1e-5 * whole.norm()


def test_one_class_and_pictures_without_objects(tmp_path):
    make_coco(tmp_path / "one", 12, ("red",))
    answer = train(
        str(tmp_path / "one"),
        task="detect",
        epochs=1,
        changes=[*WORDS, "detect.head=c4"],
        out="run1",
        console=QUIET,
    )
    json.dumps(answer, allow_nan=False)
    assert list(answer["per_class"]) == ["red"] and open_any("run1").network.head.plan.kind == "c4"


def test_scales_and_context_are_settings_that_are_kept(place):
    """Tests at one size twice equal those at that size; other sizes see the picture, not its square."""
    words = [*WORDS, "detect.context=true", "detect.scales=1,2"]
    train(str(place / "coco"), task="detect", epochs=1, changes=words, out="wide", console=QUIET)
    opened = open_any("wide")
    assert opened.task.scales == (1.0, 2.0) and opened.network.head.plan.context
    assert "--set detect.scales=1.0,2.0" in json.loads(Path("wide/recipe.json").read_text())["command"]
    path, card = place / "coco/val/000.png", opened.preprocessing
    asked = Asked(opened.network, card, torch.float32, lambda i: Image.open(path).convert("RGB"), [0])
    sure = replace(opened.task, score=0.0)
    ((_, plain),) = replace(sure, scales=()).answers(asked)
    ((_, same),) = replace(sure, scales=(1.0, 1.0)).answers(asked)
    ((_, larger),) = sure.answers(asked)
    assert np.array_equal(plain.boxes, same.boxes) and np.array_equal(plain.scores, same.scores)
    assert larger.size == (60, 40) and len(larger.boxes) and (larger.boxes <= [60, 40, 60, 40]).all()
    assert larger.scores.tolist() != plain.scores.tolist()


def test_what_does_not_go_is_refused_in_a_line(tmp_path):
    from support import make_folder

    make_folder(tmp_path / "folder")
    with pytest.raises(DataError, match="has no boxes; --task detect learns from"):
        train(str(tmp_path / "folder"), task="detect", console=QUIET)
    for setting, match in (
        ({"head": "ssd"}, "detect.head=ssd: must be one of fpn, c4"),
        ({"head": "c4", "masks": True}, "take detect.head=fpn"),
        ({"width": 0}, "detect.width=0: must be 1 or more"),
        ({"nms": 1.0}, "must lie between 0 and 1"),
        ({"released": "timm"}, "detect.released=timm: must be torchvision, or left out"),
        ({"scales": (1.0,)}, "detect.scales: give two sizes or more"),
        ({"scales": (1.0, 9.0)}, "each between 0.25 and 4"),
    ):
        with pytest.raises(UsageError, match=match):
            Detect(**setting)
    empty = Split(
        "test", ArrayPictures(np.zeros((1, 4, 4, 3), np.uint8), "x"), np.arange(1),
        np.zeros((1, 1), np.float32), ("a",), boxes=[()], sizes=[(4, 4)],
    )  # fmt: skip
    nothing = Detected(np.zeros((0, 4)), np.zeros(0, np.int64), np.zeros(0), (4, 4))
    with pytest.raises(DataError, match="the test pictures have no object of the classes a"):
        DetectResult.of([(0, nothing)], empty)
    with pytest.raises(UsageError, match="mixup"):
        next(batches(("mixup",)).epoch(0))
