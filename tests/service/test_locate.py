"""`resight locate`: boxes where the marks are, files for other programs, one line for what cannot be."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from resight.core.errors import UsageError
from resight.core.preprocessing import Preprocessing
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.saliency.methods import METHODS
from resight.service.locate import Rule, locate
from support import one_line, picture, resight

SIDE = 32


def spotted(colour, box, size=(64, 48)):
    """A dark picture with a bright rectangle."""
    pixels = np.full((size[1], size[0], 3), 20, np.uint8)
    x0, y0, x1, y1 = box
    pixels[y0:y1, x0:x1] = colour
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """A network that sees red and blue where they are: its last map is the colour itself."""

    class Finder:
        path = tmp_path_factory.mktemp("finder") / "model.safetensors"

    model = create_model("resnet20", 2)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.zero_()
            if name.endswith(("bn1.weight", "bn2.weight")):
                parameter.fill_(1)
        model.conv1.weight[0, 0, 1, 1] = model.conv1.weight[1, 2, 1, 1] = 1  # channel 0 is red, 1 is blue
        model.fc.weight[0, 24] = model.fc.weight[1, 25] = 4  # where shortcuts A put them
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.zero_()
            module.running_var.fill_(1)
            module.eps = 0.0
    model.classes = ("red", "blue")
    model.preprocessing = Preprocessing(size=SIDE, resize=SIDE, mean=(0.1,) * 3, std=(1.0,) * 3)
    save_model(Finder.path, model, model.state_dict(), {})
    return str(Finder.path)


def voc_set(root, things):
    """A VOC data set with one object a picture: {stem: (class, box)}."""
    for folder in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / folder).mkdir(parents=True)
    for stem, (label, (x0, y0, x1, y1)) in things.items():
        spotted((220, 20, 20) if label == "red" else (20, 20, 220), (x0, y0, x1, y1)).save(
            root / "JPEGImages" / f"{stem}.png"
        )
        (root / "Annotations" / f"{stem}.xml").write_text(
            f"<annotation><filename>{stem}.png</filename><size><width>64</width><height>48</height></size>"
            f"<object><name>{label}</name><bndbox><xmin>{x0 + 1}</xmin><ymin>{y0 + 1}</ymin><xmax>{x1}</xmax>"
            f"<ymax>{y1}</ymax></bndbox></object></annotation>"
        )
    stems = sorted(things)
    (root / "ImageSets/Main/train.txt").write_text("\n".join(stems[:-4]))
    (root / "ImageSets/Main/val.txt").write_text("\n".join(stems[-4:]))
    return root


THINGS = {
    "a0": ("red", (0, 0, 32, 24)), "a1": ("blue", (8, 8, 40, 32)),
    "b0": ("red", (2, 2, 34, 26)), "b1": ("blue", (30, 20, 62, 46)),
    "b2": ("red", (30, 2, 62, 28)), "b3": ("blue", (2, 20, 34, 46)),
}  # fmt: skip


def test_the_box_is_where_the_mark_is_in_pixels_of_the_picture(finder):
    spotted((220, 20, 20), (16, 12, 40, 36)).save("p.png")
    spotted((20, 20, 220), (40, 4, 60, 24)).save("q.png")
    answer = locate(finder, ["p.png", "q.png"], layers=["layer1"], rule=Rule(threshold=0.5))
    first, second = answer["boxes"]
    assert (first["path"], first["label"]) == ("p.png", "red") and second["label"] == "blue"
    assert first["box"] == pytest.approx([16, 12, 24, 24], abs=2.1)
    assert second["box"] == pytest.approx([40, 4, 20, 20], abs=2.1)
    assert 0.5 < first["score"] < 1
    assert "0.5 of the maximum" in answer["how"] and "layer1" in answer["how"] and answer["metrics"] == {}


def test_two_marks_are_one_box_or_two_as_asked(finder):
    image = np.asarray(spotted((220, 20, 20), (2, 2, 20, 20))).copy()
    image[30:46, 44:62] = (180, 20, 20)
    Image.fromarray(image).save("p.png")
    count = {
        rule: len(locate(finder, ["p.png"], layers=["layer1"], rule=Rule(0.3, "max", rule))["boxes"])
        for rule in ("largest", "all", "peaks", "tight-loose")
    }
    assert count == {"largest": 1, "all": 2, "peaks": 2, "tight-loose": 2}


def test_a_data_set_with_boxes_is_measured_and_beats_nothing_by_luck(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    answer = locate(finder, [str(root)], ["grad_cam", "gradient"], Rule(threshold=0.5), layers=["layer1"])
    assert set(answer["metrics"]) == {"grad_cam", "gradient", "centre"} and answer["pictures"] == 4
    good, blind = answer["metrics"]["grad_cam"], answer["metrics"]["centre"]
    assert good["n"] == 4 and good["gt_known_error"] == good["top1_error"] == 0
    assert good["pointing_game"] == 100 and good["energy_pointing_game"] > 80
    assert good["pixel_average_precision"] > 90 and good["max_box_acc_v2"] == 100
    assert blind["gt_known_error"] == 100 and blind["pixel_average_precision"] < 70


def test_the_command_prints_boxes_or_measures(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    spotted((220, 20, 20), (16, 12, 40, 36)).save("p.png")
    Path("broken.png").write_bytes(b"nothing")
    words = ("--layer", "layer1", "--threshold", "0.5")
    done = resight("locate", finder, "p.png", "broken.png", *words, check=0)
    assert re.search(r"^p\.png  red \d+\.\d %  \d+", done.stdout) and "broken.png: " in done.stderr
    rows = json.loads(resight("locate", finder, "p.png", "--json", *words, check=0).stdout)
    assert set(rows[0]) >= {"image_id", "category_id", "bbox", "score"} and rows[0]["category_id"] == 1
    done = resight("locate", finder, root, "--json", "--draw", "drawn", *words, check=0)
    assert {"boxes", "metrics"} <= set(json.loads(done.stdout))
    drawn = sorted(Path("drawn").iterdir())
    assert len(drawn) == 4
    with Image.open(drawn[0]) as image:
        pixels = np.asarray(image).reshape(-1, 3)
        assert max(image.size) >= 224
    assert (pixels == (255, 190, 0)).all(1).any() and (pixels == (0, 200, 120)).all(1).any()
    table = resight("locate", finder, root, *words, check=0).stdout
    assert "GT-known" in table and "centre" in table and "0.5 of the maximum" in table


def test_coco_and_voc_files_hold_the_boxes(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    rule = Rule(threshold=0.5)
    answer = locate(finder, [str(root)], rule=rule, layers=["layer1"], form="coco", out="found.json")
    coco = json.loads(Path("found.json").read_text())
    assert [c["name"] for c in coco["categories"]] == ["red", "blue"] and len(coco["images"]) == 4
    names = {image["id"]: image for image in coco["images"]}
    assert all((image["width"], image["height"]) == (64, 48) for image in coco["images"])
    for annotation, box in zip(coco["annotations"], answer["boxes"], strict=True):
        assert annotation["bbox"] == box["box"] and names[annotation["image_id"]]["file_name"] == box["path"]
        assert annotation["area"] == pytest.approx(box["box"][2] * box["box"][3])
    locate(finder, [str(root)], rule=rule, layers=["layer1"], form="voc", out="found")
    for box in answer["boxes"]:
        tree = ElementTree.parse(Path("found") / f"{Path(box['path']).stem}.xml")
        edges = [int(tree.findtext(f"object/bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        x, y, width, height = box["box"]
        assert edges == pytest.approx([x + 1, y + 1, x + width, y + height], abs=0.5)
        assert tree.findtext("object/name") == box["label"] and tree.findtext("size/width") == "64"


def test_the_written_voc_set_is_read_back_with_the_same_boxes(finder, tmp_path):
    from resight.data.open import open_dataset

    root = voc_set(tmp_path / "set", {f"{k}{i}": v for k, v in THINGS.items() for i in range(3)})
    answer = locate(
        finder, [str(root)], rule=Rule(threshold=0.5), split="train", layers=["layer1"], form="voc", out="v"
    )
    again = tmp_path / "again"
    (again / "JPEGImages").mkdir(parents=True)
    Path("v").rename(again / "Annotations")
    for box in answer["boxes"]:
        name = Path(box["path"]).name
        (again / "JPEGImages" / name).write_bytes((root / "JPEGImages" / name).read_bytes())
    read = {
        Path(split.picture_name(i)).name: split.picture_boxes(i)
        for split in open_dataset(str(again)).splits.values()
        for i in range(len(split))
    }
    assert len(read) == 14
    for box in answer["boxes"]:
        x, y, width, height = box["box"]
        (one,) = read[Path(box["path"]).name]
        assert (one.x0, one.y0, one.x1, one.y1) == pytest.approx((x, y, x + width, y + height), abs=0.51)


def test_all_methods_are_measured_and_those_that_do_not_fit_are_named(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    changes = ["samples=20", "copies=4"]
    answer = locate(finder, [str(root)], ["all"], changes=changes)
    assert set(answer["left_out"]) == {"gmp_cam"} and "max" in answer["left_out"]["gmp_cam"]
    assert set(answer["metrics"]) == {*METHODS, "centre"} - {"gmp_cam"}
    assert len(answer["boxes"]) <= 4 and answer["how"].startswith("cam at")


def test_asking_one_method_or_several_gives_the_same_figures(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    alone = locate(finder, [str(root)], ["layer_cam"])["metrics"]["layer_cam"]
    assert locate(finder, [str(root)], ["grad_cam", "layer_cam"])["metrics"]["layer_cam"] == alone


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--method", "grad_kam"], "nearest: grad_cam"),
        (["--threshold", "1"], "below 1"),
        (["--boxes", "some"], "known are largest, all, peaks, tight-loose"),
        (["--normalization", "sum"], "known are max, minmax"),
        (["--format", "yolo"], "none of json, coco, voc"),
        (["--split", "val"], "--split is of a data set"),
        (["--set", "samples=3"], "not an option of grad_cam"),
    ],
)
def test_words_that_cannot_work_are_one_line(finder, words, part):
    picture().save("p.png")
    assert part in one_line(resight("locate", finder, "p.png", *words), 2)


def test_a_class_that_the_network_does_not_know_is_named(finder, tmp_path):
    things = {**THINGS, "a2": ("green", (2, 2, 34, 26)), "b4": ("green", (2, 2, 34, 26))}
    root = voc_set(tmp_path / "set", things)
    answer = locate(finder, [str(root)])
    assert [e["error"] for e in answer["errors"]] == ["the network knows no class 'green'"]
    assert answer["pictures"] == 3
    with pytest.raises(UsageError):
        Rule(threshold=-0.1)
