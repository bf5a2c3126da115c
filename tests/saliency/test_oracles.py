"""Every method against its paper's formula in slow float64: finite differences, loops, whole matrices."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight import explain
from resight.geometry import heatmaps
from resight.saliency import augmented_grad_cam as augmented
from resight.saliency.pictures import _random_masks

TARGET, SIDE = 2, 12


class Small(nn.Module):
    """Two convolutions, and a head that is no average: its gradient differs from place to place."""

    def __init__(self, smooth=False):
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3, 2, 1)
        self.second = nn.Conv2d(4, 5, 3, 1, 1)
        self.hidden = nn.Linear(5 * 36, 8)
        self.last = nn.Linear(8, 4)
        self.act = nn.Tanh() if smooth else nn.ReLU()
        self.pool = nn.Identity()  # the map as a layer of its own

    def trunk(self, x):
        return self.second(F.relu(self.first(x))).relu()

    def head(self, maps):
        return self.last(self.act(self.hidden(maps.flatten(1))))

    def forward(self, x):
        return self.head(self.map(x))

    def map(self, x):
        return self.pool(self.trunk(x))


@pytest.fixture(params=[False, True], ids=["relu", "tanh"])
def case(request):
    torch.manual_seed(3)
    model = Small(smooth=request.param).double().eval()
    images = torch.rand(2, 3, SIDE, SIDE, dtype=torch.float64) - 0.3
    return model, images


def run(case, method, **options):
    model, images = case
    return explain(model, images, method, TARGET, layer="pool", **options).raw


def looked(case, method, **options):
    model, images = case
    return explain(model, images, method, TARGET, **options).raw


def differences(function, at, step=1e-5):
    """Central differences of a scalar function, entry by entry."""
    gradient = torch.zeros_like(at)
    for place in range(at.numel()):
        moved = at.clone().flatten()
        moved[place] += step
        up = function(moved.reshape(at.shape))
        moved[place] -= 2 * step
        gradient.view(-1)[place] = (up - function(moved.reshape(at.shape))) / (2 * step)
    return gradient


@torch.no_grad()
def map_and_gradient(model, image):
    maps = model.map(image[None])[0]
    return maps, differences(lambda a: float(model.head(a[None])[0, TARGET]), maps)


def each(case, formula):
    """Apply a formula of (A, g), both (K, h, w), to each image."""
    model, images = case
    return torch.stack([formula(*map_and_gradient(model, image)) for image in images])


def close(got, wanted, tolerance=1e-6):
    assert got.shape == wanted.shape
    scale = float(wanted.abs().max())
    assert scale > 1e-8  # not trivially equal
    assert float((got - wanted).abs().max()) < tolerance * scale


def loops(weight):
    """A formula: sum over channels of a weight(k, y, x, A, g) times A, by explicit loops."""

    def formula(maps, gradient):
        result = torch.zeros_like(maps[0])
        for k in range(maps.shape[0]):
            for y in range(maps.shape[1]):
                for x in range(maps.shape[2]):
                    result[y, x] += weight(k, y, x, maps, gradient) * maps[k, y, x]
        return result

    return formula


FORMULAS = {
    "grad_cam": lambda k, y, x, a, g: g[k].sum() / g[k].numel(),
    "hires_cam": lambda k, y, x, a, g: g[k, y, x],
    "layer_cam": lambda k, y, x, a, g: max(float(g[k, y, x]), 0),
    "xgrad_cam": lambda k, y, x, a, g: (g[k] * a[k]).sum() / a[k].sum() if a[k].sum() else 0,
    "sharpen_focus": lambda k, y, x, a, g: sum(max(float(v), 0) for v in g[k].flatten()) / g[k].numel(),
}


@pytest.mark.parametrize("method", FORMULAS)
def test_formulas_of_map_and_gradient(case, method):
    close(run(case, method), each(case, loops(FORMULAS[method])))


def plus_plus(first, second, third, maps):
    """Equation 19 of Grad-CAM++, position by position, in its published form."""
    result = torch.zeros_like(maps[0])
    for k in range(maps.shape[0]):
        weight = 0.0
        for y in range(maps.shape[1]):
            for x in range(maps.shape[2]):
                denominator = 2 * second[k, y, x] + maps[k].sum() * third[k, y, x]
                alpha = float(second[k, y, x] / denominator) if denominator else 0.0
                weight += alpha * max(float(first[k, y, x]), 0)
        result += weight * maps[k]
    return result


def test_grad_cam_pp(case):
    close(run(case, "grad_cam_pp"), each(case, lambda a, g: plus_plus(g, g**2, g**3, a)), 1e-5)


def test_grad_cam_pp_of_a_hand_worked_case():
    """One channel, A = (1, 2), g = (1, -1), both after a linear head: alpha = 1/(2 + 3), w = 1/5."""
    model = nn.Sequential(nn.Identity(), nn.Flatten(), nn.Linear(2, 2)).double().eval()
    with torch.no_grad():
        model[2].weight.copy_(torch.tensor([[1.0, -1.0], [0.0, 0.0]]))
    image = torch.tensor([[[[1.0, 2.0]]]], dtype=torch.float64)
    raw = explain(model, image, "grad_cam_pp", 0, layer="0").raw
    torch.testing.assert_close(raw, torch.tensor([[[0.2, 0.4]]], dtype=torch.float64))


def test_smooth_grad_cam_pp(case):
    model, images = case
    samples, sigma = 3, 0.2
    generator = torch.Generator().manual_seed(7)
    noise = [torch.randn(images.shape[1:], generator=generator).double() for _ in range(samples)]
    wanted = []
    for image in images:
        spread = sigma * float(image.max() - image.min())
        gradients = [map_and_gradient(model, image + spread * n)[1] for n in noise]
        means = [sum(g**power for g in gradients) / samples for power in (1, 2, 3)]
        with torch.no_grad():
            wanted.append(plus_plus(*means, model.map(image[None])[0]))
    close(
        run(case, "smooth_grad_cam_pp", samples=samples, sigma=sigma, seed=7),
        torch.stack(wanted), 1e-5,
    )  # fmt: skip


@torch.no_grad()
def test_ablation_cam(case):
    model, images = case
    wanted = []
    for image in images:
        maps = model.map(image[None])[0]
        score = float(model.head(maps[None])[0, TARGET])
        total = torch.zeros_like(maps[0])
        for k in range(len(maps)):
            without = maps.clone()
            without[k] = 0
            total += (score - float(model.head(without[None])[0, TARGET])) / abs(score) * maps[k]
        wanted.append(total)
    close(run(case, "ablation_cam", batch=2), torch.stack(wanted))


@torch.no_grad()
@pytest.mark.parametrize("weighting", ["softmax_logit", "probability", "increase"])
def test_score_cam(case, weighting):
    model, images = case
    model.second.bias[1] = -100  # a channel that is zero everywhere: it has no region
    wanted = []
    for image in images:
        maps = model.map(image[None])[0]
        scores = {}
        for k in range(len(maps)):
            if maps[k].max() == maps[k].min():
                continue
            large = F.interpolate(maps[None, k : k + 1], (SIDE, SIDE), mode="bilinear")[0, 0]
            region = (large - large.min()) / (large.max() - large.min())
            logits, blank = model((image * region)[None])[0], model(torch.zeros_like(image)[None])[0]
            if weighting == "softmax_logit":
                scores[k] = math.exp(float(logits[TARGET] - blank[TARGET]))
            else:
                base = float(blank.softmax(0)[TARGET]) if weighting == "increase" else 0
                scores[k] = float(logits.softmax(0)[TARGET]) - base
        assert 1 not in scores and len(scores) >= 2
        if weighting == "softmax_logit":
            scores = {k: v / sum(scores.values()) for k, v in scores.items()}
        wanted.append(sum(v * maps[k] for k, v in scores.items()))
    close(run(case, "score_cam", weighting=weighting, batch=2), torch.stack(wanted))


def test_score_cam_reduced_predicts_what_it_does_not_score():
    """Many channels, few regions: half of the passes give nearly the whole map, and the error is stated."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 64, 5, 2), nn.ReLU(), nn.Flatten(), nn.Linear(64 * 100, 4)).eval()
    images = F.interpolate(torch.randn(2, 3, 6, 6), 24, mode="bilinear")
    exact = explain(model, images, "score_cam", layer="1")
    less = explain(model, images, "score_cam", layer="1", reduced=32)
    assert exact.facts["passes"] <= 128 and less.facts["passes"] == 64
    assert 0 < less.facts["score_error"] < 1.5
    order = [m.flatten(1).argsort(1).argsort(1).float() for m in (exact.raw, less.raw)]
    rank = torch.corrcoef(torch.stack([order[0][0], order[1][0]]))[0, 1]
    assert rank > 0.95


