"""`resight explain`: comparison sheets, options of methods, several layers, and words that are off."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from as_json import believe, draw_sheets, explain_paths
from resight.cli.explain import METHOD_NAMES
from resight.core.errors import PictureError, UnknownNameError, UsageError
from resight.models.modelfile import load_model, save_model
from resight.render.overlay import overlay
from resight.render.sheet import GAP, MARGIN, TILE, left, top
from resight.saliency.methods import METHODS, read_options
from resight.service.explain import perceive, sheet
from resight.service.pictures import batches
from resight.service.run.run import open_run
from support import COLOURS, one_line, picture, resight

QUICK = ("samples=8", "copies=2", "steps=20")
OF_TRANSFORMERS = ("attention_rollout", "chefer_relevance")


@pytest.fixture
def pictures(tmp_path):
    for number, (name, colour) in enumerate(COLOURS.items()):
        picture(colour, seed=700 + number).save(tmp_path / f"{name}.png")
    return [str(tmp_path / f"{name}.png") for name in COLOURS]


def tile(path, row, column):
    with Image.open(path) as image:
        x, y = left(column), top(row)
        return np.asarray(image.crop((x, y, x + TILE, y + TILE)))


def test_a_sheet_has_a_row_a_picture_and_a_column_a_method(tiny_run, pictures):
    answer = draw_sheets(
        str(tiny_run), pictures, ("grad_cam", "rise", "occlusion"), out="o", changes=["samples=40"]
    )
    json.dumps(answer, allow_nan=False)
    assert answer["left_out"] == answer["skipped"] == [] and len(answer["sheets"]) == 1
    made = answer["sheets"][0]
    assert made["image"] == "o/sheet.png" and made["methods"] == ["grad_cam", "rise", "occlusion"]
    assert [row["path"] for row in made["rows"]] == pictures
    assert [row["target"] for row in made["rows"]] == list(COLOURS)
    with Image.open(made["image"]) as image:
        assert image.width == 2 * MARGIN + 4 * TILE + 3 * GAP
    for row, name in enumerate(COLOURS):
        shown = [tile(made["image"], row, column) for column in range(4)]
        assert np.abs(shown[0].mean((0, 1)) - COLOURS[name]).max() < 10  # the picture itself comes first
        for i in range(4):
            for j in range(i):
                assert np.abs(shown[i].astype(int) - shown[j]).mean() > 1, (name, i, j)


def test_a_tile_is_the_overlay_that_method_writes(tiny_run, pictures):
    made = draw_sheets(str(tiny_run), pictures[:1], ("layer_cam", "grad_cam"), "green", ["layer2"], "o")
    row = explain_paths(str(tiny_run), pictures[:1], ("layer_cam",), "green", ["layer2"], "p")[0]
    run = open_run(str(tiny_run))
    (batch,) = batches(run, [Path(pictures[0])])
    wanted = overlay(batch.squares[0], np.load(row["map"]))  # the picture has no more to show than 16 pixels
    assert np.array_equal(tile(made["sheets"][0]["image"], 0, 1)[6::12, 6::12], wanted)
    assert made["sheets"][0]["rows"][0]["target"] == row["target"] == "green"


def test_all_leaves_out_what_does_not_fit(tiny_run, pictures):
    lines = []
    answer = draw_sheets(str(tiny_run), pictures[:1], ("all",), changes=QUICK, progress=lines.append)
    assert [entry["method"] for entry in answer["left_out"]] == ["gmp_cam", *OF_TRANSFORMERS]
    assert answer["sheets"][0]["methods"] == [
        name for name in METHODS if name not in ("gmp_cam", *OF_TRANSFORMERS)
    ]
    assert [line for line in lines if "left out" in line] == [
        f"left out: {METHODS[entry['method']].title}: {entry['fault']}" for entry in answer["left_out"]
    ]
    early = draw_sheets(str(tiny_run), pictures[:1], ("all",), layers=["layer1"], changes=QUICK)
    assert [entry["method"] for entry in early["left_out"]] == ["cam", "gmp_cam", *OF_TRANSFORMERS]


def test_many_pictures_make_several_sheets_and_broken_files_are_told(
    tiny_run, pictures, tmp_path, monkeypatch
):
    monkeypatch.setattr(sheet, "ROWS", 4)
    (tmp_path / "broken.png").write_bytes(b"no picture")
    paths = [pictures[0], str(tmp_path / "broken.png"), *pictures[1:]]
    answer = draw_sheets(str(tiny_run), paths, ("grad_cam",), "top2", out="o")
    assert [(s["image"], len(s["rows"])) for s in answer["sheets"]] == [
        ("o/sheet.png", 4),
        ("o/sheet-2.png", 2),
    ]
    assert [len({r["target"] for r in s["rows"][:2]}) for s in answer["sheets"]] == [2, 2]
    with Image.open("o/sheet.png") as first, Image.open("o/sheet-2.png") as second:
        assert first.height - second.height == top(2) - top(0)
    assert [s["path"] for s in answer["skipped"]] == [str(tmp_path / "broken.png")]
    with pytest.raises(PictureError, match=r"broken\.png"):
        draw_sheets(str(tiny_run), [str(tmp_path / "broken.png")], ("grad_cam",))


@pytest.mark.parametrize(
    ("words", "error", "message"),
    [
        ({"methods": ("gmp_cam",)}, UsageError, "gmp_cam needs"),
        ({"methods": ("grad_cam", "scorecam")}, UnknownNameError, "nearest: score_cam"),
        ({"methods": ("all", "cam")}, UnknownNameError, "'all' is not a saliency method"),
        ({"methods": ("perception_visualization",)}, UsageError, "use --method"),
        ({"methods": ("all",), "layers": ["layer9"]}, UsageError, "no layer 'layer9'"),
        ({"methods": ("all",), "target": "violet"}, UsageError, "'violet' is not a class"),
        ({"methods": ("all",), "changes": ["sample=3"]}, UsageError, "any of the methods; nearest: samples"),
    ],
)
def test_words_that_are_off_stop_a_sheet(tiny_run, pictures, words, error, message):
    with pytest.raises(error, match=message):
        draw_sheets(str(tiny_run), pictures[:1], **words)


def test_several_layers_are_fused(tiny_run, pictures):
    def heat(*layers):
        row = explain_paths(str(tiny_run), pictures[:1], ("grad_cam",), "blue", layers, "-".join(layers))[0]
        assert row["layer"] == ", ".join(layers)
        return np.load(row["map"])

    both, one, other = heat("layer2", "layer3"), heat("layer2"), heat("layer3")
    assert not np.allclose(both, one, atol=0.05) and not np.allclose(both, other, atol=0.05)
    assert np.corrcoef(both.ravel(), (one + other).ravel())[0, 1] > 0.8
    answer = believe(str(tiny_run), pictures, ("grad_cam",), layers=["layer2", "layer3"], share=0.25)
    assert answer["layer"] == "layer2, layer3"


def test_options_change_the_map(tiny_run, pictures):
    def heat(*changes):
        row = explain_paths(str(tiny_run), pictures[:1], ("occlusion",), None, None, "o", changes)[0]
        return np.load(row["map"])

    assert not np.array_equal(heat(), heat("window=8"))
    assert np.array_equal(heat("window=8"), heat("window=4", "window=8"))


def test_options_change_the_sheet(tiny_run, pictures):
    shown = []
    for window in (4, 8):
        words = (["occlusion"], None, None, str(window), [f"window={window}"])
        shown.append(tile(draw_sheets(str(tiny_run), pictures[:1], *words)["sheets"][0]["image"], 0, 1))
    assert not np.array_equal(*shown)


def test_options_are_read_by_the_type_of_their_default():
    found = read_options(
        ["rise", "score_cam", "gradient"], ["samples=50", "keep=0.25", "weighting=increase", "batch=4"]
    )
    assert found == {
        "rise": {"samples": 50, "keep": 0.25, "batch": 4},
        "score_cam": {"weighting": "increase", "batch": 4},
        "gradient": {},
    }
    assert read_options(["augmented_grad_cam"], ["base=layer_cam", "tv=1"])["augmented_grad_cam"] == {
        "base": "layer_cam", "tv": 1.0,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("methods", "word", "message"),
    [
        (["rise"], "sample=1", "'sample' is not an option of rise; nearest: samples"),
        (["grad_cam"], "samples=1", "'samples' is not an option of grad_cam, which has none"),
        (["grad_cam", "cam"], "samples=1", "of grad_cam and cam"),
        (["rise"], "samples=many", "samples='many': needs a whole number"),
        (["rise"], "samples=1.5", "samples='1.5': needs a whole number"),
        (["rise"], "keep=half", "keep='half': needs a number"),
        (["rise"], "samples", "--set 'samples' is not key=value"),
    ],
)
def test_options_that_are_off_are_refused(methods, word, message):
    with pytest.raises(UsageError) as caught:
        read_options(methods, [word])
    assert message in str(caught.value)


def test_the_command_draws_a_sheet_and_says_what_it_left_out(tiny_run, pictures):
    words = [word for change in QUICK for word in ("--set", change)]
    done = resight(
        "explain", tiny_run, *pictures, "--methods", "all", *words, "--out", "o", "--json", check=0
    )
    answer = json.loads(done.stdout)
    assert answer["sheets"][0]["image"] == "o/sheet.png" and answer["left_out"][0]["method"] == "gmp_cam"
    assert "left out: CAM with max pooling" in done.stderr


def named(tiny_run, classes):
    """A model file like the tiny run's, with other names for its classes."""
    model, _ = load_model(tiny_run / "model.safetensors")
    model.classes = classes
    save_model(Path("named.safetensors"), model, model.state_dict(), {})
    return "named.safetensors"


