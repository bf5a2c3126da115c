"""The labelling desk: pictures in the order of the network's doubt, boxes proposed, corrected and saved."""

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image

from resight.core.errors import DataError, PictureError, UsageError
from resight.core.figures import to_json
from resight.core.files import digest
from resight.data.frames import Frame
from resight.localize.rule import Rule
from resight.service.locate.marked import Picture, pictures_of
from resight.service.serve.labels import FORMS, NO_SPLIT, Box, Labels
from resight.service.serve.network import Served, ShownBox
from resight.service.serve.showing import jpeg
from resight.service.serve.voc import require_own_names
from resight.tasks.classify.task import of_network

LONGEST = 200
"""Characters of a class name."""
MOST_BOXES = 1_000
"""Boxes of a picture."""
LEAST_SIDE = 1.0
"""Pixels of a box's side."""
REMEMBERED = 512
"""Pictures whose proposals are kept."""


@dataclass(frozen=True)
class Item:
    """A picture to label.

    Attributes:
        key: what addresses call it: a digest of its name.
        name: its path from the folder that all pictures share.
        path: its whole path.
        picture: what the data set knows of it.
    """

    key: str
    name: str
    path: Path
    picture: Picture

    @property
    def split(self) -> str:
        """The split whose file its boxes go to."""
        return self.picture.split.name if self.picture.split else NO_SPLIT


@dataclass(frozen=True)
class Answered:
    """The network's answer to a picture.

    Attributes:
        label: its best class.
        probability: of that class.
        doubt: in [0, 1]; one minus the probability, or of a multi-label network how near to even its least
            decided class is.
    """

    label: str
    probability: float
    doubt: float


@dataclass(frozen=True)
class Row:
    """A picture in the list.

    Attributes:
        key: see `Item`.
        name: see `Item`.
        done: whether the picture is finished.
        version: of its saved boxes; 0 if nothing was saved.
        boxes: how many are saved; None if nothing was saved.
        label: the network's best class; None if it has not seen the picture, as below.
        probability: of that class.
        doubt: see `Answered`.
        error: why the picture cannot be read; None if it can.
    """

    key: str
    name: str
    done: bool
    version: int
    boxes: int | None
    label: str | None
    probability: float | None
    doubt: float | None
    error: str | None


