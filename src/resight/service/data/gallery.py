"""The augmentation gallery: every operation on a picture, or a data set as a recipe augments it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from resight.core.errors import DataError, UsageError
from resight.core.files import require_place
from resight.core.preprocessing import Preprocessing
from resight.core.settings import override
from resight.data.augment.draws import Draws
from resight.data.augment.operations import OPERATIONS, Step, parse
from resight.data.augment.pipeline import Pipeline
from resight.data.augment.warp import Warp, move_boxes
from resight.data.batches import StreamedBatches
from resight.data.dataset import Dataset, Split
from resight.data.decode import SUFFIXES, decode
from resight.data.levels import settled
from resight.data.map_marks import LabelMaps
from resight.data.marks import ClassMarks
from resight.data.order import Order
from resight.data.point_marks import Points
from resight.data.points import Skeleton
from resight.data.prepare import Normalize, typical_side
from resight.data.stream import Readers
from resight.render.gallery import Line, Tile, draw_gallery
from resight.render.label_map import tinted
from resight.render.skeleton import draw_skeleton
from resight.service.pictures import write_png
from resight.service.run.data import opened_for
from resight.tasks import tasks
from resight.tasks.tasks import CLASSIFY

STRENGTHS = (0.4, 0.7, 1.0, 1.5, 2.0)
"""Of the default, where nothing else is asked for."""
SAMPLES, EPOCHS = 8, 4
SMALLEST, LARGEST = 16, 224
VISIBLE = 0.05
"""A box is drawn if so much of it is in sight."""


@dataclass(frozen=True)
class GallerySettings:
    """Settings of a gallery.

    Attributes:
        augment: operations as a recipe writes them; empty for every one.
        seed: of the draws.
        image_size: side of the input in pixels; 0 for the picture's own, from 16 to 224.
    """

    augment: tuple[str, ...] = ()
    seed: int = 0
    image_size: int = 0

    def __post_init__(self) -> None:
        """Refuse values out of range.

        Raises:
            UsageError: naming the setting and the range.
        """
        parse(self.augment)
        if any(word.startswith("gan") for word in self.augment):
            raise UsageError("augment=gan: see the samples of train-gan; leave it out here")
        if self.image_size and not SMALLEST <= self.image_size <= 1024:
            raise UsageError(f"image_size={self.image_size} must be 0, or from {SMALLEST} to 1024")
        if not 0 <= self.seed < 2**63:
            raise UsageError(f"seed={self.seed} must be 0 or more and below 2**63")


@dataclass(frozen=True)
class _Subject:
    """The subject: a picture with its boxes (N, 4) in pixels, joints or label map, and one to mix it with."""

    name: str
    image: Image.Image
    boxes: NDArray[np.float64]
    partner: Image.Image
    points: Points | None = None
    skeleton: Skeleton | None = None
    maps: LabelMaps | None = None


@dataclass(frozen=True)
class OperationRow:
    """A row of the table of operations.

    Attributes:
        name: of the operation.
        kind: of its formula.
        does: what it does, in words.
        default: its value; None if it takes none.
        above: the value is at least this.
        up_to: and at most this.
        share: of the pictures, in [0, 1].
    """

    name: str
    kind: str
    does: str
    default: float | None
    above: float | None
    up_to: float | None
    share: float


@dataclass(frozen=True)
class Drawn:
    """A gallery: the PNG, the names of its rows, and the table of operations."""

    image: str
    rows: list[str]
    operations: list[OperationRow]


def list_operations() -> list[OperationRow]:
    """Return the table of operations: what each does, its default, its range, its share."""
    return [
        OperationRow(
            name,
            operation.kind,
            operation.does,
            operation.default,
            above=operation.low if operation.default is not None else None,
            up_to=operation.high if operation.default is not None else None,
            share=operation.share or 1.0,
        )
        for name, operation in OPERATIONS.items()
    ]


def gallery(
    where: str,
    out: str = "augment.png",
    changes: Sequence[str] = (),
    data_root: str | None = None,
    task: str = CLASSIFY,
) -> Drawn:
    """Draw the effects of operations.

    Without `augment=` every operation is drawn at five strengths, on the picture, or on the first training
    picture of a data set. With it a picture shows five draws of each operation and of all together; a data
    set shows some of its training pictures as four epochs would see them.

    Args:
        where: a picture, or what `open_dataset` takes.
        out: the PNG.
        changes: `key=value` words of `GallerySettings`, and of settings of the task.
        data_root: see `open_dataset`.
        task: what the pictures are for, a name in `TASKS`: it says which are taken and what is seen of them.

    Raises:
        ResightError: in one line.
    """
    kind, words = tasks.chosen(task, changes)
    chosen, path = override(GallerySettings(), words), Path(out)
    require_place(path)
    if Path(where).is_file() and Path(where).suffix.lower() in SUFFIXES:
        image = decode(Path(where))
        partner = image.transpose(Image.Transpose.ROTATE_180)
        subject = _Subject(Path(where).name, image, np.zeros((0, 4)), partner)
        lines = _operations(subject, chosen)
    else:
        dataset = settled(kind.divided(opened_for(kind, where, data_root)))
        subject = _first(dataset.name, dataset.splits.get("train"))
        frame = kind.frame
        lines = _epochs(dataset, chosen, frame) if chosen.augment else _operations(subject, chosen, frame)
    title = f"{subject.name}, seed {chosen.seed}"
    write_png(path, draw_gallery(title, lines))
    return Drawn(str(path), [line.name for line in lines], list_operations())


def _first(name: str, train: Split | None) -> _Subject:
    """Return the first training picture, what is marked on it, and the first of another class."""
    if train is None or len(train) < 2:
        raise DataError("a gallery needs a training split of two pictures or more")
    labels = train.labels.reshape(len(train), -1)
    other = int(np.argmax((labels != labels[0]).any(1))) or 1
    return replace(_subject(train, 0), name=name, partner=train.decode(other))


def _card(size: int, frame: str = "crop") -> Preprocessing:
    return Preprocessing(size=size, resize=size, frame=frame)


def _operations(subject: _Subject, chosen: GallerySettings, frame: str = "crop") -> list[Line]:
    """Return a row for each requested operation and one for all together, or for every operation."""
    size = chosen.image_size or min(max(min(subject.image.size), SMALLEST), LARGEST)
    card, lines = _card(size, frame), []
    for step in parse(chosen.augment):
        steps = [(step,)] * len(STRENGTHS)
        lines.append(Line(step.name, step.operation.does, _tiles(subject, steps, card, chosen.seed)))
    if len(lines) > 1:
        steps = [parse(chosen.augment)] * len(STRENGTHS)
        lines.append(Line("together", " ".join(chosen.augment), _tiles(subject, steps, card, chosen.seed)))
    if lines:
        return lines
    for name, operation in OPERATIONS.items():
        if operation.kind == "generated":
            continue
        default, fixed = operation.default or 0.0, operation.kind in ("crop", "mix")
        values = [default if fixed else min(default * s, operation.high) for s in STRENGTHS]
        steps = [(Step(name, max(value, operation.low), 1.0),) for value in values]
        words = operation.does + (f"; default {default:g}" if operation.default is not None else "")
        lines.append(Line(name, words, _tiles(subject, steps, card, chosen.seed, full=True)))
    return lines


def _tiles(
    subject: _Subject,
    columns: Sequence[tuple[Step, ...]],
    card: Preprocessing,
    seed: int,
    *,
    full: bool = False,
) -> list[Tile]:
    """Return a tile for each column of steps, each with its own draws.

    Args:
        subject: the picture to alter.
        columns: the steps of each.
        card: of the input.
        seed: of the draws.
        full: whether strengths are as large as their values, and are written below the tiles.
    """
    normalize = Normalize(card, torch.device("cpu"))
    tiles = []
    for epoch, steps in enumerate(columns):
        pipeline = Pipeline(steps, classes=2)
        draws = Draws(seed, epoch, np.arange(2), full=full)
        pair = [subject.image, subject.partner]
        squares = [pipeline.square(p, draws.at(np.array([i])), card) for i, p in enumerate(pair)]
        stacked = torch.from_numpy(np.stack(squares))
        images, _ = pipeline.finish(stacked, ClassMarks.of(torch.arange(2)), normalize, draws, np.arange(2))
        warp = pipeline.warp(draws, [p.size for p in pair], card)
        value = steps[0].value if full and steps[0].operation.default is not None else None
        caption = "" if value is None else f"{value:g}"
        pixels = _marked(_shown(images[0], card), subject, warp.of(0))
        tiles.append(Tile(pixels, caption, _moved(subject, warp.of(0), card.size)))
    return tiles


def _epochs(dataset: Dataset, chosen: GallerySettings, frame: str) -> list[Line]:
    """Return a row for each of some training pictures, evenly spaced: plain, then as each epoch sees it."""
    chosen_rows = np.unique(np.linspace(0, len(dataset.train) - 1, SAMPLES).astype(int))
    train = dataset.train.take(chosen_rows)
    side = chosen.image_size or min(max(typical_side(train), SMALLEST), LARGEST)
    card, order = _card(side, frame), Order(len(train), len(train), chosen.seed)
    normalize = Normalize(card, torch.device("cpu"))
    tiles: list[list[Tile]] = [[] for _ in range(len(train))]
    for column, words in enumerate([(), *[chosen.augment] * EPOCHS]):
        pipeline = Pipeline(parse(words), len(dataset.classes))
        batches = StreamedBatches(train, None, card, normalize, pipeline, order, Readers(0), strict=True)
        epoch = max(column - 1, 0)
        batch = next(batches.epoch(epoch))
        warp = batches.warp(epoch, batch)
        assert batch.samples is not None  # streamed batches have them
        for place, sample in enumerate(batch.samples):
            subject = _subject(train, int(sample))
            boxes = _moved(subject, warp.of(place), side)
            caption = f"epoch {column}" if column else "picture"
            pixels = _marked(_shown(batch.images[place], card), subject, warp.of(place))
            tiles[sample].append(Tile(pixels, caption, boxes))
    labels = [", ".join(train.class_names(i)) for i in range(len(train))]
    return [Line(labels[i], Path(train.picture_name(i)).name, row) for i, row in enumerate(tiles)]


def _subject(train: Split, index: int) -> _Subject:
    boxes = np.array([box[1:] for box in train.picture_boxes(index) or ()], dtype=np.float64).reshape(-1, 4)
    image = train.decode(index)
    points = None if train.points is None else Points.together([Points.read(train, index)])
    skeleton = None if train.points is None else train.points.skeleton
    maps = None if train.maps is None else LabelMaps.together([LabelMaps.read(train, index)])
    return _Subject(train.picture_name(index), image, boxes, image, points, skeleton, maps)


def _moved(subject: _Subject, warp: Warp, size: int) -> list[list[float]]:
    """Return the boxes of a picture that are visible after a warp."""
    if not len(subject.boxes):
        return []
    boxes, sizes = torch.from_numpy(subject.boxes)[None], torch.tensor([subject.image.size])
    moved, visible = move_boxes(boxes, warp, sizes, size)
    return moved[0][visible[0] > VISIBLE].tolist()


def _marked(pixels: NDArray[np.uint8], subject: _Subject, warp: Warp) -> NDArray[np.uint8]:
    """Return a moved picture under its label map, or with its joints drawn, if left and right are known."""
    if subject.maps is not None:
        return tinted(pixels, subject.maps.moved(lambda _: warp).at(len(pixels))[0].numpy())
    if subject.points is None or subject.skeleton is None or not subject.skeleton.swaps:
        return pixels
    moved, skeleton = subject.points.moved(lambda _: warp), subject.skeleton
    sides = [skeleton.side(joint) for joint in range(len(skeleton))]
    places = moved.places[0].double().numpy() * pixels.shape[:2][::-1]
    known = moved.known[0].numpy()
    return np.asarray(draw_skeleton(Image.fromarray(pixels), places, skeleton.limbs, sides, known=known))


def _shown(image: Tensor, card: Preprocessing) -> NDArray[np.uint8]:
    """Return a normalized image (3, S, S) as pixels (S, S, 3)."""
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (card.mean, card.std))
    return ((image * std + mean).clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).numpy()
