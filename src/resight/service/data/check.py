"""Check a data set before training: faults, copies, near copies, leaks, balance."""

from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from resight.core.console import counted
from resight.core.device import cores
from resight.core.errors import DataError, Fault, PictureError, UsageError
from resight.core.figures import Inline
from resight.core.files import digest, require_place, write_text
from resight.data.dataset import Dataset, Split
from resight.data.levels import settled
from resight.data.near_copies import Print, near_pairs, print_of
from resight.data.open import open_as_it_is
from resight.render.overlay import thumbnail
from resight.render.pairs import Pair, Side, render_pairs
from resight.tasks.task import Task
from resight.tasks.tasks import CLASSIFY, chosen

SMALLEST = 8
LOOK = "check it: if it shows its class, keep it"
SHOWN, SHOWN_SIDE = 500, 224
"""Pairs on the page, and their longer side in pixels."""


@dataclass(frozen=True)
class Place:
    """The place of a picture in a data set.

    Attributes:
        split: its split.
        index: its place there.
        name: of the picture.
        labels: its class, or several with semicolons.
    """

    split: Split
    index: int
    name: str
    labels: str


@dataclass(frozen=True)
class Group:
    """Pictures that are the same: their paths, splits and classes, each in the same order."""

    paths: list[str]
    splits: list[str]
    classes: list[str]

    @classmethod
    def of(cls, places: Sequence[Place]) -> "Group":
        """Return the pictures at some places."""
        return cls(
            [place.name for place in places],
            [place.split.name for place in places],
            [place.labels for place in places],
        )


@dataclass(frozen=True)
class NearCopies:
    """Two pictures that are nearly the same, and how many of 63 bits of their prints differ."""

    pictures: Inline[Group]
    distance: int


@dataclass(frozen=True)
class Checked:
    """The answer of `check`.

    Attributes:
        data: name of the data set.
        n: its pictures.
        ok: those that can be read.
        faults: of pictures, splits and the set.
        duplicates: pictures with the same pixels.
        near_copies: pictures that were saved again.
        leaks: duplicates in several splits.
        conflicts: duplicates in several classes.
        unused: files that are no part of the set, in words.
        classes: number of pictures by class and split.
        notes: in words.
        out: the page of near copies.
    """

    data: str
    n: int
    ok: int
    faults: list[Fault]
    duplicates: list[Group]
    near_copies: list[NearCopies]
    leaks: list[Group]
    conflicts: list[Group]
    unused: list[str]
    classes: dict[str, dict[str, int]]
    notes: list[str]
    out: str | None


@dataclass
class Findings:
    """The findings so far.

    Attributes:
        faults: pictures, splits and sets that cannot be used as they are.
        places: of all pictures with the same pixels, by the digest of these.
        prints: fingerprint of each digest for near copies; flat pictures have none.
        counts: pictures by class and split.
    """

    faults: list[Fault] = field(default_factory=list)
    places: dict[str, list[Place]] = field(default_factory=lambda: defaultdict(list))
    prints: dict[str, Print] = field(default_factory=dict)
    counts: dict[str, dict[str, int]] = field(default_factory=dict)


def check(
    data: str,
    data_root: str | None = None,
    out: str | None = None,
    task: str = CLASSIFY,
    changes: Sequence[str] = (),
) -> Checked:
    """Decode every picture of a data set and list all its faults.

    Two pictures are copies if their decoded pixels are equal, even if their files differ; near copies are
    found by `near_pairs`.

    Args:
        data: what `open_dataset` takes.
        data_root: see there.
        out: a page (HTML) to draw the near copies on.
        task: what the pictures are for, a name in `TASKS`: it says which are taken and what is their class.
        changes: `key=value` words of settings of the task, such as `segment.void=11`.

    Raises:
        ResightError: if the data cannot be opened, or the page cannot be written.
    """
    if out:
        require_place(Path(out))
    kind, rest = chosen(task, changes)
    if rest:
        raise UsageError(
            f"--set {rest[0]}: is no setting of a task; check takes those of --task {task} alone"
        )
    found = Findings()
    dataset = settled(_open(data, data_root, found, kind))
    found.counts = {name: {} for name in dataset.classes}
    for split in dataset.splits.values():
        _look_over(split, found)
    copies = [group for group in found.places.values() if len(group) > 1]
    near = _near_copies(found)
    if out:
        _draw(Path(out), dataset.name, near)
    return Checked(
        data=dataset.name,
        n=sum(map(len, dataset.splits.values())),
        ok=sum(map(len, found.places.values())),
        faults=found.faults,
        duplicates=[Group.of(g) for g in copies],
        near_copies=[NearCopies(Group.of(pair), distance) for pair, distance in near],
        leaks=[Group.of(g) for g in copies if len({place.split.name for place in g}) > 1],
        conflicts=[Group.of(g) for g in copies if len({place.labels for place in g}) > 1],
        unused=list(dataset.unused),
        classes=found.counts,
        notes=[*dataset.notes, *kind.noted(dataset), *_balance(found.counts)],
        out=out,
    )


