"""Proposals in per-class form: against loops over anchors and classes, written from the definition."""

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from resight.models.heads import class_proposals
from resight.models.heads.class_proposals import EACH, ClassProposals, anchors_for
from resight.models.heads.class_regions import class_loss
from resight.models.heads.sampling import Objects
from resight.models.solver import Solver
from resight.models.zoo import create_model
from resight.tasks.localize.result import overlaps

CHANNELS, CLASSES, HEIGHT, WIDTH = 5, 3, 3, 4


def head(*, twice=False, classes=CLASSES, seed=0):
    torch.manual_seed(seed)
    own = ClassProposals("map", CHANNELS, classes, 0.25, twice=twice)
    with torch.no_grad():
        for layer in (own.cls, own.reg):
            layer.weight.normal_(0, 0.5)
            layer.bias.normal_(0, 0.5)
    return own


def maps(count=2, seed=1):
    return torch.randn(count, CHANNELS, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(seed))


def every_anchor(zoom=1.0):
    """From the definition: three sides, three ratios of height to width, in the middle of each place."""
    found = []
    for side in (0.25, 0.5, 1.0):
        for ratio in (0.5, 1.0, 2.0):
            w, h = side / zoom / math.sqrt(ratio), side / zoom * math.sqrt(ratio)
            for row in range(HEIGHT):
                for column in range(WIDTH):
                    x, y = (column + 0.5) / WIDTH, (row + 0.5) / HEIGHT
                    found.append([x - w / 2, y - h / 2, x + w / 2, y + h / 2])
    return torch.tensor(found)


