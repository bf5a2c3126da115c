"""Faithfulness: by hand, by slow loops, the same alone and in a batch, and a true map wins over no map."""

import itertools
import math

import numpy as np
import pytest
import torch
from torch import nn

from resight.core.errors import UsageError
from resight.evaluate import faithfulness as f
from resight.evaluate.faithfulness import MEASURES, Examination
from resight.metrics.means import verdict


class Weighted(nn.Module):
    """Two classes; the logit of the first is a weighted sum of the pixels, the other's is 0."""

    def __init__(self, weights):
        super().__init__()
        self.weights = nn.Parameter(torch.tensor(weights, dtype=torch.float64))

    def forward(self, x):
        first = (x * self.weights).flatten(1).sum(1)
        return torch.stack([first, torch.zeros_like(first)], 1)


class Small(nn.Module):
    """A convolutional network with dropout and batch normalization, float64."""

    def __init__(self, channels=2, classes=3):
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 3, padding=1)
        self.norm, self.drop = nn.BatchNorm2d(4), nn.Dropout(0.5)
        self.fc = nn.Linear(4, classes)
        self.double()

    def forward(self, x):
        return self.fc(self.drop(self.norm(self.conv(x)).relu().mean((2, 3)))) * 4


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def test_deletion_and_drop_of_a_linear_network_by_hand():
    model = Weighted([[[3.0, -1.0], [0.5, 2.0]]])
    images = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    maps = torch.tensor([[[1.0, 0.0], [0.25, 0.5]]])
    seen = Examination(model, images, torch.tensor([0]), share=0.25)
    # Most salient first: 3, 2, 0.5, -1 are removed from their sum 4.5.
    curve = [sigmoid(x) for x in (4.5, 1.5, -0.5, -1.0, 0.0)]
    area = sum((a + b) / 2 * 0.25 for a, b in itertools.pairwise(curve))
    assert f.deletion(seen, maps)[0] == pytest.approx(area, abs=1e-12)
    drop = 100 * (sigmoid(4.5) - sigmoid(3 + 0.125 + 1)) / sigmoid(4.5)
    assert f.average_drop(seen, maps)[0] == pytest.approx(drop, abs=1e-9)
    assert f.increase(seen, maps)[0] == 0
    # Without the pixel that speaks against the class the probability rises; nothing is lost.
    helpful = torch.tensor([[[1.0, 0.0], [1.0, 1.0]]])
    assert f.increase(seen, helpful)[0] == 100 and f.average_drop(seen, helpful)[0] == 0


def test_a_last_step_that_is_shorter_weighs_less():
    model = Weighted([[[3.0, -1.0], [0.5, 2.0]]])
    images = torch.ones(1, 1, 2, 2, dtype=torch.float64)
    maps = torch.tensor([[[1.0, 0.0], [0.25, 0.5]]])
    seen = Examination(model, images, torch.tensor([0]), share=0.75)
    shares, values = f.curve(seen, maps, images, torch.zeros_like(images))
    assert shares.tolist() == [0, 0.75, 1]
    assert values[:, 0].tolist() == pytest.approx([sigmoid(4.5), sigmoid(-1.0), 0.5])
    area = 0.75 * (sigmoid(4.5) + sigmoid(-1.0)) / 2 + 0.25 * (sigmoid(-1.0) + 0.5) / 2
    assert f.deletion(seen, maps)[0] == pytest.approx(area)


def loop_blur(image, side=11, sigma=5.0):
    channels, height, width = image.shape
    half, out = side // 2, np.zeros_like(image)
    window = [math.exp(-(d**2) / (2 * sigma**2)) for d in range(-half, half + 1)]
    total = sum(window) ** 2
    for c, y, x in itertools.product(range(channels), range(height), range(width)):
        for i, j in itertools.product(range(side), range(side)):
            yy = min(max(y + i - half, 0), height - 1)
            xx = min(max(x + j - half, 0), width - 1)
            out[c, y, x] += image[c, yy, xx] * window[i] * window[j] / total
    return out


def loop_impute(image, removed):
    """Solve the weighted means of the neighbours directly, an equation a pixel."""
    channels, height, width = image.shape
    numbers = {place: n for n, place in enumerate(zip(*np.nonzero(removed), strict=True))}
    matrix, right = np.zeros((len(numbers), len(numbers))), np.zeros((len(numbers), channels))
    for (y, x), row in numbers.items():
        for dy, dx in itertools.product((-1, 0, 1), repeat=2):
            other = (y + dy, x + dx)
            if (dy, dx) == (0, 0) or not (0 <= other[0] < height and 0 <= other[1] < width):
                continue
            weight = 1 / 6 if dy * dx == 0 else 1 / 12
            matrix[row, row] += weight
            if other in numbers:
                matrix[row, numbers[other]] -= weight
            else:
                right[row] += weight * image[:, other[0], other[1]]
    out, solved = image.copy(), np.linalg.solve(matrix, right)
    for (y, x), row in numbers.items():
        out[:, y, x] = solved[row]
    return out


