"""Points, boxes and masks move with the picture: planted, moved, found again."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as theirs

from resight.core.preprocessing import Preprocessing
from resight.data.augment import moves, policies
from resight.data.augment.draws import Draws
from resight.data.augment.operations import CROPS, OPERATIONS, parse
from resight.data.augment.pipeline import Pipeline
from resight.data.augment.warp import Warp, move_boxes, move_masks, move_points, resample
from resight.data.marks import ClassMarks
from resight.data.prepare import Normalize

SIDE = 96
CARD = Preprocessing(size=SIDE, resize=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3)
NORMALIZE = Normalize(CARD, torch.device("cpu"))
MOVES = [name for name, operation in OPERATIONS.items() if operation.kind == "move"]
SIZE = (180, 150)
POINT = (104.0, 63.0)
BOX = (60.0, 50.0, 110.0, 96.0)


def picture():
    """A soft red dot around POINT and a blue box, on dark green."""
    x, y = (np.arange(n) + 0.5 for n in SIZE)
    dot = np.exp(-((x - POINT[0]) ** 2 + (y[:, None] - POINT[1]) ** 2) / (2 * 2.5**2))
    pixels = np.zeros((SIZE[1], SIZE[0], 3))
    pixels[..., 0], pixels[..., 1] = 255 * dot, 40
    pixels[int(BOX[1]) : int(BOX[3]), int(BOX[0]) : int(BOX[2]), 2] = 255
    return Image.fromarray(pixels.round().astype(np.uint8))


def moved(words, samples):
    """Return images (B, 3, S, S) in [0, 1] and their warp."""
    pipeline = Pipeline(parse(words), 2)
    draws = Draws(0, 2, np.asarray(samples))
    squares = [pipeline.square(picture(), draws.at(np.array([i])), CARD) for i in range(len(samples))]
    marks = ClassMarks.of(torch.zeros(len(samples), dtype=torch.int64))
    stacked = torch.from_numpy(np.stack(squares))
    images, _ = pipeline.finish(stacked, marks, NORMALIZE, draws, np.arange(len(samples)))
    return images, pipeline.warp(draws, [SIZE] * len(samples), CARD)


def centre(red):
    """The centroid (x, y) of a soft dot (S, S), in pixels from the outer edge."""
    weight = red.double()
    along = torch.arange(len(red), dtype=torch.float64) + 0.5
    return torch.stack([(weight.sum(0) * along).sum(), (weight.sum(1) * along).sum()]) / weight.sum()


def require_marks(images, warp, tolerance=1.0):
    count = len(images)
    sizes = torch.tensor([SIZE] * count)
    points, sights = move_points(torch.tensor([[POINT]] * count, dtype=torch.float64), warp, sizes, SIDE)
    boxes, visible = move_boxes(torch.tensor([[BOX]] * count, dtype=torch.float64), warp, sizes, SIDE)
    source = torch.zeros(1, 1, SIZE[1], SIZE[0], dtype=torch.bool)
    source[..., int(BOX[1]) : int(BOX[3]), int(BOX[0]) : int(BOX[2])] = True
    masks = move_masks(source.expand(count, -1, -1, -1), warp, SIDE)
    seen, lists = 0, (images, points[:, 0], sights[:, 0], boxes[:, 0], visible[:, 0], masks)
    for image, point, sight, box, share, mask in zip(*lists, strict=True):
        blue = image[2] > 0.5
        if share > 0:
            rows, columns = (torch.nonzero(blue.any(d)).flatten() for d in (1, 0))
            found = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
            assert (found - box).abs().max() < tolerance + 1, (found, box)
            union = (blue | mask[0]).sum()
            assert (blue & mask[0]).sum() > 0.9 * union - 5
        if sight and point.min() > 10 and point.max() < SIDE - 10:
            seen += 1
            assert (centre(image[0]) - point).abs().max() < tolerance, (centre(image[0]), point)
    assert seen >= count // 4, seen


@pytest.mark.parametrize("name", MOVES)
def test_marks_follow_every_move(name):
    require_marks(*moved((f"{name}@0.8",), range(12)))


@pytest.mark.parametrize("name", CROPS)
def test_marks_follow_every_crop_and_the_flip(name):
    require_marks(*moved((name, "flip"), range(24)))


def test_marks_follow_all_of_it_together():
    words = ("resized-crop:0.5", "flip", "rotation:20", "elastic:20", "zoom", "gamma:0.01", "stretch:0.1")
    require_marks(*moved(words, range(24)), 1.3)


def test_marks_follow_policies():
    space, choices = policies.randaugment(Draws(0, 2, np.arange(400)).of("randaugment"), 20.0)
    still = [
        i for i in range(400) if all(c.numbers[i] < policies.ENHANCING for c in choices)
    ]  # pictures that only move
    assert space == policies.USUAL and len(still) > 40
    images, warp = moved(("randaugment:20",), still[:40])
    require_marks(images, warp)
    assert all((stage - moves.still(40)).abs().amax((1, 2)).gt(0.01).sum() > 20 for stage in warp.stages[1:])


def test_nothing_moves_without_operations_and_padding_is_exact():
    images, warp = moved((), [0, 1])
    assert len(warp.stages) == 1
    places = torch.rand(2, 5, 2, dtype=torch.float64)
    torch.testing.assert_close(warp.targets(warp.sources(places)), places)
    square = torch.rand(2, 3, SIDE, SIDE)
    torch.testing.assert_close(resample(square, Warp((moves.still(2),))), square, atol=2e-5, rtol=0)
    assert images.shape == (2, 3, SIDE, SIDE)


@pytest.mark.parametrize("name", MOVES)
def test_places_come_back(name):
    draws = Draws(0, 0, np.arange(16)).of(name)
    operation = OPERATIONS[name]
    warp = Warp((operation.make(draws, operation.default),))
    places = torch.rand(16, 20, 2, dtype=torch.float64)
    back = warp.sources(warp.targets(places))
    # A field that folds has places that nothing is moved to: few, and only for the elastic one.
    wrong = ((back - places).abs().amax(-1) > 1e-6).float().mean()
    assert wrong <= (0.03 if name == "elastic" else 0)


def test_a_rotation_turns_as_torchvisions():
    image = torch.rand(1, 3, 24, 24)
    turned = resample(image, Warp((moves.turned(np.radians([20.0])),)))
    way = InterpolationMode.BILINEAR
    inside = (..., slice(5, 19), slice(5, 19))
    torch.testing.assert_close(turned[inside], theirs.rotate(image, 20, way)[inside], atol=1e-4, rtol=0)


def _coefficients(corners, ends, side):
    """Solve for the eight numbers that torchvision takes, from the four corners in pixels."""
    rows, wanted = [], []
    for (u, v), (x, y) in zip(corners, ends.tolist(), strict=True):
        x, y, u, v = (side * value for value in (x, y, u, v))
        rows += [[x, y, 1, 0, 0, 0, -u * x, -u * y], [0, 0, 0, x, y, 1, -v * x, -v * y]]
        wanted += [u, v]
    return np.linalg.solve(np.array(rows), np.array(wanted)).tolist()


def test_a_perspective_shows_the_corners_where_torchvision_does():
    draws, side = Draws(0, 0, np.arange(1)).of("perspective"), 40
    corners = [[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0]]
    warp = Warp((moves.perspective(draws, 0.5),))
    ends = warp.targets(torch.tensor([corners], dtype=torch.float64))[0]
    inwards = torch.where(torch.tensor(corners) == 0, 1.0, -1.0)
    pulled = (ends - torch.tensor(corners)) * inwards
    assert (pulled > 0).all() and (pulled <= 0.25).all()
    image = torch.rand(1, 3, side, side)
    # Its functions count from the outer edge too, but take whole pixels: coefficients are exact.
    coefficients = _coefficients(corners, ends, side)
    expected = theirs.perspective(image, None, None, InterpolationMode.BILINEAR, coefficients=coefficients)
    inside = (..., slice(12, 28), slice(12, 28))
    torch.testing.assert_close(resample(image, warp)[inside], expected[inside], atol=1e-3, rtol=0)


def test_a_box_out_of_sight_has_no_area_and_half_a_box_half():
    warp = Warp((moves.shifted(0.5, 0.0),))  # the picture moves left by half
    boxes = torch.tensor([[[0.0, 0.0, 20.0, 10.0], [40.0, 10.0, 60.0, 30.0], [60.0, 10.0, 80.0, 20.0]]])
    found, visible = move_boxes(boxes, warp, torch.tensor([[100, 100]]), 50)
    assert visible[0].tolist() == pytest.approx([0.0, 0.5, 1.0])
    assert (
        found[0, 1].tolist() == pytest.approx([0, 5, 5, 15]) and float(found[0, 0, 2] - found[0, 0, 0]) == 0
    )
    assert found.dtype == boxes.dtype


def test_what_a_crop_cut_off_does_not_come_back():
    # The crop shows the left half; then the picture is made half as large: the crop ends at 3/4.
    left = moves.boxed(np.array([[0.0, 0.0, 0.5, 1.0]]))
    half = moves.scaled(np.array([0.5]), np.array([0.5]))
    warp, never = Warp((left,)).cut().then(half), Warp((left,)).then(half)
    sizes, boxes = torch.tensor([[100, 100]]), torch.tensor([[[20.0, 0.0, 80.0, 100.0]]])
    found, visible = move_boxes(boxes, warp, sizes, 100)
    assert found[0, 0].tolist() == pytest.approx([45, 25, 75, 75]) and float(visible) == pytest.approx(0.5)
    assert move_boxes(boxes, never, sizes, 100)[0][0, 0].tolist() == pytest.approx([45, 25, 100, 75])
    points = torch.tensor([[[30.0, 50.0], [60.0, 50.0]]])
    places, sight = move_points(points, warp, sizes, 100)
    assert places[0, :, 0].tolist() == pytest.approx([55, 85]) and sight[0].tolist() == [True, False]
    masks = torch.ones(1, 1, 100, 100, dtype=torch.bool)
    columns = move_masks(masks, warp, 100)[0, 0].any(0).nonzero().flatten()
    assert (int(columns.min()), int(columns.max())) == (25, 74)