@torch.no_grad()
def test_occlusion(case):
    model, images = case
    window, stride = 4, 4
    wanted = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
    for i, image in enumerate(images):
        before = model(image[None])[0, TARGET]
        for y in range(0, SIDE, stride):
            for x in range(0, SIDE, stride):
                covered = image.clone()
                covered[:, y : y + window, x : x + window] = 0
                drop = before - model(covered[None])[0, TARGET]
                wanted[i, y : y + window, x : x + window] = drop
    close(looked(case, "occlusion", window=window, stride=stride, batch=5), wanted)


@torch.no_grad()
def test_occlusion_is_the_mean_of_the_squares_that_cover_a_pixel(case):
    """Squares of 5 at steps of 3: a pixel lies under one to four of them. The last ones end at the border."""
    model, images = case
    window, starts = 5, [0, 3, 6, SIDE - 5]
    wanted = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
    for i, image in enumerate(images):
        before = model(image[None])[0, TARGET]
        drops = {}
        for y in starts:
            for x in starts:
                covered = image.clone()
                covered[:, y : y + window, x : x + window] = 0
                drops[y, x] = float(before - model(covered[None])[0, TARGET])
        for y in range(SIDE):
            for x in range(SIDE):
                over = [d for (v, u), d in drops.items() if v <= y < v + window and u <= x < u + window]
                wanted[i, y, x] = sum(over) / len(over)
    close(looked(case, "occlusion", window=window, stride=3, batch=7), wanted)


