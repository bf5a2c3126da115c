"""Key points of a person, a face or a thing that fills the picture: where each joint is.

Toshev and Szegedy 2014, "DeepPose": a network says 2 J numbers, normalized by the box of the person, and
later stages refine each joint from a part of the picture around it. Li et al. 2021 learn the density of the
errors (residual log-likelihood) in place of squared distances.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from resight.core.errors import DataError, PictureError, UsageError
from resight.data.dataset import Dataset, Split
from resight.data.labelling import Rule
from resight.data.layouts.pointed import HALF, POINTS
from resight.data.point_marks import CHANCE, Points
from resight.evaluate.asked import Asked, seen
from resight.metrics import pose
from resight.models.classifier import Classifier
from resight.models.solver import Solver
from resight.tasks.pose.loss import CROPS, PoseLoss
from resight.tasks.pose.network import Cascade, pose_network
from resight.tasks.pose.result import PCK, Posed, PoseResult, mean_pose_of
from resight.tasks.pose.row import row_of
from resight.tasks.task import Aids, Best, Learned, SolverTask

LOSSES = ("l2", "rle")
MOST_STAGES = 1 + CHANCE // (3 * CROPS)
MOST_CUT = 10.0


@dataclass(frozen=True)
class Pose(SolverTask):
    """The joints of one person, face or thing a picture.

    Attributes:
        loss: "l2", squared distances, or "rle", the residual log-likelihood, which also says how sure a
            joint is.
        stages: of the cascade: 1 looks at the whole picture, each later one at a part around every joint.
        cut: sides of those parts over the person's size: 1 or 2 in the paper.
    """

    loss: str = "l2"
    stages: int = 1
    cut: float = 2.0

    name: ClassVar[str] = "pose"
    kind: ClassVar[type[Points]] = Points
    counts: ClassVar[tuple[str, ...]] = ("apart",)
    columns: ClassVar[tuple[str, ...]] = (
        "train_pose_error", "val_pose_error", "val_first_pose_error", "val_pck",
    )  # fmt: skip
    best: ClassVar[Best] = Best("val_pose_error", error=False)
    frame: ClassVar[str] = "stretch"
    balances: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Refuse settings out of range."""
        if self.loss not in LOSSES:
            raise UsageError(f"pose.loss={self.loss}: must be one of {', '.join(LOSSES)}")
        if not 1 <= self.stages <= MOST_STAGES:
            raise UsageError(f"pose.stages={self.stages}: must be 1 to {MOST_STAGES}")
        if not 0 < self.cut <= MOST_CUT:
            raise UsageError(f"pose.cut={self.cut:g}: must be above 0 and at most {MOST_CUT:g}")

    def defaults(self, dataset: Dataset) -> tuple[str, ...]:
        """Return what differs from a classifier's recipe: crops cut joints off, smoothing is of classes."""
        return (f"augment={'affine,flip' if dataset.mirrors else 'affine'}", "label_smoothing=0")

    @property
    def rule(self) -> Rule:
        """Key points are read, and no classes."""
        return POINTS

    def labelled(self, dataset: Dataset) -> Dataset:
        """Return a data set with key points.

        Raises:
            DataError: if it has none, or its splits have other joints.
        """
        if any(split.points is None for split in dataset.splits.values()):
            raise DataError(
                f"{dataset.name}: has no key points; --task pose learns from joints.mat (Leeds Sports Pose), "
                "COCO's person_keypoints, or a csv with path, NAME_x and NAME_y"
            )
        return dataset

    def learned(self, dataset: Dataset) -> Learned:
        """Return the joints, the limbs between them, and their mean pose in the training pictures."""
        points = dataset.train.points
        assert points is not None  # `labelled` sees to it
        skeleton = points.skeleton
        about = {
            "joints": list(skeleton.names),
            "swaps": list(skeleton.swaps),
            "limbs": [list(limb) for limb in skeleton.limbs],
            "torso": list(skeleton.torso),
            "eyes": list(skeleton.eyes),
            "mean_pose": mean_pose_of(dataset.train).round(6).tolist(),
        }
        return Learned(dataset.classes, about)

    def network(self, trunk: Classifier, learned: Learned) -> Cascade:
        """Return the trunk under a head that says the joints, and the later stages."""
        mean = torch.tensor(learned.about["mean_pose"], dtype=torch.float32)
        torso = tuple(learned.about["torso"])
        return pose_network(trunk, mean, torso, self.stages, self.cut, spread=self.loss == "rle")

    def objective(self, network: Cascade, aids: Aids) -> PoseLoss:
        """Return the loss, which counts how far off the first stage is.

        Raises:
            UsageError: if a teacher is asked for.
        """
        aids.refuse_teacher(self.name)
        return PoseLoss(network)

    def row(self, sums: dict[str, float], seen: int) -> dict[str, float]:
        """Return the first stage's error on training pictures, as they are augmented, in percent."""
        return {"train_pose_error": 100 * sums["apart"] / max(seen, 1)}

    def judged(self, outputs: Tensor, marks: Points) -> dict[str, float]:
        """Return the errors of the last and the first stage and PCK on validation squares, in percent."""
        sizes = marks.sizes.double().numpy()[:, None]
        true, known = marks.places.double().numpy() * sizes, marks.known.numpy()
        first, last = (outputs[:, stage, :, :2].double().numpy() * sizes for stage in (0, -1))
        size = pose.sizes(true, known)
        figures = {
            "val_pose_error": pose.error(last, true, known, size).figure,
            "val_first_pose_error": pose.error(first, true, known, size).figure,
            "val_pck": pose.pck(last, true, known, PCK).figure,
        }
        return {name: 100 * figure for name, figure in figures.items() if figure is not None}

    def words(self, row: dict[str, float]) -> str:
        """Return the errors of an epoch in words."""
        val = row.get("val_pose_error")
        more = "" if val is None else f"  val {val:6.2f} %, PCK {row['val_pck']:.1f} %"
        return f"pose error: train {row['train_pose_error']:6.2f} %{more}"

    def answers(self, asked: Asked) -> Iterator[tuple[int, Posed | PictureError]]:
        """Yield the pose of each picture."""
        assert isinstance(asked.network, Cascade)  # of this task
        names = tuple(asked.network.about["joints"])
        for index, output, place in seen(asked):
            if place is None:
                yield index, output
                continue
            places = place.to_picture(output[..., :2])
            stages = tuple(tuple((x, y) for x, y in stage) for stage in places.tolist())
            spread = tuple((x, y) for x, y in output[-1, :, 2:].tolist()) if output.shape[-1] > 2 else ()
            yield index, Posed(names, stages, spread, place.size)

    def result(self, answers: Sequence[tuple[int, Posed]], split: Split, train: Split | None) -> PoseResult:
        """Return what a test gave.

        Raises:
            DataError: if the pictures have other joints than the network says.
        """
        assert split.points is not None  # `labelled` sees to it
        said, true = answers[0][1].joints, split.points.skeleton.names
        if said != true:
            differ = [name for name in dict.fromkeys((*said, *true)) if (name in said) != (name in true)]
            raise DataError(
                "the pictures have other joints than the network says: "
                + (f"{', '.join(differ[:6])} on one side only" if differ else "the same in another order")
                + "; give pictures with the joints that it learned"
            )
        return PoseResult.of(answers, split, train)

    def answer_row(self, answer: Posed, network: Solver) -> dict[str, Any]:
        """Return the joints, see `row_of`."""
        places = [(x - HALF, y - HALF) for x, y in answer.stages[-1]]
        sure = [max(0.0, 1 - (x + y) / 2) for x, y in answer.spread] or None
        return row_of(network.about["joints"], places, sure, answer.size)

    def targets(self, network: Solver) -> tuple[str, ...]:
        """Return the joints."""
        return tuple(f"joint:{name}" for name in network.about["joints"])

    def scalars(self, outputs: Tensor) -> Tensor:
        """Return how far the first stage says each joint is from the middle of the square, (B, J)."""
        return (outputs[:, 0, :, :2] - 0.5).norm(dim=-1)
