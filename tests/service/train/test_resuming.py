"""`--resume RUN` needs no other word; what differs is named; a finished run is continued, to the bit."""

import io
import json
import shlex
import shutil
from pathlib import Path

import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from resight.cli.main import app
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.models.modelfile import load_tensors
from resight.service.run.folder import named, resume_line
from resight.service.train import train as service
from resight.service.train.train import train
from resight.training.journal import read_csv
from resuming import stopped_after
from support import make_folder

pytestmark = pytest.mark.usefixtures("on_the_cpu")

QUIET = Console(file=io.StringIO(), quiet=True)
WORDS = (
    "model=resnet20", "image_size=16", "batch_size=8", "augment=resized-crop,flip", "schedule=one-cycle",
    "ema=0.9",
)  # fmt: skip


def command(*words):
    """Run `resight` in this process; returns what it said."""
    done = CliRunner().invoke(app, list(map(str, words)), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def flags(*words):
    return [part for word in words for part in ("--set", word)]


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A data set and a run of two epochs."""
    place = tmp_path_factory.mktemp("resuming")
    make_folder(place / "colours", count=14)
    train(str(place / "colours"), epochs=2, changes=WORDS, out=str(place / "run"), console=QUIET)
    return place


@pytest.fixture
def run(place, tmp_path):
    """A copy of the run."""
    shutil.copytree(place / "run", tmp_path / "run")
    return tmp_path / "run"


@pytest.fixture(autouse=True)
def no_report(monkeypatch):
    """In this process trainings end without their test and report, which take longer than they do."""
    answer = {"summary": "", "run": "", "report": ""}
    monkeypatch.setattr(service, "finish", lambda *_, **__: answer)


def assert_equal_runs(a, b):
    for name in ("model.safetensors", "last/state.safetensors"):
        left, right = (load_tensors(Path(run) / name)[0] for run in (a, b))
        assert left.keys() == right.keys() and len(left) > 30
        assert not [k for k in left if not torch.equal(left[k], right[k])]
    drop = ("seconds", "images_per_second")
    rows = [
        [{k: v for k, v in row.items() if k not in drop} for row in read_csv(Path(r) / "metrics.csv")]
        for r in (a, b)
    ]
    assert rows[0] == rows[1]


def record(run):
    return json.loads((Path(run) / "recipe.json").read_text())


def test_the_line_after_an_interrupt_resumes_to_the_bit(place):
    said = io.StringIO()
    with stopped_after(3):
        shown = Console(file=said, width=500)
        train(str(place / "colours"), epochs=2, changes=WORDS, out="my run", console=shown)
    line = said.getvalue().splitlines()[-1].removeprefix("stopped; resume with: ")
    assert line == "resight train --resume 'my run'"
    command(*shlex.split(line)[1:])
    assert_equal_runs(place / "run", "my run")


def test_an_interrupt_in_the_test_or_the_report_says_how_to_resume(place, monkeypatch):
    said = io.StringIO()

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(service, "finish", interrupted)
    with pytest.raises(KeyboardInterrupt):
        shown = Console(file=said, width=500)
        train(str(place / "colours"), epochs=1, changes=WORDS, out="my run", console=shown)
    assert said.getvalue().splitlines()[-1] == "stopped; resume with: resight train --resume 'my run'"


@pytest.mark.parametrize(
    "order", [("{run}", "--resume"), ("--resume", "{run}"), ("--resume", "--out", "{run}")]
)
def test_no_other_word_is_needed_in_any_order(run, order):
    assert f"resuming {run} at epoch 3" in command("train", *[word.format(run=run) for word in order])


def test_the_old_form_goes_on_working(place, run):
    words = ("train", place / "colours", *flags(*WORDS), "--epochs", "2", "--out", run, "--resume")
    assert "resuming" in command(*words)


def test_what_differs_is_named_setting_by_setting(place, run):
    with pytest.raises(ModelFileError) as caught:
        train(resume=run, changes=["lr=0.9", "augment.cutout=4"], seed=3, console=QUIET)
    line = str(caught.value)
    assert "augment resized-crop,flip -> resized-crop,flip,cutout:4" in line
    assert "lr 0.075 -> 0.9" in line and "seed 0 -> 3" in line and "model" not in line
    with pytest.raises(ModelFileError, match="recipe fast -> fine-tune"):
        train(resume=run, recipe="fine-tune", console=QUIET)
    with pytest.raises(ModelFileError, match="model resnet20 -> resnet32"):
        train(resume=run, model="resnet32", console=QUIET)


def test_words_that_say_the_same_and_those_of_the_machine_are_no_difference(run):
    train(resume=run, changes=["augment.flip=", "batch_size=8", "workers=1"], epochs=2, console=QUIET)
    assert record(run)["machine"]["workers"] == 1


def test_data_that_moved_are_named_beside_the_run(place, run, tmp_path):
    shutil.copytree(place / "colours", "moved")
    changed = record(run)
    (run / "recipe.json").write_text(json.dumps({**changed, "data": str(tmp_path / "gone")}))
    with pytest.raises(DataError) as caught:
        train(resume=run, console=QUIET)
    line = str(caught.value)
    assert "gone" in line and f"give its new location: resight train DATA --resume {run}" in line
    command("train", "--resume", run, "moved")
    assert record(run)["data"] == str(tmp_path / "moved")
    other = make_folder("other", count=14, start=5)
    with pytest.raises(ModelFileError, match=r"other data: .*restore them"):
        train(str(other), resume=run, console=QUIET)


def test_a_finished_run_is_continued_to_the_bit_stopped_or_not(place, run):
    shutil.copytree(run, "cut")
    train(resume=run, epochs=5, console=QUIET)
    with stopped_after(3):
        train(resume="cut", epochs=5, console=QUIET)
    train(resume="cut", console=QUIET)  # no word: five epochs are on record
    assert_equal_runs(run, "cut")
    found = record("cut")
    assert found["recipe"]["epochs"] == 5 and found["stages"] == [{"epochs": 2}, {"epochs": 3}]
    first, second = found["command"].split(" && ")
    assert "epochs=2" in first and first.endswith("--out cut")
    assert second == "resight train --resume cut --epochs 5"
    assert record(place / "run")["stages"] == [{"epochs": 2}]


def test_a_continued_run_has_a_new_cycle_of_the_schedule(run):
    train(resume=run, epochs=5, console=QUIET)
    rates = [row["lr"] for row in read_csv(run / "metrics.csv")]
    # Two steps an epoch: steps 1, 3 and 5 of 6, whose peak is at a fifth of them; 0.2 and 0.01 at the ends.
    shares = [0.2 + 0.8 * (1 / 6) / 0.2, 1 - 0.99 * (3 / 6 - 0.2) / 0.8, 1 - 0.99 * (5 / 6 - 0.2) / 0.8]
    assert rates[2:] == pytest.approx([0.075 * share for share in shares], rel=1e-5)


def test_continued_twice(run):
    train(resume=run, epochs=3, console=QUIET)
    train(resume=run, epochs=4, console=QUIET)
    assert record(run)["stages"] == [{"epochs": 2}, {"epochs": 1}, {"epochs": 1}]
    assert len(read_csv(run / "metrics.csv")) == 4
    with pytest.raises(UsageError, match="has 4 epochs already"):
        train(resume=run, epochs=3, console=QUIET)


def test_an_unfinished_run_keeps_its_length(place):
    with stopped_after(2):
        train(str(place / "colours"), epochs=2, changes=WORDS, out="cut", console=QUIET)
    with pytest.raises(UsageError, match=r"at epoch 1 of 2.*epochs 2 -> 9.*resight train --resume cut"):
        train(resume="cut", epochs=9, console=QUIET)
    with pytest.raises(UsageError, match=r"minutes none -> 3"):
        train(resume="cut", minutes=3, console=QUIET)


def test_a_run_whose_state_is_gone_is_not_continued(run):
    shutil.rmtree(run / "last")
    with pytest.raises(UsageError, match="at epoch 1 of 2"):
        train(resume=run, epochs=4, console=QUIET)


def test_a_run_of_before_stages_is_resumed(run):
    found = record(run)
    found.pop("stages")
    (run / "recipe.json").write_text(json.dumps(found))
    train(resume=run, epochs=3, console=QUIET)
    assert record(run)["stages"] == [{"epochs": 2}, {"epochs": 1}]


@pytest.mark.parametrize(
    ("places", "out", "resume", "found"),
    [
        (["d"], None, False, ("d", None)),
        (["d"], "x", False, ("d", None)),
        (["r"], None, True, (None, "r")),
        (["d", "r"], None, True, ("d", "r")),
        (["r", "d"], None, True, ("d", "r")),
        (["d"], None, True, ("d", None)),
        (["d"], "r", True, ("d", "r")),
        ([], "r", True, (None, "r")),
        (["r"], "r", True, (None, "r")),
    ],
)
def test_data_and_run_are_told_apart(places, out, resume, found):
    Path("r").mkdir()
    Path("r/recipe.json").write_text("{}")
    assert named(places, out, "train", resume=resume) == found


@pytest.mark.parametrize(
    ("places", "out", "resume", "message"),
    [
        (
            [],
            None,
            False,
            "give the data set: resight train DATA; a run is resumed with: resight train --resume RUN",
        ),
        (["a", "b"], None, False, "a, b: give one data set"),
        ([], None, True, "give the run: resight train --resume RUN"),
        (["a", "b"], None, True, "none of them is a run"),
        (["r", "s"], None, True, "r, s: these are several runs"),
        (["r", "a", "b"], None, True, "give one data set, and one run"),
    ],
)
def test_words_that_name_no_run_are_refused(places, out, resume, message):
    for run in ("r", "s"):
        Path(run).mkdir()
        Path(run, "recipe.json").write_text("{}")
    with pytest.raises(UsageError, match=message):
        named(places, out, "train", resume=resume)


def test_the_line_is_quoted():
    assert resume_line("runs/a b", "train-gan") == "resight train-gan --resume 'runs/a b'"


def test_the_record_of_a_gan_is_no_training():
    Path("gan").mkdir()
    Path("gan/recipe.json").write_text(json.dumps({"settings": {}, "data": "d", "data_fingerprint": "f"}))
    with pytest.raises(ModelFileError, match="resight train-gan --resume gan"):
        train(resume="gan", console=QUIET)


def test_a_damaged_record_is_refused_in_one_line(run):
    whole = record(run)
    for change, message in (
        ({"recipe": {**whole["recipe"], "rate": 1}}, "unknown setting 'rate'"),
        ({"recipe": {**whole["recipe"], "lr": "high"}}, "needs a number"),
        ({"stages": [{"epochs": 7}]}, "stages of 7 epochs, but 2 in all"),
        ({"stages": [{"epochs": 0}]}, "stages"),
        ({"machine": {"engine": "steam"}}, "unknown setting 'engine'"),
    ):
        (run / "recipe.json").write_text(json.dumps({**whole, **change}))
        with pytest.raises(ModelFileError, match=message):
            train(resume=run, console=QUIET)