@torch.no_grad()
def test_rise(case):
    model, images = case
    samples, keep = 6, 0.4
    masks = _random_masks(samples, 3, keep, SIDE, SIDE, torch.Generator().manual_seed(5)).double()
    wanted = torch.zeros(2, SIDE, SIDE, dtype=torch.float64)
    for i, image in enumerate(images):
        for mask in masks:
            wanted[i] += float(model((image * mask)[None]).softmax(1)[0, TARGET]) * mask
    got = looked(case, "rise", samples=samples, cells=3, keep=keep, batch=6, seed=5)
    close(got, wanted / (keep * samples))


def test_masks_of_rise_show_their_share_and_move():
    masks = _random_masks(2000, 7, 0.3, 30, 20, torch.Generator().manual_seed(0))
    assert masks.shape == (2000, 30, 20) and masks.min() >= 0 and masks.max() < 1.001
    assert abs(float(masks.mean()) - 0.3) < 0.01
    # Cells are 5 x 3: neighbours in one cell are more alike than pixels two cells apart.
    near = torch.corrcoef(torch.stack([masks[:, 10, 10], masks[:, 11, 10]]))[0, 1]
    far = torch.corrcoef(torch.stack([masks[:, 10, 10], masks[:, 24, 10]]))[0, 1]
    assert near > 0.7 and abs(far) < 0.1


@torch.no_grad()
def test_gradient(case):
    model, images = case
    wanted = [
        differences(lambda x: float(model(x[None])[0, TARGET]), image).abs().amax(0) for image in images
    ]
    close(looked(case, "gradient"), torch.stack(wanted))


