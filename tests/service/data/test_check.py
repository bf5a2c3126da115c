"""`resight check` lists everything: what is wrong, what is near, what is not used; and says so at the end."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from as_json import check
from resight.data.open import open_as_it_is
from resight.service.data import check as checking
from support import make_folder, resight

KEYS = {
    "data", "n", "ok", "faults", "duplicates", "near_copies", "leaks", "conflicts", "unused", "classes",
    "notes", "out",
}  # fmt: skip


def scene(seed, side=64):
    noise = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((side, side), Image.Resampling.BICUBIC)


def scenes(root, splits=("train", "test"), count=4):
    """Class folders of pictures that differ as photos do."""
    seed = 0
    for split in splits:
        for label in ("ant", "bee"):
            (root / split / label).mkdir(parents=True)
            for i in range(count):
                scene(seed).save(root / split / label / f"{i}.png")
                seed += 1
    return root


def test_a_good_set_is_said_to_be_good(tmp_path):
    root = scenes(tmp_path / "d")
    done = resight("check", root, check=0)
    assert done.stdout.strip().splitlines()[-1].startswith("no faults")
    answer = json.loads(resight("check", root, "--json", check=0).stdout)
    assert set(answer) == KEYS and answer["n"] == answer["ok"] == 16
    assert not any(answer[k] for k in ("faults", "duplicates", "near_copies", "leaks", "conflicts", "unused"))


@pytest.mark.parametrize("planted", ["fault", "leak", "conflict"])
def test_faults_leaks_and_conflicts_are_exit_1_and_copies_are_not(tmp_path, planted):
    root = scenes(tmp_path / "d")
    shutil.copy(root / "train/ant/0.png", root / "train/ant/copy.png")
    with Image.open(root / "train/ant/1.png") as image:
        image.save(root / "train/ant/again.jpg", quality=80)
    good = resight("check", root, check=0)
    assert "copy  " in good.stdout and "near copy" in good.stdout
    if planted == "fault":
        (root / "train/ant/broken.png").write_bytes(b"x")
    elif planted == "leak":
        shutil.copy(root / "train/ant/0.png", root / "test/ant/leak.png")
    else:
        shutil.copy(root / "train/ant/0.png", root / "train/bee/conflict.png")
    done = resight("check", root, check=1)
    assert done.stdout.strip().splitlines()[-1] == f"to fix: 1 {planted}s"
    assert resight("check", root, "--json").returncode == 1


def test_a_split_that_does_not_fit_is_one_fault_among_all(tmp_path):
    root = scenes(tmp_path / "d", splits=("train", "val", "test"))
    (root / "val/bee").rename(root / "val/wasp")
    (root / "test/ant").rename(root / "test/hornet")
    (root / "train/ant/broken.png").write_bytes(b"x")
    shutil.copy(root / "train/ant/0.png", root / "val/ant/leak.png")
    answer = check(str(root))
    assert answer["n"] == 26 and answer["ok"] == 25
    faults = [fault["fault"] for fault in answer["faults"]]
    assert "its val split has classes that the training split lacks: 'wasp'" in faults
    assert "its test split has classes that the training split lacks: 'hornet'" in faults
    assert len(faults) == 3 and len(answer["leaks"]) == 1
    assert answer["classes"]["wasp"] == {"val": 4} and answer["classes"]["hornet"] == {"test": 4}
    assert not any("remove" in fault["cure"] for fault in answer["faults"])


def test_a_class_of_one_picture_is_a_fault_and_the_rest_is_looked_over(tmp_path):
    root = make_folder(tmp_path / "d", count=5)
    for file in sorted((root / "red").iterdir())[1:]:
        file.unlink()
    (root / "blue" / "broken.png").write_bytes(b"x")
    answer = check(str(root))
    assert answer["n"] == 12 and answer["ok"] == 11 and len(answer["faults"]) == 2
    assert "class 'red' has one picture" in answer["faults"][0]["fault"]
    assert answer["faults"][0]["cure"] == "add pictures of it"


def test_near_copies_are_named_with_their_splits_those_across_first(tmp_path):
    root = scenes(tmp_path / "d")
    for source, target in (
        ("train/ant/0.png", "train/ant/same.jpg"),
        ("train/bee/1.png", "test/bee/leak.jpg"),
    ):
        with Image.open(root / source) as image:
            image.resize((51, 51)).save(root / target, quality=70)
    across, within = check(str(root))["near_copies"]
    assert [Path(p).name for p in across["paths"]] == ["1.png", "leak.jpg"]
    assert across["splits"] == ["train", "test"] and within["splits"] == ["train", "train"]
    assert 0 <= within["distance"] <= 6 and list(across) == ["paths", "splits", "classes", "distance"]
    shown = resight("check", root, check=0).stdout
    assert "1 pairs of near copies lie in different splits, the commonest leak" in shown
    assert "no faults" not in shown and "look at the near copies" in shown.strip().splitlines()[-1]


def test_equal_pixels_are_copies_and_not_near_copies_too(tmp_path):
    root = scenes(tmp_path / "d")
    with Image.open(root / "train/ant/0.png") as image:
        image.save(root / "train/ant/0.bmp")
        image.save(root / "test/ant/near.jpg", quality=70)
    answer = check(str(root))
    assert len(answer["duplicates"]) == 1
    (pair,) = answer["near_copies"]  # of the two copies one stands for both
    assert pair["splits"] == ["train", "test"]


def test_what_is_not_used_is_named(tmp_path, monkeypatch):
    root = scenes(tmp_path / "d")
    line = "dev: no split is called so"
    monkeypatch.setattr(
        checking, "open_as_it_is", lambda *words: replace(open_as_it_is(*words), unused=(line,))
    )
    assert check(str(root))["unused"] == [line]


def test_the_page_shows_the_pairs_without_what_the_files_say(tmp_path):
    root = scenes(tmp_path / "d")
    with Image.open(root / "train/ant/0.png") as image:
        exif = Image.Exif()
        exif[0x010E] = "a secret place"
        image.resize((80, 80)).save(root / "test/ant/<b>.jpg", exif=exif)
    done = resight("check", root, "--out", "page.html", check=0)
    page = Path("page.html").read_text()
    assert "page      page.html" in done.stdout
    assert page.count("<img") == 2 and page.count('src="data:image/') == 2 and "http" not in page
    assert "&lt;b&gt;.jpg" in page and "<b>.jpg" not in page and "in different splits" in page
    assert "secret" not in page and b"secret" not in decoded(page)


def decoded(page):
    import base64
    import re

    return b"".join(base64.b64decode(text) for text in re.findall(r"base64,([^\"]+)", page))
