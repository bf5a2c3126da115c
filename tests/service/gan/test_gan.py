"""`train-gan`: its run folder, resumed to the bit; val and test are not learned; drawing by class name."""

import csv
import io
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from rich.console import Console
from typer.testing import CliRunner

from as_json import train_gan
from resight.cli.main import app
from resight.core.errors import DataError, ModelFileError, UsageError
from resight.data.dataset import fingerprint
from resight.data.open import open_dataset
from resight.data.splitting import with_validation
from resight.models.gan import load_gan
from resight.models.modelfile import load_tensors
from resight.service.gan import job
from resight.service.gan import train as service
from resight.service.gan.synthetic import open_gan
from resight.service.train.train import train
from resight.training.gan import draw_noise
from support import COLOURS, TINY, make_folder, one_line, resight

WORDS = ("width=8", "noise=16", "batch_size=8", "side=16")
SET = [part for word in WORDS for part in ("--set", word)]
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    return make_folder(tmp_path_factory.mktemp("gan") / "colours", count=30)


@pytest.fixture(scope="module")
def gan_run(colours, tiny_run):
    """A GAN of three colours, trained by the command with a judge, and what that said."""
    run = colours.parent / "gan"
    words = ("--set", "lr=0.001", "--epochs", "40", "--out", run, "--features", tiny_run, "--json")
    done = resight("train-gan", colours, *SET, *words, check=0)
    return run, json.loads(done.stdout), done.stderr


def rows_of(run):
    with (run / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in ("seconds", "images_per_second")} for row in rows]


def assert_equal_runs(first, second):
    for name in ("gan.safetensors", "last/state.safetensors"):
        left, right = (load_tensors(run / name)[0] for run in (first, second))
        assert left.keys() == right.keys() and len(left) > 10
        assert not [k for k in left if not torch.equal(left[k], right[k])]
    assert rows_of(first) == rows_of(second)


def test_a_run_folder_has_all_that_is_needed(gan_run):
    run, answer, said = gan_run
    assert answer["run"] == str(run) and answer["last"]["epoch"] == 40
    assert len(list((run / "samples").glob("epoch-*.png"))) == 40 and Path(answer["samples"]).exists()
    recipe = json.loads((run / "recipe.json").read_text())
    assert recipe["command"].startswith("resight train-gan") and recipe["settings"]["epochs"] == 40
    assert len(rows_of(run)) == 40 and "epoch  40/40" in said
    _, classes, facts = load_gan(run / "gan.safetensors")
    assert classes == ("blue", "green", "red") and facts["range"] == [-1, 1]
    assert facts["score"] == answer["score"] and facts["settings"]["noise"] == 16
    assert not list(run.glob(".*.tmp"))


def test_drawn_pictures_have_the_colour_of_their_class(gan_run):
    gan = open_gan(str(gan_run[0]), ("red", "green", "blue"))
    assert gan.noise == 16 and gan.side == 16
    drawn = gan.generated(torch.tensor([0, 1, 2] * 8), draw_noise(1, 0, 24, 16))
    assert drawn.shape == (24, 16, 16, 3) and drawn.dtype == torch.uint8
    means = drawn.float().mean((1, 2)).numpy()
    wanted = np.array([COLOURS[name] for name in ("red", "green", "blue")])
    nearest = np.linalg.norm(means[:, None] - wanted, axis=2).argmin(1)
    assert (nearest == np.tile([0, 1, 2], 8)).mean() > 0.9


def test_the_judge_says_how_far_drawn_pictures_are_from_real_ones(gan_run, tiny_run, colours):
    score = gan_run[1]["score"]
    assert score["n"] == len(with_validation(open_dataset(colours), 0.1).train) // 2 and score[
        "features"
    ] == str(tiny_run)
    assert 0 <= score["frechet_floor"] < score["frechet"]
    assert score["right"] > 80 and score["right_real"] > 90
    other = train_gan(
        str(colours), epochs=1, changes=[*WORDS, "ema=0"], features=str(tiny_run), out="fresh", console=QUIET
    )
    assert other["score"]["frechet"] > 2 * score["frechet"]
    assert other["score"]["frechet_floor"] == score["frechet_floor"]
    told = resight("train-gan", colours, *SET, "--set", "lr=0.001", "--epochs", "40", "--out", gan_run[0],
                   "--resume", "--features", tiny_run, check=0)  # fmt: skip
    assert "Frechet distance" in told.stdout and "not comparable with published FID" in told.stdout