@torch.no_grad()
def by_hand(own, features, row, label, number, zoom=1.0):
    """The logit and the box of a class at an anchor of a picture."""
    kind, place = divmod(number, HEIGHT * WIDTH)
    vector = features[row, :, place // WIDTH, place % WIDTH]
    at = kind * CLASSES + label
    logit = own.cls.weight[at] @ vector + own.cls.bias[at]
    dx, dy, dw, dh = (float(own.reg.weight[4 * at + i] @ vector + own.reg.bias[4 * at + i]) for i in range(4))
    x0, y0, x1, y1 = every_anchor(zoom)[number].tolist()
    w, h = x1 - x0, y1 - y0
    x, y = (x0 + x1) / 2 + dx * w, (y0 + y1) / 2 + dy * h
    w, h = w * math.exp(min(dw, math.log(1000 / 16))), h * math.exp(min(dh, math.log(1000 / 16)))
    return float(logit), [min(max(v, 0), 1) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]


@pytest.mark.parametrize("zoom", [1.0, 2.0])
def test_every_class_is_said_at_its_best_anchor(zoom):
    own, features = head(), maps()
    torch.testing.assert_close(own.anchors((HEIGHT, WIDTH), zoom), every_anchor(zoom))
    with torch.no_grad():
        said = own.said(features, zoom)
        whole = own({"map": features})
        named = own.named(features.mean((2, 3)))
    assert said.shape == (2, 6 * CLASSES) and torch.equal(said, whole) == (zoom == 1)
    torch.testing.assert_close(said[:, :CLASSES], named)
    for row in range(2):
        for label in range(CLASSES):
            found = [by_hand(own, features, row, label, n, zoom) for n in range(EACH * HEIGHT * WIDTH)]
            logit, box = max(found)
            assert float(said[row, CLASSES + label]) == pytest.approx(logit, abs=1e-4)
            start = 2 * CLASSES + 4 * label
            assert said[row, start : start + 4].tolist() == pytest.approx(box, abs=1e-4)
    labels = torch.tensor([2, 0])
    if zoom == 1:
        boxes = said[:, 2 * CLASSES :].view(2, CLASSES, 4)[torch.arange(2), labels]
        torch.testing.assert_close(own.of_classes(features, labels), boxes)


def objects(boxes, label=1, word=5, ignored=()):
    boxes = torch.tensor(boxes).view(-1, 4)
    return Objects(boxes, torch.full((len(boxes),), label), torch.tensor(ignored).view(-1, 4), word)


def test_as_many_anchors_are_of_an_object_as_not_and_draws_follow_the_word():
    anchors = every_anchor()
    true = objects([[0.0, 0.0, 0.5, 0.6]])
    found = anchors_for(anchors, true, 8)
    overlap = overlaps(anchors, true.boxes.expand(len(anchors), 4))
    positive = (overlap >= 0.7) | (overlap == overlap.max())
    count = min(4, int(positive.sum()))
    assert len(found.places) == 2 * count and len(found.positive) == count
    assert positive[found.places[found.positive]].all()
    others = torch.ones(2 * count, dtype=torch.bool)
    others[found.positive] = False
    assert (overlap[found.places[others]] < 0.3).all()
    assert torch.equal(found.boxes, true.boxes.expand(count, 4))
    again, other = (
        anchors_for(anchors, true, 8),
        anchors_for(anchors, objects(true.boxes.tolist(), word=6), 8),
    )
    assert torch.equal(found.places, again.places) and not torch.equal(found.places, other.places)
    nothing = anchors_for(anchors, objects([]), 8)
    assert len(nothing.places) == 4 and len(nothing.positive) == 0
    # Anchors on an object of another class do not learn that there is nothing.
    for word in range(20):
        passed = anchors_for(anchors, objects([], word=word, ignored=[[0.0, 0.0, 1.0, 0.5]]), 8)
        inside = (anchors[passed.places].clamp(0, 1)[:, 3]).clamp(max=0.5) - anchors[passed.places][
            :, 1
        ].clamp(min=0)
        height = anchors[passed.places][:, 3] - anchors[passed.places][:, 1]
        width = anchors[passed.places].clamp(0, 1)[:, 2] - anchors[passed.places].clamp(0, 1)[:, 0]
        whole = anchors[passed.places][:, 2] - anchors[passed.places][:, 0]
        assert (inside.clamp(min=0) * width / (height * whole) < 0.5).all()


def test_the_loss_is_a_logistic_of_every_class_and_smooth_l1_of_the_true_one():
    own, features = head(), maps()
    true = [objects([[0.0, 0.0, 0.5, 0.6]]), objects([[0.3, 0.1, 0.9, 0.9], [0.0, 0.6, 0.2, 0.9]], 2, 9)]
    labels = torch.tensor([1, 2])
    logits, loss = own.losses(features, true, labels, 8, 16)
    torch.testing.assert_close(logits, own.named(features.mean((2, 3))))
    total, anchors = 0.0, every_anchor()
    for row, objects_ in enumerate(true):
        at, label = anchors_for(anchors, objects_, 8), int(labels[row])
        positive = dict(zip(at.positive.tolist(), at.boxes, strict=True))
        sum_ = 0.0
        for place, number in enumerate(at.places.tolist()):
            for c in range(CLASSES):
                logit, _ = by_hand(own, features, row, c, number)
                hit = c == label and place in positive
                sum_ += math.log1p(math.exp(-logit if hit else logit))
            if place in positive:
                kind, cell = divmod(number, HEIGHT * WIDTH)
                vector, start = features[row, :, cell // WIDTH, cell % WIDTH], 4 * (kind * CLASSES + label)
                steps = own.reg.weight[start : start + 4] @ vector + own.reg.bias[start : start + 4]
                (a, b, c, d), (x0, y0, x1, y1) = anchors[number], positive[place]
                wanted = torch.stack([
                    ((x0 + x1) - (a + c)) / 2 / (c - a), ((y0 + y1) - (b + d)) / 2 / (d - b),
                    ((x1 - x0) / (c - a)).log(), ((y1 - y0) / (d - b)).log(),
                ])  # fmt: skip
                sum_ += F.smooth_l1_loss(steps, wanted, beta=1 / 9, reduction="sum").item()
        total += sum_ / len(at.places) / 2
    assert loss.item() == pytest.approx(total, rel=1e-4)


@pytest.mark.parametrize("twice", [False, True])
def test_parts_of_a_step_equal_the_whole(twice):
    own, features = head(twice=twice), maps(4)
    true = [objects([[0.1 * n, 0.0, 0.5, 0.6]], n % CLASSES, n) for n in range(3)] + [objects([], 0, 3)]
    labels = torch.tensor([0, 1, 2, 0])
    _, whole = own.losses(features, true, labels, 8, 16)
    halves = [
        own.losses(features[part], true[part], labels[part], 8, 16)[1] for part in (slice(2), slice(2, 4))
    ]
    torch.testing.assert_close(whole, sum(halves) / 2)
    whole.backward()
    assert all(
        p.grad is not None and torch.isfinite(p.grad).all()
        for n, p in own.named_parameters()
        if "named" not in n
    )


def test_the_second_stage_looks_at_the_proposals_of_the_likeliest_classes(monkeypatch):
    """Its answers are those of its best region; classes that it did not look at rank behind."""
    monkeypatch.setattr(class_proposals, "GUESSES", 2)
    own, features = head(twice=True), maps(1)
    with torch.no_grad():
        own.regions.cls.weight.normal_(0, 0.1)
        own.regions.reg.weight.normal_(0, 0.05)
        said = own.said(features)
        first = ClassProposals("map", CHANNELS, CLASSES, 0.25, twice=False)
        first.load_state_dict({k: v for k, v in own.state_dict().items() if not k.startswith("regions")})
        plain = first.said(features)
        anchors = own.anchors((HEIGHT, WIDTH))
        guesses = said[0, :CLASSES].topk(2).indices.tolist()
        for label in range(CLASSES):
            start = 2 * CLASSES + 4 * label
            if label not in guesses:
                assert said[0, CLASSES + label] == plain[0, CLASSES + label] - 100
                assert torch.equal(said[0, start : start + 4], plain[0, start : start + 4])
                continue
            regions = own._proposed(features[0], label, anchors)
            assert 1 < len(regions) <= 200
            logits, steps = own.regions(features, [regions])
            best = int(logits[:, label].argmax())
            assert said[0, CLASSES + label] == logits[best, label]
            x0, y0, x1, y1 = regions[best].tolist()
            dx, dy, dw, dh = (steps[best, label] / torch.tensor([10.0, 10, 5, 5])).tolist()
            w, h = x1 - x0, y1 - y0
            x, y, w, h = (x0 + x1) / 2 + dx * w, (y0 + y1) / 2 + dy * h, w * math.exp(dw), h * math.exp(dh)
            box = [min(max(v, 0), 1) for v in (x - w / 2, y - h / 2, x + w / 2, y + h / 2)]
            assert said[0, start : start + 4].tolist() == pytest.approx(box, abs=1e-4)


def test_the_loss_of_regions_by_hand():
    logits, steps = torch.randn(3, CLASSES), torch.randn(3, CLASSES, 4)
    regions = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.2, 0.2, 0.6, 0.8], [0.5, 0.5, 1.0, 1.0]])
    wanted = torch.tensor([[0.0, 0.1, 0.5, 0.6]]).expand(3, 4)
    found = class_loss(logits, steps, regions, torch.tensor([2, 0, 0]), wanted)
    targets = torch.zeros(3, CLASSES)
    targets[0, 1] = 1
    step = torch.tensor([0.0, 10 * 0.1 / 0.5, 0.0, 0.0])
    moved = F.smooth_l1_loss(steps[0, 1], step, beta=1 / 9, reduction="sum")
    named = nn.BCEWithLogitsLoss(reduction="sum")(logits, targets)
    torch.testing.assert_close(found, (named + moved) / 3)


