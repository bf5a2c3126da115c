"""recipe.json and the files of results, from outside; and what `weights=` may name."""

import json
import random

import pytest

from mutation import changed
from resight.core.errors import DataError, ModelFileError, ResightError
from resight.reproduce.page import write_page
from resight.reproduce.results import read_records
from resight.service.run.run import open_run, read_recipe_file
from resight.service.train.weight_files import weight_file

RECORD = {  # as the first version wrote it
    "command": "resight train digits", "base": "fast", "recipe": {"lr": 0.1, "options": []}, "data": "digits",
    "data_root": None, "data_fingerprint": "abc", "classes": ["a", "b"], "splits": {"train": 3}, "notes": [],
    "leaks": 0, "versions": {"torch": "2"}, "multiply_adds": 3, "parameters": 4, "hardware": "a CPU",
    "processes": 1, "machine": {}, "precision": "float32",
}  # fmt: skip
RESULT = {
    "experiment": "degradation", "data": [], "paper": "a paper", "claim": "it holds", "holds": True,
    "alone": True, "parts": [], "caveat": "",
    "scale": {"name": "full", "epochs": None, "pictures": None, "tested": None, "settings": []},
    "protocol": "the full protocol", "seeds": [0], "seconds": 3.5, "hardware": "a CPU",
    "versions": {"torch": "2"}, "command": "resight reproduce degradation", "failed": {},
    "rows": [{
        "id": "degradation/plain20/test-error", "paper": "a paper", "published": 8.75,
        "certainty": "verified", "published_protocol": "one", "measured": 9.1, "interval": [8.5, 9.7],
        "values": [9.1], "unit": "%", "protocol": "full", "seed": [0], "hardware": "a CPU", "seconds": 3.5,
    }],
    "trainings": [{
        "condition": "plain20", "seed": 0, "command": "resight train", "seconds": 3.5,
        "recipe": {"lr": 0.1}, "data": "abc",
    }],
    "plots": [{"title": "t", "across": "x", "up": "y", "lines": [["a", [1.0, 2.0], [3.0, 4.0]]]}],
}  # fmt: skip


def written(folder, document, name="recipe.json"):
    text = document if isinstance(document, str) else json.dumps(document)
    (folder / name).write_text(text)
    return folder


def test_recipes_of_the_first_version_are_read(tmp_path):
    assert read_recipe_file(written(tmp_path, RECORD), whole=True) == RECORD
    gan = {"command": "resight train-gan digits", "data": "digits", "settings": {}, "left_out": 0}
    assert read_recipe_file(written(tmp_path, gan)) == gan


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ([], "the document is []"),
        ("{", "is not usable JSON"),
        ("[" * 300_000, "nested too deeply"),
        ({**RECORD, "splits": {"train": "many"}}, "splits.train"),
        ({**RECORD, "notes": "none"}, "notes is"),
        ({**RECORD, "recipe": 3}, "recipe is 3"),
        ({**RECORD, "versions": {"torch": {}}}, "versions.torch"),
        ({k: v for k, v in RECORD.items() if k != "splits"}, "has no 'splits'"),
    ],
)
def test_a_recipe_of_another_shape_is_refused(tmp_path, document, words):
    with pytest.raises(ModelFileError) as caught:
        read_recipe_file(written(tmp_path, document), whole=True)
    line = str(caught.value)
    assert words in line and "recipe.json" in line and "\n" not in line


def test_mutated_recipes_are_refused_or_of_the_right_shape(tmp_path):
    chance, taken = random.Random(3), 0
    for _ in range(300):
        written(tmp_path, changed(RECORD, chance))
        try:
            record = read_recipe_file(tmp_path, whole=True)
        except ResightError as error:
            assert "\n" not in str(error)
            continue
        taken += 1
        assert all(isinstance(n, int) for n in record["splits"].values())
    assert 0 < taken < 300


def test_mutated_results_are_refused_or_make_a_page(tmp_path):
    folder, chance, taken = tmp_path / "results", random.Random(3), 0
    folder.mkdir()
    read_records(written(folder, RESULT, "x.json"))
    for _ in range(300):
        written(folder, document := changed(RESULT, chance), "x.json")
        try:
            read_records(folder)
        except DataError as error:
            assert "\n" not in str(error) and "x.json" in str(error)
            continue
        taken += 1
        if document == RESULT or taken < 4:
            write_page(str(tmp_path / "page.md"), str(folder))
    assert 0 < taken < 300


def test_a_folder_without_a_model_is_no_weights(tmp_path):
    with pytest.raises(ModelFileError, match="is a folder without model"):
        weight_file(str(tmp_path))


@pytest.mark.parametrize("content", [b"\x08\x08\x12\x07pytorch", b"\x89HDF\r\n\x1a\n", b"PK\x03\x04"])
def test_a_run_that_is_another_file_is_named(content, tmp_path):
    (tmp_path / "net.bin").write_bytes(content)
    with pytest.raises(ModelFileError, match=r"net\.bin: is not a safetensors file \(it is a"):
        open_run(str(tmp_path / "net.bin"))
