"""The main job by the command, as a stranger would run it."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from resight.data.open import open_dataset
from support import TINY, make_folder, one_line, picture, resight


def test_help_names_every_command_quickly_and_without_torch():
    done = resight("--help", check=0)
    for command in ("train", "test", "predict", "explain", "report", "check", "models", "compare", "bench"):
        assert command in done.stdout
    code = "import sys, resight.cli.main; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("words", ["predict", "test", "explain", "check"])
def test_commands_do_not_wait_for_what_takes_seconds_to_load(folder, tiny_run, words):
    places = {"predict": [tiny_run, folder], "test": [tiny_run], "check": [folder]}
    code = (
        "import sys, runpy, warnings; warnings.simplefilter('ignore')\n"
        "try: runpy.run_module('resight', run_name='__main__')\n"
        "except SystemExit as ended: assert not ended.code\n"
        "sys.exit(', '.join({'torchvision', 'torch._dynamo', 'torch.distributed.tensor', 'sympy', 'sklearn',"
        " 'scipy', 'tensorboard'} & set(sys.modules)) or 0)"
    )
    call = [words, *places.get(words, [tiny_run, folder / "red/000.png"])]
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, call)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_a_run_folder_holds_what_it_promises(tiny_run):
    names = {p.name for p in tiny_run.iterdir()}
    assert names == {
        "recipe.json",
        "metrics.csv",
        "tensorboard",
        ".lock",
        "model.safetensors",
        "last",
        "report.html",
    }
    assert [p for p in (tiny_run / "tensorboard").iterdir() if "tfevents" in p.name]
    record = json.loads((tiny_run / "recipe.json").read_text())
    assert record["classes"] == ["blue", "green", "red"] and record["recipe"]["epochs"] == 12


def test_train_prints_one_json_document(folder, tiny_run):
    done = resight("train", folder, *TINY, "--epochs", "1", "--out", "r", "--json", check=0)  # fmt: skip
    answer = json.loads(done.stdout)
    assert (
        answer["run"] == "r"
        and answer["split"] == "test"
        and answer["n"] == len(open_dataset(folder).split("test"))
    )
    assert answer["top1_interval"][0] <= answer["top1_error"] <= answer["top1_interval"][1]
    assert Path("r/report.html").exists()


def test_the_commands_recipe_runs_again_to_the_same_weights(folder):
    words = TINY
    resight("train", folder, *words, "--out", "first", check=0)
    import shlex

    command = shlex.split(json.loads(Path("first/recipe.json").read_text())["command"])
    assert "--out" not in command  # pasted as it is, it makes a run of its own
    resight(*command[1:], "--out", "second", check=0)
    from resight.models.modelfile import load_tensors

    a, b = (load_tensors(Path(r) / "model.safetensors")[0] for r in ("first", "second"))
    assert all(np.array_equal(a[k].numpy(), b[k].numpy()) for k in a)


def test_test_agrees_with_the_training_and_gives_the_promised_keys(tiny_run):
    figures = json.loads(resight("test", tiny_run, "--json", check=0).stdout)
    promised = {
        "run",
        "split",
        "n",
        "top1_error",
        "top1_interval",
        "top5_error",
        "classes",
        "per_class",
        "ece",
        "skipped",
    }
    assert promised <= set(figures)
    from resight.service.run.run import open_run

    assert open_run(str(tiny_run)).facts["test"]["top1_error"] == figures["top1_error"]
    assert figures["top1_error"] < 30  # three colours


def test_a_test_folder_without_a_class_is_scored_by_name(tiny_run, tmp_path):
    root = make_folder(tmp_path / "other", splits=("train", "test"), count=6, start=500)
    whole = json.loads(resight("test", tiny_run, "--data", root, "--json", check=0).stdout)
    shutil.rmtree(root / "test" / "blue")
    part = json.loads(resight("test", tiny_run, "--data", root, "--json", check=0).stdout)
    assert part["n"] == 12 and part["per_class"]["blue"]["n"] == 0
    for name in ("green", "red"):
        assert part["per_class"][name]["error"] == whole["per_class"][name]["error"]


def test_a_run_tests_its_own_pictures_when_others_came_and_refuses_when_none_is_left(tmp_path, tiny_run):
    """It knew its data by a fingerprint alone, so it had to refuse; it knows each picture now.

    A run of before still refuses: tests/service/run/test_run_data.py.
    """
    shutil.copytree(tiny_run.parent, tmp_path / "place")
    place = tmp_path / "place"
    from resight.models.modelfile import load_model, save_model

    file = place / "run" / "model.safetensors"
    model, facts = load_model(file)
    facts = {
        k: v for k, v in facts.items() if k not in ("architecture", "options", "classes", "preprocessing")
    }
    facts["data"] = str(place / "colours")
    save_model(file, model, model.state_dict(), facts)
    assert json.loads(resight("test", place / "run", "--json", check=0).stdout)["n"] == 12
    make_folder(place / "colours", count=25)
    answer = json.loads(resight("test", place / "run", "--json", check=0).stdout)
    assert answer["n"] == 12 and answer["trained_on"] == 0
    assert any("15 new ones are left out, 0 are missing" in note for note in answer["notes"])
    make_folder(place / "colours", count=25, start=50_000)
    line = one_line(resight("test", place / "run"), 1)
    assert "changed since" in line and "--data" in line


def test_other_pictures_without_splits_are_all_tested(tiny_run, tmp_path):
    root = make_folder(tmp_path / "other", count=5, start=300)
    assert json.loads(resight("test", tiny_run, "--data", root, "--json", check=0).stdout)["n"] == 15


@pytest.mark.slow
def test_weights_of_ours_are_known_by_their_header_not_their_name(tiny_run, folder):
    shutil.copy(tiny_run / "model.safetensors", "renamed.safetensors")
    words = ("--recipe", "fine-tune", "--set", "weights=renamed.safetensors", "--epochs", "1", "--out", "r")
    resight("train", folder, *words, check=0)
    from resight.service.run.run import open_run

    first, second = open_run(str(tiny_run)), open_run("r")
    assert second.model.name == "resnet20"
    assert second.preprocessing.mean == first.preprocessing.mean != (0.485, 0.456, 0.406)


@pytest.mark.slow
def test_trainings_without_a_name_get_folders_of_their_own(tmp_path):
    make_folder(tmp_path / "photos[1]", count=6)
    words = ("train", "photos[1]", "--epochs", "1", "--set", "model=resnet20", "--set", "image_size=16")
    for _ in range(2):
        resight(*words, check=0)
    assert sorted(p.name for p in Path("runs").iterdir()) == [
        "photos[1]-resnet20-1", "photos[1]-resnet20-2",
    ]  # fmt: skip


def test_classes_that_the_network_does_not_know_are_refused(tiny_run, tmp_path):
    root = make_folder(tmp_path / "other", classes=("blue", "violet"), count=8)
    assert "'violet'" in one_line(resight("test", tiny_run, "--data", root), 1)


@pytest.mark.parametrize(
    "words",
    [
        ("--views", "flip"),
        ("--views", "ten-crop"),
        ("--scales", "16,24"),
        ("--views", "flip", "--scales", "16,20"),
    ],
)
def test_protocols_run(tiny_run, words):
    figures = json.loads(resight("test", tiny_run, *words, "--json", check=0).stdout)
    assert figures["n"] == 12 and figures["top1_error"] <= 40


def test_an_ensemble_of_one_network_twice_is_that_network(tiny_run):
    once = json.loads(resight("test", tiny_run, "--json", check=0).stdout)
    twice = json.loads(resight("test", tiny_run, tiny_run, "--json", check=0).stdout)
    assert twice["top1_error"] == once["top1_error"] and twice["ece"] == pytest.approx(once["ece"], abs=1e-9)
    assert twice["run"] == [str(tiny_run)] * 2


def test_predict_answers_files_folders_patterns_and_a_bad_file(tiny_run, tmp_path):
    (tmp_path / "in" / "deep").mkdir(parents=True)
    picture((200, 30, 30), seed=900).save(tmp_path / "in" / "deep" / "r.png")
    picture((30, 40, 210), (60, 90), seed=901).save(tmp_path / "in" / "b.jpg", quality=95)
    (tmp_path / "in" / "bad.png").write_bytes(b"no picture")
    done = resight("predict", tiny_run, "in", "in/*.jpg", "in/gone.png", "--json", check=0)
    rows = json.loads(done.stdout)
    assert [(Path(r["path"]).name, r.get("label")) for r in rows] == [
        ("b.jpg", "blue"), ("bad.png", None), ("r.png", "red"), ("gone.png", None),
    ]  # fmt: skip
    assert "it is text" in rows[1]["error"] and "No such file" in rows[3]["error"]
    assert rows[0]["index"] == 0 and rows[0]["top"][0] == ["blue", rows[0]["probability"]]
    assert sum(p for _, p in rows[0]["top"]) == pytest.approx(1, abs=1e-5)
    table = list(
        csv.DictReader(io.StringIO(resight("predict", tiny_run, "in", "--format", "csv", check=0).stdout))
    )
    assert [r["label"] for r in table] == ["blue", "", "red"]
    lines = resight("predict", tiny_run, "in", check=0)
    assert "r.png  red" in lines.stdout and "bad.png: " in lines.stderr
    assert resight("predict", tiny_run, "in/bad.png").returncode == 1


def test_the_model_file_alone_is_enough(tiny_run, tmp_path):
    shutil.copy(tiny_run / "model.safetensors", tmp_path / "alone.safetensors")
    picture((40, 190, 50), seed=77).save("g.png")
    rows = json.loads(resight("predict", "alone.safetensors", "g.png", "--json", check=0).stdout)
    assert rows[0]["label"] == "green"
    rows = json.loads(resight("explain", "alone.safetensors", "g.png", "--json", check=0).stdout)
    assert rows[0]["target"] == "green" and rows[0]["method"] == "grad_cam"


def test_fast_prediction_agrees_with_exact(tiny_run, tmp_path):
    for i in range(40):
        picture(tuple(np.random.default_rng(i).integers(0, 255, 3)), seed=i).save(f"{i}.png")
    fast = json.loads(resight("predict", tiny_run, "*.png", "--json", check=0).stdout)
    exact = json.loads(resight("predict", tiny_run, "*.png", "--exact", "--json", check=0).stdout)
    assert [r["label"] for r in fast] == [r["label"] for r in exact]
    assert max(abs(a["probability"] - b["probability"]) for a, b in zip(fast, exact, strict=True)) < 0.05


def test_explain_writes_overlays_and_maps(tiny_run):
    picture((200, 30, 30), (40, 30), seed=5).save("red.png")
    done = resight(
        "explain",
        tiny_run,
        "red.png",
        "--method",
        "grad_cam,cam",
        "--target",
        "top2",
        "--out",
        "maps",
        "--json",
        check=0,
    )
    rows = json.loads(done.stdout)
    assert (rows[0]["method"], rows[0]["target"]) == ("grad_cam", "red") and len(rows) == 4
    assert len({r["image"] for r in rows}) == 4
    for row in rows:
        heat = np.load(row["map"])
        assert heat.shape == (16, 16) and heat.dtype == np.float32 and 0 <= heat.min() <= heat.max() <= 1
        with Image.open(row["image"]) as image:
            assert image.size == (200, 150)  # the whole picture, enlarged five times
    named = json.loads(resight("explain", tiny_run, "red.png", "--target", "green", "--json", check=0).stdout)
    assert named[0]["target"] == "green" and named[0]["score"] < rows[0]["score"]


def test_pictures_of_one_name_do_not_overwrite_each_other(tiny_run):
    for place in ("a/x", "b/x"):
        Path(place).mkdir(parents=True)
        for suffix in ("png", "bmp"):
            picture(seed=ord(place[0])).save(f"{place}/same.{suffix}")
    rows = json.loads(resight("explain", tiny_run, "a", "b", "--json", check=0).stdout)
    assert len({r["image"] for r in rows}) == len({r["map"] for r in rows}) == 4


def test_the_report_is_one_small_file_that_asks_for_nothing(tiny_run):
    page = (tiny_run / "report.html").read_text()
    assert len(page) < 5_000_000
    assert not re.findall(r"""(?:src|href)\s*=\s*["'](?!data:)""", page)
    assert "@import" not in page and not re.search(
        r"<script[^>]*src|<link|fetch\(|XMLHttpRequest|import\(", page
    )
    assert set(re.findall(r"url\(.*", page)) <= {'url(" + data.atlas + ")";'}  # a picture inside the page
    assert "test error" in page and "resight train" in page and "data:image/png" in page


