"""Class and box from one trunk: the marks follow the picture, the loss is its formula, resuming is exact."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from resight.core.errors import DataError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import ResidentBatches, StreamedBatches
from resight.data.dataset import ArrayPictures, Box, Dataset, Split, fingerprint
from resight.data.marks import OneBox
from resight.data.order import Order
from resight.data.prepare import Normalize, decode_split
from resight.data.stream import Readers
from resight.metrics.localization import overlap
from resight.models.modelfile import load_header
from resight.models.zoo import create_model
from resight.tasks.localize.result import overlaps
from resight.tasks.localize.task import Localize
from resight.tasks.task import Aids
from resight.training.checkpoints import FILE, Progress, load_state, save_state
from resight.training.loop import Actions, Stopped, fit
from resight.training.optimizer import make_optimizer
from resight.training.recipe import Recipe
from resight.training.step import Step

SIZE, SIDE, COUNT = (60, 40), 32, 24
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
NORMALIZE = Normalize(CARD, torch.device("cpu"))


def split():
    """Dark pictures with one bright box each: red ones are of class 0, blue ones of class 1."""
    chance, boxes = np.random.default_rng(0), []
    pixels = np.zeros((COUNT, SIZE[1], SIZE[0], 3), np.uint8)
    for i in range(COUNT):
        width, height = chance.integers(12, 18, 2)
        x, y = 10 + chance.integers(SIZE[0] - 20 - width), chance.integers(SIZE[1] - height)
        pixels[i, y : y + height, x : x + width, 2 * (i % 2)] = 255
        boxes.append((Box(i % 2, float(x), float(y), float(x + width), float(y + height)),))
    return Split(
        "train", ArrayPictures(pixels, "x"), np.arange(COUNT), np.arange(COUNT) % 2, ("a", "b"), boxes=boxes,
        sizes=[SIZE] * COUNT,
    )  # fmt: skip


def batches(words, kind="streamed", workers=0, batch=8):
    train, pipeline, order = split(), Pipeline(parse(words), 2), Order(COUNT, batch, 0)
    if kind == "streamed":
        readers = Readers(workers, processes=True)
        return StreamedBatches(train, None, CARD, NORMALIZE, pipeline, order, readers, OneBox, strict=True)
    _, squares, _ = decode_split(train, CARD)
    marks = OneBox.of_split(train)
    return ResidentBatches(torch.from_numpy(np.stack(squares)), marks, NORMALIZE, pipeline, order)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("streamed", ("flip", "pad-crop")), ("streamed", ("resized-crop:0.6", "flip")), ("resident", ()),
        ("resident", ("pad-crop", "flip")), ("streamed", ("resized-crop:0.8", "zoom")),
    ],
)  # fmt: skip
def test_a_box_is_where_the_moved_picture_shows_its_object(kind, words):
    checked = 0
    for epoch in range(2):
        for batch in batches(words, kind).epoch(epoch):
            marks = batch.marks
            for image, label, box, seen in zip(
                batch.images, marks.labels, marks.boxes, marks.seen, strict=True
            ):
                bright = image[2 * int(label)] > 0.5
                if seen < 0.3:
                    continue
                rows, columns = (torch.nonzero(bright.any(along)).flatten() for along in (1, 0))
                found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
                assert (found - SIDE * box).abs().max() < 1.3, (found, SIDE * box)
                checked += 1
    assert checked > COUNT


def test_resident_and_streamed_marks_agree_whatever_the_workers():
    for words in (("pad-crop", "flip"), ("flip",)):
        runs = [list(batches(words, kind, n).epoch(1)) for kind, n in (("resident", 0), ("streamed", 0))]
        for one, other in zip(*runs, strict=True):
            assert torch.equal(one.marks.labels, other.marks.labels)
            torch.testing.assert_close(one.marks.boxes, other.marks.boxes)
    alone, ahead = (list(batches(("resized-crop", "flip"), workers=n).epoch(0)) for n in (0, 2))
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.marks.boxes, other.marks.boxes) and torch.equal(one.images, other.images)


def test_no_pictures_have_no_objects():
    """A batch of which nothing can be read is refused by name, not by a shape."""
    none = OneBox.together([])
    assert len(none) == 0 and none.boxes.shape == (0, 4) and none.sizes.shape == (0, 2)


def test_what_blends_classes_is_refused():
    with pytest.raises(UsageError, match="augment=mixup goes by the class"):
        next(batches(("mixup",)).epoch(0))


def test_a_picture_without_a_box_is_named():
    train = split()
    with pytest.raises(DataError, match="has no box of its class"):
        OneBox.read(replace(train, boxes=[()] * COUNT), 3)
    with pytest.raises(DataError, match="its size is not known"):
        OneBox.read(replace(train, sizes=None), 3)


def test_the_fingerprint_covers_the_boxes():
    train = split()
    moved = replace(train, boxes=[*train.boxes[:-1], (train.boxes[-1][0]._replace(x0=9.0),)])
    assert fingerprint(train) == fingerprint(moved)
    assert fingerprint(train, OneBox.said) != fingerprint(moved, OneBox.said)


def marks_of(boxes, labels):
    boxes = torch.tensor(boxes)
    return OneBox(torch.tensor(labels), boxes, torch.ones(len(boxes), 2), torch.ones(len(boxes)))


def test_the_loss_is_alpha_s_plus_one_less_alpha_r():
    marks = marks_of([[0.1, 0.2, 0.5, 0.6], [0.0, 0.0, 1.0, 0.5]], [1, 0])
    outputs = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))
    named = F.cross_entropy(outputs[:, :2], marks.labels)
    apart = ((outputs[:, 2:] - marks.boxes) ** 2).sum(1).mean()
    torch.testing.assert_close(Localize(alpha=0.3).loss(outputs, marks), 0.3 * named + 0.7 * apart)
    hidden = replace(marks, seen=torch.tensor([1.0, 0.0]))
    first = ((outputs[0, 2:] - marks.boxes[0]) ** 2).sum() / 2
    torch.testing.assert_close(Localize(alpha=0.3).loss(outputs, hidden), 0.3 * named + 0.7 * first)
    # By hand, beta 0.1: |d| - 0.05 beyond a tenth of a side, else 5 d^2.
    away = (outputs[:, 2:] - marks.boxes).abs()
    smooth = torch.where(away < 0.1, 5 * away**2, away - 0.05).sum() / 2
    torch.testing.assert_close(Localize(0.3, smooth=True).loss(outputs, marks), 0.3 * named + 0.7 * smooth)
    each = torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    own = torch.stack([each[0, 6:10], each[1, 2:6]])  # the second class's box, and the first's
    wanted = 0.5 * F.cross_entropy(each[:, :2], marks.labels) + 0.5 * ((own - marks.boxes) ** 2).sum(1).mean()
    torch.testing.assert_close(Localize(per_class=True).loss(each, marks), wanted)
    for alpha in (0.0, 1.0):
        with pytest.raises(UsageError, match="between 0 and 1"):
            Localize(alpha)


def test_a_picture_counts_if_its_class_is_right_and_its_box_overlaps_by_half():
    marks = marks_of([[0.0, 0.0, 0.5, 0.5]] * 3, [0, 0, 1])
    right, shifted = [0.0, 0.0, 0.5, 0.5], [0.25, 0.0, 0.75, 0.5]  # overlap 1, and 1/3
    outputs = torch.tensor([[2.0, 1.0, *right], [2.0, 1.0, *shifted], [2.0, 1.0, *right]])
    row = Localize().judged(outputs, marks)
    assert row["val_error"] == pytest.approx(100 / 3) and row["val_localization_error"] == pytest.approx(
        200 / 3
    )
    assert row["val_iou"] == pytest.approx((1 + 1 / 3 + 1) / 3)
    assert Localize().row({"wrong": 1, "missed": 2}, 4) == {
        "train_error": 25.0, "train_localization_error": 50.0,
    }  # fmt: skip
    boxes = torch.rand(9, 4, dtype=torch.float64)
    boxes[:, 2:] += boxes[:, :2]
    others = boxes.roll(1, 0)
    expected = torch.from_numpy(overlap(boxes.numpy(), others.numpy()).diagonal().copy())
    torch.testing.assert_close(overlaps(boxes, others), expected)


def training(run, epochs, stop_at=None, *, resume=False):
    """Train a small network; returns its weights and progress, and saves like a job does."""
    recipe = Recipe(
        model="speednet8_narrow", image_size=SIDE, epochs=epochs, batch_size=8, lr=0.02, schedule="cosine",
        augment=("pad-crop", "flip"), normalize="channel",
    )  # fmt: skip
    torch.manual_seed(0)
    task, trunk = Localize(alpha=0.4), create_model("speednet8_narrow", 2)
    network = task.network(trunk, Dataset("x", ("a", "b"), {"train": split()}))
    objective, optimizer = task.objective(network, Aids()), make_optimizer(network, recipe)
    before = load_state(run, network, optimizer, None, {}, task.counts) if resume else None
    progress = before or Progress(sums=dict.fromkeys(task.counts, 0.0))
    steps = []

    def begin(epoch, done):
        return lambda step, rate, loss: steps.append((epoch, step))

    def end(state, rate):
        progress.history.append(task.row(progress.sums, progress.seen))

    actions = Actions(
        begin, end, lambda: save_state(run, network, optimizer, None, progress, {}),
        lambda: steps[-1:] == [stop_at], print,
    )  # fmt: skip
    fit(
        network, objective, batches(recipe.augment, "resident"), recipe, optimizer, None, progress,
        torch.float32, actions,
    )  # fmt: skip
    return network.state_dict(), progress


def test_killed_and_resumed_to_the_same_bits(tmp_path):
    expected, whole = training(tmp_path / "whole", 3)
    with pytest.raises(Stopped):
        training(tmp_path / "cut", 3, stop_at=(1, 1))
    stopped = load_header(tmp_path / "cut" / FILE)["progress"]
    found, progress = training(tmp_path / "cut", 3, resume=True)
    assert (stopped["epoch"], stopped["step"]) == (1, 2) and stopped["sums"].keys() == {"wrong", "missed"}
    assert progress.history == whole.history and len(whole.history) == 3
    assert found.keys() == expected.keys() and all(torch.equal(found[k], expected[k]) for k in expected)


def test_it_learns_where_the_objects_are(tmp_path):
    """Far better than the middle box, which a fresh head says."""
    _, progress = training(tmp_path, 30)
    first, last = progress.history[0], progress.history[-1]
    assert last["train_localization_error"] < 40 < first["train_localization_error"]


def test_memory_that_runs_out_halves_the_step_and_changes_nothing_else():
    """Marks are cut as the pictures are: the gradient of two halves is that of the whole."""
    task, trunk = Localize(alpha=0.4), create_model("lenet5_modern", 2)
    network = task.network(trunk, Dataset("x", ("a", "b"), {"train": split()})).train()
    loss = task.objective(network, Aids())
    batch, gradients, said = next(batches((), "resident").epoch(0)), [], []
    tries = []

    def short(images, marks, done):
        tries.append(len(marks))
        if len(tries) == 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return loss(images, marks, done)

    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for objective in (loss, short, short):
        progress = Progress(sums=dict.fromkeys(task.counts, 0.0))
        found = Step(network, objective, optimizer, 8, torch.float32)(batch, 0, 0.0, 0, progress, said.append)
        gradients.append([p.grad.clone() for p in network.parameters()])
    assert tries == [8, 8, 4, 4] and progress.parts == 2 and "computed in 2 parts" in said[0]
    for one, halves in zip(gradients[0], gradients[2], strict=True):
        torch.testing.assert_close(one, halves, rtol=1e-4, atol=1e-6)
    assert len(found) == 3
