"""Segmentation through the whole job: maps follow the picture, resuming is exact, void counts nowhere."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from torch.nn import functional as F

from as_json import check, explain_paths, gallery, summary
from masked import COLOURS, NAMES, SIZE, make_masked, save_mask
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import ResidentBatches, StreamedBatches
from resight.data.dataset import VOID, fingerprint
from resight.data.map_marks import LabelMaps
from resight.data.open import open_as_it_is
from resight.data.order import Order
from resight.data.prepare import Normalize, decode_split
from resight.data.stream import Readers
from resight.evaluate.asked import Place
from resight.models.zoo import create_model
from resight.render.label_map import palette
from resight.service.data.pack import pack
from resight.service.report.report import report
from resight.service.run.run import open_any
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train import words as training_words
from resight.service.train.train import train
from resight.tasks.segment.result import OVERALL, POSITION, Blind
from resight.tasks.segment.task import AUX, Segment, pixels_of
from resight.tasks.task import Aids
from resight.training.optimizer import set_mode
from resight.training.recipe import Facts, Recipe
from resight.training.recipes import RECIPES
from resuming import assert_same_weights, stopped_after

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
SIDE = 48
WORDS = (
    "weights=none", "model=speednet8_narrow", "image_size=48", "batch_size=8", "lr=0.01", "segment.aux=true",
)  # fmt: skip
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, frame="corner")


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a finished run of three epochs."""
    place = tmp_path_factory.mktemp("segment")
    make_masked(place / "masked")
    answer = train(
        str(place / "masked"),
        task="segment",
        epochs=3,
        changes=[*WORDS],
        out=str(place / "run"),
        console=QUIET,
    )
    (place / "answer.json").write_text(json.dumps(answer))
    return place


def opened(place):
    return open_as_it_is(place / "masked", None, Segment().rule)


def batches(place, words, workers=0, processes=1, rank=0):
    train_split = opened(place).train
    normalize, pipeline = Normalize(CARD, torch.device("cpu")), Pipeline(parse(words), 3)
    order = Order(len(train_split), 8, 0, rank=rank, processes=processes)
    return StreamedBatches(
        train_split,
        None,
        CARD,
        normalize,
        pipeline,
        order,
        Readers(workers, processes=True),
        LabelMaps,
        strict=True,
    )


@pytest.mark.parametrize("words", [(), ("flip",), ("rescale:0.5", "flip"), ("rescale", "rotation:20")])
def test_each_pixel_has_the_class_whose_colour_the_moved_picture_shows(place, words):
    """Red, blue and dark pixels are told apart by their colours; at edges colours are mixed."""
    right, counted = 0, 0
    for batch in batches(place, words).epoch(1):
        labels = batch.marks.at(SIDE)
        assert labels.dtype == torch.uint8 and set(labels.unique().tolist()) <= {0, 1, 2, VOID}
        colours = torch.tensor([COLOURS[name] for name in NAMES]).float() / 255
        apart = (batch.images[:, None] - colours[None, :, :, None, None]).pow(2).sum(2)
        shown = apart.argmin(1)
        known = labels != VOID
        right += int((shown == labels)[known].sum())
        counted += int(known.sum())
        black = (batch.images == 0).all(1)  # outside of the picture
        assert black[~known].float().mean() > 0.5 or (not words and (labels[black] == VOID).all())
    assert right / counted > 0.97


def test_plain_maps_are_those_of_nearest_pixels(place):
    """Pillow's own nearest pixels, in the upper left of the square; void below."""
    batch = next(batches(place, ()).epoch(0))
    data = opened(place)
    for sample, labels in zip(batch.samples, batch.marks.at(SIDE), strict=True):
        whole = Image.fromarray(LabelMaps.read(data.train, int(sample)))
        small = np.asarray(whole.resize((48, 32), Image.Resampling.NEAREST))
        assert np.array_equal(labels[:32].numpy(), small) and (labels[32:] == VOID).all()


