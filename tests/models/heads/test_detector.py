"""A detector answers and learns as torchvision's from equal weights; its draws are the picture's."""

import math

import pytest
import torch
from torch import nn

from resight.core import seeds
from resight.core.errors import ModelFileError, UsageError
from resight.models.heads.detector import Plan, Scale, adjacent, detector_on, maps_of
from resight.models.heads.instance_masks import pasted
from resight.models.heads.proposals import Counts
from resight.models.heads.regions import Kept, refined, suppressed, voted
from resight.models.heads.released import load_released, our_names
from resight.models.heads.sampling import Objects, sampled
from resight.models.zoo import create_model

CLASSES, CANVAS = 5, (128, 160)
SMALL = Counts(200, 100)


@pytest.fixture(scope="module")
def theirs():
    """torchvision's Mask R-CNN, which holds a Faster R-CNN: random weights that find something."""
    from torchvision.models.detection import maskrcnn_resnet50_fpn

    torch.manual_seed(0)
    model = maskrcnn_resnet50_fpn(
        weights=None, weights_backbone=None, num_classes=CLASSES + 1, box_score_thresh=0.1,
        rpn_pre_nms_top_n_train=2000, rpn_pre_nms_top_n_test=200, rpn_post_nms_top_n_test=100,
    ).eval()  # fmt: skip
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 2)
    with torch.no_grad():
        model.roi_heads.box_predictor.cls_score.weight.mul_(2)
        model.rpn.head.bbox_pred.weight.mul_(20)
    return model


@pytest.fixture(scope="module")
def ours(theirs):
    network = detector_on(create_model("resnet50", 10), CLASSES, Plan(masks=True))
    network.load_state_dict(our_names(theirs.state_dict()))
    return network.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randn(2, 3, *CANVAS, generator=torch.Generator().manual_seed(1))


