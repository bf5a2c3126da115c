"""From labels to a detector: the sets that are made on the way, the figures, and the loop by hand."""

import io
import json

import numpy as np
import pytest
from rich.console import Console

from annotated import make_boxes
from resight.data.objects import ObjectMarks
from resight.data.open import open_as_it_is
from resight.metrics.localization import overlap
from resight.reproduce.boxed import TRUE, figures_of_maps
from resight.reproduce.catalogue import _needed, experiment
from resight.reproduce.laboratory import Laboratory
from resight.service.locate.locate import locate
from resight.service.locate.search import Wish
from resight.service.run.data import opened_for
from resight.service.run.run import REPORT_FILE
from resight.service.train.train import train
from resight.tasks.detect.task import Detect
from resight.tasks.localize.task import Localize
from support import resight

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
SMALL = ("model=speednet8_narrow", "image_size=48", "batch_size=16", "lr=0.02", "weights=none")


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A laboratory in which the classifier has learned."""
    place = tmp_path_factory.mktemp("labels")
    make_boxes(place / "boxes")
    chosen = experiment("labels-to-detector")
    own = Laboratory(chosen, chosen.smoke, (0,), place / "runs", print, data=(str(place / "boxes"),))
    before = own.words(own.training("localizer-cam"), 0)  # nothing is made before the classifier is there
    assert not (own.place / "data").exists() and before[1].startswith(str(own.place / "data"))
    out = own.run_folder(own.training("classifier"), 0)
    train(str(own.set_of(TRUE)), recipe="fast", epochs=2, changes=SMALL, out=str(out), console=QUIET)
    assert (out / REPORT_FILE).exists() and own.words(own.training("localizer-cam"), 0) == before
    return own


def boxes_of(split):
    """The boxes of each picture by what its file shows, to a hundredth."""
    found = {}
    for index in range(len(split)):
        own = [(split.classes[box.label], *np.round(box[1:], 2)) for box in split.picture_boxes(index)]
        found[split.decode(index).tobytes()] = own
    return found


def test_true_boxes_are_those_of_the_user_on_the_same_test_pictures(lab):
    given, made = (
        open_as_it_is(str(where), None, Localize().rule) for where in (lab.given(), lab.set_of(TRUE))
    )
    assert set(made.splits) == {"train", "test"} == set(given.splits) and len(made.split("test")) == 12
    assert all(boxes_of(given.split(name)) == boxes_of(made.split(name)) for name in given.splits)


def test_boxes_of_the_maps_are_learned_and_true_ones_tested(lab):
    """What `locate` gives is what is learned; a training waits for the run that its set is made of."""
    training = lab.training("detector-cam")
    chosen = lab.experiment
    assert [t.condition for t in chosen.before(training)] == ["classifier"] == lab._missing(training, 1)
    assert {t.condition for t in _needed(chosen, ["detector-cam"])} == {"classifier", "detector-cam"}
    run = lab.run_folder(lab.training("classifier"), 0)
    made = opened_for(Detect(), lab.words(training, 0)[1])
    source = opened_for(Detect(), str(lab.set_of(TRUE)))
    assert boxes_of(made.split("test")) == boxes_of(source.split("test"))
    rows = locate(str(run), [str(lab.set_of(TRUE))], Wish(classes="true", split="all")).boxes
    named = {row.path: row.box for row in rows}
    learned, true = boxes_of(made.split("train")), boxes_of(source.split("train"))
    assert learned != true and learned.keys() == true.keys()
    split = source.split("train")
    for index in range(len(split)):
        box = named[split.picture_name(index)]
        x, y, w, h = box.box
        assert (
            learned[split.decode(index).tobytes()] == [(box.label, *np.round([x, y, x + w, y + h], 2))]
            and box.label == true[split.decode(index).tobytes()][0][0]
        )


def test_the_figures_of_the_maps_are_those_of_their_boxes(lab):
    run, source = lab.run_folder(lab.training("classifier"), 0), str(lab.set_of(TRUE))
    found = figures_of_maps(run, source)
    rows = locate(str(run), [source], Wish(classes="true", split="test")).boxes
    split = open_as_it_is(source, None, Localize().rule).split("test")
    true = {split.picture_name(i): split.picture_boxes(i)[0][1:] for i in range(len(split))}
    missed = 0
    for row in rows:
        x, y, w, h = row.box.box
        missed += overlap(np.array([[x, y, x + w, y + h]]), np.array([true[row.path]]))[0, 0] < 0.5
    assert len(rows) == 12 and found["gt_known_error"] == pytest.approx(100 * missed / 12)
    assert found["gt_known_error"] <= found["localization_error"] and 0 <= found["ap50"] <= 1


def test_what_locate_writes_trains_a_detector_as_it_is(lab):
    """The loop by hand: a folder of pictures, boxes of the maps as COCO, `train --task detect` on them."""
    source, run = lab.set_of(TRUE), lab.run_folder(lab.training("classifier"), 0)
    file = source.parent / "boxes.json"
    answer = locate(str(run), [str(source / "train")], Wish(form="coco", out=str(file)))
    found = opened_for(Detect(), str(file)).train
    named = {row.path: row.box for row in answer.boxes}
    assert len(found) == len(named) == 48
    for index in range(len(found)):
        (box,), (label,), (passed,), *_ = ObjectMarks.read(found, index)
        own = named[found.picture_name(index)]
        x, y, w, h = own.box
        assert found.classes[label] == own.label and not passed
        assert box == pytest.approx([x, y, x + w, y + h], abs=0.011)
    words = [*SMALL, "detect.width=8", "detect.regions=16", "detect.anchors=32", "detect.anchor=3"]
    tested = train(str(file), task="detect", epochs=1, changes=words, out="detector", console=QUIET)
    assert tested["objects"] == tested["n"] > 0


@pytest.mark.slow
def test_the_smoke_scale_gives_every_figure(tmp_path):
    make_boxes(tmp_path / "boxes")
    done = resight(
        "reproduce",
        "labels-to-detector",
        "--data",
        tmp_path / "boxes",
        "--jobs",
        2,
        "--json",
        check=0,
        timeout=600,
    )
    rows = {row["id"].partition("/")[2]: row for row in json.loads(done.stdout)}
    names = {
        f"{n}/{f}"
        for n in ("maps", "localizer-true", "localizer-cam")
        for f in ("gt-known-error", "localization-error")
    }
    names |= {f"{n}/ap50" for n in ("maps", "detector-true", "detector-cam")}
    assert names | {"classifier/test-error", "constant-box/gt-known-error"} == set(rows), sorted(rows)
    assert all(row["measured"] is not None and row["interval"] for row in rows.values())