def test_report_can_be_written_again(tiny_run, tmp_path):
    shutil.copytree(tiny_run, tmp_path / "copy")
    (tmp_path / "copy" / "report.html").unlink()
    done = resight("report", "copy", check=0)
    assert done.stdout.strip() == "copy/report.html" and (tmp_path / "copy" / "report.html").exists()


@pytest.mark.parametrize("split", ["train", "test"])
def test_broken_pictures_are_left_out_named_and_counted(split, tmp_path):
    folder = make_folder(tmp_path / "d", splits=("train", "test"), count=6)
    (folder / split / "red" / "003.png").write_bytes(b"")
    words = (*TINY, "--epochs", "1")
    done = resight("train", folder, *words, "--out", "r", "--json", check=0)
    assert [Path(s["path"]).name for s in json.loads(done.stdout)["skipped"]] == ["003.png"]
    assert "left out: " in done.stderr and "003.png" in (Path("r") / "report.html").read_text()
    assert "003.png: is empty" in one_line(resight("train", folder, *words, "--strict", "--out", "s"), 1)


def test_a_leak_is_said_beside_the_figure(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=6)
    shutil.copy(root / "train/red/000.png", root / "test/red/leak.png")
    words = (*TINY, "--epochs", "1")
    done = resight("train", root, *words, "--out", "r", check=0)
    assert "1 test pictures are also in the training split" in done.stderr
    assert "so the test error is too low" in Path("r/report.html").read_text()