def objects(word=0, masks=False):
    boxes = torch.tensor([[10.0, 12, 70, 90], [60, 20, 150, 110], [100, 90, 120, 120]])
    drawn = torch.zeros(3, *CANVAS, dtype=torch.bool)
    for number, (x0, y0, x1, y1) in enumerate(boxes.int().tolist()):
        drawn[number, y0:y1, x0 : (x0 + x1) // 2 + 5] = True
    return Objects(boxes, torch.tensor([0, 3, 4]), torch.zeros(0, 4), word, drawn if masks else None)


def test_raw_outputs_and_detections_equal_torchvision(theirs, ours, images):
    from torchvision.models.detection.image_list import ImageList

    extents = [CANVAS, (120, 150)]
    with torch.no_grad():
        raw = ours(images)
        features = theirs.backbone(images)
        logits, steps = theirs.rpn.head(list(features.values()))
        listed = ImageList(images, extents)
        proposals, _ = theirs.rpn(listed, features)
        wanted, _ = theirs.roi_heads(features, proposals, extents)
        found = ours.head.detections(raw, CANVAS, extents, Kept(score=0.1, counts=SMALL))
        anchors = theirs.rpn.anchor_generator(listed, list(features.values()))[0]
    for own, their in zip(raw.all_maps, features.values(), strict=True):
        torch.testing.assert_close(own, their)
    assert torch.equal(ours.head.rpn.anchors(raw.all_maps, CANVAS), anchors)
    for own, their in zip(raw.logits, logits, strict=True):
        torch.testing.assert_close(own, their.permute(0, 2, 3, 1).flatten(1))
    for own, their in zip(raw.steps, steps, strict=True):
        count, _, height, width = their.shape
        wide = their.view(count, -1, 4, height, width).permute(0, 3, 4, 1, 2).reshape(count, -1, 4)
        torch.testing.assert_close(own, wide)
    for own, their in zip(found, wanted, strict=True):
        assert len(own.boxes) > 0
        torch.testing.assert_close(own.boxes, their["boxes"])
        assert torch.equal(own.labels + 1, their["labels"])
        torch.testing.assert_close(own.scores, their["scores"])
        torch.testing.assert_close(own.masks, their["masks"][:, 0])


def test_masks_are_pasted_as_torchvision_does(theirs):
    from torchvision.models.detection.roi_heads import paste_masks_in_image

    masks = torch.rand(4, 28, 28, generator=torch.Generator().manual_seed(0))
    boxes = torch.tensor(
        [[3.2, 4.1, 30.7, 40.2], [0, 0, 59.9, 49], [50.5, 30.0, 60.0, 50.0], [20.0, 20, 20.4, 20.2]]
    )
    wanted = paste_masks_in_image(masks[:, None], boxes, (50, 60))[:, 0]
    torch.testing.assert_close(pasted(masks, boxes.tolist(), (50, 60)), wanted)


class Fixed:
    """torchvision's sampler, made to take what ours takes."""

    def __init__(self, words, count, share, what):
        self.words, self.count, self.share, self.what = words, count, share, what

    def __call__(self, labels):
        positive, negative = [], []
        for word, own in zip(self.words, labels, strict=True):
            state = torch.where(own >= 1, 1, own).long()
            taken = torch.zeros(len(own), dtype=torch.bool)
            taken[sampled(state, self.count, self.share, word, self.what)] = True
            positive.append((taken & (own >= 1)).to(torch.uint8))
            negative.append((taken & (own == 0)).to(torch.uint8))
        return positive, negative


def test_losses_equal_torchvision_with_the_same_draws(theirs, ours, images, monkeypatch):
    """Of one picture, whose own means torchvision takes too; the trunk's statistics are frozen."""
    from torchvision.models.detection.image_list import ImageList

    true = objects(word=77, masks=True)
    monkeypatch.setattr(theirs.rpn, "fg_bg_sampler", Fixed([77], 256, 0.5, "anchors"))
    monkeypatch.setattr(theirs.roi_heads, "fg_bg_sampler", Fixed([77], 64, 0.25, "regions"))
    target = {"boxes": true.boxes, "labels": true.labels + 1, "masks": true.masks.to(torch.uint8)}
    one = images[:1]
    for part in (theirs.rpn, theirs.roi_heads):
        part.train()
    features = theirs.backbone(one)
    listed = ImageList(one, [CANVAS])
    proposals, first = theirs.rpn(listed, features, [target])
    _, second = theirs.roi_heads(features, proposals, [CANVAS], [target])
    theirs.eval()
    wanted = torch.stack([*first.values(), *second.values()])
    found = ours.head.losses(ours(one), [true], CANVAS, 256, 64)
    torch.testing.assert_close(found, wanted)
    named = dict(theirs.named_parameters())
    names = [
        "roi_heads.box_predictor.cls_score.weight",
        "rpn.head.conv.0.0.weight",
        "backbone.body.conv1.weight",
    ]
    own_named = dict(ours.named_parameters())
    last = [own_named[name] for name in our_names({name: named[name] for name in names})]
    own_gradients = torch.autograd.grad(found.sum(), last)
    their_gradients = torch.autograd.grad(wanted.sum(), [named[name] for name in names])
    for own, their in zip(own_gradients, their_gradients, strict=True):
        torch.testing.assert_close(own, their, rtol=1e-3, atol=1e-5)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return detector_on(create_model("speednet8_narrow", 10), 2, Plan(width=16, anchor=4.0)).eval()


def test_parts_of_a_step_equal_the_whole(small):
    images = torch.randn(4, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    words = [int(w) for w in seeds.bits(0, 0, torch.arange(4).numpy(), "objects")]
    boxes = torch.tensor([[4.0, 4, 30, 40], [20, 10, 60, 50]])
    counts, labels = (1, 2, 1, 2), torch.tensor([0, 1])
    true = [Objects(boxes[:n], labels[:n], torch.zeros(0, 4), w) for n, w in zip(counts, words, strict=True)]
    true[3] = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), words[3])
    parameters = list(small.parameters())

    def gradients(parts):
        total = [torch.zeros_like(p) for p in parameters]
        for part in parts:
            loss = small.head.losses(small(images[part]), true[part], (64, 64), 32, 16).sum()
            assert torch.isfinite(loss)
            own = torch.autograd.grad(loss * len(true[part]) / 4, parameters, allow_unused=True)
            total = [t if g is None else t + g for t, g in zip(total, own, strict=True)]
        return torch.cat([t.flatten() for t in total])

    whole, halves = gradients([slice(0, 4)]), gradients([slice(0, 2), slice(2, 4)])
    assert (whole - halves).norm() < 1e-5 * whole.norm()


