"""Key points: read as their files say, refused where these are not clear, moved with their pictures."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from scipy.io import savemat

from resight.core.errors import DataError, UsageError
from resight.core.preprocessing import Preprocessing
from resight.data.augment.operations import parse
from resight.data.augment.pipeline import Pipeline
from resight.data.batches import ResidentBatches, StreamedBatches
from resight.data.dataset import ArrayPictures, Split, fingerprint
from resight.data.layouts.pointed import POINTS
from resight.data.open import open_as_it_is
from resight.data.order import Order
from resight.data.point_marks import CHANCE, Points, mirrors
from resight.data.points import FACE, LSP, KeyPoints, Skeleton, swaps_of
from resight.data.prepare import Normalize, decode_split
from resight.data.stream import Readers

SIZE, SIDE, COUNT = (60, 40), 40, 12
COLOURS = np.array([[255, 0, 0], [0, 255, 0], [0, 0, 255]], np.uint8)
"""Of the left joint, the right joint and the one in the middle."""
NAMES = ("left_hand", "right_hand", "nose")
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3, frame="stretch")
NORMALIZE = Normalize(CARD, torch.device("cpu"))


def saved(path, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(len(str(path))).integers(0, 255, (*size[::-1], 3), np.uint8)).save(
        path
    )


def lsp(root, joints, lists=None):
    count = joints.shape[2]
    for number in range(1, count + 1):
        saved(root / "images" / f"im{number:05d}.jpg")
    savemat(root / "joints.mat", {"joints": joints})
    for split, numbers in (lists or {}).items():
        (root / f"{split}.txt").write_text("".join(f"im{n:05d}.jpg\n" for n in numbers))
    return root


def points_of(where):
    return open_as_it_is(where, rule=POINTS)


def test_joints_of_leeds_sports_pose(tmp_path):
    joints = np.random.default_rng(0).uniform(0, 18, (14, 3, 5))
    joints[:, 2] = 1
    joints[3, :, 1] = 0  # not marked in the second picture
    found = points_of(lsp(tmp_path / "set", joints, {"train": [1, 2, 4], "test": [5]}))
    assert {name: len(split) for name, split in found.splits.items()} == {"train": 3, "test": 1}
    assert found.train.points.skeleton == LSP and found.mirrors
    # The files count from the middle of the first pixel.
    np.testing.assert_allclose(found.train.points.places[0], joints[:, :2, 0] + 0.5)
    np.testing.assert_allclose(found.splits["test"].points.places[0], joints[:, :2, 4] + 0.5)
    assert found.train.points.states[1].tolist() == [2, 2, 2, 0] + [2] * 10
    (note,) = found.notes
    assert note.startswith("1 pictures are in no list") and note.endswith("im00003.jpg")


def test_the_first_set_marks_hidden_joints_too(tmp_path):
    joints = np.full((3, 14, 2), 5.0)
    joints[2] = 0
    found = points_of(lsp(tmp_path / "set", joints))
    assert (found.train.points.states == 1).all() and len(found.train) == 2


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"joints": np.zeros((14, 3))}, "with three sides"), ({"other": np.zeros(3)}, "with three sides"),
        ({"joints": np.zeros((16, 3, 2))}, "is 16 x 3 x 2; Leeds Sports Pose has 14 x 3 x N"),
        ({"joints": np.full((14, 3, 2), np.nan)}, "not finite"),
        ({"joints": np.array([["a"]], dtype=object)}, "of numbers"),
        (None, "not a readable MATLAB file"),
    ],
)  # fmt: skip
def test_other_matrices_are_refused_by_name(tmp_path, content, fault):
    root = lsp(tmp_path / "set", np.ones((14, 3, 2)))
    if content is None:
        (root / "joints.mat").write_bytes(b"nothing that MATLAB wrote")
    else:
        savemat(
            root / "joints.mat",
            {k: v if v.dtype != object else np.array([["a"]], object) for k, v in content.items()},
        )
    with pytest.raises(DataError, match=fault):
        points_of(root)


def test_lists_that_name_what_is_not_there_are_refused(tmp_path):
    root = lsp(tmp_path / "set", np.ones((14, 3, 2)), {"train": [1, 7]})
    with pytest.raises(DataError, match=r"train.txt:2: names 'im00007.jpg', which is not in images/"):
        points_of(root)
    (root / "train.txt").write_text("im00001.jpg\nim00001.jpg\n")
    with pytest.raises(DataError, match=r"which train.txt:1 names too"):
        points_of(root)


def table(root, text, pictures=("a.png", "b.png")):
    for name in pictures:
        saved(root / name)
    (root / "points.csv").write_text(text)
    return root


def test_own_joints_are_a_table_with_names(tmp_path):
    text = (
        "path,left_hand_x,left_hand_y,right_hand_x,right_hand_y,nose_x,nose_y,nose_visible,split\n"
        "a.png,1,2,3,4,5.5,6,1,train\nb.png,7,8,,,9,10,2,test\n"
    )
    found = points_of(table(tmp_path / "set", text))
    own, other = found.train.points, found.splits["test"].points
    assert own.skeleton == Skeleton(NAMES, (1, 0, 2)) and found.mirrors
    assert own.places[0].tolist() == [[1.5, 2.5], [3.5, 4.5], [6.0, 6.5]] and own.states[0].tolist() == [
        2,
        2,
        1,
    ]
    assert other.states[0].tolist() == [2, 0, 2] and other.places[0].tolist() == [
        [7.5, 8.5],
        [0, 0],
        [9.5, 10.5],
    ]
    assert found.train.sizes == [(30, 20)]


def test_numbered_points_and_tables_by_split(tmp_path):
    root = tmp_path / "set"
    for split, name in (("training", "a.png"), ("test", "b.png")):
        saved(root / split / name)
        (root / f"{split}_points.csv").write_text(f",0,1,2,3\n{name},1,2,3,4\n")
    found = points_of(root)
    assert [*found.splits] == ["train", "test"] and not found.mirrors
    assert found.train.points.places[0].tolist() == [[1.5, 2.5], [3.5, 4.5]]
    x0 = table(tmp_path / "named", "name,x0,y0,x1,y1\na.png,1,2,3,4\nb.png,5,6,7,8\n")
    assert points_of(x0).train.points.places[1].tolist() == [[5.5, 6.5], [7.5, 8.5]]
    header = ",".join(["name", *(f"{axis}{i}" for i in range(68) for axis in "xy")])
    face = table(tmp_path / "face", f"{header}\na.png,{','.join(['3'] * 136)}\n")
    assert points_of(face).train.points.skeleton == FACE and points_of(face).mirrors


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("path,left_hand_x,left_hand_y\na.png,1,2\n", "has 'left_hand' but no 'right_hand'"),
        ("path,nose_x\na.png,1\n", "first line names no points|has no column nose_y"),
        ("path,nose_x,nose_y,mood\na.png,1,2,good\n", "'mood' is neither a picture, a split nor a point"),
        ("path,nose_x,nose_y\na.png,1,two\n", r"points.csv:2: the point 'nose' is at '1, two'"),
        ("path,nose_x,nose_y\na.png,1,\n", r"points.csv:2: the point 'nose' is at '1, '"),
        ("path,nose_x,nose_y\nc.png,1,2\n", r"points.csv:2: names 'c.png', which is not in"),
        ("path,nose_x,nose_y\na.png,1,2\na.png,3,4\n", r"points.csv:3: names a.png, .*:2 names too"),
        ("path,nose_x,nose_y\na.png,0.1,0.2\nb.png,0.3,0.9\n", "all 2 key points are between 0 and 1"),
        ("path,nose_x,nose_x,nose_y\na.png,1,2,3\n", "two columns are named 'nose_x'"),
        ("path,nose_x,nose_y,split\na.png,1,2,maybe\n", "split 'maybe' is not one of"),
        ("path,nose_x,nose_y,nose_visible\na.png,1,2,7\n", "nose_visible is '7'"),
        ("path,nose_x,nose_y\na.png,1,2,3\n", "has 4 fields, but the header has 3"),
        ("path,file,nose_x,nose_y\na.png,a.png,1,2\n", "could each name the picture"),
    ],
)  # fmt: skip
def test_a_table_that_is_not_clear_is_refused(tmp_path, text, fault):
    root = table(tmp_path / "set", text)
    with pytest.raises(DataError, match=fault):
        points_of(root / "points.csv")


def coco(root, people, width=30, height=20, names=NAMES):
    saved(root / "train2017" / "a.png", (width, height))
    document = {
        "images": [{"id": 1, "file_name": "a.png", "width": width, "height": height}],
        "categories": [{"id": 3, "name": "person", "keypoints": [*names], "skeleton": [[1, 3], [2, 3]]}],
        "annotations": [
            {"id": i, "image_id": 1, "category_id": 3, **person} for i, person in enumerate(people)
        ],
    }
    (root / "annotations").mkdir()
    (root / "annotations" / "person_keypoints_train2017.json").write_text(json.dumps(document))
    return root


def test_each_person_of_coco_is_a_sample_cut_by_its_box(tmp_path):
    people = [
        {"bbox": [8, 4, 8, 8], "keypoints": [9, 5, 2, 14, 6, 1, 0, 0, 0]},
        {"bbox": [0, 0, 4, 4], "keypoints": [1, 1, 2, 0, 0, 0, 3, 2, 2]},
        {"bbox": [0, 0, 4, 4], "keypoints": [0] * 9},
        {"bbox": [0, 0, 9, 9], "keypoints": [1] * 9, "iscrowd": 1},
    ]  # fmt: skip
    found = points_of(coco(tmp_path / "set", people))
    split = found.train
    assert len(split) == 2 and split.points.skeleton == Skeleton(NAMES, (1, 0, 2), ((0, 2), (1, 2)))
    # The box grown by a quarter, to whole pixels: x 7 to 17, y 3 to 13.
    assert split.sizes == [(10, 10), (5, 5)]
    assert split.points.places[0].tolist() == [[2.5, 2.5], [7.5, 3.5], [0, 0]]
    assert split.points.states.tolist() == [[2, 1, 0], [2, 0, 2]]
    whole = np.asarray(Image.open(tmp_path / "set" / "train2017" / "a.png"))
    assert (np.asarray(split.decode(0)) == whole[3:13, 7:17]).all()
    assert split.digest(0) == split.digest(1) and "[10x10+7+3]" in split.picture_name(0)
    assert any(line.startswith("2 people have no key points") for line in found.notes)


def test_faults_of_coco_are_named(tmp_path):
    with pytest.raises(DataError, match="has 'left_hand' but no 'right_hand'"):
        points_of(coco(tmp_path / "odd", [], names=("left_hand", "nose", "chin")))
    people = [{"bbox": [0, 0, 9, 9], "keypoints": [1, 2, 2]}]
    with pytest.raises(DataError, match="1 people do not have 3 key points of x, y and v"):
        points_of(coco(tmp_path / "short", people))


def test_a_turned_picture_turns_its_points(tmp_path):
    """EXIF orientation 6: the stored picture is shown turned by 90 degrees to the right."""
    root = tmp_path / "set"
    root.mkdir()
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (30, 20)).save(root / "a.jpg", exif=exif)
    (root / "points.csv").write_text("path,nose_x,nose_y\na.jpg,4,2\n")
    found = points_of(root / "points.csv").train
    assert found.sizes == [(20, 30)] and found.points.places[0].tolist() == [[20 - 2.5, 4.5]]


def test_points_outside_the_picture_are_not_learned_and_none_is_refused(tmp_path):
    text = "path,nose_x,nose_y,chin_x,chin_y\na.png,40,2,5,5\nb.png,-9,2,,\n"
    found = points_of(table(tmp_path / "set", text))
    assert found.train.points.states.tolist() == [[0, 2]] and len(found.notes) == 2


def test_other_layouts_have_no_points_and_points_no_classes(tmp_path, folder):
    with pytest.raises(DataError, match=r"holds no key points; they are read from joints.mat"):
        points_of(folder)
    root = lsp(tmp_path / "set", np.ones((14, 3, 2)))
    with pytest.raises(DataError, match="points are no classes, use --task pose"):
        open_as_it_is(root)
    with pytest.raises(DataError, match="key points have no labels"):
        points_of(f"multi-label:{root}")


def test_partners_by_name():
    assert swaps_of(("l_eye", "r_eye", "Left Ear", "right ear", "small_toe", "lip"), "x") == (
        1,
        0,
        3,
        2,
        4,
        5,
    )
    assert swaps_of(("kneeLeft", "kneeright"), "x") == (1, 0)
    for skeleton in (LSP, FACE):
        assert all(skeleton.swaps[skeleton.swaps[i]] == i for i in range(len(skeleton)))
    assert [LSP.side(i) for i in (0, 5, 12)] == ["right", "left", ""]
    assert (FACE.side(36), FACE.side(45), FACE.side(30)) == ("right", "left", "")


def split():
    """Dark pictures with three dots each: left is red, right green, the one between them blue."""
    chance = np.random.default_rng(0)
    pixels = np.zeros((COUNT, SIZE[1], SIZE[0], 3), np.uint8)
    places = np.zeros((COUNT, 3, 2))
    for i in range(COUNT):
        for joint, (low, high) in enumerate(((12, 22), (36, 46), (25, 33))):
            x, y = chance.integers(low, high), chance.integers(12, 28)
            pixels[i, y - 2 : y + 3, x - 2 : x + 3] = COLOURS[joint]
            places[i, joint] = (x + 0.5, y + 0.5)
    points = KeyPoints(Skeleton(NAMES, (1, 0, 2)), places, np.full((COUNT, 3), 2, np.int8))
    return Split(
        "train", ArrayPictures(pixels, "x"), np.arange(COUNT), np.zeros(COUNT, np.int64), ("pose",),
        sizes=[SIZE] * COUNT, points=points,
    )  # fmt: skip


def batches(words, kind="streamed", workers=0, given=None):
    train, pipeline, order = given or split(), Pipeline(parse(words), 1), Order(COUNT, 4, 0)
    if kind == "streamed":
        readers = Readers(workers, processes=True)
        return StreamedBatches(train, None, CARD, NORMALIZE, pipeline, order, readers, Points, strict=True)
    _, squares, _ = decode_split(train, CARD)
    pixels = torch.from_numpy(np.stack(squares))
    return ResidentBatches(pixels, Points.of_split(train), NORMALIZE, pipeline, order)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("streamed", ("flip", "pad-crop")), ("streamed", ("resized-crop:0.6", "flip")), ("resident", ()),
        ("resident", ("affine:2", "flip")),
        ("streamed", ("rotation:40", "flip")), ("resident", ("elastic:6",)),
    ],
)  # fmt: skip
def test_a_joint_is_where_the_moved_picture_shows_it_and_left_is_right_when_mirrored(kind, words):
    seen, mirrored = 0, 0
    for epoch in range(2):
        for batch in batches(words, kind).epoch(epoch):
            for image, places, known in zip(batch.images, batch.marks.places, batch.marks.known, strict=True):
                dots = [image[joint] - image.sum(0) / 2 > 0.1 for joint in range(3)]
                pair = next(
                    (p for p in ((0, 1), (0, 2), (2, 1)) if dots[p[0]].any() and dots[p[1]].any()), None
                )
                if pair is None:
                    continue
                swapped = "flip" in words and bool(_middle(dots[pair[0]])[0] > _middle(dots[pair[1]])[0])
                mirrored += swapped
                for joint in range(3):
                    dot = dots[[1, 0, 2][joint] if swapped else joint]
                    inside = ((places[joint] > 0.12) & (places[joint] < 0.88)).all()
                    if known[joint] and inside:
                        assert (_middle(dot) / SIDE - places[joint]).abs().max() < 0.03
                        seen += 1
                    assert known[joint] or not inside
    assert seen > COUNT and bool(mirrored) == ("flip" in words)


def _middle(dot):
    rows, columns = torch.nonzero(dot, as_tuple=True)
    return torch.stack([columns.double().mean() + 0.5, rows.double().mean() + 0.5])


def test_a_joint_that_is_moved_out_of_the_picture_is_not_known():
    train = split()
    marks = next(batches(("translate-x:0.9",), given=train).epoch(0)).marks
    outside = ((marks.places < 0) | (marks.places > 1)).any(-1)
    assert outside.any() and not (marks.known & outside).any() and (marks.known | outside).all()
    hidden = replace(train.points, states=np.zeros((COUNT, 3), np.int8))
    assert not next(batches((), given=replace(train, points=hidden)).epoch(0)).marks.known.any()


def test_resident_and_streamed_points_and_chance_agree_whatever_the_workers():
    for one, other in zip(
        *(batches(("affine", "flip"), k).epoch(1) for k in ("resident", "streamed")), strict=True
    ):
        torch.testing.assert_close(one.marks.places, other.marks.places)
        assert torch.equal(one.marks.known, other.marks.known) and torch.equal(
            one.marks.chance, other.marks.chance
        )
        assert one.marks.chance.shape == (4, CHANCE)
    alone, ahead = (list(batches(("resized-crop", "flip"), workers=n).epoch(0)) for n in (0, 2))
    for one, other in zip(alone, ahead, strict=True):
        assert torch.equal(one.marks.places, other.marks.places)


def test_what_a_loss_draws_is_of_the_sample_and_the_epoch():
    """Whatever batch, step or process a sample is in."""
    first, again = (
        {int(s): c for b in batches(()).epoch(e) for s, c in zip(b.samples, b.marks.chance, strict=True)}
        for e in (0, 1)
    )
    assert len({tuple(c.tolist()) for c in [*first.values(), *again.values()]}) == 2 * COUNT
    other = Order(COUNT, 6, 0)
    again = batches(())
    again.order = other
    for batch in again.epoch(0):
        assert all(
            torch.equal(first[int(s)], c) for s, c in zip(batch.samples, batch.marks.chance, strict=True)
        )


def test_points_without_sides_are_not_mirrored():
    train = split()
    unknown = replace(train, points=replace(train.points, skeleton=Skeleton(NAMES)))
    with pytest.raises(UsageError, match="which points are left and right is not known"):
        list(batches(("flip",), given=unknown).epoch(0))
    assert len(list(batches(("rotation",), given=unknown).epoch(0))) == 3


def test_mirrored_is_what_turns_round():
    from resight.data.augment import moves
    from resight.data.augment.warp import Warp

    on = np.array([True, False])
    turned = moves.turned(np.array([2.0, 3.0]))
    assert mirrors(Warp((turned,)).then(moves.mirrored(on)), 2).tolist() == [True, False]
    assert mirrors(Warp((moves.mirrored(on),)).then(moves.mirrored(on)), 2).tolist() == [False, False]


def test_the_fingerprint_covers_points_states_and_partners():
    train = split()
    own = fingerprint(train, Points.said)
    places = train.points.places.copy()
    places[0, 0, 0] += 1
    states = train.points.states.copy()
    states[0, 0] = 1
    for changed in (
        replace(train.points, places=places), replace(train.points, states=states),
        replace(train.points, skeleton=Skeleton(NAMES, (0, 1, 2))),
    ):  # fmt: skip
        assert fingerprint(replace(train, points=changed), Points.said) != own
    assert len(Points.together([])) == 0


def test_pictures_without_points_are_named():
    with pytest.raises(DataError, match="has no key points"):
        Points.read(replace(split(), points=None), 0)
    with pytest.raises(DataError, match="its size is not known"):
        Points.read(replace(split(), sizes=None), 0)


def test_real_sets_are_read(unzipped):
    found = points_of(unzipped("lspet_crops"))
    assert {k: len(v) for k, v in found.splits.items()} == {"train": 1334, "test": 266} and found.unused == ()
    assert (found.train.points.states == 2).all()
    people = points_of(unzipped("coco_mini"))
    assert people.train.points.skeleton.names[0] == "nose" and len(people.train.points.skeleton.limbs) == 19
    enough = [int((part.points.states > 0).sum(1).__ge__(5).sum()) for part in people.splits.values()]
    assert enough == [70, 57]  # 72 have five, but two of them fewer within their box
    faces = points_of(unzipped("face_keypoints"))
    assert {k: len(v) for k, v in faces.splits.items()} == {"train": 640, "test": 160}
    # The person's right eye is left of the left one in the picture, in nearly all.
    places = faces.train.points.places
    assert (places[:, 36, 0] < places[:, 45, 0]).mean() > 0.98
