"""Packing: the same data set afterwards, in a few files, or nothing at all."""

import io
import json
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from as_json import pack
from resight.core.errors import ResightError, UsageError
from resight.data.dataset import fingerprint
from resight.data.open import open_dataset
from resight.data.shards import packing
from resight.data.splitting import with_validation
from support import make_folder, one_line, picture, resight


def test_a_packed_folder_is_the_same_data_set(tmp_path):
    root = make_folder(tmp_path / "d", splits=("train", "val", "test"), count=5)
    answer = pack(str(root), 4, None, "packed")
    assert answer["splits"]["train"] == {"pictures": 15, "shards": 4} and not answer["left_out"]
    before, after = open_dataset(root), open_dataset("packed")
    assert before.classes == after.classes and list(before.splits) == list(after.splits)
    for name, split in before.splits.items():
        assert fingerprint(split) == fingerprint(after.splits[name])
        content = {split.digest(i): split.labels[i] for i in range(len(split))}
        assert {
            after.splits[name].digest(i): after.splits[name].labels[i] for i in range(len(split))
        } == content


def test_a_split_that_was_held_out_stays_as_it_is(folder):
    pack(str(folder), 2, 8, "packed")
    before, after = with_validation(open_dataset(folder), 0.2), open_dataset("packed")
    assert len(after.train) == len(before.train) + len(before.split("val"))
    assert len(after.split("test")) == len(before.split("test")) > 0
    assert not after.notes or "held out" not in after.notes[0]


