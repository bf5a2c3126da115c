"""The parts of a pose network against independent formulas."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import laplace as scipy_laplace
from torch.nn import functional as F

from resight.core.errors import UsageError
from resight.data.point_marks import CHANCE, Points
from resight.models.operators.flow import Flow
from resight.models.operators.subimages import subimages
from resight.models.summary import summarize
from resight.models.zoo import create_model
from resight.tasks.pose.loss import CROPS, PoseLoss, drawn_joints, log_scale, normal, squared, unlikely
from resight.tasks.pose.network import Errors, cut_size, pose_network
from resight.tasks.pose.task import Pose

MEAN = torch.tensor([[0.3, 0.4], [0.7, 0.4], [0.5, 0.8]])


def flow(seed=0):
    """A flow that is not the identity, in float64."""
    torch.manual_seed(seed)
    own = Flow().double()
    for parameter in own.parameters():
        torch.nn.init.normal_(parameter, std=0.12)
    return own


def marks(count=4, known=None, seed=0):
    chance = torch.Generator().manual_seed(seed)
    places = torch.rand(count, 3, 2, generator=chance)
    return Points(
        places, torch.ones(count, 3, dtype=torch.bool) if known is None else known,
        torch.full((count, 2), 50), torch.rand(count, CHANCE, generator=chance), (1, 0, 2),
    )  # fmt: skip


def network(stages=1, loss="l2", joints=MEAN, torso=(0, 2)):
    torch.manual_seed(0)
    trunk = create_model("speednet8_narrow", 2)
    return pose_network(trunk, joints, torso, stages, 2.0, spread=loss == "rle")


def test_the_density_of_a_flow_is_that_of_a_changed_variable():
    """Against the determinant of its Jacobian by autograd, and its integral over the plane."""
    own, points = flow(), torch.randn(7, 2, dtype=torch.float64)
    found = own.log_density(points)
    for point, density in zip(points, found, strict=True):
        z = own.towards(point[None])[0][0]
        jacobian = torch.autograd.functional.jacobian(lambda p: own.towards(p[None])[0][0], point)
        base = torch.distributions.MultivariateNormal(torch.zeros(2).double(), torch.eye(2).double())
        torch.testing.assert_close(density, base.log_prob(z) + torch.linalg.det(jacobian).abs().log())
    axis = torch.arange(-10, 10, 0.1, dtype=torch.float64)
    with torch.no_grad():
        whole = own.log_density(torch.cartesian_prod(axis, axis)).exp().sum() * 0.01
    assert float(whole) == pytest.approx(1, abs=0.02)


def test_squared_distances_leave_out_what_is_not_known():
    said, true = torch.randn(2, 3, 2), torch.randn(2, 3, 2)
    known = torch.tensor([[True, False, True], [False, False, False]])
    by_hand = ((said[0, 0] - true[0, 0]) ** 2).sum() + ((said[0, 2] - true[0, 2]) ** 2).sum()
    torch.testing.assert_close(squared(said, true, known), torch.stack([by_hand, torch.tensor(0.0)]))


def test_the_residual_log_likelihood_is_its_equation():
    """Against scipy's Laplace density, the Jacobian's determinant, and a sum over another grid."""
    own, chance = flow(1), np.random.default_rng(0)
    said = torch.from_numpy(
        np.concatenate([chance.random((2, 3, 2)), chance.uniform(0.1, 0.9, (2, 3, 2))], -1)
    )
    true = torch.from_numpy(chance.random((2, 3, 2)))
    known = torch.tensor([[True, True, False], [True, True, True]])
    axis = np.arange(-7, 7, 0.1)
    grid = np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2)
    with torch.no_grad():
        residual = own.log_density(torch.from_numpy(grid)).exp().numpy()
    integral = (residual * scipy_laplace.pdf(grid).prod(1)).sum() * 0.01
    expected = np.zeros(2)
    for b in range(2):
        for j in range(3):
            if known[b, j]:
                spread = said[b, j, 2:].numpy()
                e = (true[b, j].numpy() - said[b, j, :2].numpy()) / spread
                z, log_det = (t.detach() for t in own.towards(torch.from_numpy(e)[None]))
                g = -0.5 * float(z.square().sum()) - np.log(2 * np.pi) + float(log_det)
                expected[b] += -scipy_laplace.logpdf(e).sum() - g + np.log(integral) + np.log(spread).sum()
    found = unlikely(said, true, known, own).detach()
    assert found.numpy() == pytest.approx(expected, abs=0.02)
    assert float(log_scale(own, said).detach()) == pytest.approx(-np.log(integral), abs=0.01)


def test_sub_images_are_what_a_crop_shows():
    images = torch.rand(2, 3, 40, 40)
    centres = torch.tensor([[[0.5, 0.5], [0.25, 0.75]], [[0.35, 0.4], [0.0, 0.0]]])
    sides = torch.tensor([[0.5, 0.5], [0.25, 0.5]])
    found = subimages(images, centres, sides, 20)
    assert found.shape == (4, 3, 20, 20)
    torch.testing.assert_close(found[0], images[0, :, 10:30, 10:30])
    torch.testing.assert_close(found[1], images[0, :, 20:40, 0:20])
    enlarged = F.interpolate(images[1:, :, 11:21, 9:19], size=20, mode="bilinear", align_corners=False)[0]
    torch.testing.assert_close(found[2, :, 2:-2, 2:-2], enlarged[:, 2:-2, 2:-2])
    assert (found[3, :, :9, :9] == 0).all()
    torch.testing.assert_close(found[3, :, 10:, 10:], images[1, :, :10, :10])


def test_a_fresh_network_says_the_mean_pose_and_later_stages_keep_it():
    images = torch.randn(2, 3, 64, 64)
    for stages, loss in ((1, "l2"), (3, "rle")):
        own = network(stages, loss).eval()
        for module in own.modules():
            if type(module).__name__ == "PoseHead":
                torch.nn.init.zeros_(module.places.weight)
        said = own(images)
        assert said.shape == (2, stages, 3, 4 if loss == "rle" else 2)
        torch.testing.assert_close(said[..., :2], MEAN.expand(2, stages, 3, 2))


def test_a_later_stage_adds_what_it_says_of_the_part_round_each_joint():
    """By hand, joint by joint: cut, ask, scale by the side of the cut, add."""
    own, images = network(2).eval(), torch.randn(2, 3, 64, 64)
    torch.nn.init.normal_(own.refiners[0].head.places.weight, std=0.05)
    first, second = own(images).unbind(1)
    for b in range(2):
        side = 2 * (first[b, 0] - first[b, 2]).norm()
        for j in range(3):
            part = subimages(images[b : b + 1], first[b, j].view(1, 1, 2), side.view(1, 1), cut_size(64))
            by_hand = first[b, j] + side * own.refiners[0](part)[0, j]
            torch.testing.assert_close(second[b, j], by_hand, atol=1e-5, rtol=1e-4)


def test_the_person_is_as_large_as_its_torso_or_a_quarter_of_its_box():
    own = network()
    places = torch.tensor([[[0.2, 0.2], [0.9, 0.3], [0.2, 0.4]]])
    assert float(own.sides(places)) == pytest.approx(2 * 0.2)
    hidden = torch.tensor([[True, True, False]])
    assert float(own.sides(places, hidden)) == pytest.approx(2 * 0.25 * 0.7)
    assert float(own.sides(places, torch.zeros(1, 3, dtype=torch.bool))) == pytest.approx(0.1)
    assert float(network(torso=()).sides(places)) == pytest.approx(2 * 0.25 * 0.7)


def test_draws_of_a_later_stage():
    known = torch.tensor([[True, False, True], [False, False, False]])
    chance = torch.tensor([[0.0, 0.49, 0.5, 0.99], [0.0, 0.5, 0.7, 0.99]])
    assert drawn_joints(chance, known)[0].tolist() == [0, 0, 2, 2]
    numbers = normal(torch.rand(200_000, 2, generator=torch.Generator().manual_seed(0)))
    assert numbers.mean(0).abs().max() < 0.01 and (numbers.std(0) - 1).abs().max() < 0.01
    assert abs(float((numbers[:, 0] * numbers[:, 1]).mean())) < 0.01


def test_errors_are_learned_by_joint():
    """After many batches: mean and variance of what came, of the known joints alone."""
    errors, chance = Errors(2), torch.Generator().manual_seed(0)
    for _ in range(300):
        apart = torch.randn(64, 2, 2, generator=chance) * torch.tensor([0.1, 0.3]) + torch.tensor([0.2, -0.1])
        errors.learn(apart, torch.tensor([[True, False]]).expand(64, 2))
    torch.testing.assert_close(errors.mean[0], torch.tensor([0.2, -0.1]), atol=0.03, rtol=0)
    torch.testing.assert_close(errors.variance[0].sqrt(), torch.tensor([0.1, 0.3]), atol=0.03, rtol=0)
    assert errors.mean[1].tolist() == [0, 0] and errors.variance[1].tolist() == pytest.approx([0.01, 0.01])


@pytest.mark.parametrize(("stages", "loss"), [(1, "l2"), (1, "rle"), (3, "l2"), (2, "rle")])
def test_every_weight_learns_and_a_joint_that_is_not_known_does_not_matter(stages, loss):
    own = network(stages, loss).train()
    objective, images, given = PoseLoss(own), torch.randn(4, 3, 64, 64), marks()
    value, sums = objective(images, given, 0.0)
    value.backward()
    assert all(p.grad is not None for p in own.parameters()) and sums.shape == (1,)
    assert own.head_parameters() >= {"head.places.weight"} and not any(
        "trunk" in n for n in own.head_parameters()
    )
    own.eval()
    known = torch.tensor([[True, True, False]]).expand(4, 3)
    places = given.places.clone()
    places[:, 2] = 0.9
    one, other = (
        objective(images, replace(given, known=known, places=p), 0.0) for p in (given.places, places)
    )
    torch.testing.assert_close(one[0], other[0])
    torch.testing.assert_close(one[1], other[1])
    nothing = replace(given, known=torch.zeros(4, 3, dtype=torch.bool))
    value, sums = objective(images, nothing, 0.0)
    value.backward()
    assert float(value.detach()) == 0 and float(sums) == 0
    assert all(torch.isfinite(p.grad).all() for p in own.parameters())


def test_the_loss_of_a_later_stage_is_its_formula():
    """By hand from the chance of the marks: places drawn, parts cut, distances in sides of the cut."""
    own, images, given = network(2).eval(), torch.randn(4, 3, 64, 64), marks()
    own.errors[0].mean.fill_(0.05)
    own.errors[0].variance.fill_(0.04)
    found, _ = PoseLoss(own)(images, given, 0.0)
    first = squared(own(images)[:, 0], given.places, given.known).mean()
    total = 0.0
    for b in range(4):
        for c in range(CROPS):
            u, v, w = given.chance[b, 3 * c : 3 * c + 3].double().tolist()
            joint = int(3 * u)
            radius = np.sqrt(-2 * np.log(1 - v))
            offset = 0.05 + 0.2 * radius * np.array([np.cos(2 * np.pi * w), np.sin(2 * np.pi * w)])
            offset = torch.tensor(offset, dtype=torch.float32)
            side = (2 * (given.places[b, 0] - given.places[b, 2]).norm()).clamp(0.1, 1.5)
            centre = given.places[b, joint] + offset
            part = subimages(images[b : b + 1], centre.view(1, 1, 2), side.view(1, 1), cut_size(64))
            said = own.refiners[0](part)[0, joint].detach()
            total += float(((said + offset / side) ** 2).sum()) * 3 / CROPS / 4
    assert float(found.detach()) == pytest.approx(float(first.detach()) + total, rel=1e-4)


def test_settings_out_of_range_are_refused():
    for words, fault in (
        ({"loss": "l1"}, "must be one of l2, rle"),
        ({"stages": 0}, "must be 1 to"),
        ({"cut": 0}, "above 0"),
    ):
        with pytest.raises(UsageError, match=fault):
            Pose(**words)


def test_places_are_exact_beside_products_in_bf16_and_one_stage_is_counted():
    own, images = network().eval(), torch.randn(1, 3, 64, 64)
    with torch.autocast("cpu", torch.bfloat16):
        assert own(images).dtype == torch.float32
    counted = summarize(own, 64)
    assert counted.parameters == sum(p.numel() for p in own.parameters())
    assert next(layer for layer in counted.layers if layer.name == "head.places").multiply_adds > 0
    assert len(own.passes(64)) == 1 and [found.side for found in network(2).passes(64)] == [64, 32]
