"""A run knows its pictures by content: what it learned is never scored as a test without a word."""

import hashlib
import json
import shutil
import threading
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from resight.core.errors import ModelFileError, TrainingError
from resight.data.open import open_as_it_is, open_dataset
from resight.data.splitting import hold_out_by_rank
from resight.models.modelfile import load_header, load_tensors, save_tensors
from resight.service.report.report import report
from resight.service.run import life
from resight.service.run.data import opened_for
from resight.service.run.members import KEY, members_of, note_members, notes_of
from resight.service.test.predict import predict
from resight.service.test.test import test as score
from resight.service.train import job, plan
from resight.service.train import train as training
from resight.service.train.held_out import require_classes_left
from support import make_folder, one_line, picture, resight

SETTINGS = ("model=resnet20", "image_size=16", "batch_size=8", "precision=fp32")
EPOCHS, VAL_SHARE = 2, 0.1


def side(file):
    """Return where a file lies, by hand: "test", "val" or "train"."""
    number = int.from_bytes(hashlib.blake2b(file.read_bytes(), digest_size=16).digest(), "big")
    test, val = (number >> 64) / 2**64, (number & (2**64 - 1)) / 2**64
    return "test" if test < 0.2 else "val" if val < VAL_SHARE else "train"


def error_on(run, files):
    """Return the error in percent on files whose folder is their class, picture by picture."""
    rows = list(predict(str(run), [str(f) for f in files], exact=True))
    return 100 * float(np.mean([Path(row["path"]).parent.name != row["label"] for row in rows]))


@pytest.fixture
def copy(tiny_run, tmp_path):
    return Path(shutil.copytree(tiny_run.parent / "colours", tmp_path / "copy"))


def test_a_copy_of_the_runs_own_data_is_split_as_they_were(tiny_run, copy):
    own, again = score([str(tiny_run)]), score([str(tiny_run)], str(copy))
    held = [f for f in copy.rglob("*.png") if side(f) == "test"]
    assert again["n"] == own["n"] == len(held) < 60 and again["trained_on"] == own["trained_on"] == 0
    assert again["top1_error"] == own["top1_error"] == pytest.approx(error_on(tiny_run, held))


def test_one_file_of_all_the_runs_pictures_is_its_own_data_too(tiny_run, copy, tmp_path):
    """As a csv the set has no folders; its pictures are the same."""
    rows = [f"{f},{f.parent.name}" for f in copy.rglob("*.png")]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]))
    assert score([str(tiny_run)], str(tmp_path / "list.csv"))["n"] == score([str(tiny_run)])["n"]


def test_learned_pictures_among_others_are_counted_and_the_figure_on_the_others_is_beside(tiny_run, copy):
    for i in range(9):  # half of them are of another class than they say
        name = ("blue", "green", "red")[i % 3]
        colour = (200, 30, 30) if i % 2 else (30, 40, 210)
        picture(colour, seed=800_000 + i).save(copy / name / f"new{i}.png")
    learned = [f for f in copy.rglob("*.png") if side(f) != "test" and not f.name.startswith("new")]
    others = [f for f in copy.rglob("*.png") if f not in learned]
    answer = score([str(tiny_run)], str(copy))
    assert answer["n"] == 69 and answer["trained_on"] == len(learned)
    assert answer["others"]["n"] == len(others)
    assert answer["others"]["top1_error"] == pytest.approx(error_on(tiny_run, others))
    assert answer["others"]["top1_error"] > answer["top1_error"] > 0
    assert f"{len(learned)} of these 69 pictures were used to train" in answer["notes"][-1]
    shown = resight("test", tiny_run, "--data", copy, check=0)
    assert "seen in training" in shown.stdout and "error on the others" in shown.stdout


def test_a_test_folder_of_learned_pictures_is_no_test(tiny_run, copy, tmp_path):
    learned = [f for f in copy.rglob("*.png") if side(f) == "train"][:7]
    root = make_folder(tmp_path / "other", splits=("train", "test"), count=4, start=500)
    for number, file in enumerate(learned):
        shutil.copy(file, root / "test" / file.parent.name / f"renamed-{number}.png")
    answer = score([str(tiny_run)], str(root))
    assert answer["n"] == 19 and answer["trained_on"] == 7 and answer["others"]["n"] == 12


def test_an_empty_file_is_no_content_wherever_it_lies(tiny_run, copy, tmp_path):
    """What cannot be read is like nothing else, but a set that has it is the same set elsewhere."""
    (copy / "red" / "empty.png").write_bytes(b"")
    members = note_members(open_dataset(copy), "changed", [])
    moved = Path(shutil.move(copy, tmp_path / "moved"))
    place = Path(shutil.copytree(tiny_run, tmp_path / "run"))
    header_of(place, data_fingerprint="changed", **{KEY: members.header()})
    answer = score([str(place)], str(moved))
    assert answer["n"] == score([str(tiny_run)])["n"] and answer["trained_on"] == 0