@pytest.mark.parametrize("classes", [("C+", "C#", "C_"), ("a/b", "a b", "a_b"), ("猫" * 90, "猫" * 91, "c")])
def test_every_class_has_files_of_its_own(tiny_run, pictures, classes):
    rows = explain_paths(named(tiny_run, classes), pictures[:1], ("cam", "cam"), "top3", out="o")
    assert {row["target"] for row in rows} == set(classes)
    for kind in ("image", "map"):
        assert len({row[kind] for row in rows}) == 3 and all(Path(row[kind]).is_file() for row in rows)


def test_pictures_of_one_name_have_files_of_their_own(tiny_run):
    for place in ("one", "two"):
        Path(place).mkdir()
        picture(seed=len(place)).save(f"{place}/a.png")
    rows = explain_paths(str(tiny_run), ["one", "two"], out="o")
    assert len({row["image"] for row in rows}) == 2


def test_a_class_may_be_called_like_a_word_of_target(tiny_run, pictures):
    run = named(tiny_run, ("top2", "1", "²"))
    for word in ("top2", "1", "²"):
        rows = explain_paths(run, pictures[:1], target=word, out="o")
        assert [row["target"] for row in rows] == [word]
    assert believe(run, pictures[:1], target="top2", share=0.5)["target"] == "top2"


