"""`resight look`: every picture of a run, what is said where something is missing, and the page."""

import html
import json
import re
import shutil
import subprocess
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from as_json import look
from resight.core.errors import ResightError, UsageError
from resight.evaluate.surface import affordable
from resight.models.modelfile import load_model, save_model
from resight.models.zoo import create_model
from resight.render.embedding import Cloud, apart, class_colours, interactive
from resight.render.page import Part, render_page
from resight.service.look import features as look_features
from resight.service.look import units as look_units
from resight.service.look.filters import first_filters, look_at_filters
from resight.service.look.units import find_units, stage_ends
from resight.service.report.learned import learned
from resight.service.run.data import dataset_of
from resight.service.run.run import open_run
from support import one_line, resight

FETCHES = re.compile(r"""(?:src|href|url)\s*[=(]\s*["']?(?!data:|["']?\s*\+)(?:https?:)?//""")


@pytest.fixture
def run(tiny_run, tmp_path):
    return Path(shutil.copytree(tiny_run, tmp_path / "run"))


@pytest.fixture
def without_data(run):
    """The run after its pictures were moved away."""
    model, facts = load_model(run / "model.safetensors")
    save_model(run / "model.safetensors", model, model.state_dict(), facts | {"data": "/gone/colours"})
    return run


def test_everything_is_drawn(run, monkeypatch):
    monkeypatch.setattr(look_features, "affordable", partial(affordable, budget=1e9))
    answer = look(str(run), units=2)
    names = [Path(image).name for image in answer["images"]]
    stages = ["patches-relu.png", "patches-layer1.png", "patches-layer2.png", "patches-layer3.png"]
    assert names == ["filters.png", *stages, "features.png", "surface.png", "depth.png", "curves.png"]
    for path in answer["images"]:
        with Image.open(path) as image:
            assert image.mode == "RGB" and min(image.size) > 100 and np.ptp(np.asarray(image)) > 100
    assert [len(layer["units"]) for layer in answer["patches"]] == [2, 2, 2, 2]
    assert answer["patches"][0]["receptive_field"] == 3 and answer["left_out"] == []
    assert answer["surface"]["centre"] >= answer["surface"]["least"] and answer["diagnosis"]
    assert answer["depth"]["gradients"][-1]["layer"] == "fc" and answer["depth"]["words"]
    page = Path(answer["page"]).read_text()
    assert answer["page"] == str(run / "look" / "look.html") and page.count('<img src="data:image/') == 8
    assert not FETCHES.search(page) and "<script src" not in page and "<link" not in page


def test_the_command_draws_what_is_asked_for(run):
    words = resight(
        "look", run, "--only", "curves,filters,patches", "--layer", "layer3", "--out", "here", check=0
    )
    assert "filters    A filter of 3 x 3 has too few values" in words.stdout
    assert "patches    layer3: units " in words.stdout and "page       here/look.html" in words.stdout
    assert "curves     " in words.stdout and "filters: here/filters.png" in words.stderr
    drawn = ["curves.png", "filters.png", "look.html", "patches-layer3.png"]
    assert sorted(p.name for p in Path("here").iterdir()) == drawn
    done = resight("look", run, "--only", "filters", "--json", check=0)
    assert json.loads(done.stdout)["images"] == [str(run / "look" / "filters.png")]


def test_without_its_pictures_filters_and_curves_are_drawn_and_one_line_says_so(without_data):
    answer = look(str(without_data))
    assert [Path(image).name for image in answer["images"]] == ["filters.png", "curves.png"]
    (line,) = answer["left_out"]
    assert line.startswith("patches, features, surface, depth: no pictures") and "/gone/colours" in line
    assert line in Path(answer["page"]).read_text()
    with pytest.raises(ResightError, match="/gone/colours"):
        look(str(without_data), only=("features",))


def test_other_pictures_can_be_named(without_data, folder):
    answer = look(str(without_data), data=str(folder), only=("patches", "features"))
    assert answer["features"]["split"] == "test" and answer["features"]["pictures"] == 36
    assert "36 pictures of the test split" in Path(answer["page"]).read_text()