def removed_first(salience, count, *, least=False):
    """The `count` most salient pixels, or the least, of a map without equal values."""
    height, width = salience.shape
    places = sorted(
        itertools.product(range(height), range(width)), key=lambda p: salience[p], reverse=not least
    )
    mask = np.zeros((height, width), bool)
    for place in places[:count]:
        mask[place] = True
    return mask


def loop_values(answer, image, salience, noise, share):
    """All five measures of one picture, step by step."""
    pixels = salience.size
    before, alone = answer(image), answer(image * salience)
    steps = [round(min(1.0, share * s) * pixels) for s in range(math.ceil(1 / share) + 1)]
    blurred, areas = loop_blur(image), []
    for start, end in ((image, np.zeros_like(image)), (blurred, image)):
        curve = [answer(np.where(removed_first(salience, n), end, start)) for n in steps]
        areas.append(
            sum(
                (a + b) / 2 * (n - m) / pixels
                for (a, b), (m, n) in zip(itertools.pairwise(curve), itertools.pairwise(steps), strict=True)
            )
        )
    gaps = []
    for part in (0.2, 0.4, 0.6, 0.8):
        two = []
        for least in (True, False):
            mask = removed_first(salience, round(part * pixels), least=least)
            two.append(answer(loop_impute(image, mask) + noise * mask))
        gaps.append(two[0] - two[1])
    return {
        "average_drop": 100 * max(0.0, before - alone) / before,
        "increase": 100.0 * (alone > before),
        "deletion": areas[0],
        "insertion": areas[1],
        "road": sum(gaps) / 4,
    }


def test_every_measure_is_what_slow_loops_give(monkeypatch):
    monkeypatch.setattr(f, "ROAD_NOISE", 0.5)  # as large as the pixels, so that it cannot be left out unseen
    model, share = Small().eval(), 1 / 6
    model.norm.running_mean.uniform_(-0.2, 0.2)
    images = torch.randn(3, 2, 5, 7, dtype=torch.float64)
    maps = torch.rand(3, 5, 7, dtype=torch.float64)
    targets = torch.tensor([2, 0, 1])
    seen = Examination(model, images, targets, share=share, seed=3, batch=4)
    drawn = f.seeds.normal(3, 0, np.arange(2 * 35), "road noise").reshape(2, 5, 7)
    found = {name: measure.compute(seen, maps) for name, measure in MEASURES.items()}
    assert len(found) == 5
    for number, target in enumerate(targets.tolist()):

        def answer(image, target=target):
            with torch.no_grad():
                return float(model(torch.from_numpy(image)[None]).softmax(1)[0, target])

        wanted = loop_values(answer, images[number].numpy(), maps[number].numpy(), 0.5 * drawn, share)
        for name, value in wanted.items():
            # ROAD's system is solved to a tolerance; all else is exact.
            assert found[name][number] == pytest.approx(value, abs=1e-4 if name == "road" else 1e-9), name


@pytest.mark.parametrize("share", [0.2, 0.8])
def test_imputed_pixels_solve_their_equations(share):
    images = torch.randn(4, 3, 24, 20, dtype=torch.float64).cumsum(2).cumsum(3) / 20
    noise = torch.rand(4, 24, 20)
    noise[:2] = -((torch.arange(24) - 12.0)[:, None] ** 2 + (torch.arange(20) - 10.0) ** 2)  # one large hole
    removed = noise >= noise.flatten(1).quantile(1 - share, dim=1)[:, None, None]
    filled = f.impute(images, removed)
    for image, mask, answer in zip(images, removed, filled, strict=True):
        assert torch.equal(answer[:, ~mask], image[:, ~mask])
        assert np.abs(answer.numpy() - loop_impute(image.numpy(), mask.numpy())).max() < 0.005
    exact = f.impute(images, removed, tolerance=1e-12)
    assert np.abs(exact[0].numpy() - loop_impute(images[0].numpy(), removed[0].numpy())).max() < 1e-8


def test_imputing_keeps_a_flat_picture_flat_and_gives_numbers_whatever_is_left():
    removed = torch.ones(2, 6, 6, dtype=torch.bool)
    removed[0, 5, 5] = False
    removed[1] = False
    flat = f.impute(torch.full((2, 1, 6, 6), 3.0), removed)
    assert torch.allclose(flat, torch.full_like(flat, 3.0), atol=1e-5)
    assert torch.equal(f.impute(torch.zeros(2, 1, 6, 6), removed), torch.zeros(2, 1, 6, 6))


def test_a_picture_is_measured_the_same_alone_and_in_a_batch():
    model = Small().eval()
    images, maps = torch.randn(5, 2, 9, 9, dtype=torch.float64), torch.rand(5, 9, 9)
    maps[1] = 0
    maps[2, 3:] = 0  # equal pixels
    targets = torch.tensor([0, 1, 2, 1, 0])
    together = Examination(model, images, targets, batch=7)
    for name, measure in MEASURES.items():
        whole = measure.compute(together, maps)
        singles = [
            measure.compute(Examination(model, images[i : i + 1], targets[i : i + 1]), maps[i : i + 1])
            for i in range(5)
        ]
        assert torch.allclose(whole, torch.cat(singles), atol=1e-10), name