def test_nothing_true_and_nothing_found_is_no_fault(small):
    image = torch.zeros(1, 3, 64, 64)
    empty = Objects(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.zeros(0, 4), 5)
    losses = small.head.losses(small(image), [empty], (64, 64), 32, 16)
    assert torch.isfinite(losses).all() and losses[1] == 0 == losses[3]
    with torch.no_grad():
        found = small.head.detections(small(image), (64, 64), [(64, 64)], Kept(score=0.999))
    assert len(found) == 1 and found[0].boxes.shape == (0, 4)


def test_ignored_regions_teach_nothing():
    from resight.models.heads.sampling import Bounds, assigned

    boxes = torch.tensor([[0.0, 0, 10, 10], [20, 20, 30, 30], [20, 20, 22, 40], [40, 40, 50, 50]])
    crowd = Objects(boxes[:1], torch.tensor([0]), torch.tensor([[18.0, 18, 32, 32]]), 0)
    state, which = assigned(boxes, crowd, Bounds(0.5, 0.5))
    assert state.tolist() == [1, -1, -1, 0] and which.tolist()[0] == 0


def test_draws_follow_the_word_alone():
    state = torch.tensor([1] * 40 + [0] * 100 + [-1] * 20)
    first = sampled(state, 32, 0.5, 11, "anchors")
    assert torch.equal(first, sampled(state, 32, 0.5, 11, "anchors"))
    assert not torch.equal(first, sampled(state, 32, 0.5, 12, "anchors"))
    assert (state[first] == 1).sum() == 16 and (state[first] == 0).sum() == 16
    few = sampled(torch.tensor([1, 0, -1, 0]), 32, 0.5, 11, "anchors")
    assert few.tolist() == [0, 1, 3]
    counts = torch.zeros(160)
    for word in range(400):
        counts[sampled(state, 32, 0.5, word, "anchors")] += 1
    assert (counts[:40] / 400 - 0.4).abs().max() < 0.12 and (counts[40:140] / 400 - 0.16).abs().max() < 0.1
    assert counts[140:].sum() == 0


@pytest.mark.parametrize(
    "name", ["resnet18", "efficientnet_lite0", "vgg11", "densenet121", "speednet8_narrow"]
)
def test_any_trunk_carries_both_heads(name):
    image = torch.zeros(1, 3, 128, 128)
    for plan in (Plan(width=16), Plan("c4", width=16, anchor=2.0)):
        trunk = create_model(name, 10)
        kept = {n: p.clone() for n, p in trunk.named_parameters()}
        network = detector_on(trunk, 3, plan).eval()
        own = dict(network.named_parameters())
        assert all(torch.equal(own[f"trunk.{n}"], p) for n, p in kept.items() if f"trunk.{n}" in own)
        with torch.no_grad():
            found = network.head.detections(network(image), (128, 128), [(128, 128)], Kept(0.0, counts=SMALL))
        assert len(found[0].boxes) and torch.isfinite(found[0].scores).all()
        assert "head.rpn.conv.0.0.weight" in network.head_parameters()


def test_c4_keeps_stage_five_as_the_box_head():
    trunk = create_model("resnet18", 10)
    last = trunk.layer4[1].conv2.weight.detach().clone()
    assert maps_of(trunk)["layer3"] == (256, 16)
    network = detector_on(trunk, 3, Plan("c4", width=16))
    assert network.head.reads == ("layer3",) and "layer4" not in network.stages
    assert torch.equal(network.head.box_head.stages["layer4"][1].conv2.weight, last)
    sizes = network.head.rpn.sizes
    assert sizes == [(128.0, 256.0, 512.0, 1024.0)]