def test_at_a_thousand_classes_it_is_built_and_steps():
    """1,000 classes with a logit and a step at each anchor: 9 x 1,000 x (1 + 4) outputs a place."""
    torch.manual_seed(0)
    trunk = create_model("speednet8_narrow", 1000)
    own = ClassProposals(list(trunk.stages)[-1], trunk.num_features, 1000, 0.25, twice=True)
    network = Solver(trunk, own)
    assert own.cls.out_features == 9000 and own.reg.out_features == 36000
    optimizer = torch.optim.SGD(network.parameters(), 0.01)
    images = torch.randn(2, 3, 32, 32)
    true = [objects([[0.1, 0.1, 0.7, 0.8]], 998, 1), objects([[0.0, 0.3, 0.4, 0.9]], 3, 2)]
    losses = []
    for _ in range(2):
        features = network.forward_maps(images)[own.reads[-1]]
        named, loss = own.losses(features, true, torch.tensor([998, 3]), 8, 8)
        total = loss + F.cross_entropy(named, torch.tensor([998, 3]))
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        losses.append(total.item())
    assert losses[1] < losses[0] and math.isfinite(losses[0])
    # A fresh head says of each class what the sampled anchors show of it: one of 2,000, so a loss of about 9.
    assert losses[0] < 60
    with torch.no_grad():
        assert network.eval()(images).shape == (2, 6000)


def test_many_channels_are_calmed():
    """From 128 channels on the anchors' features are divided: half of the weights at twice the channels."""
    torch.manual_seed(0)
    own = ClassProposals("map", 256, CLASSES, 0.25, twice=True)
    other = ClassProposals("map", 256, CLASSES, 0.25, twice=True)
    other.load_state_dict(own.state_dict())
    assert own.calm == 2 and ClassProposals("map", 64, CLASSES, 0.25, twice=False).calm == 1
    other.calm = 1.0
    features, labels = torch.randn(2, 256, HEIGHT, WIDTH), torch.tensor([1, 2])
    true = [objects([[0.0, 0.0, 0.5, 0.6]]), objects([[0.3, 0.1, 0.9, 0.9]], 2, 9)]
    with torch.no_grad():
        for layer in (other.cls, other.reg):
            layer.weight.div_(2)
        other.regions.reduce.weight.div_(2)
        torch.testing.assert_close(own.said(features), other.said(features))
        torch.testing.assert_close(own.of_classes(features, labels), other.of_classes(features, labels))
        for mine, theirs in zip(
            own.losses(features, true, labels, 8, 8), other.losses(features, true, labels, 8, 8), strict=True
        ):
            torch.testing.assert_close(mine, theirs)