def test_check_finds_planted_faults(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "test"), count=5)
    shutil.copy(root / "train/red/000.png", root / "test/red/leak.png")
    shutil.copy(root / "train/red/001.png", root / "train/red/copy.png")
    shutil.copy(root / "train/red/002.png", root / "train/blue/conflict.png")
    Image.open(root / "train/green/000.png").save(root / "test/green/same-pixels.bmp")
    (root / "train/green/bad.jpg").write_bytes(b"\xff\xd8\xff")
    Image.new("RGB", (3, 3)).save(root / "train/green/tiny.png")
    Image.new("RGB", (30, 30), "white").save(root / "train/green/white.png")
    answer = json.loads(resight("check", root, "--json", check=1).stdout)
    assert {"n", "ok", "faults", "duplicates", "leaks", "classes"} <= set(answer)
    assert (answer["n"], answer["ok"]) == (37, 36)
    assert sorted(Path(f["path"]).name for f in answer["faults"]) == [
        "bad.jpg",
        "tiny.png",
        "white.png",
    ]
    assert all(f["cure"] for f in answer["faults"])
    assert sorted(sorted(Path(p).name for p in g["paths"]) for g in answer["leaks"]) == [
        ["000.png", "leak.png"], ["000.png", "same-pixels.bmp"],
    ]  # fmt: skip
    assert len(answer["duplicates"]) == 4 and len(answer["conflicts"]) == 1
    assert answer["classes"]["red"] == {"train": 6, "test": 6}
    assert resight("check", root, check=1).stdout.count("leak ") == 2


