"""`resight explain --evaluate`: complete rows, plain warnings; a method that asks no network is caught."""

import json
import signal

import pytest
import torch
from torch.nn import functional as F

from as_json import believe
from resight import create_model, open_dataset
from resight.cli import explain
from resight.core.errors import PictureError, UnknownNameError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.evaluate import sanity
from resight.evaluate.faithfulness import MEASURES
from resight.models.modelfile import save_model
from resight.saliency.methods import METHODS, Method
from resight.service.explain.asked import Asked
from resight.service.explain.believe import CENTRE, RANDOM
from resight.service.explain.believe import believe as measured
from support import COLOURS, picture, resight

SANE = ("head", "top 25 %", "top 50 %", "top 75 %", "all", "chance")


@pytest.fixture
def pictures(tmp_path):
    """Nine pictures of the tiny run's colours."""
    for number in range(9):
        colour = list(COLOURS.values())[number % 3]
        picture(colour, seed=500 + number).save(tmp_path / f"{number}.png")
    return str(tmp_path / "*.png")


def edges(look):
    grey = look.images.mean(1, keepdim=True)
    return F.pad((grey[:, :, 1:] - grey[:, :, :-1]).abs(), (0, 0, 0, 1))


def test_every_method_and_baseline_has_its_rows(tiny_run, pictures):
    lines = []
    answer = believe(str(tiny_run), [pictures], ("grad_cam", "gradient"), share=0.1, progress=lines.append)
    json.dumps(answer, allow_nan=False)
    assert answer["n"] == 9 and answer["layer"] == "layer3" and lines == ["9 of 9 pictures"]
    rows = {(r["method"], r["measure"], r["randomized"]): r for r in answer["rows"]}
    assert len(rows) == len(answer["rows"])
    maps = ("grad_cam", "gradient", RANDOM, CENTRE)
    wanted = {(m, measure, None) for m in maps for measure in MEASURES}
    wanted |= {(m, measure, d) for m in maps[:2] for measure in ("spearman", "ssim") for d in SANE}
    assert set(rows) == wanted
    for (method, _, depth), row in rows.items():
        low, high = row["interval"]
        assert low <= row["value"] + 1e-9 and row["value"] <= high + 1e-9 and row["n"] == 9
        assert row["protocol"] and (row["baseline"] or depth)
        tested = depth is None and method != RANDOM
        assert (row["against_random"] in ("yes", "no", "unclear")) == tested == (row["p_random"] is not None)
    assert any("only 9 pictures" in w for w in answer["warnings"])


def test_what_was_measured_before_an_interrupt_is_kept(tiny_run, pictures, monkeypatch):
    monkeypatch.setattr("resight.service.pictures.BATCH", 3)

    def interrupted(line):
        if line.startswith("6 "):
            signal.raise_signal(signal.SIGINT)

    answer = believe(str(tiny_run), [pictures], ("grad_cam",), share=0.5, progress=interrupted)
    assert answer["stopped"] and answer["n"] == 6
    assert answer["warnings"][0] == "stopped: measured on 6 of 9 pictures"
    whole = believe(str(tiny_run), [f"{n}.png" for n in range(6)], ("grad_cam",), share=0.5)
    assert not whole["stopped"] and whole["rows"] == answer["rows"]


def test_pictures_that_the_run_learned_are_counted(tiny_run):
    learned = tiny_run.parent / "colours" / "red"
    answer = believe(str(tiny_run), [str(learned)], ("grad_cam",), share=0.5)
    (line,) = [w for w in answer["warnings"] if "were used to train" in w]
    count = int(line.split()[0])
    assert 10 <= count <= 20 and f"of these 20 pictures were used to train or select {tiny_run}" in line


def test_the_same_call_gives_the_same_answer(tiny_run, pictures):
    first, again, other = (
        believe(str(tiny_run), [pictures], ("gradient",), share=0.25, seed=seed)["rows"] for seed in (0, 0, 1)
    )
    assert first == again and first != other


def test_a_method_that_shows_edges_is_caught(tiny_run, pictures, monkeypatch):
    monkeypatch.setitem(METHODS, "edges", Method(edges, "nobody", layerless=True))
    answer = believe(str(tiny_run), [pictures], ("edges", "gradient"), share=0.25)
    caught = [w for w in answer["warnings"] if "random weights" in w]
    wanted = "edges: its maps and those of random weights have a rank correlation of 1.00 (95 % 1.00 to 1.00"
    assert caught[0].startswith(wanted) and "of two different pictures it is 0." in caught[0]
    assert "shows" not in caught[0] and "edges of" not in caught[0]  # a number, and no cause
    value = {
        r["method"]: r["value"] for r in answer["rows"] if (r["measure"], r["randomized"]) == ("ssim", "all")
    }
    assert value["edges"] == pytest.approx(1) and value["gradient"] < 0.9


def test_a_method_whose_maps_are_always_the_same_is_told_so(tiny_run, pictures, monkeypatch):
    ramp = Method(
        lambda look: torch.arange(16.0).expand(len(look.images), 1, 16, 16), "nobody", layerless=True
    )
    monkeypatch.setitem(METHODS, "ramp", ramp)
    answer = believe(str(tiny_run), [pictures], ("ramp",), share=0.25)
    assert any("for its maps of two different pictures it is 1.00" in w for w in answer["warnings"])


