"""What `resight locate` finds: boxes, picture by picture, and the document of all."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from resight.core.figures import Inline, to_json
from resight.data.frames import Frame
from resight.evaluate.localization import LocalizationFigures
from resight.service.pictures import Unread


@dataclass(frozen=True)
class Box:
    """A box.

    Attributes:
        label: its class.
        score: the probability of that class, in [0, 1].
        box: (x, y, width, height) in pixels of the picture as seen.
        class_is: "predicted" or "true".
    """

    label: str
    score: float
    box: tuple[float, float, float, float]
    class_is: str = "predicted"


@dataclass(frozen=True)
class Row:
    """The boxes of a picture.

    Attributes:
        path: of the picture.
        width: as seen, in pixels.
        height: as seen.
        boxes: that were found.
        frame: that turns boxes back to the picture as it is stored.
        segments: of each box COCO's run lengths of its part, in that frame; none where nobody asked.
    """

    path: str
    width: int
    height: int
    boxes: Sequence[Box]
    frame: Frame = field(default_factory=lambda: Frame(None))
    segments: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class Found:
    """A box with its picture."""

    path: str
    box: Inline[Box]


@dataclass(frozen=True)
class Result:
    """A box in COCO's results format; pictures and classes count from 1."""

    image_id: int
    category_id: int
    bbox: tuple[float, float, float, float]
    score: float
    file_name: str
    category: str
    class_is: str


@dataclass(frozen=True)
class Located:
    """The answer of `locate`.

    Attributes:
        boxes: of all pictures.
        results: the same in COCO's results format.
        pictures: how many were searched.
        how: the boxes were made, in words.
        classes: "predicted" or "true".
        threshold: see `resight.localize.rule.Rule`.
        normalization: see there.
        frame: what boxes count in.
        metrics: by method, where boxes are known; each paired with the spot in the middle.
        left_out: methods that do not fit the network, and why.
        errors: pictures that are left out.
        notes: in words.
        out: the file or folder that was written.
        drawn: the folder of pictures with boxes.
    """

    boxes: list[Found]
    results: list[Result]
    pictures: int
    how: str
    classes: str
    threshold: float
    normalization: str
    frame: str
    metrics: dict[str, LocalizationFigures]
    left_out: dict[str, str]
    errors: list[Unread]
    notes: list[str]
    out: str | None
    drawn: str | None

    def document(self) -> Any:
        """Return the JSON for other programs: with metrics if boxes are known, else the results alone."""
        whole = to_json(self)
        results = whole.pop("results")
        return whole if self.metrics else results


def results_of(rows: Sequence[Row], classes: Sequence[str]) -> list[Result]:
    """Return the boxes of all pictures in COCO's results format."""
    return [
        Result(number, classes.index(b.label) + 1, b.box, b.score, row.path, b.label, b.class_is)
        for number, row in enumerate(rows, start=1)
        for b in row.boxes
    ]