def test_boxes_vote_with_their_scores_within_their_class():
    boxes = torch.tensor([[0.0, 0, 10, 10], [0, 0, 10, 8], [0, 0, 10, 9], [50, 50, 60, 60]])
    scores, labels = torch.tensor([0.9, 0.3, 0.8, 0.5]), torch.tensor([0, 0, 1, 0])
    found = voted(torch.tensor([0, 3]), boxes, scores, labels)
    expected = (0.9 * boxes[0] + 0.3 * boxes[1]) / 1.2  # the third is of another class
    torch.testing.assert_close(found, torch.stack([expected, boxes[3]]))


def test_refinement_looks_again_where_regions_led(small):
    """By hand: both passes through the head, suppressed together."""
    image = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    head, canvas = small.head, (64, 64)
    with torch.no_grad():
        raw = small(image)
        (found,) = head.detections(raw, canvas, [canvas], Kept(0.0, 0.3, 20, SMALL, refine=True))
        regions = head.rpn.proposed(
            raw.logits, raw.steps, head.rpn.anchors(raw.all_maps, canvas), [canvas], SMALL
        )[0]
        first = head._named(raw, [regions], canvas)
        again = refined(*first, regions, canvas)
        both = [torch.cat(pair) for pair in zip(first, head._named(raw, [again], canvas), strict=True)]
        expected = suppressed(*both, torch.cat([regions, again]), canvas, Kept(0.0, 0.3, 20, refine=True))
        plain = head.detections(raw, canvas, [canvas], Kept(0.0, 0.3, 20, SMALL))[0]
    torch.testing.assert_close((found.boxes, found.labels, found.scores), expected)
    assert found.boxes.shape != plain.boxes.shape or not torch.equal(found.boxes, plain.boxes)


@pytest.mark.parametrize("kind", ["fpn", "c4"])
def test_with_context_each_region_is_named_beside_the_whole_picture(kind):
    """By hand: the whole image as a region, through layers of its own, behind the vector of each region."""
    torch.manual_seed(0)
    trunk = create_model("resnet20", 3)
    network = detector_on(trunk, 3, Plan(kind, 8, 2.0, context=True)).eval()
    head, images = network.head, torch.randn(2, 3, 48, 64)
    own = {name: p for name, p in head.named_parameters() if name.startswith("context_head.")}
    assert own and not {id(p) for p in own.values()} & {id(p) for p in head.box_head.parameters()}
    with torch.no_grad():
        raw = network(images)
        regions = [torch.tensor([[1.0, 2, 30, 40], [10, 10, 20, 20]]), torch.tensor([[0.0, 0, 64, 48]])]
        logits, steps = head._named(raw, regions, (48, 64))
        row = 0
        for number, own_regions in enumerate(regions):
            maps = [one[number : number + 1] for one in raw.maps]
            whole = head.context_head(head.pooling(maps, [torch.tensor([[0.0, 0, 64, 48]])], (48, 64)))
            for region in own_regions:
                vector = head.box_head(head.pooling(maps, [region[None]], (48, 64)))
                wanted = head.box_predictor(torch.cat([vector, whole], 1))
                torch.testing.assert_close(logits[row : row + 1], wanted[0])
                torch.testing.assert_close(steps[row : row + 1], wanted[1])
                row += 1
    true = [Objects(torch.tensor([[4.0, 4, 40, 40]]), torch.tensor([1]), torch.zeros(0, 4), 3)] * 2
    head.losses(network(images), true, (48, 64), 16, 8).sum().backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in own.values() if p.ndim > 1)


def test_the_two_scales_of_a_region_are_those_nearest_to_224_pixels():
    zooms = [0.5, 1.0, 2.0, 4.0]
    sides = torch.tensor([10.0, 60, 100, 150, 180, 300, 400, 2000])
    first, other = adjacent(torch.stack([sides * 0, sides * 0, sides, sides], 1), zooms)
    for number, side in enumerate(sides.tolist()):
        apart = [abs(math.log(side * zoom / 224)) for zoom in zooms]
        best = min(range(4), key=apart.__getitem__)
        next_ = min((n for n in (best - 1, best + 1) if 0 <= n < 4), key=apart.__getitem__)
        assert (int(first[number]), int(other[number])) == (best, next_)