def test_names_that_are_no_text_and_names_of_two_lines_are_shown(tiny_run):
    Path("odd").mkdir()
    try:
        for name in (b"odd/x\xff.png", b"odd/two\nlines.png"):
            with open(name, "wb") as stream:  # noqa: PTH123 - a name in bytes
                picture().save(stream, "PNG")
    except OSError:
        pytest.skip("this file system takes text only")
    done = resight("explain", tiny_run, "odd", "--out", "o", "--json", check=0)
    rows = json.loads(done.stdout)
    assert {os.fsencode(row["path"]) for row in rows} == {b"odd/x\xff.png", b"odd/two\nlines.png"}
    assert all(Path(row["image"]).is_file() for row in rows)
    resight("explain", tiny_run, "odd", "--out", "o", check=0)
    assert len(draw_sheets(str(tiny_run), ["odd"], ("cam",), out="o")["sheets"][0]["rows"]) == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--target", "top0"), "--target top0: selects no class"),
        (("--target", "²"), "'²' is not a class of this network"),
        (("--method", "perception_visualization", "--set", "samples=4"), "has no options"),
        (("--method", "perception_visualization", "--evaluate"), "no map of its own to evaluate"),
        (("--methods", "cam,gmp_cam"), "gmp_cam needs"),
        (("--methods", "cam", "--method", "cam"), "leave --method and --evaluate out"),
        (("--method", "rise", "--set", "samples=few"), "samples='few': needs a whole number"),
        (("--layer", "layer1,"), "--layer 'layer1,': give names separated by commas"),
    ],
)
def test_the_command_refuses_words_in_one_line(tiny_run, pictures, words, message):
    assert message in one_line(resight("explain", tiny_run, pictures[0], *words), 2)


def test_help_lists_every_method():
    assert (*METHODS, perceive.METHOD) == METHOD_NAMES
    text = "".join(resight("explain", "--help", check=0).stdout.split())
    assert all(name in text for name in METHOD_NAMES)


def test_every_method_has_a_published_name():
    assert len({method.title for method in METHODS.values()} - {""}) == len(METHODS)