def test_a_model_file_alone_has_no_curves(run):
    lone = run.parent / "lone.safetensors"
    shutil.copy(run / "model.safetensors", lone)
    answer = look(str(lone), only=("filters", "curves"))
    assert answer["out"] == "look" and answer["left_out"] == [
        "curves: the run has no metrics.csv, the record of its training"
    ]


def test_words_that_are_off_are_answered_in_one_line(run):
    assert "nearest: filters" in one_line(resight("look", run, "--only", "filter"), 2)
    for words, told in (
        ({"layers": ["layer9"]}, "no layer 'layer9'; nearest: layer"),
        ({"layers": ["fc"]}, "layer 'fc' does not give a map"),
        ({"data": "nowhere"}, "nowhere"),
    ):
        with pytest.raises(ResightError, match=told):
            look(str(run), only=("patches",), **words)


def test_a_look_leaves_the_network_as_it_was_and_repeats_itself(run):
    opened = open_run(str(run))
    before = {k: v.clone() for k, v in opened.model.state_dict().items()}
    dataset, state = dataset_of(opened, None), torch.random.get_rng_state()
    tested = SimpleNamespace(run=opened, dataset=dataset)
    first, second = (learned(tested) for _ in range(2))
    assert first == second and "How it sees the pictures" in [part.title for part in first]
    assert torch.equal(state, torch.random.get_rng_state())
    assert all(torch.equal(v, before[k]) for k, v in opened.model.state_dict().items())
    assert all(p.grad is None for p in opened.model.parameters())
    assert not any(m._forward_hooks or m.training for m in opened.model.modules())


def test_patches_are_the_pictures_with_the_highest_activation_cut_to_what_the_unit_sees(run):
    opened = open_run(str(run))
    split = dataset_of(opened, None).train
    found = find_units(opened, split, ["layer1"], 1, most=1000)
    (unit,) = found.units["layer1"]
    assert found.searched == len(split) and len(unit.patches) == 9
    values = [patch.activation for patch in unit.patches]
    assert values == sorted(values, reverse=True) and values[0] > 0
    side = int(found.fields["layer1"].size)
    for patch in unit.patches:
        height, width = patch.pixels.shape[:2]
        assert 0 < height <= min(side, 16) and 0 < width <= min(side, 16)
        assert {p.shape for p in patch.projections.values()} == {patch.pixels.shape}
        assert set(patch.projections) == {"deconvnet", "guided"}


def test_of_a_network_without_relu_patches_are_drawn_and_the_page_says_why_no_more(run, monkeypatch):
    def refuse(*_):
        raise UsageError("this network has none")

    monkeypatch.setattr(look_units, "project", refuse)
    answer = look(str(run), only=("patches",))
    assert "No projections: this network has none." in Path(answer["page"]).read_text()


@pytest.mark.parametrize(
    ("name", "ends"),
    [
        ("resnet18", ["maxpool", "layer1", "layer2", "layer3", "layer4"]),
        ("speednet8", ["gelu", "layer1", "layer2", "layer3"]),
        ("lenet5_modern", None),
        ("densenet121", None),
        ("googlenet", None),
        ("efficientnet_b0", None),
    ],
)
def test_the_last_layer_of_each_stage_is_found(name, ends):
    found = stage_ends(create_model(name, 10).eval(), 96 if name != "lenet5_modern" else 32)
    assert found == ends if ends else 2 <= len(found) <= 5


def test_filters_of_five_pixels_are_fitted_and_grey_ones_claim_nothing(run):
    opened = open_run(str(run))
    object.__setattr__(opened, "network", create_model("lenet5_modern", 10).eval())
    name, weights = first_filters(opened.model)
    assert weights.shape[2:] == (5, 5)
    colour, grey = look_at_filters(opened), look_at_filters(opened, grey=True)
    assert colour.figures.layer == name and len(colour.figures.fit.r2) == len(weights)
    assert "of pure noise stay below" in colour.figures.summary and colour.figures.fit.gabors is not None
    assert "no filter is called a Gabor" in grey.figures.summary and grey.figures.fit.gabors is None


