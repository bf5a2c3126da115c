"""What is said of a network before it is trained."""

import io

import pytest
from rich.console import Console

from resight import create_model
from resight.service.train import train as jobs
from resight.service.train.job import Job
from resight.service.train.network import map_note
from support import make_folder


def test_a_last_map_too_small_for_boxes_is_said():
    model = create_model("resnet18", 3).train()
    assert map_note(model, 64).startswith("note: at 64 pixels the last map has 2 x 2 positions")
    assert "an earlier last= gives more" in map_note(model, 64) and model.training
    assert map_note(model, 128) == map_note(model, 224) == ""
    assert map_note(create_model("resnet20", 3), 32) == ""
    assert "last=" not in map_note(create_model("alexnet", 3), 64)


def test_the_note_is_one_of_the_first_lines(tmp_path, monkeypatch):
    """Of a job that is stopped before its first step."""

    class StoppedError(Exception):
        pass

    def stop(*_):
        raise StoppedError

    monkeypatch.setattr(Job, "fit", stop)
    folder, said = make_folder(tmp_path / "set"), io.StringIO()
    changes = ["image_size=64", "batch_size=8", "epochs=1"]
    console = Console(file=said, width=400)
    with pytest.raises(StoppedError):
        jobs.train(str(folder), model="resnet18", changes=changes, out=str(tmp_path / "run"), console=console)
    assert "note: at 64 pixels the last map has 2 x 2 positions" in said.getvalue()
