"""The life that all jobs share: what is said, what is taken away, and what a resumed job must share."""

import io
from dataclasses import dataclass

import pytest
from rich.console import Console

from resight.core.errors import ModelFileError, PictureError, ResightError, UsageError
from resight.core.files import LOCK
from resight.service.run.life import Life, as_recorded, identity_of
from resight.training.loop import Stopped


@dataclass(frozen=True)
class Settings:
    epochs: int = 3
    lr: float = 0.1


@pytest.fixture
def said():
    return io.StringIO()


@pytest.fixture
def life(tmp_path, said):
    return Life(tmp_path / "my run", Console(file=said, width=20), "train-gan")


def test_a_stopped_job_says_how_to_resume_it(life, said):
    with pytest.raises(KeyboardInterrupt), life.stoppable() as stop:
        assert not stop.is_set()
        raise Stopped
    assert said.getvalue() == f"stopped; resume with: resight train-gan --resume '{life.folder}'\n"


def test_what_is_on_disk_is_said_and_nothing_is_resumed_that_is_not_there(life, said):
    life.stopped("d.safetensors is of epoch 2")
    life.stopped("nothing was written", resumes=False)
    first, second = said.getvalue().splitlines()
    assert first.startswith("stopped; d.safetensors is of epoch 2; resume with: resight train-gan --resume ")
    assert second == "stopped; nothing was written"


def test_lines_are_printed_as_they_are(life, said):
    life.announce(["[bold] of 10 x 10 is longer than the console is wide", "two"])
    life.leave_out([PictureError("a[b].png", "is broken", "replace it")])
    life.resuming(4, 7)
    life.resuming(1)
    assert said.getvalue().splitlines() == [
        "[bold] of 10 x 10 is longer than the console is wide",
        "two",
        "left out: a[b].png: is broken; replace it",
        f"resuming {life.folder} at epoch 5, step 7",
        f"resuming {life.folder} at epoch 2",
    ]


def test_a_folder_is_held_by_one_job_and_taken_away_where_nothing_was_written(life):
    with life.held():
        with pytest.raises(ResightError, match="another process is writing to it"), life.held():
            pass
        with pytest.raises(UsageError), life.prepared():
            raise UsageError("a wrong setting")
    assert not life.folder.exists()
    with pytest.raises(UsageError), life.held(), life.prepared():
        (life.folder / "recipe.json").write_text("{}")
        raise UsageError("a wrong setting")
    assert {path.name for path in life.folder.iterdir()} - {LOCK} == {"recipe.json"}


def test_only_free_settings_may_differ_from_the_record(tmp_path):
    recorded = {"epochs": 3, "lr": 0.1}
    free = ("epochs",)
    found = as_recorded(recorded, Settings, ["epochs=5"], free, tmp_path, "x:")
    assert found == Settings(5, 0.1) and identity_of(found, free) == {"lr": 0.1}
    with pytest.raises(ModelFileError, match=r"lr"):
        as_recorded(recorded, Settings, ["lr=0.2"], free, tmp_path, "x:")
    with pytest.raises(ModelFileError, match=r"^x: its recipe.json is damaged, or of a newer Resight"):
        as_recorded({"epochs": "many"}, Settings, [], free, tmp_path, "x: its recipe.json")