def test_samples_are_the_same_whatever_the_workers_and_processes(place):
    words = ("rescale", "flip")
    first, second = (list(batches(place, words, workers=n).epoch(1)) for n in (0, 2))
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images) and torch.equal(one.marks.at(SIDE), other.marks.at(SIDE))
    halves = [list(batches(place, words, processes=2, rank=rank).epoch(1)) for rank in (0, 1)]
    for number, whole in enumerate(first):
        parts = [half[number] for half in halves]
        assert torch.equal(torch.cat([p.images for p in parts]), whole.images)
        assert torch.equal(torch.cat([p.marks.at(SIDE) for p in parts]), whole.marks.at(SIDE))
    joined = LabelMaps.joined([first[0].marks[2:5], first[0].marks[5:]])
    assert torch.equal(joined.at(SIDE), first[0].marks.at(SIDE)[2:])


def test_the_fingerprint_covers_every_pixel(place, tmp_path):
    data = make_masked(tmp_path / "masked")
    before = fingerprint(opened(tmp_path).train, LabelMaps.said)
    assert before == fingerprint(opened(place).train, LabelMaps.said)
    path = data / "train/masks/003.png"
    labels = np.asarray(Image.open(path)).copy()
    labels[0, 0] = 2 - labels[0, 0]
    save_mask(path, labels)
    assert fingerprint(opened(tmp_path).train, LabelMaps.said) != before


def test_the_loss_is_the_mean_over_pixels_that_count(place):
    """By torch's own mean over the pixels of each picture; the second head's at 0.4; in parts the same."""
    task = Segment(head="fcn32", aux=True)
    torch.manual_seed(0)
    network = task.network(create_model("speednet8_narrow", 10), opened(place)).eval()
    batch = next(batches(place, ("rescale:0.5",)).epoch(0))
    loss = task.objective(network, Aids())
    found, sums = loss(batch.images, batch.marks, 0.0)
    true = batch.marks.at(SIDE).long()
    maps = network.forward_maps(batch.images)
    expected = 0.0
    for weight, scores in ((1, network.head(maps)), (AUX, network.head.beside(maps))):
        whole = F.interpolate(scores, size=(SIDE, SIDE), mode="bilinear", align_corners=False)
        each = [
            F.cross_entropy(w[None], t[None], ignore_index=VOID) for w, t in zip(whole, true, strict=True)
        ]
        expected = expected + weight * torch.stack(each).mean()
        if weight == 1:
            assert sums.tolist() == [int((whole.argmax(1) == true).sum()), int((true != VOID).sum())]
    torch.testing.assert_close(found, expected)
    halves = [loss(batch.images[part], batch.marks[part], 0.0)[0] for part in (slice(0, 4), slice(4, 8))]
    torch.testing.assert_close(sum(halves) / 2, found)
    empty = LabelMaps(tuple(torch.full_like(own, VOID) for own in batch.marks.maps), batch.marks.warps)
    nothing, sums = loss(batch.images, empty, 0.0)
    assert nothing.item() == 0 and sums.tolist() == [0, 0]


def test_the_head_measures_its_statistics_where_the_trunk_s_are_frozen(place):
    trunk = create_model("resnet18", 10, frozen_norm=True)
    network = Segment(head="deeplab", width=8).network(trunk, opened(place))
    plain = {"optimizer": "adamw", "schedule": "constant", "augment": (), "normalize": "channel"}
    recipe = Recipe(
        model="resnet18", image_size=64, epochs=1, batch_size=4, lr=0.1, weight_decay=0.0, **plain
    )
    set_mode(network, recipe, 0)
    norms = {name: m.training for name, m in network.named_modules() if isinstance(m, torch.nn.BatchNorm2d)}
    assert all(on == name.startswith("head.") for name, on in norms.items()) and len(norms) > 20


def test_scores_are_enlarged_to_the_picture_s_own_pixels(monkeypatch):
    """As interpolation of the whole square does, where the picture fills it; its part, where it does not."""
    scores = torch.randn(5, 6, 6, generator=torch.Generator().manual_seed(0))
    whole = F.interpolate(scores[None], size=(90, 90), mode="bilinear", align_corners=False)[0].argmax(0)
    found = pixels_of(scores, Place((90, 90), (0.0, 0.0, 90.0, 90.0)))
    assert found.dtype == torch.uint8 and torch.equal(found, whole.to(torch.uint8))
    monkeypatch.setattr("resight.tasks.segment.task.AT_ONCE", 1000)
    part = pixels_of(scores, Place((90, 60), (0.0, 0.0, 90.0, 90.0)))
    assert part.shape == (60, 90) and torch.equal(part, whole[:60].to(torch.uint8))