def test_regions_are_read_at_two_scales_and_the_larger_value_counts():
    torch.manual_seed(0)
    network = detector_on(create_model("resnet20", 3), 3, Plan("fpn", 8, 2.0)).eval()
    head, images = network.head, torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        raw, scales = network(images), []
        for zoom in (2.0, 1.0, 4.0):  # in any order
            larger = torch.nn.functional.interpolate(images, scale_factor=zoom)
            scales.append(Scale(network(larger).maps, zoom, tuple(larger.shape[2:])))
        regions = torch.tensor([[0.0, 0, 60, 60], [5, 5, 25, 30]])
        pooled = head._squares(raw, [regions], (64, 64), scales)
        for row, pair in enumerate(((2, 0), (2, 0))):  # at 240 and 120 pixels; at 89 and 45
            each = [
                head.pooling(scales[n].maps, [scales[n].zoom * regions[row : row + 1]], scales[n].canvas)
                for n in pair
            ]
            torch.testing.assert_close(pooled[row : row + 1], torch.maximum(*each))
        same = [Scale(raw.maps, 1.0, (64, 64))] * 2
        one, two = (
            head.detections(raw, (64, 64), [(64, 64)], Kept(score=0.0, most=20), own)[0] for own in ((), same)
        )
    assert torch.equal(one.boxes, two.boxes) and torch.equal(one.scores, two.scores) and len(one.boxes)


@pytest.fixture
def released(theirs, tmp_path, monkeypatch):
    """A cache of torchvision's that holds a detector, and no network."""
    from torchvision.models import _api
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    def offline(url, **more):
        file = tmp_path / "hub/checkpoints" / url.rpartition("/")[2]
        if not file.exists():
            raise OSError("no route to host")
        return torch.load(file, weights_only=True)

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr(_api, "load_state_dict_from_url", offline)
    name = MaskRCNN_ResNet50_FPN_Weights.DEFAULT.url.rpartition("/")[2]
    (tmp_path / "hub/checkpoints").mkdir(parents=True)
    torch.save(theirs.state_dict(), tmp_path / "hub/checkpoints" / name)


def test_torchvisions_released_detector_answers_as_there(theirs, released, images):
    """There its batch normalization adds nothing to the variance; other classes get fresh last layers."""
    network = detector_on(create_model("resnet50", 10), CLASSES, Plan(masks=True)).eval()
    line = load_released(network, masks=True)
    assert (
        line == "weights: torchvision's Mask R-CNN, learned on COCO"
        and "torchvision" in network.origin.source
    )
    layers = [m for m in theirs.modules() if isinstance(m, nn.BatchNorm2d)]
    before = [layer.eps for layer in layers]
    with torch.no_grad():
        plain = list(theirs.backbone(images).values())
        for layer in layers:
            layer.eps = 0.0
        try:
            exact = list(theirs.backbone(images).values())
        finally:
            for layer, eps in zip(layers, before, strict=True):
                layer.eps = eps
        own = network(images).all_maps
    for mine, their, other in zip(own, exact, plain, strict=True):
        torch.testing.assert_close(mine, their, rtol=1e-4, atol=1e-4)
        assert (mine - their).abs().max() < (other - their).abs().max() / 3
    other = detector_on(create_model("resnet50", 10), 2, Plan(masks=True))
    mine = other.head.box_predictor.cls_score.weight.clone()
    assert load_released(other, masks=True).endswith("; layers of the classes are fresh")
    assert torch.equal(other.head.box_predictor.cls_score.weight, mine)
    assert torch.equal(other.head.box_head.fc6.weight, theirs.state_dict()["roi_heads.box_head.fc6.weight"])


def test_released_detectors_that_cannot_be_had_are_refused_in_a_line(released):
    small = detector_on(create_model("resnet20", 3), 2, Plan(width=8))
    with pytest.raises(UsageError, match=r"are of resnet50 with detect\.head=fpn and detect\.width=256"):
        load_released(small, masks=False)
    plain = detector_on(create_model("resnet50", 10), 2, Plan())
    with pytest.raises(
        ModelFileError, match=r"cannot be downloaded \(no route to host\); put fasterrcnn_resnet50"
    ):
        load_released(plain, masks=False)