def test_models_lists_sizes(tmp_path):
    rows = json.loads(resight("models", "resnet5*", "--json", check=0).stdout)
    assert [r["name"] for r in rows] == ["resnet50", "resnet50_v1", "resnet56"]
    promised = {
        "name",
        "family",
        "year",
        "parameters",
        "multiply_adds",
        "input_size",
        "paper",
        "published",
    }
    assert all(promised == set(r) for r in rows)
    assert rows[0]["parameters"] == 25_557_032 and rows[0]["multiply_adds"] == 4_089_184_256


def bad_words():
    train = ("train", "digits", "--out", "r")
    yield (*train, "--model", "resnet21"), 2, "'resnet21' is not a model; nearest: resnet"
    yield (*train, "--recipe", "fats"), 2, "'fats' is not a recipe; nearest: fast"
    yield (*train, "--set", "learning_rate=1"), 2, "unknown setting 'learning_rate'"
    yield (*train, "--set", "ema=1"), 2, "must be in [0, 1)"
    yield (*train, "--set", "augment=flip,spin"), 2, "'spin' is not an operation"
    yield (*train, "--set", "batch_size=0"), 2, "must be 2 or more"
    yield (*train, "--recipe", "fine-tune"), 2, "add --set weights="
    yield (*train, "--resume"), 1, "not a run to resume"
    yield (*train, "--set", "model=foo"), 2, "'foo' is not a model"
    yield ("train", "nowhere"), 1, "nowhere: no such file, folder or built-in data set"
    yield ("train", "empty"), 1, "holds no class folders"
    yield ("train", "single"), 1, "one class only"
    yield ("train", "lonely"), 1, "has one picture"
    yield ("test", "empty"), 1, "holds no model.safetensors"
    yield ("test", "gone"), 1, "no such run"
    yield ("predict", "hostile.safetensors", "x.png"), 1, "not a safetensors file"
    yield ("predict", "zoo:resnet999", "x.png"), 2, "is not a model"
    yield ("test", "digits", "--views", "nine"), 2, "'nine' is none of single, flip, ten-crop"
    yield ("test", "digits", "--scales", "big"), 2, "give whole numbers"
    yield ("models", "vit*"), 2, "no network matches"
    yield ("explain", "gone", "x.png", "--method", "grad"), 2, "nearest: gradient, grad_cam"
    yield ("bench", "lod"), 2, "'lod' is not a benchmark"