def test_every_shard_is_a_mix_that_does_not_depend_on_names(folder, tmp_path):
    pack(str(folder), 3, None, "packed")
    train = open_dataset("packed").train
    for shard in range(3):
        labels = train.labels[train.pictures.shards == shard]
        assert abs(len(labels) - len(train) / 3) < 1 and len(set(labels.tolist())) == 3
    for number, path in enumerate(sorted((folder / "red").iterdir(), reverse=True)):
        path.rename(folder / "red" / f"z{number}.png")
    pack(str(folder), 3, None, "again")
    for name in ("train-000000.tar", "test-000000.tar", "classes.json"):
        assert (tmp_path / "packed" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_other_tools_find_what_webdataset_shards_hold(folder):
    pack(str(folder), 1, None, "packed")
    count = len(open_dataset(folder).train)
    with tarfile.open("packed/train-000000.tar") as archive:
        names = archive.getnames()
        assert len(names) == 2 * count and names[:2] == ["000000000.cls", "000000000.png"]
        assert archive.extractfile("000000003.cls").read() in (b"0", b"1", b"2")
        image = Image.open(io.BytesIO(archive.extractfile("000000003.png").read()))
        assert image.size == (24, 20)
    assert json.loads(Path("packed/classes.json").read_text()) == {
        "classes": ["blue", "green", "red"],
        "mirrors": True,
    }


def test_the_index_is_there_at_once_and_as_a_scan_would_make_it(folder, monkeypatch):
    from resight.data.shards import index as shard_index

    pack(str(folder), 2, None, "packed")
    scan, asked = shard_index.scan, []
    monkeypatch.setattr(shard_index, "scan", asked.append)
    train = open_dataset("packed").train
    assert not asked
    scanned = [scan(file) for file in train.pictures.files]
    assert np.array_equal(train.pictures.offsets, np.concatenate([s.offsets for s in scanned]))
    assert np.array_equal(train.pictures.digests, np.concatenate([s.digests for s in scanned]))
    assert np.array_equal(train.pictures.members, np.concatenate([s.members for s in scanned]))


def large(folder, count=3):
    for name, colour in (("red", (200, 30, 30)), ("blue", (30, 40, 210))):
        (folder / name).mkdir(parents=True)
        for i in range(count):
            picture(colour, size=(100 + i, 60), seed=i).save(folder / name / f"{i}.jpg", quality=95)
            picture(colour, size=(20, 30), seed=i).save(folder / name / f"small{i}.png")
    return folder


def test_larger_pictures_are_reduced_and_smaller_ones_stay(tmp_path):
    root = large(tmp_path / "d")
    pack(str(root), 1, 32, "packed", quality=95)
    train = open_dataset("packed").train
    sizes = sorted({train.decode(i).size for i in range(len(train))})
    assert sizes == [(20, 30), (53, 32), (53, 32), (54, 32)] or set(sizes) <= {(20, 30), (53, 32), (54, 32)}
    kinds = {(train.picture_name(i)[-3:], min(train.decode(i).size)) for i in range(len(train))}
    assert kinds == {("png", 20), ("jpg", 32)}
    originals = {p.read_bytes() for p in root.rglob("small*.png")}
    kept = [train.pictures.content(i) for i in range(len(train)) if train.picture_name(i).endswith("png")]
    assert kept and set(kept) <= originals


def test_reduced_pictures_are_pillows_antialiased_resize(tmp_path):
    root = large(tmp_path / "d")
    pack(str(root), 1, 32, "packed", quality=100)
    before, after = open_dataset(root).train, open_dataset("packed").train
    expected = [before.decode(i) for i in range(len(before)) if min(before.decode(i).size) > 32]
    expected = [
        np.asarray(i.resize((int(32 * i.width / i.height), 32), Image.Resampling.BILINEAR)) for i in expected
    ]
    found = [np.asarray(after.decode(i)) for i in range(len(after)) if min(after.decode(i).size) == 32]
    for own in expected:
        assert min(np.abs(own.astype(int) - f).mean() for f in found if f.shape == own.shape) < 2.5


def test_uncompressed_pictures_are_the_reduced_ones_themselves(tmp_path):
    root = large(tmp_path / "d")
    pack(str(root), 1, 32, "packed", uncompressed=True)
    before, after = open_dataset(root).train, open_dataset("packed").train

    def expected(image):
        if min(image.size) > 32:
            image = image.resize((int(32 * image.width / image.height), 32), Image.Resampling.BILINEAR)
        return np.asarray(image).tobytes()

    kept = sorted((expected(before.decode(i)), before.classes[before.labels[i]]) for i in range(len(before)))
    found = [
        (np.asarray(after.decode(i)).tobytes(), after.classes[after.labels[i]]) for i in range(len(after))
    ]
    assert kept == sorted(found)
    assert all(after.picture_name(i).endswith(".ppm") for i in range(len(after)))
    assert all(isinstance(after.read(i), torch.Tensor) for i in range(len(after)))  # nothing is decoded


def test_boxes_move_with_the_size(tmp_path):
    def sample(name, label, box):
        stream = io.BytesIO()
        picture(size=(100, 50), seed=int(name)).save(stream, "PNG")
        document = {"label": label, "boxes": [{"label": label, "box": box}]}
        return [(f"{name}.png", stream.getvalue()), (f"{name}.json", json.dumps(document).encode())]

    (tmp_path / "d").mkdir()
    for split, seed in (("train", 0), ("test", 5)):
        with tarfile.open(tmp_path / "d" / f"{split}.tar", "w") as archive:
            rows = [
                *sample(f"{seed}", "cat", [10, 20, 30, 40]),
                *sample(f"{seed + 1}", "dog", [0, 0, 100, 50]),
            ]
            for name, content in rows:
                about = tarfile.TarInfo(name)
                about.size = len(content)
                archive.addfile(about, io.BytesIO(content))
    pack(str(tmp_path / "d"), 1, 25, "packed")
    train = open_dataset("packed").train
    boxes = {train.classes[train.labels[i]]: train.picture_boxes(i) for i in range(2)}
    assert boxes["cat"][0][1:] == (5, 10, 15, 20) and boxes["dog"][0][1:] == (0, 0, 50, 25)


def test_pixels_in_memory_become_png_and_digits_stay_unmirrored():
    pack("digits", 2, None, "packed")
    before, after = open_dataset("digits"), open_dataset("packed")
    assert not after.mirrors and len(after.train) == len(before.train)
    pixels = {np.asarray(before.train.decode(i)).tobytes() for i in range(len(before.train))}
    assert all(np.asarray(after.train.decode(i)).tobytes() in pixels for i in range(0, len(after.train), 50))


def test_a_picture_that_cannot_be_read_is_left_out_by_name_and_a_broken_one_only_when_reduced(folder):
    victim = folder / "red" / "003.png"
    victim.write_bytes(victim.read_bytes()[:-200])
    assert pack(str(folder), 1, None, "whole")["left_out"] == []
    answer = pack(str(folder), 1, 8, "reduced")
    assert len(answer["left_out"]) == 1 and str(victim) in answer["left_out"][0]
    assert sum(part["pictures"] for part in answer["splits"].values()) == 35


def test_a_failure_leaves_nothing(folder, tmp_path, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(packing.tarfile.TarFile, "addfile", full)
    with pytest.raises(ResightError, match="packed: cannot be written"):
        pack(str(folder), 1, None, "packed")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["pictures"]


def test_runs_are_packed_in_windows_of_runs(folder, monkeypatch):
    train = open_dataset(folder).train
    blocks = np.arange(0, len(train), 3)
    monkeypatch.setattr(packing, "WINDOW", 2)
    monkeypatch.setattr(type(train), "blocks", lambda self: blocks)
    order = packing.mixed_order(train)
    assert sorted(order.tolist()) == list(range(len(train)))
    for first in range(0, len(train) - 5, 6):
        assert len({i // 3 for i in order[first : first + 6].tolist()}) == 2


@pytest.mark.parametrize("words", [(0, None, 90), (1, 0, 90), (1, None, 101)])
def test_numbers_out_of_range_are_refused(folder, words):
    shards, size, quality = words
    with pytest.raises(UsageError, match="--shards must be 1 to"):
        pack(str(folder), shards, size, "packed", quality)


def test_the_command_packs_and_the_result_is_checked_and_trained_on(folder):
    count = len(open_dataset(folder).train)
    done = resight("pack", folder, "--shards", 2, "--out", "packed", "--json", check=0)
    assert json.loads(done.stdout)["splits"]["train"] == {"pictures": count, "shards": 2}
    assert "the folder" not in done.stderr
    assert "packed: already exists" in one_line(resight("pack", folder, "--shards", 2, "--out", "packed"), 2)
    assert "36 pictures, 36 can be read" in resight("check", "packed", check=0).stdout