def test_the_training_split_is_said_to_be_learned(tiny_run):
    answer = score([str(tiny_run)], split="train")
    assert answer["trained_on"] == answer["n"] and answer["others"] is None
    assert "says nothing about new pictures" in answer["notes"][-1]


def test_new_pictures_beside_its_own_do_not_change_the_runs_test(tiny_run, tmp_path):
    place = Path(shutil.copytree(tiny_run.parent, tmp_path / "place"))
    header_of(place / "run", data=str(place / "colours"))
    before = score([str(place / "run")])
    make_folder(place / "colours", classes=("red",), count=8, start=77_000)  # the first 8 are now others
    gone = next(f for f in (place / "colours" / "blue").iterdir() if side(f) == "test")
    gone.unlink()
    after = score([str(place / "run")])
    kept = [f for f in (tiny_run.parent / "colours").rglob("*.png") if side(f) == "test"]
    kept = [f for f in kept if f.name != gone.name or f.parent.name != "blue"]
    kept = [f for f in kept if f.parent.name != "red" or int(f.stem) >= 8]
    assert after["n"] == len(kept) < before["n"] and after["trained_on"] == 0
    assert after["top1_error"] == pytest.approx(error_on(tiny_run, kept))
    assert "8 new ones are left out, 9 are missing" in after["notes"][-1]


def header_of(run, *, drop=(), **changes):
    """Change what the header of a run's model file says."""
    file = Path(run) / "model.safetensors"
    tensors, header = load_tensors(file)
    save_tensors(file, tensors, {k: v for k, v in {**header, **changes}.items() if k not in drop})


@pytest.fixture(scope="module")
def old_runs(tmp_path_factory):
    """Runs as Resight left them before pictures were held out by their content: one finished, one stopped.

    Splits were by rank within each class, and the model file's header did not say the pictures.
    """
    place = tmp_path_factory.mktemp("old")
    make_folder(place / "colours", count=14)

    @contextmanager
    def asked():
        stop = threading.Event()
        stop.set()
        yield stop

    words = {"epochs": EPOCHS, "changes": SETTINGS}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setattr(plan, "opened_for", lambda *w: replace(opened_for(*w), by_rank=True))
        training.train("colours", out="finished", **words)
        patch.setattr(life, "stop_asked", asked)
        with pytest.raises(KeyboardInterrupt):
            training.train("colours", out="stopped", **words)
    header_of(place / "finished", drop=(KEY,))
    return place


@pytest.fixture
def old(old_runs, tmp_path, monkeypatch):
    place = shutil.copytree(old_runs, tmp_path / "old")
    header_of(place / "finished", data=str(place / "colours"))
    monkeypatch.chdir(place)
    return place


def test_a_run_of_before_keeps_its_split(old):
    answer = score(["finished"])
    train = open_as_it_is("colours").train
    _, held = hold_out_by_rank(train, 0.2, "test")
    files = [held.picture_name(i) for i in range(len(held))]
    today = open_dataset("colours").split("test")
    assert {today.picture_name(i) for i in range(len(today))} != set(files)
    assert answer["n"] == len(files) == 9 and answer["trained_on"] == 0
    assert answer["top1_error"] == pytest.approx(error_on("finished", files))
    assert report("finished").exists()


def test_a_run_of_before_knows_a_copy_and_says_what_it_cannot_know(old):
    shutil.copytree("colours", "copy")
    assert score(["finished"], "copy")["n"] == 9
    picture((200, 30, 30), seed=5_000_000).save("copy/red/new.png")
    answer = score(["finished"], "copy")
    assert (answer["n"], answer["trained_on"], answer["others"]) == (43, None, None)
    assert "does not state which pictures it was trained on" in answer["notes"][-1]
    picture((200, 30, 30), seed=5_000_001).save("colours/red/new.png")
    assert "changed since finished was trained" in one_line(resight("test", "finished"), 1)


def test_a_run_of_before_is_resumed_on_its_own_split_to_the_same_weights(old):
    training.train("colours", out="stopped", epochs=EPOCHS, changes=SETTINGS, resume=True)
    for name in ("model.safetensors", "last/state.safetensors"):
        first, second = (load_tensors(Path(run) / name)[0] for run in ("finished", "stopped"))
        assert len(first) > 100 and all(torch.equal(first[k], second[k]) for k in first)
    assert json.loads(Path("stopped/recipe.json").read_text())["splits"]["test"] == 9
    assert score(["stopped"])["n"] == 9  # and now it says its pictures