@pytest.mark.parametrize(
    ("words", "code", "message"),
    list(bad_words()),
    ids=lambda v: " ".join(v) if isinstance(v, tuple) else "",
)
def test_bad_words_and_bad_data_give_one_line(tmp_path, words, code, message):
    import pickle

    (tmp_path / "empty").mkdir()
    make_folder(tmp_path / "single", classes=("red",))
    make_folder(tmp_path / "lonely", count=1)
    (tmp_path / "hostile.safetensors").write_bytes(pickle.dumps({"a": print}))
    assert message in one_line(resight(*words), code)


def test_an_unknown_command_is_exit_2():
    assert resight("trane", "digits").returncode == 2


def test_a_folder_that_is_taken_is_not_overwritten(folder, tiny_run):
    line = one_line(resight("train", folder, "--out", tiny_run), 2)
    assert "is not empty" in line and "--resume" in line


def test_predict_refuses_a_folder_without_pictures(tiny_run):
    Path("none").mkdir()
    assert "holds no pictures" in one_line(resight("predict", tiny_run, "none"), 1)
    assert "matches no file" in one_line(resight("predict", tiny_run, "*.gif"), 1)


def test_the_class_order_of_a_run_is_that_of_its_names(tiny_run):
    from resight.service.run.run import open_run

    assert open_run(str(tiny_run)).model.classes == open_dataset(tiny_run.parent / "colours").classes