def test_killed_and_resumed_to_the_same_bits(place):
    words = {"task": "segment", "epochs": 3, "changes": [*WORDS], "console": QUIET}
    with stopped_after(5):
        train(str(place / "masked"), out="cut", **words)
    train(resume="cut", console=QUIET)
    assert_same_weights(place / "run", "cut")


def test_figures_equal_those_of_the_written_maps(place, tmp_path):
    """By hand from the PNG files that predict writes: they are the answers, at the pictures' own size."""
    answer, again = json.loads((place / "answer.json").read_text()), score([str(place / "run")])
    assert "NaN" not in json.dumps(again, allow_nan=False)
    keys = ("n", "pixels", "mean_iou", "mean_iou_interval", "pixel_accuracy", "per_class", "baselines")
    assert all(answer[key] == again[key] for key in keys) and again["n"] == 10
    rows = list(predict(str(place / "run"), str(place / "masked/test/images"), exact=True, out="maps"))
    said, true = [], []
    for row in rows:
        image = Image.open(row["map"])
        assert image.mode == "P" and image.size == SIZE and row["size"] == list(SIZE)
        assert image.getpalette()[:768] == palette().reshape(-1).tolist()
        own = np.asarray(image)
        for entry in row["classes"]:
            assert (
                entry["share"] == (own == entry["index"]).mean() and entry["label"] == NAMES[entry["index"]]
            )
        assert sum(entry["share"] for entry in row["classes"]) == pytest.approx(1)
        said.append(own)
        true.append(np.asarray(Image.open(place / "masked/test/masks" / Path(row["path"]).name)))
    said, true = np.stack(said), np.stack(true)
    counted = true != VOID
    each = [
        ((said == n) & (true == n)).sum() / (((said == n) | (true == n)) & counted).sum() for n in range(3)
    ]
    assert again["mean_iou"] == pytest.approx(np.mean(each), rel=1e-9)
    assert again["pixel_accuracy"] == pytest.approx((said == true)[counted].mean(), rel=1e-9)
    assert again["baselines"][OVERALL]["pixel_accuracy"] == pytest.approx((true == 0)[counted].mean())
    assert again["baselines"].keys() == {POSITION, OVERALL}


def test_it_learns_colours_and_beats_answers_that_see_no_picture(place):
    answer = json.loads((place / "answer.json").read_text())
    blind = max(own["mean_iou"] for own in answer["baselines"].values())
    assert answer["mean_iou_interval"][0] > blind


def test_the_commonest_class_of_each_place(place):
    """Against counts over the masks, stretched to the grid by Pillow."""
    data = opened(place)
    blind = Blind.of(data.train)
    stack = np.stack([
        np.asarray(Image.fromarray(LabelMaps.read(data.train, i)).resize((64, 64), Image.Resampling.NEAREST))
        for i in range(len(data.train))
    ])  # fmt: skip
    counts = np.stack([(stack == n).sum(0) for n in range(3)])
    assert np.array_equal(blind.places[:, :60], counts.argmax(0)[:, :60]) and blind.overall == 0
    assert (blind.places[:, -2:] == 0).all()  # nothing counts there


def test_a_picture_is_never_overwritten_by_its_map(place):
    folder = place / "masked/test/images"
    before = (folder / "000.png").read_bytes()
    with pytest.raises(UsageError, match="is a picture that is asked about; choose another folder"):
        list(predict(str(place / "run"), str(folder / "000.png"), out=str(folder)))
    assert (folder / "000.png").read_bytes() == before


