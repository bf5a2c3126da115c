"""The loss of a pose network: distances, or the likelihood of the errors, in every stage of the cascade."""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from resight.data.point_marks import Points
from resight.models.operators.flow import Flow
from resight.tasks.pose.network import Cascade
from resight.tasks.task import Loss

CROPS = 2
"""Sub-images of each picture, epoch and later stage, each around a joint that is drawn."""
QUANTILES = 24
"""Of the density of each coordinate, in the sum that stands for an integral over the plane."""
TINY = 1e-6


def squared(said: Tensor, true: Tensor, known: Tensor) -> Tensor:
    """Return the sum over known joints of the squared distance, of each picture, (B,).

    Toshev and Szegedy 2014, equation 4: joints that are not marked are left out.

    Args:
        said: (B, J, 2 or more), of which x and y count.
        true: (B, J, 2).
        known: (B, J).
    """
    return ((said[..., :2] - true).square().sum(-1) * known).sum(1)


def unlikely(said: Tensor, true: Tensor, known: Tensor, flow: Flow) -> Tensor:
    """Return minus the residual log-likelihood of the errors, a sum over known joints, (B,).

    Li et al. 2021, "Human Pose Regression with Residual Log-likelihood Estimation", equation 8: with e the
    error over the deviations, Q a Laplace density of scale 1 and G the flow's,

        -log Q(e) - log G(e) - log s + log(deviations),   1/s = the integral of Q G over the plane,

    which is a sum here, see `log_scale`.

    Args:
        said: x, y and their deviations, (B, J, 4).
        true: (B, J, 2).
        known: (B, J).
        flow: G.
    """
    spread = said[..., 2:].clamp(min=TINY)
    apart = (true - said[..., :2]) / spread
    density = flow.log_density(apart.reshape(-1, 2)).view(apart.shape[:-1])
    each = -laplace(apart) - density - log_scale(flow, apart) + spread.log().sum(-1)
    return torch.where(known, each, 0.0).sum(1)


def laplace(apart: Tensor) -> Tensor:
    """Return log Q of errors (..., 2), (...)."""
    return -apart.abs().sum(-1) - 2 * math.log(2)


def log_scale(flow: Flow, like: Tensor) -> Tensor:
    """Return log s: minus the logarithm of the integral of Q G, in the type of a tensor.

    The mean of G over places that Q has equally often: a sum over the quantiles of Q.
    """
    share = (torch.arange(QUANTILES, device=like.device, dtype=like.dtype) + 0.5) / QUANTILES - 0.5
    axis = -share.sign() * torch.log1p(-2 * share.abs())
    density = flow.log_density(torch.cartesian_prod(axis, axis))
    return math.log(len(density)) - torch.logsumexp(density, 0)


class PoseLoss(Loss):
    """Loss of a batch in all stages, with the errors of the first one counted.

    Later stages learn as section 3.2 of DeepPose says: from sub-images around places that are drawn from a
    normal distribution with the mean and the variance that the stage before has in its errors on training
    pictures.

    Args:
        model: the network.
    """

    def __init__(self, model: Cascade) -> None:
        super().__init__(model)

    def forward(self, images: Tensor, marks: Points, done: float) -> tuple[Tensor, Tensor]:
        """Return the loss, a mean over the pictures, and (sum of the pictures' errors,), (1,).

        Args:
            images: (B, C, S, S).
            marks: of the B pictures, moved as they are, with chance where there are later stages.
            done: share of the training that is done.
        """
        del done
        said = self.model.head(self.model.forward_maps(images)).float()
        true, known = marks.places.to(said.dtype), marks.known
        loss = self._loss(said, true, known).mean()
        apart, at = said[..., :2].detach() - true, known
        for number, errors in enumerate(self.model.errors):
            if self.model.training:
                errors.learn(apart, at)
            each, apart, at = self._later(number, images, marks)
            loss = loss + each
        with torch.no_grad():
            return loss, errors_of(said[..., :2], marks).sum()[None].to(loss.dtype)

    def _loss(self, said: Tensor, true: Tensor, known: Tensor) -> Tensor:
        if self.model.flow is None:
            return squared(said, true, known)
        return unlikely(said, true, known, self.model.flow)

    def _later(self, number: int, images: Tensor, marks: Points) -> tuple[Tensor, Tensor, Tensor]:
        """Return a later stage's loss, its errors (B CROPS, J, 2) and at which joints they are."""
        model, errors = self.model, self.model.errors[number]
        true, known = marks.places.to(images.dtype), marks.known
        chance = marks.chance[:, 3 * CROPS * number :][:, : 3 * CROPS].view(len(marks), CROPS, 3)
        joints = drawn_joints(chance[..., 0], known)
        rows = torch.arange(len(marks), device=joints.device)[:, None]
        offset = errors.mean[joints] + errors.variance[joints].sqrt() * normal(chance[..., 1:])
        place, is_known = true[rows, joints], known[rows, joints]
        centres = place + offset.to(images.dtype)
        sides = model.sides(true, known)[:, None].expand(centres.shape[:2])
        said = model.offsets(number, images, centres, sides, joints.flatten()).float()
        wanted = (-offset.to(said.dtype) / sides[..., None]).flatten(0, 1)
        each = self._loss(said[:, None], wanted[:, None], is_known.flatten()[:, None])
        # As if all joints were looked at, so that the stages weigh alike.
        loss = each.view(len(marks), CROPS).mean(1) * known.sum(1)
        left = (said[:, :2].detach() - wanted) * sides.flatten()[:, None]
        at = F.one_hot(joints.flatten(), known.shape[1]).bool() & is_known.flatten()[:, None]
        return loss.mean(), left[:, None].expand(-1, known.shape[1], -1), at


def drawn_joints(chance: Tensor, known: Tensor) -> Tensor:
    """Return known joints (B, C) by uniform numbers (B, C) in [0, 1); the first where none is known."""
    rank = (chance * known.sum(1, keepdim=True)).long()
    order = known.long().cumsum(1)
    return (order[:, None] > rank[..., None]).long().argmax(-1)


def normal(chance: Tensor) -> Tensor:
    """Return two standard normal numbers (..., 2) of two uniform ones in [0, 1) (Box and Muller 1958)."""
    radius, angle = (-2 * torch.log1p(-chance[..., 0])).sqrt(), 2 * math.pi * chance[..., 1]
    return torch.stack([radius * angle.cos(), radius * angle.sin()], -1)


def errors_of(places: Tensor, marks: Points) -> Tensor:
    """Return the mean distance of each picture's joints over its person's size, (B,); 0 where none is known.

    The person's size is the larger side of the box around the true joints, in pixels of the whole picture.

    Args:
        places: (B, J, 2), in shares of the square's sides.
        marks: moved as the pictures are.
    """
    sides = marks.sizes.to(places.device, places.dtype)[:, None]
    known, apart = marks.known, ((places - marks.places.to(places.dtype)) * sides).norm(dim=-1)
    true = marks.places.to(places.dtype) * sides
    low = true.masked_fill(~known[..., None], torch.inf).amin(1)
    high = true.masked_fill(~known[..., None], -torch.inf).amax(1)
    size = (high - low).amax(1)
    mean = (apart * known).sum(1) / known.sum(1).clamp(min=1)
    return torch.where(known.any(1) & (size > 0), mean / size, 0.0)