@torch.no_grad()
def test_guided_grad_cam(case):
    """Guided backpropagation by hand: the transposed layers, and both gates at every ReLU."""
    model, images = case
    smooth = isinstance(model.act, nn.Tanh)
    wanted = []
    for image in images:
        a = model.first(image[None])
        b = model.second(a.relu())
        c = model.hidden(b.relu().flatten(1))
        at_c = model.last.weight[TARGET][None]
        at_c = at_c * (1 - c.tanh() ** 2) if smooth else at_c.clamp(min=0) * (c > 0)
        at_b = (at_c @ model.hidden.weight).reshape(b.shape).clamp(min=0) * (b > 0)
        at_a = F.conv_transpose2d(at_b, model.second.weight, padding=1).clamp(min=0) * (a > 0)
        at_x = F.conv_transpose2d(at_a, model.first.weight, stride=2, padding=1, output_padding=1)
        maps, gradient = map_and_gradient(model, image)
        cam = loops(FORMULAS["grad_cam"])(maps, gradient).clamp(min=0)
        large = F.interpolate(cam[None, None], (SIDE, SIDE), mode="bilinear")[0, 0]
        wanted.append(at_x[0].abs().amax(0) * large)
    close(run(case, "guided_grad_cam"), torch.stack(wanted))


