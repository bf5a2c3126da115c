"""What is asked of an explanation, and what it answers: rows, one for each map."""

from collections.abc import Sequence
from dataclasses import dataclass

from resight.core.figures import IfAny


@dataclass(frozen=True)
class Asked:
    """What is asked of an explanation.

    Attributes:
        methods: names in `METHODS`; for a sheet "all" alone means all that fit the network.
        target: a class name or number; "topK" for the K best classes; "A-B" for what speaks for A and not
            for B; by default the best class. Of a run of another task also what `SolverTask.targets` names,
            such as "box:left".
        layers: whose maps are read and fused; by default the last one with a spatial map.
        changes: `key=value` words, options of the methods; each method takes those that it has.
    """

    methods: Sequence[str] = ("grad_cam",)
    target: str | None = None
    layers: Sequence[str] | None = None
    changes: Sequence[str] = ()


@dataclass(frozen=True)
class Explained:
    """A written map.

    Attributes:
        path: of the picture.
        method: of the map.
        layer: that it was read from.
        target: the class that it explains.
        score: the logit of that class.
        image: the overlay, a PNG.
        map: the map, float32 (H, W), as npy.
        residual: of Perception Visualization, how badly the decoder inverts the trunk here.
        residual_percentile: the share of validation pictures with a residual at most this one, in percent.
        against: of Finer-CAM, the classes that the target is compared with.
    """

    path: str
    method: str
    layer: str
    target: str
    score: float
    image: str
    map: str
    residual: IfAny[float] = None
    residual_percentile: IfAny[float] = None
    against: IfAny[list[str]] = None