def test_a_picture_is_the_same_alone_and_in_a_batch_and_at_any_side(gan_run):
    gan = open_gan(str(gan_run[0]), side=24)
    labels, noise = torch.arange(37) % 3, draw_noise(0, 0, 37, 16)
    together = gan.generated(labels, noise)
    assert together.shape == (37, 24, 24, 3)
    for row in (0, 5, 36):
        assert torch.equal(gan.generated(labels[row : row + 1], noise[row : row + 1])[0], together[row])
    assert gan.generated(labels[:0], noise[:0]).shape == (0, 24, 24, 3)


def test_classes_are_matched_by_name(gan_run):
    own, turned = open_gan(str(gan_run[0])), open_gan(str(gan_run[0]), ("red", "blue", "green"))
    noise = draw_noise(0, 0, 3, 16)
    assert own.classes == ("blue", "green", "red")
    assert torch.equal(
        own.generated(torch.tensor([2, 0, 1]), noise), turned.generated(torch.arange(3), noise)
    )
    with pytest.raises(DataError, match="trained without the class 'violet'"):
        open_gan(str(gan_run[0]), ("red", "violet"))


def test_only_the_training_split_is_learned(gan_run, colours, monkeypatch):
    """Every decoded picture is of the split that `train` learns from with the same share held out."""
    seen = []
    real = service.decode_split

    def spy(split, *words, **options):
        seen.extend(split.digest(i) for i in range(len(split)))
        return real(split, *words, **options)

    monkeypatch.setattr(service, "decode_split", spy)
    train_gan(str(colours), epochs=1, changes=WORDS, out="spied", console=QUIET)
    dataset = with_validation(open_dataset(colours), 0.1)
    digests = {name: {s.digest(i) for i in range(len(s))} for name, s in dataset.splits.items()}
    assert set(seen) == digests["train"] and len(digests["val"]) > 0 and len(digests["test"]) > 0
    assert not set(seen) & (digests["val"] | digests["test"])
    learned = fingerprint(dataset.train)
    assert load_gan(Path("spied/gan.safetensors"))[2]["data_fingerprint"] == learned
    assert open_gan(str(gan_run[0]), learned=learned)
    whole = fingerprint(open_dataset(colours).train)
    with pytest.raises(DataError, match="was trained on pictures outside"):
        open_gan(str(gan_run[0]), learned=whole)


def test_the_same_pictures_as_a_run_of_train_learned(gan_run, tiny_run, tmp_path):
    """The fingerprint that a run of `train` keeps is that of the GAN of the same data."""
    _, header = load_tensors(tiny_run / "model.safetensors")
    train_gan(str(tiny_run.parent / "colours"), epochs=1, changes=WORDS, out="same", console=QUIET)
    assert open_gan("same", learned=header["data_fingerprint"])


@pytest.mark.parametrize("more", [[], ["ema=0", "shift=0.2", "flip=off", "condition=acgan"]])
def test_stopped_anywhere_and_resumed_is_the_same_to_the_bit(colours, monkeypatch, more):
    changes = [*WORDS, *more]
    train_gan(str(colours), epochs=3, changes=changes, out="whole", console=QUIET)
    steps = 0
    real = job.fit

    def interrupted(*words, stop, **options):
        def counted():
            nonlocal steps
            steps += 1
            return steps in (4, 16)

        real(*words, stop=counted, **options)

    torch.rand(3)
    monkeypatch.setattr(job, "fit", interrupted)
    said = Console(file=io.StringIO(), width=1000)
    for resume in (False, True):
        with pytest.raises(KeyboardInterrupt):
            train_gan(str(colours), epochs=3, changes=changes, out="cut", resume=resume, console=said)
    train_gan(str(colours), epochs=3, changes=changes, out="cut", resume=True, console=QUIET)
    assert_equal_runs(Path("whole"), Path("cut"))
    assert said.file.getvalue().splitlines()[-1] == "stopped; resume with: resight train-gan --resume cut"


def test_a_run_is_resumed_by_its_name_alone_and_what_differs_is_named(colours, tmp_path):
    train_gan(str(colours), epochs=2, changes=WORDS, out="long", console=QUIET)
    train_gan(str(colours), epochs=1, changes=WORDS, out="short", console=QUIET)
    command = CliRunner().invoke(
        app, ["train-gan", "--resume", "short", "--epochs", "2"], catch_exceptions=False
    )
    assert command.exit_code == 0
    assert_equal_runs(Path("long"), Path("short"))
    with pytest.raises(ModelFileError, match=r"noise 16 -> 17"):
        train_gan(resume="short", changes=["noise=17"], console=QUIET)
    shutil.copytree(colours, "moved")
    record = json.loads(Path("short/recipe.json").read_text())
    Path("short/recipe.json").write_text(json.dumps({**record, "data": str(tmp_path / "gone")}))
    with pytest.raises(DataError, match="resight train-gan DATA --resume short"):
        train_gan(resume="short", console=QUIET)
    train_gan("moved", resume="short", console=QUIET)
    assert json.loads(Path("short/recipe.json").read_text())["data"] == str(tmp_path / "moved")
    Path("run").mkdir()
    Path("run/recipe.json").write_text(json.dumps({"recipe": {}, "data": "d"}))
    with pytest.raises(ModelFileError, match="resight train --resume run"):
        train_gan(resume="run", console=QUIET)