def test_the_network_and_the_random_state_are_left_alone():
    model = Small().train()
    model.norm.eval()
    state = {k: v.clone() for k, v in model.state_dict().items()}
    modes = [m.training for m in model.modules()]
    torch_state = torch.get_rng_state()
    seen = Examination(model, torch.randn(4, 2, 6, 6, dtype=torch.float64), torch.zeros(4, dtype=torch.long))
    torch.set_rng_state(torch_state)
    maps = f.random_maps(range(4), (3, 3), (6, 6))
    for measure in MEASURES.values():
        values = measure.compute(seen, maps)
        assert torch.equal(values, measure.compute(seen, maps))  # dropout is off
        verdict(values, values.roll(1), measure.better)
        measure.interval(values, 0)
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert [m.training for m in model.modules()] == modes
    assert all(p.grad is None and p.requires_grad for p in model.parameters())
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
    assert torch.equal(torch.get_rng_state(), torch_state)


class Spot(nn.Module):
    """Its class is where a bright square lies, and nothing else counts."""

    def __init__(self):
        super().__init__()
        weight = torch.zeros(2, 1, 24, 24)
        weight[0, 0, 2:8, 15:21] = 0.3
        self.weight = nn.Parameter(weight)

    def forward(self, x):
        return torch.einsum("bchw,kchw->bk", x, self.weight) + torch.tensor([-4.0, 0.0])


def test_a_true_map_beats_a_random_one_and_the_centre():
    model, generator = Spot(), torch.Generator().manual_seed(1)
    images = 0.3 * torch.randn(24, 1, 24, 24, generator=generator)
    images[:, :, 2:8, 15:21] += 1
    seen = Examination(model, images, torch.zeros(24, dtype=torch.long))
    true = torch.zeros(24, 24, 24)
    true[:, 2:8, 15:21] = 1
    rivals = {"random": f.random_maps(range(24), (6, 6), (24, 24)), "centre": f.centre_maps(24, (24, 24))}
    for name in ("average_drop", "deletion", "insertion", "road"):
        measure = MEASURES[name]
        for rival in rivals.values():
            values, others = measure.compute(seen, true), measure.compute(seen, rival)
            assert verdict(values, others, measure.better)[0] == "yes", name
            assert verdict(others, values, measure.better)[0] == "no", name
    # What is right about the true map is not its size: turned upside down it is worse than random.
    wrong = f.road(seen, 1 - true)
    assert verdict(wrong, f.road(seen, rivals["random"]), "high")[0] == "no"


def test_equal_pixels_go_in_random_order_not_in_reading_order():
    seen = Examination(Spot(), torch.zeros(2, 1, 24, 24), torch.tensor([0, 0]))
    ranks = seen.ranks(torch.zeros(2, 24, 24))
    assert torch.equal(ranks.sort(1).values, torch.arange(576).expand(2, -1))
    assert torch.equal(ranks[0], ranks[1])  # the same for every picture
    correlation = torch.corrcoef(torch.stack([ranks[0].double(), torch.arange(576.0).double()]))[0, 1]
    assert abs(correlation) < 0.15
    half = torch.zeros(2, 24, 24)
    half[:, 12:] = 1
    assert seen.ranks(half)[0].view(24, 24)[12:].max() == 287
    other = Examination(Spot(), torch.zeros(2, 1, 24, 24), torch.tensor([0, 0]), seed=1)
    assert not torch.equal(ranks, other.ranks(torch.zeros(2, 24, 24)))


def test_maps_that_know_nothing():
    some = f.random_maps([7, 8], (4, 4), (32, 40))
    assert some.shape == (2, 32, 40) and some.amin((1, 2)).tolist() == [0, 0]
    assert torch.equal(some[1:], f.random_maps([8], (4, 4), (32, 40)))
    assert not torch.equal(some[0], some[1])
    assert not torch.equal(some, f.random_maps([7, 8], (4, 4), (32, 40), seed=1))
    assert (some[:, :, 1:] - some[:, :, :-1]).abs().max() < 0.15  # smooth
    centre = f.centre_maps(2, (9, 5))
    assert centre.shape == (2, 9, 5) and centre[1, 4, 2] == 1 and centre[1, 0, 0] < 1e-6
    assert torch.allclose(centre, centre.flip(1), atol=1e-6)
    assert torch.allclose(centre, centre.flip(2), atol=1e-6)


@pytest.mark.parametrize("share", [0, -0.1, 1.5])
def test_a_share_out_of_range_is_refused(share):
    with pytest.raises(UsageError, match="share"):
        Examination(Small(), torch.zeros(1, 2, 4, 4), torch.tensor([0]), share=share)


def test_a_network_without_logits_is_refused():
    seen = Examination(nn.Conv2d(2, 2, 1), torch.zeros(1, 2, 4, 4), torch.tensor([0]))
    with pytest.raises(UsageError, match="logits"):
        f.deletion(seen, torch.zeros(1, 4, 4))