def _open(data: str, data_root: str | None, found: Findings, task: Task) -> Dataset:
    """Open a data set; what does not fit becomes a fault, and the rest is checked."""
    dataset = task.labelled(open_as_it_is(data, data_root, task.rule))
    for split in dataset.splits.values():
        if extra := split.foreign(dataset.classes):
            names = ", ".join(repr(name) for name in extra)
            fault = f"its {split.name} split has classes that the training split lacks: {names}"
            cure = "rename them, or add pictures of them to the training split"
            found.faults.append(Fault(dataset.name, fault, cure))
    try:
        return task.divided(dataset)
    except DataError as error:
        fault, _, cure = str(error).removeprefix(f"{dataset.name}: ").partition("; ")
        found.faults.append(Fault(dataset.name, fault, cure))
        return dataset


def _look_over(split: Split, found: Findings) -> None:
    """Decode a split's pictures and record the findings."""
    with ThreadPoolExecutor(max_workers=cores()) as pool:
        looked = pool.map(lambda i: _look(split, i), range(len(split)))
        results = list(counted(looked, f"looking at {split.name} pictures", len(split)))
    for index, result in enumerate(results):
        labels = split.class_names(index)
        for label in labels:
            count = found.counts.setdefault(label, {})
            count[split.name] = count.get(split.name, 0) + 1
        if isinstance(result, PictureError):
            found.faults.append(result.row)
            continue
        content, fault, own = result
        name = split.picture_name(index)
        found.places[content].append(Place(split, index, name, ";".join(labels)))
        if own:
            found.prints[content] = own
        if fault:
            found.faults.append(Fault(name, fault, LOOK))


def _look(split: Split, index: int) -> tuple[str, str, Print | None] | PictureError:
    """Return the digest of the pixels, why a readable picture is suspicious or "", and its print."""
    try:
        image = split.decode(index)
    except PictureError as error:
        return error
    pixels = np.asarray(image)
    fault = ""
    if min(image.size) < SMALLEST:
        fault = f"is only {image.width} x {image.height} pixels"
    elif np.ptp(pixels) == 0:
        fault = "has one colour only"
    return digest(f"{image.size}".encode() + pixels.tobytes()), fault, None if fault else print_of(image)


def _near_copies(found: Findings) -> list[tuple[tuple[Place, Place], int]]:
    """Return pairs of near copies and their distance: those in different splits first, then the nearest."""
    contents = list(found.prints)
    pairs = []
    for first, second, distance in near_pairs([found.prints[content] for content in contents]):
        places = [(a, b) for a in found.places[contents[first]] for b in found.places[contents[second]]]
        across = [(a, b) for a, b in places if a.split is not b.split]
        pairs.append(((across or places)[0], distance))
    return sorted(pairs, key=lambda pair: (pair[0][0].split is pair[0][1].split, pair[1]))


def _draw(file: Path, name: str, near: Sequence[tuple[tuple[Place, Place], int]]) -> None:
    """Write the page of near copies."""
    pairs = []
    for places, distance in near[:SHOWN]:
        first, second = (
            Side(thumbnail(np.asarray(p.split.decode(p.index)), SHOWN_SIDE), p.name, p.split.name, p.labels)
            for p in places
        )
        pairs.append(Pair((first, second), distance))
    words = [
        f"{len(near):,} pairs of near copies. A picture saved again in another split is the "
        "most common leak: keep both pictures of a pair in one split."
    ]
    if len(near) > SHOWN:
        words.append(f"The first {SHOWN} are shown; resight check --json lists all.")
    write_text(file, render_pairs(f"Near copies in {name}", words, pairs))


def _balance(counts: dict[str, dict[str, int]]) -> list[str]:
    train = {name: c.get("train", 0) for name, c in counts.items()}
    most, least = max(train, key=lambda n: train[n]), min(train, key=lambda n: train[n])
    notes = []
    if train[least] and train[most] >= 3 * train[least]:
        notes.append(
            f"the classes are unbalanced: {train[most]:,} training pictures of {most!r}, {train[least]:,} of "
            f"{least!r}; check the errors class by class"
        )
    absent = [name for name, c in counts.items() if not c.get("test")]
    if absent:
        notes.append(f"no test pictures of: {', '.join(absent)}")
    return notes