def cloud(count=24, classes=("cat", "dog </script><b>")):
    random = np.random.default_rng(0)
    labels = np.arange(count) % 2
    said = labels.copy()
    said[3] = 0
    return Cloud(
        random.random((count, 2)),
        random.integers(0, 255, (count, 8, 8, 3), dtype=np.uint8),
        labels, said, [(classes[i],) for i in labels], [f"p{i}.png" for i in range(count)], classes,
    )  # fmt: skip


def test_the_page_holds_every_point_and_no_name_ends_the_script():
    part = interactive(cloud())
    data = json.loads(re.search(r'<script type="application/json">(.*?)</script>', part, re.S).group(1))
    assert len(data["points"]) == 24 and data["classes"][1] == "dog </script><b>"
    assert [point[4] for point in data["points"]].count(1) == 1 and data["points"][3][2:4] == [1, 0]
    assert part.count("</script>") == 2


def test_colours_of_classes_differ_and_thumbnails_do_not_cover_one_another():
    assert len(set(class_colours(12))) == 12 and len(set(class_colours(100))) > 95
    places = np.array([[0, 0], [3, 3], [40, 0], [41, 1.0]])
    assert apart(places, 10) == [0, 2]


DRIVER = """
<script>window.addEventListener("load", () => setTimeout(() => {
  const root = document.getElementById("tsne"), canvas = root.querySelector("canvas"), notes = [];
  const box = canvas.getBoundingClientRect();
  const data = JSON.parse(root.querySelector('script[type="application/json"]').textContent);
  const point = data.points[3], words = () => root.querySelector(".words").textContent;
  const at = { clientX: box.left + 18 + point[0] / data.radix * (box.width - 36),
    clientY: box.top + 18 + point[1] / data.radix * (box.height - 36), bubbles: true };
  const move = () => canvas.dispatchEvent(new PointerEvent("pointermove", at));
  const leave = () => canvas.dispatchEvent(new PointerEvent("pointerleave", {}));
  const painted = () => canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data
    .filter((value, i) => i % 4 === 3 && value).length;
  notes.push(painted() > 500);
  move(); notes.push(words());
  notes.push(root.querySelector(".big").style.backgroundImage.startsWith('url("data:image/jpeg'));
  leave(); notes.push(words());
  canvas.dispatchEvent(new MouseEvent("click", at)); leave(); notes.push(words());
  const before = painted(), button = root.querySelectorAll(".names button")[1];
  button.click(); notes.push(button.getAttribute("aria-pressed"), painted() < before);
  button.click(); root.querySelector('[data-tool="pictures"]').click(); notes.push(painted() > before);
  ["pictures", "wrong"].forEach((tool) => root.querySelector(`[data-tool="${tool}"]`).click());
  notes.push(painted() < before);
  const out = document.createElement("pre");
  out.id = "notes"; out.textContent = JSON.stringify(notes); document.body.append(out);
}, 50));</script>"""


def test_the_cloud_answers_the_pointer_in_a_browser(tmp_path):
    browser = next(
        (b for b in ("chromium", "chromium-browser", "google-chrome", "chrome") if shutil.which(b)), None
    )
    if browser is None:
        pytest.skip("no Chromium to open the page in")
    page = render_page("a page", [Part("cloud", html=interactive(cloud()))], [])
    (tmp_path / "page.html").write_text(page.replace("</body>", DRIVER + "</body>"))
    done = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom",
         f"--user-data-dir={tmp_path / 'profile'}", f"file://{tmp_path / 'page.html'}"],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    found = re.search(r'<pre id="notes">(.*?)</pre>', done.stdout, re.S)
    assert found, done.stderr
    notes = json.loads(html.unescape(found.group(1)))
    drawn, hover, thumbnail, left, pinned, pressed, fewer, pictured, wrong_alone = notes
    told = "class: dog </script><b>predicted: catp3.png"
    assert drawn and hover == told and thumbnail and left.startswith("Point at") and pinned == told
    assert pressed == "false" and fewer and pictured and wrong_alone