@dataclass
class Desk:
    """The pictures and what is known of them.

    Attributes:
        network: the run that answers and proposes.
        items: by key, in the order of their names.
        labels: what is saved.
        answers: by key, as far as they are known.
        faults: by key, why a picture cannot be read.
    """

    network: Served
    items: dict[str, Item]
    labels: Labels
    answers: dict[str, Answered] = field(default_factory=dict)
    faults: dict[str, str] = field(default_factory=dict)
    _proposed: dict[str, list[ShownBox]] = field(default_factory=dict)
    _frames: dict[str, tuple[tuple[int, int], Frame]] = field(default_factory=dict)

    @property
    def classes(self) -> list[str]:
        """The class names that boxes may have: those of the network, of the data and of what is saved."""
        marked = (label for item in self.items.values() for label, _ in item.picture.boxes or ())
        return list(dict.fromkeys((*self.network.classes, *marked, *self.labels.categories)))

    def unanswered(self, count: int) -> list[Item]:
        """Return some pictures that the network has not seen."""
        found = (i for key, i in self.items.items() if key not in self.answers and key not in self.faults)
        return [item for _, item in zip(range(count), found, strict=False)]

    def answer(self, items: Sequence[Item]) -> None:
        """Let the network see pictures."""
        squares, good = [], []
        for item in items:
            try:
                squares.append(self.network.prepared(item.picture.decode()))
                good.append(item)
            except PictureError as error:
                self.faults[item.key] = f"{error.fault}; {error.cure}"
        task = of_network(self.network.run.model)
        for item, likely in zip(good, self.network.answers(squares) if squares else (), strict=True):
            if isinstance(likely, Exception):
                self.faults[item.key] = "the network's answer is not finite"
                continue
            best = float(likely.max())
            label = self.network.classes[int(likely.argmax())]
            self.answers[item.key] = Answered(label, best, task.doubt(likely))

    def counts(self) -> dict[str, int]:
        """Return how many pictures there are, are done, and were seen by the network."""
        done = sum(self._is_done(item) for item in self.items.values())
        return {"total": len(self.items), "done": done, "scored": len(self.answers) + len(self.faults)}

    def listed(self, order: str, state: str, start: int, count: int) -> tuple[int, list[Row]]:
        """Return pictures for a list.

        Args:
            order: "doubt", the most doubtful first and those not yet seen last, or "name".
            state: "open", "done" or "all".
            start: the first one's place.
            count: how many.

        Returns:
            How many there are in this state, and the asked ones.
        """
        found = [
            item for item in self.items.values() if state == "all" or self._is_done(item) == (state == "done")
        ]
        if order == "doubt":
            found.sort(key=lambda item: -a.doubt if (a := self.answers.get(item.key)) else 1.0)
        return len(found), [self._row(item) for item in found[start : start + count]]

    def item(self, key: str) -> Item | None:
        """Return a picture by its key."""
        return self.items.get(key)

    def state(self, item: Item) -> dict[str, Any]:
        """Return a picture's boxes: the saved ones, else the data set's, else proposed ones.

        Boxes are [x, y, w, h] in pixels of the picture as displayed.

        Raises:
            PictureError: if it cannot be read.
        """
        saved = self.labels.saved.get(item.path)
        if saved is None and item.picture.boxes is None and item.key not in self._proposed:
            self._propose(item, item.picture.decode())
        size, frame = self._frame(item)
        if saved:
            boxes, source = [_shown(box, frame) for box in saved.boxes], "saved"
        elif item.picture.boxes is not None:
            source = "data"
            boxes = [
                ShownBox(label, None, _rounded(x0, y0, x1 - x0, y1 - y0))
                for label, (x0, y0, x1, y1) in item.picture.boxes
            ]
        else:
            boxes, source = self._proposed[item.key], "proposed"
        return {
            "key": item.key, "name": item.name, "width": size[0], "height": size[1],
            "version": saved.version if saved else 0, "done": bool(saved and saved.done),
            "from": source, "boxes": to_json(boxes),
        }  # fmt: skip

    def save(
        self, item: Item, version: int, boxes: Sequence[dict[str, Any]], *, done: bool
    ) -> dict[str, Any]:
        """Save a picture's boxes.

        Args:
            item: the picture.
            version: of the state that was changed.
            boxes: {"label", "box": [x, y, w, h]} in pixels of the picture as displayed.
            done: whether the picture is finished.

        Returns:
            Its new state.

        Raises:
            UsageError: if a box has no area in the picture, or a class name is unusable.
            ChangedError: if somebody else saved it first.
            ResightError: if it cannot be written.
        """
        size, frame = self._frame(item)
        stored = [_stored(place, box, size, frame) for place, box in enumerate(boxes, start=1)]
        self.labels.save(item.path, item.split, frame.size or size, version, stored, done=done)
        return self.state(item)

    def picture(self, item: Item, side: int) -> bytes:
        """Return a picture as JPEG, see `jpeg`.

        Raises:
            PictureError: if it cannot be read.
        """
        return jpeg(item.picture.decode(), side)

    def _frame(self, item: Item) -> tuple[tuple[int, int], Frame]:
        """Return (width, height) as displayed, and what the file's boxes count in."""
        if item.key not in self._frames:
            own = item.picture
            size = (own.split.picture_size(own.index) if own.split else None) or own.decode().size
            self._frames[item.key] = size, own.frame(size)
        return self._frames[item.key]

    def _propose(self, item: Item, image: Image.Image) -> None:
        label = item.picture.label if item.picture.label in self.network.classes else None
        while len(self._proposed) >= REMEMBERED:
            del self._proposed[next(iter(self._proposed))]
        no_maps = self.network.method is None
        self._proposed[item.key] = [] if no_maps else self.network.boxes(image, label, None, Rule())

    def _is_done(self, item: Item) -> bool:
        saved = self.labels.saved.get(item.path)
        return bool(saved and saved.done)

    def _row(self, item: Item) -> Row:
        saved, answer = self.labels.saved.get(item.path), self.answers.get(item.key)
        return Row(
            item.key,
            item.name,
            done=bool(saved and saved.done),
            version=saved.version if saved else 0,
            boxes=len(saved.boxes) if saved else None,
            label=answer.label if answer else None,
            probability=answer.probability if answer else None,
            doubt=answer.doubt if answer else None,
            error=self.faults.get(item.key),
        )