def test_report_check_augment_and_summary(place, tmp_path):
    page = report(str(place / "run")).read_text()
    for words in (
        "mean IoU",
        "The worst answers",
        "Class by class",
        POSITION,
        "segment.aux",
        "mistaken for",
    ):
        assert words in page, words
    assert "min(100%, 750px)" in page  # three pictures side by side
    answer = check(str(place / "masked"), task="segment")
    shares = next(note for note in answer["notes"] if note.startswith("train pixels: "))
    true = np.stack([np.asarray(Image.open(p)) for p in (place / "masked/train/masks").iterdir()])
    red = 100 * (true == 1).sum() / (true != VOID).sum()
    assert f"red {red:.1f} %" in shares and f"void {100 * (true == VOID).mean():.1f} % of all" in shares
    with pytest.raises(DataError, match="names 0 to 2"):
        check(str(place / "masked"), task="segment", changes=["segment.void=-1"])
    drawn = gallery(str(place / "masked"), str(tmp_path / "g.png"), ["augment=rescale,flip"], task="segment")
    assert len(drawn["rows"]) == 8
    rows, network = summary(str(place / "run")), open_any(str(place / "run")).network
    assert rows["parameters"] == sum(p.numel() for p in network.parameters()) and rows["task"] == "segment"


def test_one_region_is_explained_by_its_class(place, tmp_path):
    """The score is the sum of the class's scores where it is the answer."""
    run, path = str(place / "run"), str(place / "masked/test/images/000.png")
    rows = explain_paths(run, [path], out=str(tmp_path / "maps"), target="top2")
    assert len(rows) == 2 and all(Path(row["image"]).is_file() for row in rows)
    opened_run = open_any(run)
    image = torch.zeros(1, 3, SIDE, SIDE)
    aim = opened_run.task.aims(opened_run.network, image, None, None)[0]
    scores = opened_run.network(image)
    label = NAMES.index(aim.name)
    expected = scores[0, label][scores[0].argmax(0) == label].sum()
    torch.testing.assert_close(aim.score(scores)[0], expected)
    with pytest.raises(UsageError, match="is no class of this run; its classes: ground"):
        opened_run.task.aims(opened_run.network, image, "green", None)
    gone = next(n for n in range(3) if n not in scores[0].argmax(0).unique().tolist())
    with pytest.raises(UsageError, match=rf"the answer shows no {NAMES[gone]}"):
        opened_run.task.aims(opened_run.network, image, NAMES[gone], None)


def test_what_it_cannot_do_is_refused_in_a_line(place):
    data, run = str(place / "masked"), str(place / "run")
    for call, fault in (
        (
            lambda: pack(data, 1, None, "packed", task="segment"),
            "has label maps, which shards do not support",
        ),
        (lambda: list(predict(run, data, at_least=0.5)), "--at-least is about classes"),
        (lambda: score([run], views="flip"), "sees one view"),
        (lambda: Segment(head="unet"), "segment.head=unet: must be one of fcn32, fcn16, fcn8, deeplab"),
        (lambda: Segment(output_stride=4), "segment.output_stride=4: must be 8, 16, or 0"),
        (lambda: check(data, changes=["lr=1"]), "is no setting of a task"),
        (
            lambda: train(data, task="segment", changes=[*WORDS, "augment=mixup"], out="x", console=QUIET),
            "mixup",
        ),
    ):
        with pytest.raises(UsageError, match=fault):
            call()
    with pytest.raises(ModelFileError, match="other settings: aux True -> False"):
        train(resume=run, changes=["segment.aux=false"], console=QUIET)


def test_resident_squares_have_the_maps_that_streamed_ones_have(place):
    """One gather from memory, or sample by sample: the same pictures and classes."""
    words = ("pad-crop:0.1", "flip")
    train_split, normalize = opened(place).train, Normalize(CARD, torch.device("cpu"))
    _, squares, _ = decode_split(train_split, CARD)
    resident = ResidentBatches(
        torch.from_numpy(np.stack(squares)), LabelMaps.of_split(train_split), normalize,
        Pipeline(parse(words), 3), Order(len(train_split), 8, 0),
    )  # fmt: skip
    for one, other in zip(resident.epoch(1), batches(place, words).epoch(1), strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.marks.at(SIDE), other.marks.at(SIDE))


@pytest.mark.parametrize("name", ["photos", "detect", "segment"])
def test_recipes_for_photos_ask_for_weights(monkeypatch, name):
    asked = []
    monkeypatch.setattr(training_words, "settle", lambda word, *rest: asked.append(word))
    training_words._start_of(RECIPES[name], Facts(model="", pictures=9, side=200, mirrors=True), {}, print)
    assert asked == ["auto"]
