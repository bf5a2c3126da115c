"""A test of poses: PCP, PDJ, PCK and errors with intervals, compared with the mean pose, and drawings."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from resight.data.dataset import Split
from resight.data.points import UNMARKED, Skeleton
from resight.data.prepare import whole_size
from resight.metrics import pose
from resight.metrics.pose import Counted
from resight.render.skeleton import draw_skeleton
from resight.tasks.result import SIDE, Answered, Drawing, Headline, Shown, Table

FRACTIONS = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Of the torso's diameter, for PDJ."""
PCK = 0.2


@dataclass(frozen=True)
class Posed:
    """What is said of a picture, in pixels of the whole picture as seen, 0 being its outer edge.

    Attributes:
        joints: their names, (J,).
        stages: x and y of each joint by each stage of the cascade, the last one being the answer, (S, J, 2).
        spread: deviations of x and y of each joint, (J, 2); empty where the network does not say them.
        size: (width, height) of the picture.
    """

    joints: tuple[str, ...]
    stages: tuple[tuple[tuple[float, float], ...], ...]
    spread: tuple[tuple[float, float], ...]
    size: tuple[int, int]


@dataclass(frozen=True)
class PoseResult(Answered):
    """Poses, compared with the true ones."""

    said: tuple[Posed, ...]

    @property
    def skeleton(self) -> Skeleton:
        """What the joints are."""
        assert self.split.points is not None  # `Pose.labelled` sees to it
        return self.split.points.skeleton

    @cached_property
    def places(self) -> NDArray[np.float64]:
        """What each stage says, (S, N, J, 2)."""
        return np.array([one.stages for one in self.said], dtype=np.float64).swapaxes(0, 1)

    @cached_property
    def truth(self) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """The true places (N, J, 2) and which are known (N, J)."""
        return _true(self.split, self.split.positions[self.indices.numpy()])

    @cached_property
    def mean_pose(self) -> NDArray[np.float64] | None:
        """The mean pose of the training pictures on each of the N, (N, J, 2); None without these."""
        if self.train is None or self.train.points is None or not len(self.train):
            return None
        mean = mean_pose_of(self.train)
        return mean * np.array([one.size for one in self.said], dtype=np.float64)[:, None]

    def counted(self, said: NDArray[np.float64]) -> dict[str, Counted]:
        """Return what the figures count of poses, (N, J, 2)."""
        true, known = self.truth
        skeleton, found = self.skeleton, {}
        found["pose_error"] = pose.error(said, true, known, pose.sizes(true, known))
        if skeleton.eyes:
            apart = pose.between(true, known, _pair(skeleton.eyes))
            found["eye_error"] = pose.error(said, true, known, apart)
        found[f"pck_{PCK:g}"] = pose.pck(said, true, known, PCK)
        parts = pose.parts_of(skeleton.names)
        if parts:
            every = [limb for limbs in parts.values() for limb in limbs]
            found["pcp"] = pose.pcp(said, true, known, every)
            found |= {f"pcp_{part}": pose.pcp(said, true, known, limbs) for part, limbs in parts.items()}
        if skeleton.torso:
            torso = _pair(skeleton.torso)
            found |= {f"pdj_{share:g}": pose.pdj(said, true, known, torso, share) for share in FRACTIONS}
        return found

    def figures(self) -> dict[str, Any]:
        """Return the figures as plain JSON types, all in percent, each with its "..._interval" over pictures.

        "pose_error": mean distance over the person's size, the larger side of the box around its true joints;
        "eye_error": over the distance of the eyes; "pck_0.2"; "pcp", strict, of arms and legs, and by limb;
        "pdj_0.1" to "pdj_0.5". "stages" has the same of each stage of a cascade, "joints" of each joint.
        """
        own = self.counted(self.places[-1])
        blind = self.mean_pose
        stages = {}
        if len(self.places) > 1:
            stages["stages"] = [_named(pose.told(self.counted(said))) for said in self.places]
        return {
            "n": len(self.said),
            **_named(pose.told(own)),
            **stages,
            "baselines": {} if blind is None else {"mean pose": _named(pose.told(self.counted(blind)))},
            "joints": self._joints(),
        }

    def _joints(self) -> dict[str, dict[str, Any]]:
        """Return error and PCK of each joint, in percent, and in how many pictures it is known."""
        true, known = self.truth
        size, said, found = pose.sizes(true, known), self.places[-1], {}
        apart = pose.distances(said, true) / np.where(size > 0, size, np.inf)[:, None]
        for joint, name in enumerate(self.skeleton.names):
            own = apart[known[:, joint], joint]
            found[name] = {
                "n": len(own),
                "pose_error": 100 * float(own.mean()) if len(own) else None,
                f"pck_{PCK:g}": 100 * float((own <= PCK).mean()) if len(own) else None,
            }
        return found

    def headline(self) -> Headline:
        """Return the mean distance over the size of the person, or over the distance of the eyes."""
        eyes = bool(self.skeleton.eyes)
        key, unit = ("eye_error", "eye error") if eyes else ("pose_error", "pose error")
        counted = self.counted(self.places[-1])
        blind = None if self.mean_pose is None else self.counted(self.mean_pose)[key].figure
        figure, interval = counted[key].figure, counted[key].interval()
        of = "the distance of the eyes" if eyes else "the person's size"
        near = counted[f"pck_{PCK:g}"].figure or 0.0
        words = (
            f"Points are {100 * (figure or 0):.1f} % of {of} from where they belong, on average; "
            f"{100 * near:.1f} % of them are within a fifth of the size."
        )
        ends = (100 * interval[0], 100 * interval[1]) if interval else None
        guess = None if blind is None else 100 * blind
        return Headline(key, 100 * (figure or 0.0), unit, ends, words, guess)

    def shown(self) -> list[Shown]:
        """Return pictures with the skeleton that was said, and the true one in white."""
        goodness = torch.from_numpy(-self.counted(self.places[-1])["pose_error"].hits)
        words = (
            "The predicted pose: blue on the person's left, orange on the right, yellow in the middle. "
            "The true pose: white and thin."
        )
        return self.ranked(goodness, words, self._drawing)

    def _drawing(self, row: int) -> Drawing:
        index, said, skeleton = int(self.indices[row]), self.said[row], self.skeleton
        image = self.split.decode(index, at_least=SIDE)
        scale = np.array(image.size) / np.array(whole_size(image))
        true, known = self.truth
        sides = [skeleton.side(joint) for joint in range(len(skeleton))]
        places = np.array(said.stages[-1]) * scale
        drawn = draw_skeleton(image, places, skeleton.limbs, sides, true[row] * scale, known[row])
        own = self.counted(self.places[-1])["pose_error"].hits[row]
        return Drawing(np.asarray(drawn), f"off by {100 * own:.1f} % of the size", self.file_name(row))

    def tables(self) -> list[Table]:
        """Return the figures compared with the mean pose, for each stage, and for each joint."""
        figures = self.figures()
        keys = list(self.counted(self.places[-1]))
        rows = [["this network", *(_cell(figures, key) for key in keys)]]
        rows += [
            [f"its stage {number}", *(_cell(stage, key) for key in keys)]
            for number, stage in enumerate(figures.get("stages", ()), 1)
        ]
        rows += [[name, *(_cell(row, key) for key in keys)] for name, row in figures["baselines"].items()]
        header = ("answer", *(key.replace("_", " ") for key in keys))
        words = (
            "In percent, with 95 % intervals over pictures. PCP counts limbs whose ends are both within half "
            "of the limb's length; PDJ joints within a share of the torso; PCK joints within a fifth of the "
            "size. "
            "The mean pose of the training pictures is the answer for every picture, without looking at it."
        )
        each = sorted(figures["joints"].items(), key=lambda item: -(item[1]["pose_error"] or 0))
        joints = [
            [name, str(row["n"]), *("" if row[k] is None else f"{row[k]:.1f} %" for k in list(row)[1:])]
            for name, row in each
        ]
        columns = ("joint", "pictures", "pose error", f"pck {PCK:g}")
        return [
            Table("Compared with the mean pose", words, header, rows),
            Table("Joint by joint", "Worst first.", columns, joints),
        ]


def mean_pose_of(split: Split) -> NDArray[np.float64]:
    """Return the mean pose of a split's pictures, in shares of their sides, (J, 2)."""
    true, known = _true(split, split.positions)
    sizes = np.array([split.picture_size(i) for i in range(len(split))], dtype=np.float64)
    return pose.mean_pose(true / sizes[:, None], known)


def _true(split: Split, positions: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    assert split.points is not None  # `Pose.labelled` sees to it
    return split.points.places[positions], split.points.states[positions] != UNMARKED


def _pair(joints: tuple[int, ...]) -> tuple[int, int]:
    return joints[0], joints[1]


def _named(told: dict[str, Any]) -> dict[str, Any]:
    """Return figures whose intervals are called as those of every task: "pose_error", "pose_interval"."""
    return {key.replace("_error_interval", "_interval"): value for key, value in told.items()}


def _cell(figures: dict[str, Any], key: str) -> str:
    interval = figures.get(f"{key}_interval".replace("_error_interval", "_interval"))
    if figures.get(key) is None:
        return ""
    return f"{figures[key]:.1f}" + (f" ({interval[0]:.1f} to {interval[1]:.1f})" if interval else "")