def open_desk(
    network: Served,
    data: str,
    out: str | None,
    split: str = "all",
    data_root: str | None = None,
    form: str = FORMS[0],
) -> Desk:
    """Open pictures to label.

    Args:
        network: answers and proposes.
        data: pictures, or a data set whose pictures are files.
        out: the folder for boxes; by default the data's name with "-boxes", in the current folder.
        split: of a data set, or "all".
        data_root: see `open_dataset`.
        form: "coco" or "voc": how the boxes are saved.

    Raises:
        ResightError: in one line.
    """
    if form not in FORMS:
        raise UsageError(f"--format {form!r}: must be one of {', '.join(FORMS)}")
    pictures, _ = pictures_of(network.run, [data], split, data_root)
    paths = [Path(os.path.normpath(Path(picture.path).absolute())) for picture in pictures]
    for path in paths:
        if not path.is_file():
            raise DataError(
                f"{data}: its pictures are not files of their own ({path.name}), so boxes cannot name "
                "them; give a folder of pictures"
            )
    shared = Path(os.path.commonpath([path.parent for path in paths]))
    names = [path.relative_to(shared).as_posix() for path in paths]
    items = {
        (key := digest(os.fsencode(name))[:16]): Item(
            key, os.fsencode(name).decode("utf-8", "replace"), path, picture
        )
        for name, path, picture in sorted(zip(names, paths, pictures, strict=True), key=lambda row: row[0])
    }
    folder = Path(out or f"{Path(data).resolve().stem}-boxes")
    if folder.resolve() == Path(data).resolve():
        raise UsageError(f"--out {out}: holds the pictures; give a folder of its own for the boxes")
    if form == "voc":
        require_own_names(paths)
    return Desk(network, items, Labels.open(folder, form))


def _stored(place: int, given: dict[str, Any], size: tuple[int, int], frame: Frame) -> Box:
    """Return a box in the picture as stored; checked, and its parts outside the picture cut off."""
    label = given["label"].strip()
    if not 0 < len(label) <= LONGEST or any(unicodedata.category(c) in ("Cc", "Cs", "Cf") for c in label):
        raise UsageError(f"box {place}: its class name must have 1 to {LONGEST} printable characters")
    x, y, width, height = given["box"]
    x0, y0 = min(max(x, 0.0), size[0]), min(max(y, 0.0), size[1])
    x1, y1 = min(max(x + width, 0.0), size[0]), min(max(y + height, 0.0), size[1])
    if x1 - x0 < LEAST_SIDE or y1 - y0 < LEAST_SIDE:
        raise UsageError(f"box {place}: has less than {LEAST_SIDE:g} pixel of the picture on a side")
    left, top, right, bottom = frame.stored_box(x0, y0, x1, y1)
    return (label, *_rounded(left, top, right - left, bottom - top))  # type: ignore[return-value]


def _shown(box: Box, frame: Frame) -> ShownBox:
    label, x, y, width, height = box
    x0, y0, x1, y1 = frame.turned_box(x, y, x + width, y + height)
    return ShownBox(label, None, _rounded(x0, y0, x1 - x0, y1 - y0))


def _rounded(*values: float) -> list[float]:
    return [round(float(value), 2) for value in values]
