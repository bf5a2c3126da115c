"""The JSON of the commands: the keys, their order, and the kind of every value are promises.

`json_shapes.json` was written by the code before figures and rows became dataclasses.
"""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest

from support import TINY, make_folder, picture, resight

FILE = Path(__file__).with_name("json_shapes.json")
SMALL = ("--set", "batch_size=8", "--set", "widest=8", "--epochs", "1")

COMMANDS = {
    "check": ("check", "set/good"),
    "pack": ("pack", "colours", "--shards", "2"),
    "augment": ("augment", "colours", "--set", "augment=flip,rotation:15"),
    "operations": ("augment",),
    "models": ("models", "resnet5*"),
    "summary": ("summary", "lenet5"),
    "summary at another size": ("summary", "resnet20", "--size", "16"),
    "compare": ("compare",),
    "look": ("look", "run", "--units", "1", "--layer", "layer3", "--only", "filters,patches,features,curves"),
    "explain": ("explain", "run", "colours/red/000.png", "set/broken.png", "--target", "top2"),
    "sheet": ("explain", "run", "colours/red/000.png", "set/broken.png", "--methods", "cam,grad_cam"),
    "evaluate": ("explain", "run", "colours/red/00[01].png", "--method", "cam", "--evaluate"),
    "locate": ("locate", "run", "colours/red/000.png", "colours/blue/000.png"),
    "locate, measured": ("locate", "run", "voc", "--method", "grad_cam,cam", "--out", "out.json"),
    "locate, COCO": ("locate", "run", "voc", "--format", "coco", "--boxes", "all", "--out", "coco.json"),
    "train-decoder": ("train-decoder", "run", *SMALL),
    "perception": ("explain", "run", "colours/red/000.png", "--method", "perception_visualization"),
    "train-gan": (
        "train-gan", "colours", "--out", "gan", "--epochs", "1", "--set", "side=16", "--set", "width=4",
        "--features", "run",
    ),
    "train": ("train", "colours", "--out", "new", *TINY),
    "folds": ("train", "colours", "--out", "folds", "--folds", "2", *TINY),
    "multi-label": ("train", "many.csv", "--out", "many", *TINY),
    "test": ("test", "run"),
    "test on other data": ("test", "run", "--data", "set/good"),
    "test of many classes a picture": ("test", "many"),
    "predict": ("predict", "run", "colours/red/000.png", "set/broken.png", "--top", "2", "--at-least", "0.9"),
    "report": ("report", "run"),
}  # fmt: skip
FILES = {
    "out.json": "locate, measured", "coco.json": "locate, COCO", "run/recipe.json": "",
    "new/recipe.json": "train", "folds/recipe.json": "folds", "gan/recipe.json": "train-gan",
    "run/decoder/recipe.json": "train-decoder",
}  # fmt: skip
"""What commands leave as JSON, and which command; the run is there before them."""
QUICK = (
    "check", "pack", "augment", "operations", "models", "summary", "summary at another size", "explain",
    "locate, measured", "train", "test", "predict", "out.json", "run/recipe.json", "new/recipe.json",
)  # fmt: skip
"""Those that run always."""


def voc(root):
    """Two pictures with a marked part each."""
    for folder in ("JPEGImages", "Annotations"):
        (root / folder).mkdir(parents=True)
    for number, label in enumerate(("red", "blue")):
        picture(seed=number, size=(32, 24)).save(root / "JPEGImages" / f"{label}.png")
        (root / "Annotations" / f"{label}.xml").write_text(
            f"<annotation><filename>{label}.png</filename><size><width>32</width><height>24</height></size>"
            f"<object><name>{label}</name><bndbox><xmin>4</xmin><ymin>5</ymin><xmax>20</xmax><ymax>16</ymax>"
            "</bndbox></object></annotation>"
        )


def lay_out(place):
    """Write the data that the commands read into the folder of a finished run."""
    root = place / "set"
    make_folder(root / "good", count=6)
    picture(seed=900).resize((4, 4)).save(root / "good/red/small.png")
    for copy in ("good/red/copy.png", "good/blue/copy.png"):
        picture(seed=901).save(root / copy)
    wide = picture(seed=3, size=(240, 200)).resize((64, 48)).resize((240, 200))
    wide.save(root / "good/red/wide.png")
    wide.save(root / "good/red/wide.jpg", quality=80)
    (root / "good/green/broken.png").write_bytes(b"no picture")
    (root / "broken.png").write_bytes(b"no picture")
    voc(place / "voc")
    rows = ["path,labels"]
    for colour in ("red", "blue", "green"):
        rows += [f"colours/{colour}/{n:03d}.png,{colour}{';warm' * (colour == 'red')}" for n in range(20)]
    (place / "many.csv").write_text("\n".join(rows) + "\n")


def shape(value):
    """Return what must stay: keys in their order, the shapes of a list's items, the kinds of all else."""
    if isinstance(value, dict):
        # A class that is never predicted has no precision; whether there is one differs between processors.
        free = {k for k, item in value.items() if k == "precision" and isinstance(item, float | None)}
        return {key: "float or null" if key in free else shape(item) for key, item in value.items()}
    if isinstance(value, list):
        found = []
        for item in map(shape, value):
            if not any(json.dumps(item) == json.dumps(other) for other in found):
                found.append(item)
        return found
    return "null" if value is None else type(value).__name__


@pytest.fixture(scope="module")
def place(tiny_run, tmp_path_factory):
    place = tmp_path_factory.mktemp("printed")
    shutil.copytree(tiny_run.parent, place, dirs_exist_ok=True)
    lay_out(place)
    return place


@pytest.fixture(scope="module")
def said(place):
    """Gives what a command prints as JSON; each runs once, whichever test asks first."""

    @cache
    def run(name):
        done = resight(*COMMANDS[name], "--json", cwd=place)
        assert done.stdout, done.stderr
        return done.stdout

    return run


def slowly(names):
    """The names as parameters; all but the quick ones are slow."""
    return [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in names]


def require_same(name, text):
    expected = json.loads(FILE.read_text())[name]
    assert json.dumps(shape(json.loads(text)), indent=1) == json.dumps(expected, indent=1)


@pytest.mark.parametrize("name", slowly(COMMANDS))
def test_the_json_of_a_command_keeps_its_keys_their_order_and_the_kinds_of_its_values(name, said):
    require_same(name, said(name))


@pytest.mark.parametrize("name", slowly(FILES))
def test_the_json_that_a_command_leaves_keeps_its_keys_their_order_and_the_kinds_of_its_values(
    name, place, said
):
    if FILES[name]:
        said(FILES[name])
    require_same(name, (place / name).read_text())
