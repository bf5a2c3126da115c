"""The network of a pose: a head of 2 J numbers on any trunk, and stages that refine each joint (DeepPose).

Toshev and Szegedy 2014, "DeepPose: Human Pose Estimation via Deep Neural Networks". Places are x and y in
shares of the sides of the square that the network sees, which is the person's box: section 3.1 normalizes by
it. B images, J joints, D numbers a joint: x, y and, where their spread is learned too, a deviation of each.
"""

import copy
from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from resight.core.distributed import world
from resight.models.classifier import Classifier
from resight.models.operators.flow import Flow
from resight.models.operators.subimages import subimages
from resight.models.solver import Head, Pass, Solver

GRID = 4
"""Places along each side of the map that joints are read from: one mean over the map would tell no place."""
RATE = 0.005
"""Of the last layers' weights over a recipe's: that is for logits, which are some ten wide and read the mean
of a map, while places are within one and read sixteen cells."""
NARROW = -1.5
"""Of a fresh head, what deviations are the sigmoid of."""
AT_ONCE = 256
"""Sub-images that are looked at together."""
LEAST_CUT, MOST_CUT = 0.1, 1.5
"""Sides of a sub-image, in shares of the square."""
QUARTER = 0.25
"""A person without a torso is as large as a quarter of the larger side of the box around its joints."""
MOMENTUM, BROAD = 0.05, 0.1
"""Of the running moments of a stage's errors, and their deviation before anything is seen."""


class Exact(nn.Linear):
    """A linear layer in the type of its weights, whatever the products around it are in.

    A place of 8 bits, as bf16 has them, would be off by pixels.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Turn vectors (B, N) into (B, M)."""
        with torch.autocast(input.device.type, enabled=False):
            return super().forward(input.to(self.weight.dtype))


class PoseHead(Head):
    """Reads D numbers for each of J joints from a map.

    Args:
        stage: that it reads.
        channels: K, of its map.
        joints: J.
        numbers: D: 2, or 4 with deviations.
        scale: what the network multiplies its map by before the last layer, see `Classifier.logit_scale`.
    """

    def __init__(self, stage: str, channels: int, joints: int, numbers: int, scale: float = 1.0) -> None:
        super().__init__()
        self.reads, self.scale, self.numbers = (stage,), scale, numbers
        self.places = Exact(channels * GRID**2, joints * numbers)
        nn.init.normal_(self.places.weight, std=0.001)
        nn.init.zeros_(self.places.bias)
        with torch.no_grad():
            self.places.bias.view(joints, numbers)[:, 2:] = NARROW

    def begin_at(self, pose: Tensor) -> None:
        """Let a fresh head say a pose, (J, 2), of every picture."""
        with torch.no_grad():
            self.places.bias.view(len(pose), self.numbers)[:, :2] = pose

    def forward(self, maps: dict[str, Tensor]) -> Tensor:
        """Turn a map (B, K, h, w) into (B, J, D); deviations are sigmoids (Li et al. 2021, section 3.4)."""
        features = maps[self.reads[0]] * self.scale
        cells = torch.flatten(F.adaptive_avg_pool2d(features, GRID), 1) / GRID
        said = self.places(cells).unflatten(1, (-1, self.numbers))
        return torch.cat([said[..., :2], torch.sigmoid(said[..., 2:])], -1) if self.numbers > 2 else said