def test_hires_cam_is_complete():
    """Behind a linear head the map's sum and the bias are the logit (completeness)."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 36, 3)).double().eval()
    result = explain(model, torch.randn(2, 3, 8, 8).double(), "hires_cam", 1, layer="1")
    torch.testing.assert_close(result.raw.sum((1, 2)) + model[3].bias[1], result.scores)


# --- Augmented Grad-CAM --------------------------------------------------------------------------


def phantom(side=96):
    """Two objects of different strength."""
    y, x = torch.meshgrid(torch.arange(side), torch.arange(side), indexing="ij")
    maps = torch.zeros(side, side, dtype=torch.float64)
    maps[((x - side * 0.36) / (side * 0.125)) ** 2 + ((y - side * 0.4) / (side * 0.08)) ** 2 < 1] = 1
    maps[int(side * 0.58) : int(side * 0.76), int(side * 0.6) : int(side * 0.74)] = 0.8
    return maps


def test_the_reduction_is_warping_and_the_mean_over_each_cell():
    affine = augmented.transforms(4, 0.5, 0.1, 0).double()
    operator = augmented.Reduction(affine, (48, 48), (6, 6))
    maps = heatmaps.resize(torch.rand(1, 8, 8).double(), 48, 48)[0]
    low = operator.forward(maps.reshape(-1, 1)).reshape(4, 6, 6)
    warped = augmented.warp(maps.expand(4, 1, 48, 48), affine)
    wanted = F.adaptive_avg_pool2d(warped, 6)[:, 0]
    inside = (slice(None), slice(1, -1), slice(1, -1))  # the picture's edge is cut between two points
    torch.testing.assert_close(low[inside], wanted[inside], atol=0.02, rtol=0.05)
    torch.testing.assert_close(low[0], wanted[0], atol=1e-3, rtol=1e-2)


def test_the_transpose_is_one():
    affine = augmented.transforms(5, 0.5, 0.1, 1).double()
    operator = augmented.Reduction(affine, (20, 30), (4, 6))
    maps, low = torch.randn(600, 3).double(), torch.randn(5 * 24, 3).double()
    first, second = (operator.forward(maps) * low).sum(0), (maps * operator.backward(low)).sum(0)
    torch.testing.assert_close(first, second)


def test_a_rotation_keeps_lengths_in_a_wide_picture():
    affine = augmented.transforms(2, 0.5, 0.0, 3)[1:]
    disk = torch.zeros(1, 1, 40, 80)
    y, x = torch.meshgrid(torch.arange(40), torch.arange(80), indexing="ij")
    disk[0, 0, ((x - 39.5) ** 2 + (y - 19.5) ** 2) < 100] = 1
    torch.testing.assert_close(augmented.warp(disk, affine).sum(), disk.sum(), rtol=0.02, atol=0)
    assert float((augmented.warp(disk, affine) - disk).abs().mean()) < 0.02


def test_the_solver_reaches_the_minimum():
    """The duality gap, computed from whole matrices, bounds how far it is from the minimum."""
    affine = augmented.transforms(3, 0.5, 0.1, 0).double()
    operator = augmented.Reduction(affine, (12, 12), (4, 4))
    torch.manual_seed(0)
    data, tv, energy = torch.rand(48, 2).double(), 0.05, 0.02
    solution = augmented.solve(operator, data, tv, energy, steps=20000, gap=1e-7)
    matrix = operator.forward(torch.eye(144).double())
    rows = []
    for y in range(12):
        for x in range(12):
            for other in ((y, x + 1), (y + 1, x)):
                if max(other) < 12:
                    row = torch.zeros(144).double()
                    row[12 * other[0] + other[1]], row[12 * y + x] = 1, -1
                    rows.append(row)
    slopes = torch.stack(rows)

    def value(h):
        misfit = (matrix @ h - data).square().sum(0) / 2
        return misfit + tv * (slopes @ h).abs().sum(0) + energy / 2 * h.square().sum(0)

    torch.testing.assert_close(value(solution.maps), solution.objective)
    assert solution.gap < 1e-7
    generator = torch.Generator().manual_seed(0)
    for size in (1e-3, 1e-2, 0.1):  # no step in any direction is lower: the problem is convex
        for _ in range(50):
            moved = solution.maps + size * torch.randn(144, 2, generator=generator).double()
            assert (value(moved) > solution.objective - 1e-9).all()


def test_one_copy_without_smoothing_gives_its_own_map_back():
    operator = augmented.Reduction(augmented.transforms(1, 0.5, 0.1, 0).double(), (16, 16), (4, 4))
    data = torch.rand(16, 1).double()
    solution = augmented.solve(operator, data, tv=0.0, energy=1e-6, steps=3000, gap=1e-6)
    torch.testing.assert_close(operator.forward(solution.maps), data, atol=1e-3, rtol=1e-3)


def published_solver(low, affine, side, steps=200, rate=1e-3):
    """The released settings: one pixel a cell, Adam from zero."""
    count, cells = len(affine), low.shape[-1]
    maps = torch.zeros(1, 1, side, side, dtype=low.dtype, requires_grad=True)
    optimizer = torch.optim.Adam([maps], lr=rate)
    for _ in range(steps):
        warped = augmented.warp(maps.expand(count, 1, side, side), affine)
        reduced = F.interpolate(warped, (cells, cells), mode="bilinear", antialias=False)
        variation = (maps[..., 1:] - maps[..., :-1]).abs().sum()
        variation = variation + (maps[..., 1:, :] - maps[..., :-1, :]).abs().sum()
        loss = (reduced - low).square().sum() + 0.002 * count * variation
        loss = loss + 0.0001 * count * maps.square().sum()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return maps.detach()[0, 0]


def best_iou(maps, mask):
    shares = [maps > t * maps.max() for t in torch.linspace(0.02, 0.98, 49)]
    return max(float((s & mask).sum() / (s | mask).sum()) for s in shares)


def test_planted_objects_are_found_better_than_with_the_published_solver():
    side, copies, cells = 96, 32, 7
    planted = phantom(side)
    affine = augmented.transforms(copies, 0.5, 30 / 224, 0).double()
    low = F.adaptive_avg_pool2d(augmented.warp(planted.expand(copies, 1, side, side), affine), cells)
    low = low / low.amax((2, 3), keepdim=True)
    operator = augmented.Reduction(affine, (side, side), (cells, cells))
    data = low.reshape(-1, 1)
    ours = augmented.solve(operator, data, 0.001 * copies, 0.0001 * copies)
    theirs = published_solver(low, affine, side)
    value = augmented.objective(operator, theirs.reshape(-1, 1), data, 0.001 * copies, 0.0001 * copies)
    assert float(ours.objective) < 0.7 * float(value)
    mask = planted > 0
    iou = best_iou(ours.maps.reshape(side, side), mask)
    assert iou > 0.69 and iou > best_iou(theirs, mask) + 0.05
