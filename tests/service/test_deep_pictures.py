"""A set of floating-point pictures, from training to boxes: each command sees the greys that were learned."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from resight.core.errors import DataError, ModelFileError
from resight.core.levels import BY_TYPE, Levels
from resight.data.open import open_dataset
from resight.evaluate.scores import split_reader
from resight.models.modelfile import load_header, load_model, load_tensors, save_model, save_tensors
from resight.service.explain.train_decoder import _pictures
from resight.service.locate.marked import pictures_of
from resight.service.run.data import dataset_of
from resight.service.run.run import open_run
from resight.service.train.network import _keep_head
from resight.service.train.normalization import normalization_of
from resight.service.train.plan import Wish, resumed
from support import TINY, make_folder, resight
from written import tiff

LEVELS = Levels(real=(0.0, 255.0))


def values(mean, seed):
    return np.clip(np.random.default_rng(seed).normal(mean, 12, (20, 24, 1)), 0, 255).astype(np.float32)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder `floats` of dark and light pictures, and a run on it."""
    place = tmp_path_factory.mktemp("deep")
    for label, mean in (("dark", 70), ("light", 170)):
        (place / "floats" / label).mkdir(parents=True)
        for i in range(16):
            (place / "floats" / label / f"{i:02d}.tif").write_bytes(tiff(values(mean, (mean, i)), 32, kind=3))
    done = resight("train", "floats", "--out", "run", *TINY, "--epochs", "4", check=0, cwd=place)
    assert "floating-point pictures" in done.stderr and "255 is white" in done.stderr
    return place


def test_the_model_file_says_the_levels(place):
    header = load_header(place / "run" / "model.safetensors")
    assert header["preprocessing"]["levels"] == {"word": None, "integer": None, "real": [0.0, 255.0]}
    assert open_run(str(place / "run")).preprocessing.levels == LEVELS


def test_all_commands_see_what_was_learned(place, monkeypatch):
    """One picture as floats, and as the 8 bits that these are by the levels: the same answers."""
    monkeypatch.chdir(place)
    seen = values(130, 3)
    Path("one").mkdir()
    Path("one/picture.tif").write_bytes(tiff(seen, 32, kind=3))
    Image.fromarray(np.round(seen[..., 0]).astype(np.uint8)).save("one/picture.png")
    for words in (
        ("predict", "run", "one/picture.png", "one/picture.tif"),
        ("explain", "run", "one/picture.png", "one/picture.tif", "--out", "maps"),
    ):
        first, second = (
            {k: v for k, v in row.items() if k not in ("path", "image", "map")}
            for row in json.loads(resight(*words, "--json", check=0).stdout)
        )
        assert first == second and first
    boxes = json.loads(resight("locate", "run", "one", "--json", check=0).stdout)
    first, second = (
        [{**b, "image_id": 0, "file_name": ""} for b in boxes if b["image_id"] == i] for i in (1, 2)
    )
    assert first == second and first
    answer = json.loads(resight("test", "run", "--data", "floats", "--json", check=0).stdout)
    assert not answer["skipped"] and answer["n"] > 0


def test_every_way_to_open_data_for_a_run_gives_its_levels(place, monkeypatch):
    monkeypatch.chdir(place)
    run = open_run("run")
    for label, mean in (("dark", 3), ("light", 170)):
        Path("other", label).mkdir(parents=True, exist_ok=True)
        for i in range(12):
            Path("other", label, f"{i}.tif").write_bytes(tiff(values(mean, i), 32, kind=3))
    opened = {
        "its own": dataset_of(run, None),
        "other": dataset_of(run, "other"),
        "decoder's": _pictures(run, "floats", None)[0],
        "resumed": resumed(Path("run"), Wish(""), print).dataset,
    }
    for name, dataset in opened.items():
        assert {split.levels for split in dataset.splits.values()} == {LEVELS}, name
    pictures, _ = pictures_of(run, ["other/dark/*.tif"], None, None)
    marked, _ = pictures_of(run, ["floats"], None, None)
    assert {p.levels for p in pictures} == {LEVELS} == {p.split.levels for p in marked}
    assert np.abs(np.asarray(pictures[0].decode()).mean() - values(3, 0).mean()) < 1
    split = open_dataset("floats").splits["test"]
    assert split.levels == BY_TYPE
    read = split_reader(split, [run.preprocessing], ())
    own = [p for p in marked if p.path == split.picture_name(0)]
    assert len(own) == 1 and np.array_equal(read(0), own[0].decode())
    with pytest.raises(DataError, match="different levels"):
        split_reader(split, [run.preprocessing, replace(run.preprocessing, levels=BY_TYPE)], ())


def test_a_network_of_8_bit_pictures_refuses_values_of_unknown_scale(place, tiny_run):
    done = resight("predict", tiny_run, place / "floats" / "dark" / "00.tif", "--json")
    (row,) = json.loads(done.stdout)
    assert "its black and white levels are unknown; convert it to 8 or 16 bits" in row["error"]


def test_weights_bring_their_normalization_but_not_their_levels(place, tmp_path):
    train = open_dataset(make_folder(tmp_path / "colours")).train
    card = open_run(str(place / "run")).preprocessing
    recipe = SimpleNamespace(normalize="weights")
    own = normalization_of(replace(card, levels=BY_TYPE, mean=(0.1,) * 3), recipe, train, None, card)
    assert own.levels == BY_TYPE and own.mean == card.mean and card.levels == LEVELS


def test_an_old_task_keeps_its_levels(place, tmp_path):
    model, facts = load_model(place / "run" / "model.safetensors")
    _keep_head(model, facts)
    model.preprocessing = replace(model.preprocessing, levels=Levels(word=(0.0, 4095.0)))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    save_model(tmp_path / "new.safetensors", model, state, {})
    (task,) = model.old_tasks
    assert open_run(str(tmp_path / "new.safetensors")).preprocessing.levels.word == (0.0, 4095.0)
    assert open_run(f"{tmp_path / 'new.safetensors'}@{task.name}").preprocessing.levels == LEVELS


def test_damaged_levels_are_a_damaged_header(place, tmp_path):
    tensors, header = load_tensors(place / "run" / "model.safetensors")
    for levels in ({"real": [1, 0]}, {"real": [0]}, {"word": ["a", "b"]}, [1], {"real": [0, 1e400]}):
        header["preprocessing"]["levels"] = levels
        save_tensors(tmp_path / "x.safetensors", tensors, header)
        with pytest.raises(ModelFileError, match="header is damaged"):
            load_model(tmp_path / "x.safetensors")
    del header["preprocessing"]["levels"]
    save_tensors(tmp_path / "x.safetensors", tensors, header)
    assert load_model(tmp_path / "x.safetensors")[0].preprocessing.levels == BY_TYPE


def test_check_says_the_levels_and_finds_no_fault(place):
    answer = json.loads(resight("check", place / "floats", "--json", check=0).stdout)
    assert answer["ok"] == answer["n"] == 32 and not answer["faults"]
    assert any("is white" in note for note in answer["notes"])