class Errors(nn.Module):
    """Mean and variance of a stage's errors at each joint, over the training so far and all processes.

    Args:
        joints: J.
    """

    mean: Tensor
    variance: Tensor

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(joints, 2))
        self.register_buffer("variance", torch.full((joints, 2), BROAD**2))

    @torch.no_grad()
    def learn(self, apart: Tensor, known: Tensor) -> None:
        """Take in errors (N, J, 2) of the joints that are known, (N, J)."""
        counts = known[..., None].to(apart.dtype)
        sums = torch.stack([counts.expand_as(apart), apart * counts, apart.square() * counts]).sum(1)
        total, first, second = world().sum(sums.double())
        mean = first / total.clamp(min=1)
        around = (second / total.clamp(min=1) - mean.square()).clamp(min=0)
        share = MOMENTUM * (total > 0).double()
        # The variance around a moving mean: what the means differ by is part of it.
        moved = share * (1 - share) * (mean - self.mean).square()
        self.variance.copy_((1 - share) * self.variance + share * around + moved)
        self.mean.copy_((1 - share) * self.mean + share * mean)


class FirstStage(nn.Module):
    """Trunk and head of the first stage, under the names that they have in a cascade."""

    def __init__(self, trunk: Classifier, head: Head) -> None:
        super().__init__()
        self.trunk, self.head = trunk, head

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, S, S) into what the stage says, (B, J, D)."""
        return self.head(self.trunk.forward_maps(images, self.head.reads))


class Cascade(Solver):
    """A first stage that sees the whole square, and stages that each see a part of it around each joint.

    Section 3.2: stage s looks at a square of side sigma times the person's size around what stage s - 1 said
    of a joint, and says how far off that is. One network refines all joints; of its J answers that of the
    joint in the middle counts.

    Args:
        trunk: of the first stage; it is changed.
        head: of the first stage.
        refiners: trunk and head of each later stage.
        cut: sigma: sides of the sub-images over the person's size.
        torso: joints whose distance is the person's size; empty for a quarter of the box around all joints.
        flow: learns the density of the errors; None if no deviations are said.
    """

    def __init__(
        self,
        trunk: Classifier,
        head: PoseHead,
        refiners: Sequence[Solver],
        cut: float,
        torso: tuple[int, ...],
        flow: Flow | None,
    ) -> None:
        super().__init__(trunk, head)
        self.joints = head.places.out_features // head.numbers
        self.refiners, self.flow = nn.ModuleList(refiners), flow
        self.errors = nn.ModuleList(Errors(self.joints) for _ in refiners)
        self.cut, self.torso = cut, torso

    def passes(self, side: int) -> list[Pass]:
        """Return the stages: the first sees the whole square, each later one a sub-image of every joint."""
        part = cut_size(side)
        later = [Pass(f"refiners.{n}.", own, part, self.joints) for n, own in enumerate(self.refiners)]
        return [Pass("", FirstStage(self.trunk, self.head), side, 1), *later]

    @property
    def stages(self) -> "OrderedDict[str, nn.Module]":
        """The named stages of the trunks, first to last; those of one name learn alike."""
        if not len(self.refiners):
            return self.trunk.stages
        trunks = [self.trunk, *(refiner.trunk for refiner in self.refiners)]  # type: ignore[union-attr]
        names = self.trunk.stages
        return OrderedDict((name, nn.ModuleList(own.stages[name] for own in trunks)) for name in names)

    def head_parameters(self) -> set[str]:
        """Return the names of the parameters that learn at the full rate: those of heads and flow."""
        return {name for name, _ in self.named_parameters() if ".trunk." not in f".{name}"}

    def learning(self, name: str) -> tuple[float, float]:
        """Return what a parameter's learning rate and weight decay are multiplied by."""
        if name.startswith("refiners."):
            _, number, inner = name.split(".", 2)
            return _slower(inner, self.refiners[int(number)].learning(inner))  # type: ignore[operator]
        return _slower(name, super().learning(name))

    def constrain(self) -> None:
        """Bring the trunks' weights back within their bounds; called after every step."""
        for solver in (super(), *self.refiners):
            solver.constrain()  # type: ignore[operator]

    def forward_head(self, features: Tensor) -> Tensor:
        """Give what the first stage says of the last map (B, K, h, w), (B, 1, J, D)."""
        return super().forward_head(features)[:, None]

    def forward(self, images: Tensor) -> Tensor:
        """Turn images (B, C, S, S) into what each stage says, in shares of the square, (B, stages, J, D)."""
        said = [self.head(self.forward_maps(images))]
        for number in range(len(self.refiners)):
            before = said[-1]
            said.append(self.refined(number, images, before))
        return torch.stack(said, 1)

    def refined(self, number: int, images: Tensor, before: Tensor) -> Tensor:
        """Return what a refiner makes of what the stage before it said, both (B, J, D)."""
        count, joints = before.shape[:2]
        centres, sides = before[..., :2], self.sides(before[..., :2])[:, None].expand(count, joints)
        images_at_once = max(1, AT_ONCE // joints)
        own = torch.arange(joints, device=images.device).repeat(count)
        offsets = (
            torch.cat(
                [
                    self.offsets(
                        number, images[part], centres[part], sides[part], own[: len(images[part]) * joints]
                    )
                    for part in (slice(i, i + images_at_once) for i in range(0, count, images_at_once))
                ]
            ).view(count, joints, -1)
            * sides[..., None]
        )
        return torch.cat([centres + offsets[..., :2], offsets[..., 2:]], -1)

    def offsets(self, number: int, images: Tensor, centres: Tensor, sides: Tensor, joints: Tensor) -> Tensor:
        """Return what a refiner says of sub-images: where their joints are, from the middle, in their sides.

        Args:
            number: of the refiner.
            images: (B, C, S, S).
            centres: of the sub-images, (B, P, 2).
            sides: of the sub-images, (B, P).
            joints: which joint each is about, (B P,).

        Returns:
            (B P, D).
        """
        parts = subimages(images, centres, sides, cut_size(images.shape[-1]))
        said = self.refiners[number](parts)
        return said[torch.arange(len(said), device=said.device), joints]

    def sides(self, places: Tensor, known: Tensor | None = None) -> Tensor:
        """Return the sides of the sub-images of poses (B, J, 2) whose joints may be known in part, (B, J)."""
        known = torch.ones_like(places[..., 0], dtype=torch.bool) if known is None else known
        low = places.masked_fill(~known[..., None], torch.inf).amin(1)
        high = places.masked_fill(~known[..., None], -torch.inf).amax(1)
        size = QUARTER * (high - low).amax(1)
        if self.torso:
            a, b = self.torso
            apart = (places[:, a] - places[:, b]).norm(dim=-1)
            size = torch.where(known[:, a] & known[:, b], apart, size)
        return (self.cut * size).nan_to_num(0, 0, 0).clamp(LEAST_CUT, MOST_CUT)


def _slower(name: str, learning: tuple[float, float]) -> tuple[float, float]:
    rate, decay = learning
    return (RATE * rate if name == "head.places.weight" else rate), decay


def pose_network(
    trunk: Classifier, pose: Tensor, torso: tuple[int, ...], stages: int, cut: float, *, spread: bool
) -> Cascade:
    """Return a trunk, and copies of it for the later stages, each with a fresh head.

    Args:
        trunk: it is changed.
        pose: that a fresh first stage says of every picture, (J, 2).
        torso: see `Cascade`.
        stages: how many there are.
        cut: see `Cascade`.
        spread: whether deviations are said too.
    """
    last, channels, numbers = list(trunk.stages)[-1], trunk.num_features, 4 if spread else 2
    trunks = [trunk, *(copy.deepcopy(trunk) for _ in range(stages - 1))]
    heads = [PoseHead(last, channels, len(pose), numbers, trunk.logit_scale) for _ in trunks]
    heads[0].begin_at(pose)
    later = [Solver(own, head) for own, head in zip(trunks[1:], heads[1:], strict=True)]
    return Cascade(trunk, heads[0], later, cut, torso, Flow() if spread else None)


def cut_size(side: int) -> int:
    """Return the side of a sub-image in pixels: half of the square's, a multiple of 32."""
    return max(32, round(side / 64) * 32)