def test_the_run_behind_the_weights_is_asked_too(tiny_run, tmp_path):
    """The chain: tiny_run, a run on its weights whose test pictures it learned, and one on that one's."""
    colours = tiny_run.parent / "colours"
    learned = [f for f in colours.rglob("*.png") if side(f) == "train"]
    root = make_folder(tmp_path / "later", splits=("train", "test"), count=8, start=900)
    for file in learned[:5]:
        shutil.copy(file, root / "test" / file.parent.name / f"old-{file.name}")
    done = training.train(
        str(root), recipe="fine-tune", epochs=1, changes=[f"weights={tiny_run}"], out="second"
    )
    assert done["trained_on"] == 5 and done["others"]["n"] == done["n"] - 5 == 24
    assert any(note.startswith("5 of 29 test pictures were used to train") for note in done["notes"])
    record = json.loads(Path("second/recipe.json").read_text())
    assert any("so the test error is too low" in note for note in record["notes"])
    second = members_of(load_header(Path("second/model.safetensors")), "second")
    first = members_of(load_header(tiny_run / "model.safetensors"), "first")
    assert set(first.known()) <= set(second.known()) and len(second.before) == len(first.known())
    third = note_members(
        open_dataset(colours), "", [("weights=second", load_header(Path("second/model.safetensors")))]
    )
    assert set(first.known()) <= set(third.before) and not third.unknown


def test_a_run_behind_that_does_not_say_its_pictures_is_named(folder):
    members = note_members(open_dataset(folder), "", [("weights=old", {"data": "colours"})])
    (note,) = notes_of(members)
    assert note.startswith("weights=old does not state its training pictures")


def test_a_model_file_alone_knows_its_pictures(tiny_run, tmp_path, copy):
    shutil.copy(tiny_run / "model.safetensors", tmp_path / "alone.safetensors")
    assert score(["alone.safetensors"], str(copy))["n"] == score([str(tiny_run)])["n"]
    facts = load_header(Path("alone.safetensors"))
    members = members_of(facts, "alone")
    files = list(copy.rglob("*.png"))
    short = {int(hashlib.blake2b(f.read_bytes(), digest_size=16).hexdigest()[:12], 16) for f in files}
    assert {int(d) for digests in members.splits.values() for d in digests} == short
    assert len(json.dumps(facts[KEY])) < 60 * 8 + 400  # eight letters a picture


@pytest.mark.parametrize("damage", [{"splits": []}, {"before": "%"}, {"before": "AAAA"}])
def test_a_damaged_list_of_pictures_is_one_line(tiny_run, damage):
    facts = load_header(tiny_run / "model.safetensors")
    with pytest.raises(ModelFileError, match="tiny: "):
        members_of({KEY: {**facts[KEY], **damage}}, "tiny")


def test_more_pictures_than_can_be_told_apart_are_not_recorded(tiny_run, monkeypatch, copy):
    monkeypatch.setattr("resight.service.run.members.FINGERPRINT_DIGESTS", 30)
    assert note_members(open_dataset(copy), "", []) is None
    make_folder(copy, classes=("red",), count=1, start=33_000)
    assert score([str(tiny_run)], str(copy))["trained_on"] is None


def test_a_training_stops_when_all_pictures_of_a_class_are_gone(tmp_path):
    train = open_dataset(make_folder(tmp_path / "d", count=6)).train
    named = [(train.picture_name(i), train.class_names(i)[0]) for i in range(len(train))]
    faults = [{"path": path, "fault": "is gone", "cure": ""} for path, label in named if label == "red"]
    shutil.move(tmp_path / "d" / "red", tmp_path / "red")
    require_classes_left(train, faults[:-1])
    with pytest.raises(TrainingError, match=r"no picture of red can be read any more \(the first: .*is gone"):
        require_classes_left(train, faults)
    shutil.move(tmp_path / "red", tmp_path / "d" / "red")
    require_classes_left(train, faults)  # resumed after they were put back


def test_a_streamed_training_does_not_go_on_without_a_class(tmp_path, monkeypatch):
    """Between two epochs the pictures of one class vanish from the disk."""
    root = make_folder(tmp_path / "d", count=10)
    real = job.Job.end_epoch

    def end_epoch(self, state, rate):
        real(self, state, rate)
        shutil.rmtree(root / "red", ignore_errors=True)

    monkeypatch.setattr(job.Job, "end_epoch", end_epoch)
    words = [*SETTINGS, "memory_gib=0", "workers=0"]
    with pytest.raises(TrainingError, match="no picture of red can be read any more"):
        training.train(str(root), out="run", epochs=4, changes=words)