def test_a_finished_run_goes_on_to_more_epochs(colours):
    train_gan(str(colours), epochs=2, changes=WORDS, out="long", console=QUIET)
    train_gan(str(colours), epochs=1, changes=WORDS, out="short", console=QUIET)
    train_gan(str(colours), epochs=2, changes=WORDS, out="short", resume=True, console=QUIET)
    assert_equal_runs(Path("long"), Path("short"))
    with pytest.raises(ModelFileError, match="with other settings"):
        train_gan(
            str(colours), epochs=3, changes=[*WORDS, "lr=1e-3"], out="short", resume=True, console=QUIET
        )
    other = make_folder("other", count=30, start=5)
    with pytest.raises(ModelFileError, match="with other data"):
        train_gan(str(other), epochs=3, changes=WORDS, out="short", resume=True, console=QUIET)


def test_the_samples_are_a_row_a_class(gan_run):
    with Image.open(gan_run[1]["samples"]) as sheet:
        pixels = np.asarray(sheet.convert("RGB")).astype(int)
    assert pixels.shape[0] == 2 * 16 + 3 * 66
    for row, name in enumerate(("blue", "green", "red")):
        tile = pixels[16 + 66 * row : 16 + 66 * row + 64, -(16 + 66) : -(16 + 2)].mean((0, 1))
        assert tile.argmax() == np.argmax(COLOURS[name])


def test_grey_pictures_are_learned_and_drawn_grey():
    for name in ("dark", "light"):
        (folder := Path("grey") / name).mkdir(parents=True)
        for i in range(8):
            shade = 30 * i // 8 + (20 if name == "dark" else 180)
            Image.new("L", (20, 16), shade + i).save(folder / f"{i}.png")
    train_gan("grey", epochs=1, changes=WORDS, out="run", console=QUIET)
    generator, _, _ = load_gan(Path("run/gan.safetensors"))
    assert generator.options["channels"] == 1
    drawn = open_gan("run").generated(torch.tensor([0, 1]), draw_noise(0, 0, 2, 16))
    assert drawn.shape == (2, 16, 16, 3) and (drawn == drawn[..., :1]).all()


def test_a_broken_picture_is_left_out_or_stops_a_strict_training(colours):
    shutil.copytree(colours, "broken")
    (Path("broken") / "red" / "new.png").write_bytes(b"no picture")
    answer = train_gan("broken", epochs=1, changes=[*WORDS, "val_share=0"], out="run", console=QUIET)
    assert [Path(fault["path"]).name for fault in answer["left_out"]] == ["new.png"]
    line = one_line(resight("train-gan", "broken", *SET, "--set", "val_share=0", "--strict"), 1)
    assert "new.png" in line and not list(Path("runs").glob("*/*"))


def test_words_that_cannot_work_are_one_line(colours, tiny_run, gan_run):
    assert "nearest: width" in one_line(resight("train-gan", colours, "--set", "with=1"), 2)
    with pytest.raises(UsageError, match=r"GiB: set memory_gib= higher"):
        train_gan(str(colours), changes=[*WORDS, "memory_gib=1e-6"], console=QUIET)
    make_folder("two", ("red", "violet"))
    with pytest.raises(DataError, match="has other classes than the data"):
        train_gan("two", changes=WORDS, features=str(tiny_run), console=QUIET)
    with pytest.raises(ModelFileError, match="holds no GAN; train one with"):
        open_gan(str(tiny_run))
    with pytest.raises(UsageError, match="is not empty"):
        train_gan(str(colours), changes=WORDS, out=str(gan_run[0]), console=QUIET)


def test_a_training_learns_from_drawn_pictures_of_its_own_split_alone(gan_run, colours):
    words = (*TINY, "--epochs", "2", "--set", f"augment=gan:{gan_run[0]};share=0.5")
    done = resight("train", colours, *words, "--out", "joined", "--json", check=0)
    assert json.loads(done.stdout)["n"] == 18
    with pytest.raises(DataError, match="was trained on pictures outside this training split"):
        changes = [*(word for word in words if "=" in word), "val_share=0"]
        train(str(colours), epochs=1, changes=changes, out="leak", console=QUIET)
