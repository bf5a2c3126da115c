"""`resight locate`: boxes where the marks are, files for other programs, one line for what cannot be."""

import json
import re
import shutil
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch
from PIL import Image

from as_json import locate
from resight.cli.locate import paired_lines
from resight.core.errors import DataError, ResightError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.frames import TURNS, Frame
from resight.localize.rule import Rule
from resight.localize.segments import run_lengths_of
from resight.models.modelfile import save_model
from resight.models.zoo import create_model
from resight.saliency.methods import METHODS
from resight.service.locate.annotations import write_coco, write_voc
from resight.service.locate.answer import Box, Row
from resight.service.locate.locate import locate as service
from resight.service.locate.search import Wish
from resight.service.run.run import open_run
from support import make_folder, one_line, picture, resight

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
    same = Rule(0.5, "max", "tight-loose")  # both boxes are cut at 0.5
    assert len(locate(finder, ["p.png"], layers=["layer1"], rule=same)["boxes"]) == 1


def test_a_data_set_with_boxes_is_measured_and_beats_nothing_by_luck(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    answer = locate(finder, [str(root)], ["grad_cam", "gradient"], Rule(threshold=0.5), layers=["layer1"])
    assert set(answer["metrics"]) == {"grad_cam", "gradient", "centre"} and answer["pictures"] == 4
    good, blind = answer["metrics"]["grad_cam"], answer["metrics"]["centre"]
    assert good["n"] == 4 and good["gt_known_error"] == good["top1_error"] == 0
    assert good["pointing_game"] == 100 and good["energy_pointing_game"] > 80
    assert good["pixel_average_precision"] > 90 and good["max_box_acc_v2"] == 100
    assert blind["gt_known_error"] == 100 and blind["pixel_average_precision"] < 70
    found = {"only_this": 4, "only_other": 0, "difference": 100.0, "p": 0.125}
    assert good["paired"] == {"against": "centre", "gt_known": found, "top1": found} and "paired" not in blind
    wish = Wish(["grad_cam"], Rule(threshold=0.5), layers=["layer1"])
    words = paired_lines(service(finder, [str(root)], wish).metrics)
    assert words[0] == (
        "grad_cam compared with a spot in the middle, GT-known: finds 4 that the spot misses, "
        "misses 0 that it finds (p = 0.12, McNemar's exact test)"
    )


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
        name = names[annotation["image_id"]]["file_name"]
        assert annotation["bbox"] == box["box"] and name == f"set/JPEGImages/{Path(box['path']).name}"
        covered = run_by_run(annotation["segmentation"])
        assert annotation["area"] == covered.sum() and covered.shape == (48, 64)
    locate(finder, [str(root)], rule=rule, layers=["layer1"], form="voc", out="found")
    for box in answer["boxes"]:
        tree = ElementTree.parse(Path("found") / f"{Path(box['path']).stem}.xml")
        edges = [int(tree.findtext(f"object/bndbox/{k}")) for k in ("xmin", "ymin", "xmax", "ymax")]
        x, y, width, height = box["box"]
        assert edges == pytest.approx([x + 1, y + 1, x + width, y + height], abs=0.5)
        assert tree.findtext("object/name") == box["label"] and tree.findtext("size/width") == "64"


def run_by_run(segmentation):
    """COCO's run lengths, decoded by hand: columns from the left, each from the top, zeros first."""
    height, width = segmentation["size"]
    mask, place, value = np.zeros((height, width), bool), 0, False
    for count in segmentation["counts"]:
        for number in range(place, place + count):
            mask[number % height, number // height] = value
        place, value = place + count, not value
    assert place == height * width
    return mask


def test_the_segmentation_is_the_part_of_the_map_in_pixels_of_the_picture(finder):
    """A ring: its box holds a hole that does not belong to it."""
    pixels = np.full((96, 64, 3), 20, np.uint8)
    pixels[24:72, 16:48] = (220, 20, 20)
    pixels[42:54, 28:36] = 20
    Image.fromarray(pixels).save("ring.png")
    locate(finder, ["ring.png"], layers=["layer1"], rule=Rule(0.5), form="coco", out="r.json")
    (annotation,) = json.loads(Path("r.json").read_text())["annotations"]
    mask, wanted = run_by_run(annotation["segmentation"]), pixels[..., 0] > 100
    assert (mask & wanted).sum() / (mask | wanted).sum() > 0.9 and not mask[45:51, 30:34].any()
    rows, columns = np.nonzero(mask)
    x, y, width, height = annotation["bbox"]
    edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    assert edges == pytest.approx((x, y, x + width, y + height), abs=1)


def turned(orientation, size):
    """Pixels as stored with an EXIF orientation, one red block, and where it is seen: (x0, y0, x1, y1)."""
    width, height = size
    stored = np.full((height, width, 3), 20, np.uint8)
    stored[8:16, 8:32] = (220, 20, 20)
    by_hand = {  # what EXIF says that a viewer does to rows and columns
        1: lambda p: p,
        2: lambda p: p[:, ::-1],
        3: lambda p: p[::-1, ::-1],
        4: lambda p: p[::-1],
        5: lambda p: p.transpose(1, 0, 2),
        6: lambda p: p[::-1].transpose(1, 0, 2),
        7: lambda p: p[::-1, ::-1].transpose(1, 0, 2),
        8: lambda p: p.transpose(1, 0, 2)[::-1],
    }[orientation](stored)
    rows, columns = np.nonzero(by_hand[..., 0] > 100)
    exif = Image.Exif()
    exif[274] = orientation
    seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    return Image.fromarray(stored), exif, tuple(map(int, seen))


def read_again(place, marks):
    """What our reader gives: name -> box and mask of pictures in `marks`, in the picture as seen."""
    from resight.data.open import open_dataset

    found = {}
    for split in open_dataset(str(place)).splits.values():
        for i in range(len(split)):
            (box,) = split.picture_boxes(i)
            found[Path(split.picture_name(i)).name] = (box[1:], split.picture_mask(i, box.label))
    assert set(found) == marks
    return found


@pytest.mark.parametrize("size", [(64, 32), (32, 64), (64, 64)], ids=["wide", "tall", "square"])
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_boxes_of_turned_pictures_come_back_where_they_are_seen(finder, tmp_path, size, suffix):
    root, wanted = tmp_path / "set", {}
    for folder in ("train", "Annotations", "JPEGImages", "annotations"):
        (root / folder).mkdir(parents=True)
    for orientation in range(1, 9):
        image, exif, seen = turned(orientation, size)
        for colour in ("red", "blue"):
            name = f"{colour}{orientation}.{suffix}"
            shown = image if colour == "red" else Image.fromarray(np.asarray(image)[..., ::-1].copy())
            shown.save(root / "train" / name, exif=exif, **({"quality": 95} if suffix == "jpg" else {}))
            (root / "JPEGImages" / name).write_bytes((root / "train" / name).read_bytes())
            wanted[name] = seen
    words = {"layers": ["layer1"], "rule": Rule(0.5)}
    place = root / "annotations" / "x.json"
    answer = locate(finder, [str(root / "train")], form="coco", out=str(place), **words)
    said = {Path(b["path"]).name: b["box"] for b in answer["boxes"]}
    for name, (x, y, width, height) in said.items():  # as seen, to a cell of the map
        assert (x, y, x + width, y + height) == pytest.approx(wanted[name], abs=2.1), name
    place.rename(root / "annotations" / "instances_train.json")
    document = json.loads((root / "annotations" / "instances_train.json").read_text())
    assert all((i["width"], i["height"]) == size for i in document["images"])
    assert "as stored, before EXIF rotation" in document["info"]["description"]
    shutil.rmtree(root / "Annotations")
    for name, (box, mask) in read_again(root, set(wanted)).items():
        x, y, width, height = said[name]
        assert box == pytest.approx((x, y, x + width, y + height), abs=1e-6), name
        x0, y0, x1, y1 = wanted[name]
        truth = np.zeros_like(mask)
        truth[y0:y1, x0:x1] = True
        assert (mask & truth).sum() / (mask | truth).sum() > 0.6, name
    shutil.rmtree(root / "annotations")
    locate(finder, [str(root / "train")], form="voc", out=str(root / "Annotations"), **words)
    shutil.rmtree(root / "train")
    for name, (box, _) in read_again(root, set(wanted)).items():
        x, y, width, height = said[name]
        assert box == pytest.approx((x, y, x + width, y + height), abs=0.51), name
    tree = ElementTree.parse(root / "Annotations" / "red6.xml")
    assert "as stored" in tree.findtext("source/annotation")
    assert (int(tree.findtext("size/width")), int(tree.findtext("size/height"))) == size


@pytest.mark.parametrize("orientation", range(1, 9))
def test_whole_pixels_come_back_exactly(tmp_path, orientation):
    """Rows as `locate` gives them, with boxes in whole pixels: an overlap of 1 in both forms."""
    frame = Frame((40, 24), TURNS.get(orientation, (False, False, False)))
    width, height = frame.turned_size()
    box = (3.0, 5.0, 14.0, 9.0)
    mask = np.zeros((height, width), bool)
    mask[5:14, 3:17] = mask[0, 0] = True
    segment = run_lengths_of(frame.stored_mask(mask))
    assert run_by_run(segment).shape == (24, 40)
    assert (frame.turned_mask(run_by_run(segment)) == mask).all()
    one = replace(row("p.png", box), width=width, height=height, frame=frame, segments=[segment])
    write_coco(tmp_path / "c.json", [one], ("red",), "")
    (annotation,) = json.loads((tmp_path / "c.json").read_text())["annotations"]
    x, y, w, h = annotation["bbox"]
    assert frame.turned_box(x, y, x + w, y + h) == (3, 5, 17, 14)
    write_voc(tmp_path / "v", [one], "how")
    edges = ElementTree.parse(tmp_path / "v" / "p.xml").find("object/bndbox")
    x0, y0, x1, y1 = (int(edge.text) for edge in edges)
    assert frame.turned_box(x0 - 1, y0 - 1, x1, y1) == (3, 5, 17, 14)


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


def test_a_yolo_set_is_written_and_pictures_that_share_a_name_are_refused(finder, tmp_path, monkeypatch):
    root = voc_set(tmp_path / "set", THINGS)
    answer = locate(finder, [str(root)], rule=Rule(threshold=0.5), layers=["layer1"], form="yolo")
    assert answer["out"] == "located"
    for box in answer["boxes"]:
        number, *shares = (Path("located/labels") / f"{Path(box['path']).stem}.txt").read_text().split()
        x, y, width, height = box["box"]
        assert Path("located/classes.txt").read_text().splitlines()[int(number)] == box["label"]
        expected = ((x + width / 2) / 64, (y + height / 2) / 48, width / 64, height / 48)
        assert [float(share) for share in shares] == pytest.approx(expected, abs=1e-6)
    monkeypatch.setattr(
        "resight.service.locate.search.explain", lambda *_, **__: pytest.fail("worked in vain")
    )
    for name in ("p.png", "p.bmp"):
        picture().save(name)
    with pytest.raises(ResightError, match="YOLO has one text file for both"):
        locate(finder, ["p.png", "p.bmp"], form="yolo")


def test_all_methods_are_measured_and_those_that_do_not_fit_are_named(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    changes, unfit = ["samples=20", "copies=4"], {"gmp_cam", "attention_rollout", "chefer_relevance"}
    answer = locate(finder, [str(root)], ["all"], changes=changes)
    assert set(answer["left_out"]) == unfit and "max" in answer["left_out"]["gmp_cam"]
    assert set(answer["metrics"]) == {*METHODS, "centre"} - unfit
    assert len(answer["boxes"]) <= 4 and answer["how"].startswith("cam at")


def test_asking_one_method_or_several_gives_the_same_figures(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    alone = locate(finder, [str(root)], ["layer_cam"])["metrics"]["layer_cam"]
    assert locate(finder, [str(root)], ["grad_cam", "layer_cam"])["metrics"]["layer_cam"] == alone
    assert locate(finder, [str(root)], ["layer_cam", "layer_cam"])["metrics"]["layer_cam"] == alone


@pytest.mark.parametrize(
    ("words", "part"),
    [
        (["--method", "grad_kam"], "nearest: grad_cam"),
        (["--threshold", "1"], "below 1"),
        (["--boxes", "some"], "must be one of largest, all, peaks, tight-loose"),
        (["--normalization", "sum"], "must be one of max, minmax"),
        (["--format", "yaml"], "must be one of json, coco, voc, yolo"),
        (["--classes", "real"], "must be one of predicted, true"),
        (["--classes", "true"], "needs a data set with the classes"),
        (["--split", "val"], "--split needs a data set"),
        (["--layer", ""], "--layer '': give names separated by commas"),
        (["--method", "gradient", "--layer", "layer1"], "leave --layer out"),
        (["--out", "."], "is a folder; give a file"),
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
    (error,) = answer["errors"]
    assert error["error"].startswith("the network knows no class 'green'; ")
    assert answer["pictures"] == 3
    with pytest.raises(UsageError):
        Rule(threshold=-0.1)


def test_boxes_are_of_the_predicted_class_and_of_the_true_one_by_a_word(finder, tmp_path):
    """One picture says red and shows blue."""
    root = voc_set(tmp_path / "set", {**THINGS, "b4": ("blue", (2, 2, 34, 26))})
    file = root / "Annotations" / "b4.xml"
    file.write_text(file.read_text().replace("blue", "red"))
    words = {"rule": Rule(0.5), "layers": ["layer1"]}
    named = locate(finder, [str(root)], **words, form="coco", out="named.json")
    known = locate(finder, [str(root)], classes="true", **words, form="coco", out="known.json")
    labels = [
        {Path(box["path"]).stem: (box["label"], box["class_is"]) for box in answer["boxes"]}
        for answer in (named, known)
    ]
    assert labels[0]["b4"] == ("blue", "predicted") and labels[1].get("b4", ("red", "true")) == (
        "red",
        "true",
    )
    assert labels[0]["b1"] == ("blue", "predicted") and labels[1]["b1"] == ("blue", "true")
    assert named["metrics"] == known["metrics"] and named["metrics"]["grad_cam"]["top1_error"] == 25
    for form, which in (("named.json", "predicted"), ("known.json", "true")):
        coco = json.loads(Path(form).read_text())
        assert f"boxes of the {which} class" in coco["info"]["description"]
        assert {annotation["class_is"] for annotation in coco["annotations"]} == {which}
    assert (named["classes"], known["classes"]) == ("predicted", "true")
    locate(finder, [str(root)], classes="true", **words, form="voc", out="voc")
    tree = ElementTree.parse("voc/b1.xml")
    assert tree.findtext("object/class_is") == "true"
    assert "boxes of the true class" in tree.findtext("source/annotation")
    spotted((220, 20, 20), (16, 12, 40, 36)).save("p.png")
    assert "(true class)" not in resight("locate", finder, "p.png", check=0).stdout
    assert {b["class_is"] for b in locate(finder, ["p.png"])["results"]} == {"predicted"}


def test_a_folder_of_pictures_stays_one_when_a_result_is_written_into_it(finder):
    Path("flat").mkdir()
    for i in range(3):
        picture(seed=i).save(f"flat/{i}.png")
    for place in ("flat/located.json", "flat/labels.xml"):
        assert locate(finder, ["flat"], form="coco", out=place)["pictures"] == 3
    assert locate(finder, ["flat"])["pictures"] == 3
    names = [image["file_name"] for image in json.loads(Path("flat/labels.xml").read_text())["images"]]
    assert names == ["0.png", "1.png", "2.png"]


def test_a_few_pictures_with_labels_only_need_no_test_split(finder, tmp_path):
    folder = make_folder(tmp_path / "few", classes=("red", "blue"), count=1)
    answer = locate(finder, [str(folder)])
    assert answer["pictures"] == 2 and [Path(b["path"]).parent.name for b in answer["boxes"]] == [
        b["label"] for b in answer["boxes"]
    ]


def test_another_data_set_without_splits_is_measured_as_a_whole(finder, tmp_path):
    root = voc_set(tmp_path / "set", THINGS)
    for file in (root / "ImageSets/Main").iterdir():
        file.unlink()
    answer = locate(finder, [str(root)], rule=Rule(0.5), layers=["layer1"])
    assert answer["metrics"]["grad_cam"]["n"] == 6


def test_a_turned_picture_is_measured_where_it_is_seen(finder, tmp_path):
    """EXIF turns the pictures; their boxes are of the pixels as stored."""
    root = voc_set(tmp_path / "set", THINGS)
    for number, file in enumerate(sorted((root / "JPEGImages").iterdir())):
        exif = Image.Exif()
        exif[274] = (3, 5, 6, 7, 8, 2)[number]
        with Image.open(file) as image:
            image.save(file, exif=exif)
    answer = locate(finder, [str(root)], rule=Rule(0.5), layers=["layer1"])
    assert answer["metrics"]["grad_cam"]["gt_known_error"] == 0
    assert answer["metrics"]["grad_cam"]["pixel_average_precision"] > 90


@pytest.mark.parametrize(("size", "said"), [(8, True), (12, True), (16, False), (32, False)])
def test_a_map_too_small_for_boxes_is_said(tmp_path, size, said):
    """ResNet-20's last map is a quarter of the picture's side: 2, 3, 4 and 8 positions."""
    model = create_model("resnet20", 2)
    model.classes, model.preprocessing = ("a", "b"), Preprocessing(size=size, resize=size)
    save_model(tmp_path / "m.safetensors", model, model.state_dict(), {})
    picture().save("p.png")
    notes = locate(str(tmp_path / "m.safetensors"), ["p.png"])["notes"]
    side = size // 4
    assert (f"the map of layer3 has {side} x {side} positions at {size} pixels" in " ".join(notes)) == said
    assert not locate(str(tmp_path / "m.safetensors"), ["p.png"], ["gradient"])["notes"]
    assert not said or "--layer, raise --threshold" in notes[0]


def row(path, *boxes):
    return Row(path, 24, 20, [Box("red", 0.5, box) for box in boxes])


def test_pictures_of_one_name_keep_their_folders_in_voc(tmp_path):
    rows = [row("p/blue/0.png"), row("p/red/0.png"), row("p/red/0.jpg"), row("p/red/1.png")]
    write_voc(tmp_path / "v", rows, "")
    files = {str(f.relative_to(tmp_path / "v")): f for f in (tmp_path / "v").rglob("*.xml")}
    assert set(files) == {"blue/0.xml", "red/0.xml", "red/0-2.xml", "red/1.xml"}
    assert ElementTree.parse(files["red/0-2.xml"]).findtext("filename") == "0.jpg"
    write_voc(tmp_path / "w", rows[2:], "")
    assert {f.name for f in (tmp_path / "w").iterdir()} == {"0.xml", "1.xml"}


def test_a_box_of_less_than_a_pixel_is_one_in_voc(tmp_path):
    write_voc(tmp_path / "v", [row("0.png", (10.2, 5.1, 0.3, 0.3), (23.7, 19.6, 0.3, 0.4))], "")
    found = ElementTree.parse(tmp_path / "v" / "0.xml").iter("bndbox")
    assert [[int(edge.text) for edge in box] for box in found] == [[11, 6, 11, 6], [24, 20, 24, 20]]


@pytest.mark.parametrize(
    ("file", "names"),
    [("here.json", ["p/a/0.png", "p/1.png"]), ("p/x/y.json", ["a/0.png", "1.png"])],
)
def test_coco_names_pictures_from_the_file_or_from_what_they_share(tmp_path, file, names):
    write_coco(tmp_path / file, [row(str(tmp_path / "p/a/0.png")), row("./p/q/../1.png")], ("red",), "")
    images = json.loads((tmp_path / file).read_text())["images"]
    assert [image["file_name"] for image in images] == names


def test_a_place_that_cannot_be_written_is_named_before_the_work(finder, monkeypatch):
    picture().save("p.png")
    monkeypatch.setattr(
        "resight.service.locate.search.explain", lambda *_, **__: pytest.fail("worked in vain")
    )
    for words in ({"out": "p.png/x.json"}, {"out": "p.png", "form": "voc"}, {"draw": "p.png"}):
        with pytest.raises(ResightError, match="cannot be written"):
            locate(finder, ["p.png"], **words)


def test_a_network_that_cannot_be_asked_is_one_line(finder, monkeypatch):
    picture().save("p.png")
    opened = open_run(finder)
    monkeypatch.setattr("resight.service.locate.locate.open_run", lambda _: opened)
    monkeypatch.setattr(opened.model, "in_channels", 1)
    with pytest.raises(DataError, match="takes 1 channels"):
        locate(finder, ["p.png"])
    monkeypatch.setattr(opened.model, "classes", ())
    with pytest.raises(DataError, match="does not know its class names"):
        locate(finder, ["p.png"])