def test_a_likeness_is_pointed_out_by_its_interval_not_by_its_mean(tiny_run, pictures, monkeypatch):
    scale = [1.0]

    def alike(first, second):
        values = torch.tensor([0.54 + 0.3 * (i % 3 - 1) for i in range(len(first))]).double()
        return sanity.Likeness(values * scale[0], values)

    monkeypatch.setattr(sanity, "likeness", alike)
    for scale[0], said in ((1.0, 0), (1.6, 1)):
        answer = believe(str(tiny_run), [pictures], share=0.5)
        assert len([w for w in answer["warnings"] if "random weights" in w]) == said


def test_a_verdict_needs_a_difference_that_counts(tiny_run, pictures):
    rows = believe(str(tiny_run), [pictures], share=0.1)["rows"]
    for row in rows:
        for word in ("random", "centre"):
            answer, gain = row[f"against_{word}"], row[f"gain_{word}"]
            if answer in ("yes", "no"):
                low, high = row[f"gain_{word}_interval"]
                assert abs(gain) >= MEASURES[row["measure"]].least and (low > 0 or high < 0)
                assert (gain > 0) == (answer == "yes")


def test_a_named_class_is_asked_and_a_broken_picture_is_left_out(tiny_run, tmp_path):
    for number in range(3):
        picture(COLOURS["red"], seed=number).save(tmp_path / f"{number}.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    best = believe(str(tiny_run), [str(tmp_path)], share=0.5)
    named = believe(str(tiny_run), [str(tmp_path)], target="blue", share=0.5)
    assert named["n"] == 3 and named["skipped"][0]["path"].endswith("broken.png")
    values = [
        next(r["value"] for r in answer["rows"] if (r["method"], r["measure"]) == (CENTRE, "insertion"))
        for answer in (best, named)
    ]
    assert values[0] != values[1]


def test_one_picture_gives_no_verdict_and_a_method_named_twice_is_one(tiny_run, pictures):
    one = pictures.replace("*", "0")
    answer = believe(str(tiny_run), [one], ("grad_cam", "grad_cam"), share=0.25)
    assert answer["methods"] == ["grad_cam"] and answer["n"] == 1
    assert any(w.startswith("only 1 picture: ") for w in answer["warnings"])
    assert not [w for w in answer["warnings"] if "in no measure" in w or "is worse" in w]


def test_random_weights_that_overflow_prove_nothing(tiny_run, pictures, monkeypatch):
    def huge(module, generator):
        for parameter in module.parameters(recurse=False):
            parameter.data.fill_(1e30)

    monkeypatch.setattr(sanity, "reinitialize", huge)
    answer = believe(str(tiny_run), [pictures], ("grad_cam",), share=0.5)
    json.dumps(answer, allow_nan=False)
    assert "grad_cam: random weights overflow in this network" in " ".join(answer["warnings"])
    assert {r["n"] for r in answer["rows"] if r["randomized"] == "all"} == {0}


def test_what_cannot_be_evaluated_is_refused(tiny_run, pictures, tmp_path):
    with pytest.raises(UsageError, match="one class per picture"):
        believe(str(tiny_run), [pictures], target="top2")
    with pytest.raises(UnknownNameError, match=r"nearest: .*grad_cam"):
        believe(str(tiny_run), [pictures], ("grad",))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    with pytest.raises(PictureError):
        believe(str(tiny_run), [str(tmp_path / "broken.png")])


def test_the_command_prints_one_document_or_a_table(tiny_run, pictures, capsys):
    done = resight("explain", tiny_run, pictures, "--method", "grad_cam", "--evaluate", "--json", check=0)
    answer = json.loads(done.stdout)
    assert answer["methods"] == ["grad_cam"] and answer["rows"] and "9 of 9 pictures" in done.stderr
    one = measured(str(tiny_run), ["0.png"], Asked(("grad_cam",)))
    assert one.rows[0].interval is None  # of one picture
    explain.believed(one, as_json=False)
    printed = capsys.readouterr()
    assert "deletion, low is better" in printed.out and RANDOM in printed.out
    assert "top 25 %" in printed.out and "layer layer3" in printed.out
    assert "warning: only 1 picture:" in printed.err


@pytest.mark.slow
def test_real_weights_on_real_pictures(real_data, tmp_path):
    model = create_model("resnet20", 10, weights=real_data / "weights" / "cifar10_resnet20.th").eval()
    data = open_dataset(real_data / "cifar10")
    model.classes, model.preprocessing = tuple(data.classes), Preprocessing(size=32, resize=32)
    save_model(tmp_path / "r.safetensors", model, model.state_dict(), {})
    (tmp_path / "test").mkdir()
    for number in range(40):
        data.splits["test"].decode(number).save(tmp_path / "test" / f"{number}.png")
    answer = believe(str(tmp_path / "r.safetensors"), [str(tmp_path / "test")], ("grad_cam", "gradient"))
    rows = {(r["method"], r["measure"], r["randomized"]): r for r in answer["rows"]}
    for measure in ("insertion", "road"):
        assert rows["grad_cam", measure, None]["against_random"] == "yes"
    assert rows["grad_cam", "road", None]["value"] > rows["gradient", "road", None]["value"] > 0
    assert abs(rows[RANDOM, "road", None]["value"]) < 0.15  # no order is better than another by chance
    for method in ("grad_cam", "gradient"):
        assert rows[method, "spearman", "all"]["value"] < 0.5
        assert rows[method, "spearman", "all"]["value"] < rows[method, "spearman", "head"]["value"]
    assert not [w for w in answer["warnings"] if "random weights" in w]
